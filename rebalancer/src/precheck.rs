//! Owns the question whether a move is possible. It touches nothing, and names all reasons at
//! once.

use crate::config::{Limits, ShardConfig};
use crate::connect::Session;
use crate::error::Error;
use crate::tables::Scope;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What is to move, with the tables as the source has them.
    pub scope: Scope<'a>,
    /// With logical replication.
    pub online: bool,
    /// The source's primary.
    pub source: &'a Session,
    /// The target's primary.
    pub target: &'a Session,
    /// How the source is reached.
    pub source_config: &'a ShardConfig,
    /// How the target is reached.
    pub target_config: &'a ShardConfig,
    /// How far it may go.
    pub limits: &'a Limits,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Why it is not possible; empty: it is.
    pub reasons: Vec<Reason>,
    /// What somebody should know.
    pub notes: Vec<String>,
    /// Rows of the keys, estimated.
    pub rows: i64,
    /// Bytes of them with indexes, estimated.
    pub bytes: i64,
}

/// Why a move is not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What is in the way.
    pub what: String,
    /// What helps.
    pub remedy: String,
}

/// Looks at both sides.
///
/// # Errors
/// What the servers say when they cannot be asked. What is in the way is no error.
pub async fn check(_question: Question<'_>) -> Result<Report, Error> {
    Err(Error::Stopped("unfinished".into()))
}
