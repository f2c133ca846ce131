//! Owns the moment between what is copied and what is streamed.
//!
//! ```text
//! locker:  lock … in share mode ───────────────────────────────► rollback
//! marker:                        flush ───────────────► position
//! holder:                               begin, export ──────────────────────────► … copy …
//! ```
//!
//! While the tables are locked no transaction has changes of them that are not visible yet, and
//! whatever was committed has its place in the WAL before the position. What is committed later
//! has it behind. So the snapshot and the stream from the position on are together everything,
//! and nothing is in both.

use crate::blockers::{Attempt, begin, of_tables, was_given_up};
use crate::config::ShardConfig;
use crate::connect::{Session, primary};
use crate::error::Error;
use crate::replicate::flush_here;
use crate::tables::Scope;
use std::time::Duration;

/// A moment of a shard that other sessions can look at, for as long as this is kept. It holds back
/// vacuum on the shard.
#[derive(Debug)]
pub struct Snapshot {
    /// Its name, for `set transaction snapshot`.
    pub id: String,
    /// Where it was taken: the subscription is to begin here.
    pub lsn: String,
    /// The transaction that has it.
    holder: Session,
}

impl Snapshot {
    /// The session that has it, for questions about this moment.
    pub(crate) fn session(&self) -> &Session {
        &self.holder
    }
}

/// One try to take a moment of the source such that a subscription that begins at its position
/// gets exactly what is committed after it. Publication and slot must be there. Writers of the
/// tables wait meanwhile, for a few milliseconds.
///
/// # Errors
/// What the server says.
pub async fn exact(
    source: &ShardConfig,
    scope: Scope<'_>,
    lock_timeout: Duration,
) -> Result<Attempt<Snapshot>, Error> {
    let locker = session(source).await?;
    let marker = session(source).await?;
    let holder = session(source).await?;
    let lock = format!("{} lock table {} in share mode", begin(lock_timeout), scope.table_list());
    if let Err(error) = locker.run(&lock).await {
        if !was_given_up(&error) {
            return Err(error);
        }
        locker.run("rollback").await?;
        return Ok(Attempt::Blocked(of_tables(&marker, scope).await?));
    }
    // Commits that did not wait for the disk are visible, but the position must be behind them.
    flush_here(&marker).await?;
    let id = open(&holder).await?;
    let lsn = value(&marker, "select pg_catalog.pg_current_wal_flush_lsn()").await?;
    locker.run("rollback").await?;
    Ok(Attempt::Done(Snapshot { id, lsn, holder }))
}

/// Any moment from now on, for a source that refuses writes to the keys.
///
/// # Errors
/// What the server says.
pub async fn plain(source: &ShardConfig) -> Result<Snapshot, Error> {
    let holder = session(source).await?;
    let lsn = value(&holder, "select pg_catalog.pg_current_wal_flush_lsn()").await?;
    let id = open(&holder).await?;
    Ok(Snapshot { id, lsn, holder })
}

async fn session(source: &ShardConfig) -> Result<Session, Error> {
    primary(&source.server, &format!("shard {}", source.name)).await
}

async fn open(holder: &Session) -> Result<String, Error> {
    holder.run("begin isolation level repeatable read read only").await?;
    value(holder, "select pg_catalog.pg_export_snapshot()").await
}

async fn value(session: &Session, sql: &str) -> Result<String, Error> {
    let missing = || Error::Stopped(format!("{}: no answer to: {sql}", session.place));
    session.value(sql).await?.ok_or_else(missing)
}
