//! Owns the question how far changes have come, and whether they still come.

use super::Direction;
use crate::connect::Session;
use crate::error::Error;
use std::time::{Duration, Instant};

/// Pauses between two looks for a marker: at first, when a client may wait, and later.
const QUICK_POLL: Duration = Duration::from_millis(1);
const SLOW_POLL: Duration = Duration::from_millis(20);
/// From then on it is looked for slowly.
const QUICK_TIME: Duration = Duration::from_millis(500);
/// Pause between two looks at the worker.
const WORKER_POLL: Duration = Duration::from_millis(500);
/// A worker that is not there for so long does not come by itself: PostgreSQL starts one again
/// every few seconds.
const WORKER_ABSENCE: Duration = Duration::from_secs(15);
/// So many failures of a worker while one marker is waited for are no accident.
const WORKER_FAILURES: i64 = 2;

/// How a slot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// There is such a slot.
    pub exists: bool,
    /// Somebody reads from it.
    pub active: bool,
    /// Its changes are gone: the publisher has removed the WAL.
    pub lost: bool,
    /// Bytes of WAL that the subscriber has not confirmed.
    pub lag_bytes: u64,
    /// Bytes of WAL kept for it.
    pub retained_bytes: u64,
}

/// How the slot stands on the publisher.
///
/// # Errors
/// What the server says.
pub async fn standing(on: &Session, id: i64, way: Direction) -> Result<Standing, Error> {
    let sql = format!(
        "select active, wal_status is not distinct from 'lost', \
          greatest(pg_catalog.pg_current_wal_flush_lsn() - confirmed_flush_lsn, 0)::int8, \
          greatest(pg_catalog.pg_current_wal_flush_lsn() - restart_lsn, 0)::int8 \
         from pg_catalog.pg_replication_slots where slot_name = '{}' \
          and database = pg_catalog.current_database()",
        way.name(id)
    );
    let rows = on.rows(&sql).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(Standing::default()) };
    let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    let bytes = |at: usize| text(at).parse().unwrap_or_default();
    Ok(Standing {
        exists: true,
        active: text(0) == "t",
        lost: text(1) == "t",
        lag_bytes: bytes(2),
        retained_bytes: bytes(3),
    })
}

/// What the subscriber says of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Worker {
    enabled: bool,
    running: bool,
    failures: i64,
}

/// `None` where there is no such subscription.
async fn worker(on: &Session, id: i64, way: Direction) -> Result<Option<Worker>, Error> {
    let sql = format!(
        "select s.subenabled, exists (select from pg_catalog.pg_stat_subscription w \
          where w.subid = s.oid and w.relid is null and w.pid is not null), e.apply_error_count \
         from pg_catalog.pg_subscription s \
         left join pg_catalog.pg_stat_subscription_stats e on e.subid = s.oid \
         where s.subname = '{}' and s.subdbid = (select oid from pg_catalog.pg_database \
          where datname = pg_catalog.current_database())",
        way.name(id)
    );
    let rows = on.rows(&sql).await?;
    let text = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten();
    Ok(rows.first().map(|row| Worker {
        enabled: text(row, 0).as_deref() == Some("t"),
        running: text(row, 1).as_deref() == Some("t"),
        failures: text(row, 2).and_then(|count| count.parse().ok()).unwrap_or_default(),
    }))
}

/// What is wrong with the subscription's worker at this moment, if anything. A worker that has
/// lost its connection is started again within seconds: only what is wrong at several looks is
/// serious.
///
/// # Errors
/// What the server says.
pub async fn trouble(on: &Session, id: i64, way: Direction) -> Result<Option<String>, Error> {
    let name = way.name(id);
    Ok(match worker(on, id, way).await? {
        None => Some(format!("{}: there is no subscription {name}", on.place)),
        Some(Worker { enabled: false, .. }) => {
            Some(format!("{}: subscription {name} is disabled", on.place))
        }
        Some(Worker { running: false, failures, .. }) => Some(failing(&on.place, &name, failures)),
        Some(_) => None,
    })
}

fn failing(place: &str, name: &str, failures: i64) -> String {
    format!(
        "{place}: subscription {name} has no worker (it failed {failures} times); the log of that \
         server says why"
    )
}

/// Waits until the subscriber has the marker; false when `limit` is over.
///
/// # Errors
/// What the server says; that its worker fails again and again, instead of waiting for it.
pub async fn wait_marker(
    on: &Session,
    id: i64,
    way: Direction,
    number: i64,
    limit: Duration,
) -> Result<bool, Error> {
    let sql = format!("select 1 from pgm.marker where move = {id} and number = {number}");
    let begun = Instant::now();
    let mut looked = begun;
    let mut seen = begun;
    let mut first: Option<Worker> = None;
    loop {
        if on.value(&sql).await?.is_some() {
            return Ok(true);
        }
        if begun.elapsed() >= limit {
            return Ok(false);
        }
        if looked.elapsed() >= WORKER_POLL {
            looked = Instant::now();
            let name = way.name(id);
            let Some(now) = worker(on, id, way).await? else {
                let place = &on.place;
                return Err(Error::Stopped(format!("{place}: there is no subscription {name}")));
            };
            if now.running {
                seen = looked;
            }
            let before = first.get_or_insert(now).failures;
            if now.failures - before >= WORKER_FAILURES || seen.elapsed() >= WORKER_ABSENCE {
                return Err(Error::Stopped(failing(&on.place, &name, now.failures)));
            }
        }
        let pause = if begun.elapsed() < QUICK_TIME { QUICK_POLL } else { SLOW_POLL };
        tokio::time::sleep(pause).await;
    }
}
