//! Owns the way from a table's name to its place in the map.

use super::Table;
use hashbrown::HashMap;
use std::ops::Range;

/// Which places of the sorted tables have a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TableIndex {
    names: HashMap<Box<str>, Range<usize>>,
}

impl TableIndex {
    /// Of tables in the order of their names.
    pub(super) fn of(tables: &[Table]) -> Self {
        let mut names: HashMap<Box<str>, Range<usize>> = HashMap::new();
        for (at, table) in tables.iter().enumerate() {
            names.entry(table.name.clone()).or_insert(at..at).end = at + 1;
        }
        Self { names }
    }

    /// The places of the tables of this name.
    pub(super) fn get(&self, name: &str) -> Range<usize> {
        self.names.get(name).cloned().unwrap_or_default()
    }
}
