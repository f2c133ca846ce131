//! Owns what keeps others from the tables of a move on one shard: guards against TRUNCATE and DDL
//! for its whole time, and the fence, which refuses writes to its keys.

use crate::blockers::Attempt;
use crate::connect::Session;
use crate::error::Error;
use crate::tables::Scope;
use std::time::Duration;

/// One try to refuse TRUNCATE and DDL of the tables. Done again, it changes nothing.
///
/// # Errors
/// What the server says.
pub async fn set_guards(
    _on: &Session,
    _scope: Scope<'_>,
    _lock_timeout: Duration,
) -> Result<Attempt<()>, Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// One try to remove the guards.
///
/// # Errors
/// What the server says.
pub async fn remove_guards(
    _on: &Session,
    _id: i64,
    _lock_timeout: Duration,
) -> Result<Attempt<()>, Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// One try to refuse writes to the keys. When it is done, every transaction that wrote to the
/// tables before has ended, and the fence is durable. Done again, it changes nothing.
///
/// # Errors
/// What the server says.
pub async fn fence(
    _on: &Session,
    _scope: Scope<'_>,
    _lock_timeout: Duration,
) -> Result<Attempt<()>, Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// One try to let writes to the keys in again. Readers of the tables do not stand in its way.
///
/// # Errors
/// What the server says.
pub async fn unfence(
    _on: &Session,
    _id: i64,
    _lock_timeout: Duration,
) -> Result<Attempt<()>, Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// Whether all tables refuse writes to the keys.
///
/// # Errors
/// What the server says.
pub async fn is_fenced(_on: &Session, _scope: Scope<'_>) -> Result<bool, Error> {
    Err(Error::Stopped("unfinished".into()))
}
