//! Owns how changes of the keys follow from one shard to the other: publication, slot,
//! subscription, markers. It must not decide when.
//!
//! Where a subscription begins is told to it, and not left to its slot: a position that a slot was
//! moved to can be lost in a crash of its server, and changes would come twice.

mod remove;
mod watch;

use crate::blockers::{Attempt, begin, of_server, of_tables, was_given_up};
use crate::connect::Session;
use crate::error::Error;
use crate::tables::Scope;
use pgmanifold_router::ownership::quote_text;
use std::time::Duration;

pub use remove::{remove, remove_all, unsubscribe, withdraw};
pub use watch::{Standing, standing, trouble, wait_marker};

/// One try to make a slot, which waits for every writer of the server.
const SLOT_TIMEOUT: Duration = Duration::from_secs(2);
/// Making a subscription: its server connects to the other one.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(30);
/// Moving a slot's position: everything since then is read.
const ADVANCE_TIMEOUT: Duration = Duration::from_secs(600);
/// A try for locks that do not keep writers out.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);
/// Tries of them.
const LOCK_TRIES: u32 = 20;
/// Pause between them.
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// Which way changes go. The publisher is the source on the way forward, the target on the way
/// back; the subscriber is the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From source to target: `pgm_move_ID`.
    Forward,
    /// From target to source: `pgm_back_ID`.
    Back,
}

impl Direction {
    /// Name of the publication, slot and subscription.
    pub fn name(self, id: i64) -> String {
        match self {
            Self::Forward => format!("pgm_move_{id}"),
            Self::Back => format!("pgm_back_{id}"),
        }
    }

    /// Markers of the two ways are told apart by their last bit, so that one that has come one way
    /// is not sent back the other.
    fn bit(self) -> u8 {
        match self {
            Self::Forward => 0,
            Self::Back => 1,
        }
    }
}

/// Makes the publication anew, for these keys of all tables and for the markers of this way. A
/// subscription must begin behind this.
///
/// # Errors
/// What the server says.
pub async fn publish(on: &Session, scope: Scope<'_>, way: Direction) -> Result<(), Error> {
    let (id, name) = (scope.id, way.name(scope.id));
    let one = |table: &crate::tables::MovedTable| {
        format!("{} where ({})", table.sql(), scope.condition(table, ""))
    };
    let tables: Vec<String> = scope.tables.iter().map(one).collect();
    // TRUNCATE knows no row filter: it would empty the other shard's table of all keys.
    let sql = format!(
        "drop publication if exists {name}; create publication {name} for table {}, pgm.marker \
         where (move = {id} and number % 2 = {}) with (publish = 'insert, update, delete', \
         publish_via_partition_root = true)",
        tables.join(", "),
        way.bit()
    );
    for _ in 0..LOCK_TRIES {
        let sql = format!("{} {sql}; commit", begin(LOCK_TIMEOUT));
        match on.run(&sql).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                on.run("rollback").await?;
                if !was_given_up(&error) {
                    return Err(error);
                }
            }
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
    let blockers = crate::blockers::describe(&of_tables(on, scope).await?);
    Err(Error::Stopped(format!("{}: publication {name} waits for {blockers}", on.place)))
}

/// One try to make the slot; one that is there and whole is kept. `Blocked` names the writers that
/// it waits for.
///
/// # Errors
/// What the server says.
pub async fn slot(on: &Session, id: i64, way: Direction) -> Result<Attempt<()>, Error> {
    let name = way.name(id);
    let found = standing(on, id, way).await?;
    if found.exists && !found.lost {
        return Ok(Attempt::Done(()));
    }
    if found.exists {
        on.run(&format!("select pg_catalog.pg_drop_replication_slot('{name}')")).await?;
    }
    let sql = format!("select pg_catalog.pg_create_logical_replication_slot('{name}', 'pgoutput')");
    match with_timeout(on, SLOT_TIMEOUT, &sql).await {
        Ok(()) => Ok(Attempt::Done(())),
        Err(error) if was_given_up(&error) => Ok(Attempt::Blocked(of_server(on).await?)),
        Err(error) => Err(error),
    }
}

/// Where the server's WAL is now: everything that is committed is before it, and durable. A
/// subscription that begins here gets what is committed later.
///
/// # Errors
/// What the server says.
pub async fn position(on: &Session) -> Result<String, Error> {
    flush_here(on).await?;
    let lsn = on.value("select pg_catalog.pg_current_wal_flush_lsn()").await?;
    lsn.ok_or_else(|| Error::Stopped(format!("{}: the server has no position", on.place)))
}

/// Moves the position of a slot that nobody reads from to now, so that no more WAL is kept than is
/// needed. This may be lost when the server crashes.
///
/// # Errors
/// What the server says.
pub async fn advance(on: &Session, id: i64, way: Direction) -> Result<(), Error> {
    let name = way.name(id);
    let sql = format!(
        "select pg_catalog.pg_replication_slot_advance('{name}', \
         pg_catalog.pg_current_wal_flush_lsn())"
    );
    with_timeout(on, ADVANCE_TIMEOUT, &sql).await
}

/// Makes the subscription, enabled, for what is committed from `from` on; `connection` is how this
/// server reaches the publisher. One that is there goes on from where it is.
///
/// # Errors
/// What the server says; that it cannot reach the publisher.
pub async fn subscribe(
    on: &Session,
    id: i64,
    way: Direction,
    connection: &str,
    from: &str,
) -> Result<(), Error> {
    let name = way.name(id);
    let there = format!(
        "select subname from pg_catalog.pg_subscription where subname = '{name}' and subdbid = \
         (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())"
    );
    if on.value(&there).await?.is_none() {
        let version = on.value("show server_version_num").await?;
        let version: u32 = version.and_then(|text| text.parse().ok()).unwrap_or_default();
        let owner = if version >= 160_000 { ", run_as_owner = true" } else { "" };
        // One transaction: there is never a subscription that does not know where to begin.
        let sql = format!(
            "begin; create subscription {name} connection {} publication {name} with (enabled = \
             false, create_slot = false, slot_name = '{name}', copy_data = false, streaming = \
             off{owner}); select pg_catalog.pg_replication_origin_advance('pg_' || s.oid, {}) \
             from pg_catalog.pg_subscription s where s.subname = '{name}' and s.subdbid = (select \
             oid from pg_catalog.pg_database where datname = pg_catalog.current_database()); \
             commit",
            quote_text(connection),
            quote_text(from),
        );
        with_timeout(on, SUBSCRIBE_TIMEOUT, &sql).await?;
        flush_here(on).await?;
    }
    enable(on, id, way, true).await
}

/// Lets the subscription work, or rest.
///
/// # Errors
/// What the server says.
pub async fn enable(on: &Session, id: i64, way: Direction, work: bool) -> Result<(), Error> {
    let what = if work { "enable" } else { "disable" };
    on.run(&format!("alter subscription {} {what}", way.name(id))).await
}

/// Commits a marker on the publisher, durably, and returns its number: when the subscriber has it,
/// it has everything that was committed before.
///
/// # Errors
/// What the server says.
pub async fn mark(on: &Session, id: i64, way: Direction) -> Result<i64, Error> {
    let sql = format!(
        "insert into pgm.marker (move, number) values ({id}, (extract(epoch from \
         pg_catalog.clock_timestamp()) * 1000000)::int8 * 2 + {}) on conflict do nothing \
         returning number",
        way.bit()
    );
    loop {
        // Two of one microsecond: the next one has another number.
        let number = on.value(&sql).await?;
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            return Ok(number);
        }
    }
}

/// Makes everything durable that this server has committed so far, what the worker of a
/// subscription has applied among it. Waits for its synchronous replicas, too.
///
/// # Errors
/// What the server says.
pub async fn settle(on: &Session) -> Result<(), Error> {
    flush(on, "on").await
}

/// The same on this server only.
pub(crate) async fn flush_here(on: &Session) -> Result<(), Error> {
    flush(on, "local").await
}

async fn flush(on: &Session, level: &str) -> Result<(), Error> {
    // A commit that has written nothing waits for nothing.
    on.run(&format!(
        "begin; set local synchronous_commit = {level}; \
         select pg_catalog.pg_logical_emit_message(true, 'pgmanifold', ''); commit"
    ))
    .await
}

/// One try to prepare the way back while changes still go forward: publication and slot on the
/// target. The slot is to be advanced now and then. Where the way back begins is the target's
/// [`position`] within the pause, when the last marker has arrived; it must be kept where a crash
/// does not reach it before the map names the target.
///
/// # Errors
/// What the server says.
pub async fn prepare_back(target: &Session, scope: Scope<'_>) -> Result<Attempt<()>, Error> {
    publish(target, scope, Direction::Back).await?;
    slot(target, scope.id, Direction::Back).await
}

/// After the flip: the way forward is removed, and the source follows the target from `from` on.
/// `connection` is how the source's server reaches the target. Can be repeated.
///
/// # Errors
/// What the servers say.
pub async fn follow_back(
    source: &Session,
    target: &Session,
    id: i64,
    connection: &str,
    from: &str,
) -> Result<(), Error> {
    // Never both at once: what one brings the other would send back.
    unsubscribe(target, id, Direction::Forward).await?;
    withdraw(source, id, Direction::Forward).await?;
    subscribe(source, id, Direction::Back, connection, from).await
}

/// Runs with a limit on each statement's time.
async fn with_timeout(on: &Session, limit: Duration, sql: &str) -> Result<(), Error> {
    on.run(&format!("set statement_timeout = {}", limit.as_millis())).await?;
    let result = on.run(sql).await;
    // In a transaction that has failed nothing can be set.
    let reset = on.run("rollback; set statement_timeout = 0").await;
    result?;
    reset
}
