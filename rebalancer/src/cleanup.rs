//! Owns the deletion of the rows of keys on one shard, in small transactions.

use crate::connect::Session;
use crate::copy::{Pace, pages};
use crate::error::Error;
use crate::replicate::Direction;
use crate::tables::Scope;

/// Fewest and most rows of one transaction, whatever the configuration says.
const BATCH_ROWS: std::ops::RangeInclusive<u32> = 1..=1_000_000;

/// Pages of a table that are looked through for one transaction: at first, and where there is
/// little to delete.
const WINDOW_PAGES_FIRST: i64 = 32;
const WINDOW_PAGES_MAX: i64 = 4096;

/// Deletes the rows of the keys, `batch_rows` at most in one transaction, and says how many there
/// were. It can be stopped anywhere and begun again. Space is given back by autovacuum. Triggers
/// and foreign keys do not fire.
///
/// # Errors
/// What the server says, or `pace`; that a publication of the move is still there, over which the
/// deletions would follow the rows to the other shard.
pub async fn purge(
    on: &Session,
    scope: Scope<'_>,
    batch_rows: u32,
    pace: &dyn Pace,
) -> Result<u64, Error> {
    refuse_published(on, scope.id).await?;
    let batch = batch_rows.clamp(*BATCH_ROWS.start(), *BATCH_ROWS.end());
    on.run("set session_replication_role = replica").await?;
    let purged = purge_tables(on, scope, batch, pace).await;
    // The session is used on, for other things.
    let reset = on.run("set session_replication_role = default").await;
    let purged = purged?;
    reset?;
    Ok(purged)
}

async fn purge_tables(
    on: &Session,
    scope: Scope<'_>,
    batch: u32,
    pace: &dyn Pace,
) -> Result<u64, Error> {
    let mut purged = 0;
    for table in scope.tables {
        let condition = scope.condition(table, "");
        for leaf in &table.leaves {
            purged += purge_leaf(on, leaf, &condition, batch, pace).await?;
        }
    }
    Ok(purged)
}

/// Goes through the table once, window by window of pages. A window is empty of the keys before the
/// next one begins, whatever order rows are found in.
async fn purge_leaf(
    on: &Session,
    leaf: &str,
    condition: &str,
    batch: u32,
    pace: &dyn Pace,
) -> Result<u64, Error> {
    let pages = pages(on, leaf).await?;
    let (mut purged, mut first, mut window) = (0, 0, WINDOW_PAGES_FIRST);
    while first < pages {
        let within = format!("ctid >= '({first},0)'::tid and ctid < '({},0)'::tid", first + window);
        let sql = format!(
            "with gone as (delete from only {leaf} where ctid = any (array(select ctid from only \
              {leaf} where {within} and {condition} limit {batch})) and {condition} returning 1) \
             select pg_catalog.count(*) from gone"
        );
        let gone = on.value(&sql).await?.and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
        purged += gone;
        if gone > 0 {
            pace.passed(gone, 0).await?;
        }
        if gone < u64::from(batch) {
            first += window;
        }
        window = match gone {
            _ if gone >= u64::from(batch) => (window / 2).max(1),
            _ if gone < u64::from(batch / 2) => (window * 2).min(WINDOW_PAGES_MAX),
            _ => window,
        };
    }
    Ok(purged)
}

async fn refuse_published(on: &Session, id: i64) -> Result<(), Error> {
    let (move_name, back_name) = (Direction::Forward.name(id), Direction::Back.name(id));
    let sql = format!(
        "select pubname from pg_catalog.pg_publication \
         where pubname in ('{move_name}', '{back_name}')"
    );
    match on.value(&sql).await? {
        None => Ok(()),
        Some(name) => Err(Error::Stopped(format!(
            "{}: publication {name} is still there: deletions would follow the rows to the other \
             shard",
            on.place
        ))),
    }
}
