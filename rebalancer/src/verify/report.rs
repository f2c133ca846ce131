//! Owns what a comparison has found, as text for people and as JSON.

use crate::error::Error;
use serde::Serialize;

/// What was compared, and what differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Who was compared with whom, as the sessions' places: leader, follower.
    pub sides: [String; 2],
    /// The keys, as text.
    pub keys: String,
    /// Each table.
    pub tables: Vec<TableReport>,
    /// What differs; empty when both are the same.
    pub mismatches: Vec<Mismatch>,
    /// How long writers were kept waiting, in microseconds.
    pub pause_us: u64,
    /// How long the comparison took, in milliseconds.
    pub took_ms: u64,
}

/// What was compared of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// `schema.table`, quoted.
    pub table: String,
    /// Rows on the leader.
    pub rows: u64,
    /// Bytes of text that were hashed on the leader.
    pub bytes: u64,
    /// Sub-ranges that have rows on either side.
    pub sub_ranges: u32,
    /// Time.
    pub took_ms: u64,
}

/// A sub-range that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// `schema.table`, quoted.
    pub table: String,
    /// The sub-range, as text.
    pub sub_range: String,
    /// Rows on the leader, and on the follower.
    pub rows: [u64; 2],
    /// The first keys that differ.
    pub keys: Vec<DifferingKey>,
    /// How many differ.
    pub keys_differing: u64,
}

/// A key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferingKey {
    /// Its columns with their values.
    pub key: String,
    /// What is where.
    pub difference: Difference,
}

/// What is where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// On this shard only.
    OnlyOn(String),
    /// Both have it, with other contents: in these columns, where they are known.
    Contents(Vec<String>),
}

impl Report {
    /// Both sides are the same, or an error that says what differs.
    ///
    /// # Errors
    /// [`Error::Stopped`] with the differences.
    pub fn verdict(&self) -> Result<(), Error> {
        match self.mismatches.is_empty() {
            true => Ok(()),
            false => Err(Error::Stopped(self.to_string())),
        }
    }

    /// Rows compared.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows", self.rows())
    }
}
