//! Owns the moment between what is copied and what is streamed.

use crate::blockers::Attempt;
use crate::config::ShardConfig;
use crate::connect::Session;
use crate::error::Error;
use crate::tables::Scope;
use std::time::Duration;

/// A moment of a shard that other sessions can look at, for as long as this is kept.
#[derive(Debug)]
pub struct Snapshot {
    /// Its name, for `set transaction snapshot`.
    pub id: String,
    /// Where it was taken.
    pub lsn: String,
    /// The transaction that has it.
    pub(crate) _holder: Session,
}

/// One try to take a moment of the source such that the slot of the move streams exactly what is
/// committed after it. The slot must be there, and nobody may read from it.
///
/// # Errors
/// What the server says.
pub async fn exact(
    _source: &ShardConfig,
    _scope: Scope<'_>,
    _lock_timeout: Duration,
) -> Result<Attempt<Snapshot>, Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// Any moment from now on, for a source that refuses writes to the keys.
///
/// # Errors
/// What the server says.
pub async fn plain(_source: &ShardConfig) -> Result<Snapshot, Error> {
    Err(Error::Stopped("unfinished".into()))
}
