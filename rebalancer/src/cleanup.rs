//! Owns the deletion of the rows of keys on one shard, in small transactions.

use crate::connect::Session;
use crate::copy::Pace;
use crate::error::Error;
use crate::tables::Scope;

/// Deletes the rows of the keys, `batch_rows` at most in one transaction, and says how many there
/// were. Nothing may publish these deletions for the move any more. It can be stopped anywhere and
/// begun again. Space is given back by autovacuum.
///
/// # Errors
/// What the server says, or `pace`; that a publication of the move is still there.
pub async fn purge(
    _on: &Session,
    _scope: Scope<'_>,
    _batch_rows: u32,
    _pace: &dyn Pace,
) -> Result<u64, Error> {
    Err(Error::Stopped("unfinished".into()))
}
