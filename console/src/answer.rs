//! Owns what a command answers with, before it has the form of a protocol.

use crate::schema::Table;
use crate::value::{Kind, Row};

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutColumn {
    /// Its name.
    pub name: Box<str>,
    /// Its type.
    pub kind: Kind,
}

/// Rows, and the tag of CommandComplete.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The columns; empty when the command has no rows.
    pub columns: Vec<OutColumn>,
    /// The rows.
    pub rows: Vec<Row>,
    /// The tag, whole: `SHOW`, `SELECT 3`, `PAUSE`.
    pub tag: String,
}

impl Answer {
    /// Of a command without rows.
    pub fn done(tag: impl Into<String>) -> Self {
        Self { columns: Vec::new(), rows: Vec::new(), tag: tag.into() }
    }

    /// Of `SHOW`.
    pub fn show(table: &Table, rows: Vec<Row>) -> Self {
        let columns = table.columns.iter();
        let columns =
            columns.map(|column| OutColumn { name: column.name.into(), kind: column.kind });
        Self { columns: columns.collect(), rows, tag: "SHOW".into() }
    }
}
