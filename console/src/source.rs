//! Owns the one question the console asks of the process: what a table holds now.

use crate::schema::Table;
use crate::value::Row;

/// What the console's tables are filled from.
pub trait Source: Send + Sync {
    /// The rows of a table now, each with a value for every column. Must not block.
    fn rows(&self, table: &'static Table) -> Vec<Row>;
}
