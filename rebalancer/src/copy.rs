//! Owns the copying of the rows of one snapshot: what is copied, in which pieces, by how many.
//!
//! Tables are cut into pieces of pages, so that several workers share a large one and each
//! transaction on the target is short. A worker (`copy::worker`) is a pair of sessions.

mod worker;

use crate::config::ShardConfig;
use crate::connect::{Session, primary};
use crate::error::Error;
use crate::replicate::settle;
use crate::snapshot::Snapshot;
use crate::tables::{MovedTable, Scope};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinSet;

/// Pages of a table that are copied by one statement: 32 MiB.
const PIECE_PAGES: i64 = 4096;
/// Most workers.
const WORKERS_MAX: u32 = 64;

/// Hears how far copying or deleting has come, and says when it may go on.
pub trait Pace: Send + Sync {
    /// So many rows and bytes more are over. Whoever works waits for the answer before it goes on,
    /// and gives up on an error.
    fn passed(
        &self,
        rows: u64,
        bytes: u64,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>>;
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Rows.
    pub rows: u64,
    /// Bytes of their text.
    pub bytes: u64,
}

/// One statement on either side.
#[derive(Debug)]
struct Piece {
    from: String,
    to: String,
}

/// The pieces that nobody has taken yet.
#[derive(Debug, Clone)]
struct Pieces(Arc<Mutex<std::vec::IntoIter<Piece>>>);

impl Pieces {
    fn take(&self) -> Option<Piece> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

/// Copies the rows of the keys, as the snapshot shows them, with `workers` pairs of sessions. The
/// target must have none of them. When it returns they are durable there. Cancel safe: what is
/// under way is rolled back, the rest stays.
///
/// # Errors
/// What the servers say, or `pace`.
pub async fn copy(
    source: &ShardConfig,
    target: &ShardConfig,
    scope: Scope<'_>,
    snapshot: &Snapshot,
    workers: u32,
    pace: Arc<dyn Pace>,
) -> Result<Copied, Error> {
    let pieces = pieces(snapshot.session(), scope).await?;
    let workers = workers.clamp(1, WORKERS_MAX).min(u32::try_from(pieces.len()).unwrap_or(1));
    let pieces = Pieces(Arc::new(Mutex::new(pieces.into_iter())));
    // Dropping the set ends all of them.
    let mut running = JoinSet::new();
    for _ in 0..workers {
        let from = worker::open_source(source, &snapshot.id).await?;
        let to = worker::open_target(target).await?;
        running.spawn(worker::work(from, to, pieces.clone(), pace.clone()));
    }
    let mut copied = Copied::default();
    while let Some(ended) = running.join_next().await {
        let part = ended.map_err(|error| Error::Stopped(format!("a copying task: {error}")))??;
        copied = Copied { rows: copied.rows + part.rows, bytes: copied.bytes + part.bytes };
    }
    let session = primary(&target.server, &format!("shard {}", target.name)).await?;
    settle(&session).await?;
    analyze(&session, scope).await;
    Ok(copied)
}

/// Plans on the target must be good from the first statement on. Where statistics cannot be had,
/// autovacuum makes them later.
async fn analyze(session: &Session, scope: Scope<'_>) {
    for table in scope.tables {
        let _ = session.run(&format!("analyze (skip_locked) {}", table.sql())).await;
    }
}

async fn pieces(holder: &Session, scope: Scope<'_>) -> Result<Vec<Piece>, Error> {
    let encoding = holder.value("show server_encoding").await?.unwrap_or_default();
    let mut pieces = Vec::new();
    for table in scope.tables {
        let condition = scope.condition(table, "");
        for leaf in &table.leaves {
            let pages = pages(holder, leaf).await?;
            pieces.extend(of_leaf(table, leaf, pages, &condition, &encoding));
        }
    }
    Ok(pieces)
}

/// How many pages a table has by now. What the snapshot shows is in these.
pub(crate) async fn pages(session: &Session, leaf: &str) -> Result<i64, Error> {
    let name = pgmanifold_router::ownership::quote_text(leaf);
    let sql = format!(
        "select pg_catalog.pg_relation_size({name}::regclass) \
         / pg_catalog.current_setting('block_size')::int8"
    );
    let pages = session.value(&sql).await?;
    Ok(pages.and_then(|pages| pages.parse().ok()).unwrap_or_default())
}

/// From the partition on the source through the root on the target, which knows where it goes.
fn of_leaf(
    table: &MovedTable,
    leaf: &str,
    pages: i64,
    condition: &str,
    encoding: &str,
) -> Vec<Piece> {
    let columns = table.copied_columns();
    let to = format!("copy {} ({columns}) from stdin (encoding '{encoding}')", table.sql());
    let mut pieces = Vec::new();
    let mut first = 0;
    while first < pages {
        let next = first + PIECE_PAGES;
        let from = format!(
            "copy (select {columns} from only {leaf} where ctid >= '({first},0)'::tid and ctid < \
             '({next},0)'::tid and {condition}) to stdout (encoding '{encoding}')"
        );
        pieces.push(Piece { from, to: to.clone() });
        first = next;
    }
    pieces
}
