//! Owns the way from a table's name to its places in the map.

use super::Table;
use hashbrown::HashMap;

/// Which tables have a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TableIndex {
    names: HashMap<Box<str>, Vec<usize>>,
}

impl TableIndex {
    pub(super) fn of(tables: &[Table]) -> Self {
        let mut names: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (at, table) in tables.iter().enumerate() {
            names.entry(table.name.clone()).or_default().push(at);
        }
        Self { names }
    }

    /// The places of the tables of this name, ascending.
    pub(super) fn get(&self, name: &str) -> &[usize] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }
}
