//! Owns the removal of what a move has made on shards, in whatever state it was left.

use super::Direction;
use crate::connect::Session;
use crate::error::Error;
use crate::fence;
use std::time::{Duration, Instant};

/// Longest wait for the reader of a slot to end.
const READER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two looks at it.
const READER_POLL: Duration = Duration::from_millis(10);

/// Condition on `pg_subscription s`: those of this database.
const HERE: &str = "s.subdbid = (select oid from pg_catalog.pg_database where datname = \
                    pg_catalog.current_database())";

/// Ends the subscription and waits until its worker is gone; the slot stays. Whether the publisher
/// can be reached does not matter.
///
/// # Errors
/// What the server says.
pub async fn unsubscribe(on: &Session, id: i64, way: Direction) -> Result<(), Error> {
    let name = way.name(id);
    let there =
        format!("select 1 from pg_catalog.pg_subscription s where s.subname = '{name}' and {HERE}");
    if on.value(&there).await?.is_none() {
        return Ok(());
    }
    on.run(&format!("alter subscription {name} disable")).await?;
    on.run(&format!("alter subscription {name} set (slot_name = none)")).await?;
    on.run(&format!("drop subscription {name}")).await
}

/// Removes slot and publication. Whoever reads from the slot is cut off.
///
/// # Errors
/// What the server says; that the slot's reader does not end.
pub async fn withdraw(on: &Session, id: i64, way: Direction) -> Result<(), Error> {
    let name = way.name(id);
    drop_slot(on, &name).await?;
    on.run(&format!("drop publication if exists {name}")).await
}

async fn drop_slot(on: &Session, name: &str) -> Result<(), Error> {
    let reader = format!(
        "select active_pid from pg_catalog.pg_replication_slots where slot_name = '{name}'"
    );
    let begun = Instant::now();
    loop {
        let rows = on.rows(&reader).await?;
        let Some(row) = rows.into_iter().next() else { return Ok(()) };
        let sql = match row.into_iter().next().flatten() {
            Some(pid) => format!("select pg_catalog.pg_terminate_backend({pid})"),
            None => format!("select pg_catalog.pg_drop_replication_slot('{name}')"),
        };
        match on.run(&sql).await {
            Ok(()) => {}
            // Somebody has begun to read from it, or has dropped it.
            Err(error) if matches!(error.sqlstate(), Some("55006" | "42704")) => {}
            Err(error) => return Err(error),
        }
        if begun.elapsed() >= READER_TIMEOUT {
            let place = &on.place;
            return Err(Error::Stopped(format!(
                "{place}: replication slot {name} cannot be dropped: its reader does not end"
            )));
        }
        tokio::time::sleep(READER_POLL).await;
    }
}

/// Removes whatever there is of the move on one shard: subscriptions, slots, publications, fence,
/// guards, markers. Rows stay. Can be repeated.
///
/// # Errors
/// What the server says; that others stand in the way for too long.
pub async fn remove(on: &Session, id: i64) -> Result<(), Error> {
    for way in [Direction::Forward, Direction::Back] {
        unsubscribe(on, id, way).await?;
    }
    for way in [Direction::Forward, Direction::Back] {
        withdraw(on, id, way).await?;
    }
    fence::remove(on, id).await?;
    let has_markers = on.value("select pg_catalog.to_regclass('pgm.marker') is not null").await?;
    if has_markers.as_deref() == Some("t") {
        on.run(&format!("delete from pgm.marker where move = {id}")).await?;
    }
    Ok(())
}

/// Removes whatever there is of the move, on those of its shards that are up: subscriptions first,
/// so that nobody asks for a slot that is gone. Rows stay. Can be repeated.
///
/// # Errors
/// What the servers say, both of them; that one was not there, and what may be left on it.
pub async fn remove_all(
    id: i64,
    source: Option<&Session>,
    target: Option<&Session>,
) -> Result<(), Error> {
    let mut failed = Vec::new();
    for (side, session) in [("target", target), ("source", source)] {
        match session {
            Some(session) => {
                if let Err(error) = remove(session, id).await {
                    failed.push(error.to_string());
                }
            }
            None => failed.push(format!(
                "the {side} is not reached: subscription, slot and publication pgm_move_{id} or \
                 pgm_back_{id} and triggers of the move may be left there"
            )),
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Error::Stopped(failed.join("\n"))),
    }
}
