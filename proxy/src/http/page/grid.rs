//! Owns the reading of the console's tables by the names of their columns, so that the page says
//! what the console says.

use pgmanifold_console::value::Row;
use pgmanifold_console::{Source, Table, Value, tables};

/// The rows of one table at a moment.
pub(super) struct Grid {
    table: Option<&'static Table>,
    rows: Vec<Row>,
}

/// One row.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    table: &'static Table,
    row: &'a [Value],
}

impl Grid {
    /// The table of this name now.
    pub(super) fn of(source: &dyn Source, name: &str) -> Self {
        let table = tables::find(name);
        Self { table, rows: table.map(|table| source.rows(table)).unwrap_or_default() }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let table = self.table.into_iter();
        table.flat_map(|table| self.rows.iter().map(move |row| Line { table, row }))
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

impl<'a> Line<'a> {
    fn value(&self, column: &str) -> &'a Value {
        let place = self.table.column(column);
        debug_assert!(place.is_some(), "{} has no column {column}", self.table.name);
        place.and_then(|place| self.row.get(place)).unwrap_or(&Value::Null)
    }

    /// A text; empty for NULL.
    pub(super) fn text(&self, column: &str) -> &'a str {
        match self.value(column) {
            Value::Text(text) => text,
            Value::Null | Value::Int(_) | Value::Float(_) | Value::Bool(_) => "",
        }
    }

    /// A number, unless it is NULL.
    pub(super) fn number(&self, column: &str) -> Option<f64> {
        match self.value(column) {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            // Counters of PgBouncer's tables are `numeric`, which may come as text.
            Value::Text(text) => text.parse().ok(),
            Value::Null | Value::Bool(_) => None,
        }
    }

    /// A number; 0 for NULL.
    pub(super) fn count(&self, column: &str) -> f64 {
        self.number(column).unwrap_or(0.0)
    }
}
