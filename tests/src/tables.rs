//! Owns the rows of the console's tables as tests read them: by the names of columns.

use pgmanifold_console::{Source, Value, tables};
use std::collections::BTreeMap;

/// One row.
#[derive(Debug, Clone)]
pub struct TableRow(BTreeMap<&'static str, Value>);

/// All rows of a table.
///
/// # Panics
/// When there is no such table.
pub fn rows(source: &dyn Source, name: &str) -> Vec<TableRow> {
    let table = tables::find(name).unwrap_or_else(|| panic!("no table {name}"));
    let names = || table.columns.iter().map(|column| column.name);
    let rows = source.rows(table).into_iter();
    rows.map(|row| TableRow(names().zip(row).collect())).collect()
}

impl TableRow {
    /// A value as it is printed; empty for NULL.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn text(&self, column: &str) -> String {
        let value = self.0.get(column);
        value.unwrap_or_else(|| panic!("no column {column}")).to_string()
    }

    /// A whole number.
    ///
    /// # Panics
    /// When it is none.
    pub fn number(&self, column: &str) -> i64 {
        match self.0.get(column) {
            Some(Value::Int(number)) => *number,
            other => panic!("{column} is {other:?}"),
        }
    }

    /// Whether a column is printed like this.
    pub fn has(&self, column: &str, text: &str) -> bool {
        self.text(column) == text
    }
}
