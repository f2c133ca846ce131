//! Owns the catalog facts of one database: loads them through control connections, and knows when
//! they may be outdated. What they mean belongs to the router.
//!
//! # How outdated facts can be
//! A function nobody knows counts as a write, so a new function is never a risk; one that *becomes*
//! volatile (`ALTER FUNCTION`, `CREATE OR REPLACE FUNCTION` or `VIEW`) is, until the next load.
//! * DDL through this proxy: `ddl_seen` is called before the client learns of its success;
//!   `is_settled` is false from then until a load from the primary that started later has ended,
//!   and meanwhile every read belongs to the primary. No window.
//! * DDL elsewhere: a fingerprint of the catalog rows that matter is compared each health interval.
//!   Window: the health interval, and the time of a load.
//! * Changes the fingerprint does not see (functions in `pg_catalog`, unlogged tables, domains made
//!   before their checks): `facts_interval`.

use super::control::{Checkout, ControlError, ControlPool, ControlTarget};
use super::{Cluster, Role};
use crate::backend::connect::Connector;
use crate::config::model::Database;
use arc_swap::{ArcSwap, Guard};
use pgmanifold_router::facts::{FactKind, Facts, FactsBuilder, QUERIES, SCHEMA_QUERIES};
use std::collections::HashMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_postgres::SimpleQueryMessage;

/// Least time between two loads that DDL causes while nobody waits for them: a migration of a
/// thousand statements causes a few loads, not a thousand.
const DDL_SPACING: Duration = Duration::from_millis(250);
/// Limit on one load, and on each of its statements.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause before a load that failed after DDL is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Most catalog rows of a load; with more, the load fails and the facts stay as they are.
const FACT_ROWS_MAX: usize = 2_000_000;

/// A sum over the versions of the rows that say what functions, views, policies, operators and
/// domains do. Every change of such a row makes a row version with another `xmin` and `ctid`;
/// `oid >= 16384` leaves out what initdb made, by the index on `oid`.
const FINGERPRINT: &str = "\
select pg_catalog.sum(pg_catalog.hashtextextended(v, 0))::text from (\
 select 'f' || oid || ' ' || xmin::text || ctid::text from pg_catalog.pg_proc \
  where oid >= 16384 \
 union all select 'v' || oid || ' ' || xmin::text || ctid::text from pg_catalog.pg_rewrite \
  where oid >= 16384 \
 union all select 'p' || oid || ' ' || xmin::text || ctid::text from pg_catalog.pg_policy \
  where oid >= 16384 \
 union all select 'o' || oid || ' ' || xmin::text || ctid::text from pg_catalog.pg_operator \
  where oid >= 16384 \
 union all select 'd' || oid || ' ' || xmin::text || ctid::text from pg_catalog.pg_constraint \
  where oid >= 16384 and contypid <> 0) as versions(v)";

/// The same over the rows that say what relations there are, their columns and constraints.
const SCHEMA_FINGERPRINT: &str = "\
select pg_catalog.sum(pg_catalog.hashtextextended(v, 0))::text from (\
 select 'c' || oid || ' ' || xmin::text || ctid::text from pg_catalog.pg_class \
  where oid >= 16384 and relkind in ('r', 'p', 'v', 'm', 'f', 'S') and relpersistence <> 't' \
 union all select 'a' || attrelid || ' ' || xmin::text || ctid::text \
  from pg_catalog.pg_attribute where attrelid >= 16384 \
 union all select 'd' || oid || ' ' || xmin::text || ctid::text from pg_catalog.pg_attrdef \
 union all select 'i' || indexrelid || ' ' || xmin::text || ctid::text \
  from pg_catalog.pg_index where indexrelid >= 16384 \
 union all select 'k' || oid || ' ' || xmin::text || ctid::text from pg_catalog.pg_constraint \
  where oid >= 16384 \
 union all select 's' || seqrelid || ' ' || xmin::text || ctid::text \
  from pg_catalog.pg_sequence \
 union all select 't' || oid || ' ' || xmin::text || ctid::text from pg_catalog.pg_trigger \
  where oid >= 16384) as versions(v)";

/// So much DDL one store can count.
const DDL_VERSION_BITS: u32 = 40;

/// Loads that started before this count are older than the DDL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DdlMark(u64);

/// The facts of one database.
pub struct FactsStore {
    cluster: Arc<Cluster>,
    database: Arc<Database>,
    facts: ArcSwap<Facts>,
    /// Counts DDL seen.
    asked: AtomicU64,
    /// The value of `asked` when the newest finished load from a primary started.
    answered: watch::Sender<u64>,
    /// The same, for `is_settled`, which takes no lock.
    settled: AtomicU64,
    wake: Notify,
    loads: AtomicU64,
    /// Its connections are to be closed.
    vacated: AtomicBool,
}

/// What the loop remembers between loads.
#[derive(Default)]
struct Loader {
    pools: HashMap<usize, ControlPool>,
    /// Hash of the rows of the facts in use.
    rows_hash: Option<u64>,
    /// Catalog fingerprint, and the generation in which it was read.
    fingerprint: Option<(u64, Option<String>)>,
    last_load: Option<Instant>,
    last_error: Option<String>,
}

/// How long it stays away from a database that somebody wants for himself. PostgreSQL waits up to
/// 5 s for others to leave.
const VACATED_PAUSE: Duration = Duration::from_secs(5);

type Rows = Vec<(FactKind, Vec<Option<String>>)>;

impl FactsStore {
    /// Facts of PostgreSQL's own functions, until the first load has finished. `number` is larger
    /// than those of all stores before: sessions that outlive a store compare versions.
    pub fn new(cluster: Arc<Cluster>, database: Arc<Database>, number: usize) -> Arc<Self> {
        let first = (number as u64) << DDL_VERSION_BITS;
        Arc::new(Self {
            cluster,
            database,
            facts: ArcSwap::from_pointee(Facts::builtin()),
            asked: AtomicU64::new(first),
            answered: watch::Sender::new(first),
            settled: AtomicU64::new(first),
            wake: Notify::new(),
            loads: AtomicU64::new(0),
            vacated: AtomicBool::new(false),
        })
    }

    /// The database has shards, or is looked at as if it had: relations, columns and constraints
    /// are loaded too.
    fn has_shards(&self) -> bool {
        self.database.sharding.is_some() || self.database.observed.is_some()
    }

    /// The newest facts.
    pub fn facts(&self) -> Guard<Arc<Facts>> {
        self.facts.load()
    }

    /// Loads finished so far, also those that found nothing new.
    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// No DDL was seen since the newest load from the primary started. While false, every
    /// statement belongs to the primary. Two loads; no lock.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire) >= self.asked.load(Ordering::Acquire)
    }

    /// A number that grows with DDL seen. What was analysed under a smaller one may be outdated.
    pub fn ddl_version(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// DDL may have been committed by a statement whose end has just arrived. To be called before
    /// the client is told.
    pub fn ddl_seen(&self) -> DdlMark {
        let mark = DdlMark(self.asked.fetch_add(1, Ordering::AcqRel) + 1);
        self.wake.notify_one();
        mark
    }

    /// Closes its connections, and makes no new one for a moment: somebody is about to drop the
    /// database.
    pub fn vacate(&self) {
        self.vacated.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Waits until the facts are newer than the DDL. Waits for ever while there is no primary, so
    /// the caller sets the limit. Cancel safe.
    pub async fn refreshed_since(&self, mark: DdlMark) {
        let mut answered = self.answered.subscribe();
        // The loop sees who has subscribed: it may have looked before.
        self.wake.notify_one();
        // The sender lives in `self`, so this cannot fail.
        let _ = answered.wait_for(|answered| *answered >= mark.0).await;
    }

    /// The same for all DDL seen so far.
    pub async fn refreshed(&self) {
        self.refreshed_since(DdlMark(self.asked.load(Ordering::Acquire))).await;
    }

    /// Waits until the relations of a database with shards are known. Waits for ever while there
    /// is no primary, so the caller sets the limit. Cancel safe.
    pub async fn schema_known(&self) {
        let mut answered = self.answered.subscribe();
        while !self.facts().schema().is_known() {
            // The sender lives in `self`, so this cannot fail.
            let _ = answered.changed().await;
        }
    }

    /// Keeps the facts new until `shutdown` completes. To be run on the control runtime.
    pub async fn run(&self, connector: Arc<Connector>, shutdown: impl Future<Output = ()>) {
        let mut loader = Loader::default();
        let mut turns = self.cluster.turns();
        tokio::pin!(shutdown);
        loop {
            let pause = tokio::select! {
                () = &mut shutdown => return,
                pause = self.step(&connector, &mut loader) => pause,
            };
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
                // The first facts come with the first server, be it a replica.
                _ = turns.changed(), if loader.last_load.is_none() => {}
            }
        }
    }

    /// Loads or looks for changes if it is time to; returns how long there is nothing to do.
    async fn step(&self, connector: &Arc<Connector>, loader: &mut Loader) -> Duration {
        let interval = self.cluster.shard().health.interval;
        if self.vacated.swap(false, Ordering::AcqRel) {
            loader.pools.clear();
            return VACATED_PAUSE;
        }
        let Some(host) = self.source() else { return interval };
        let pool = self.pool(connector, loader, host);
        let age = loader.last_load.map(|last| last.elapsed());
        if !self.is_settled()
            && self.answered.receiver_count() == 0
            && let Some(rest) = age.and_then(|age| DDL_SPACING.checked_sub(age))
        {
            return rest;
        }
        let due = age.is_none_or(|age| age >= self.database.facts_interval) || !self.is_settled();
        let result = self.refresh(&pool, loader, host, due).await;
        match result {
            Ok(()) => {
                loader.last_error = None;
                interval
            }
            Err(error) => {
                self.failed(loader, host, error.0);
                if self.is_settled() { interval } else { interval.min(RETRY_PAUSE) }
            }
        }
    }

    async fn refresh(
        &self,
        pool: &ControlPool,
        loader: &mut Loader,
        host: usize,
        due: bool,
    ) -> Result<(), ControlError> {
        let generation = self.cluster.generation();
        let mut connection = pool.get().await?;
        let work = async {
            // The fingerprint is read before the rows: what changes between is found next time.
            let sums = read_fingerprint(&connection, self.has_shards()).await?;
            let fingerprint = (generation, sums);
            if due || loader.fingerprint.as_ref() != Some(&fingerprint) {
                self.load(&connection, loader, host).await?;
                loader.fingerprint = Some(fingerprint);
            }
            Ok(())
        };
        let result = tokio::time::timeout(LOAD_TIMEOUT, work).await;
        let late = || ControlError(format!("not loaded within {} ms", LOAD_TIMEOUT.as_millis()));
        let result = result.unwrap_or_else(|_| Err(late()));
        if result.is_err() {
            // A transaction may be open, or an answer on its way.
            connection.abandon();
        }
        result
    }

    async fn load(
        &self,
        connection: &Checkout<'_>,
        loader: &mut Loader,
        host: usize,
    ) -> Result<(), ControlError> {
        let asked = self.asked.load(Ordering::Acquire);
        let from_primary = self.cluster.primary() == Ok(host);
        let rows = read_rows(connection, self.has_shards()).await?;
        let rows_hash = hash_unordered(&rows);
        if loader.rows_hash != Some(rows_hash) {
            let version = self.facts().version() + 1;
            let count = rows.len();
            let built = tokio::task::spawn_blocking(move || build(version, &rows)).await;
            let facts = built.map_err(|error| ControlError(error.to_string()))??;
            tracing::info!(
                database = self.database.name,
                host = %self.cluster.hosts()[host].host.address,
                version,
                rows = count,
                functions = facts.function_names(),
                "catalog facts loaded"
            );
            self.facts.store(Arc::new(facts));
            loader.rows_hash = Some(rows_hash);
        }
        loader.last_load = Some(Instant::now());
        self.loads.fetch_add(1, Ordering::Relaxed);
        // A replica may not have the DDL yet. A primary that lost its role during the load may
        // not have it either.
        if from_primary && self.cluster.primary() == Ok(host) {
            self.settled.fetch_max(asked, Ordering::AcqRel);
            self.answered.send_replace(asked);
        }
        Ok(())
    }

    /// The primary; while it is down, any replica that is up.
    fn source(&self) -> Option<usize> {
        self.cluster.primary().ok().or_else(|| {
            self.cluster.hosts().iter().position(|h| h.is_up() && h.role() == Role::Replica)
        })
    }

    fn pool(&self, connector: &Arc<Connector>, loader: &mut Loader, host: usize) -> ControlPool {
        let new = || {
            let shard = self.cluster.shard();
            let target = ControlTarget {
                host: Arc::clone(&self.cluster.hosts()[host].host),
                login: shard.monitor.clone(),
                database: self.database.server_database.clone(),
                // The sums alone take longer than a health check where there are many relations.
                timeout: LOAD_TIMEOUT,
            };
            ControlPool::new(Arc::clone(connector), target, || {})
        };
        loader.pools.entry(host).or_insert_with(new).clone()
    }

    fn failed(&self, loader: &mut Loader, host: usize, error: String) {
        if loader.last_error.as_ref() != Some(&error) {
            tracing::warn!(
                database = self.database.name,
                host = %self.cluster.hosts()[host].host.address,
                error,
                "catalog facts not loaded"
            );
        }
        loader.last_error = Some(error);
    }
}

impl std::fmt::Debug for FactsStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FactsStore").field("database", &self.database.name).finish_non_exhaustive()
    }
}

async fn read_fingerprint(
    connection: &Checkout<'_>,
    schema: bool,
) -> Result<Option<String>, ControlError> {
    let mut sums = String::new();
    for query in [FINGERPRINT, SCHEMA_FINGERPRINT].iter().take(1 + usize::from(schema)) {
        for message in connection.client.simple_query(query).await? {
            if let SimpleQueryMessage::Row(row) = message {
                sums.push_str(row.get(0).unwrap_or("-"));
                sums.push(' ');
            }
        }
    }
    Ok(Some(sums))
}

async fn read_rows(connection: &Checkout<'_>, schema: bool) -> Result<Rows, ControlError> {
    connection.client.batch_execute("begin isolation level repeatable read read only").await?;
    let mut rows = Rows::new();
    let more = if schema { SCHEMA_QUERIES } else { &[] };
    for query in QUERIES.iter().chain(more) {
        for message in connection.client.simple_query(query.sql).await? {
            let SimpleQueryMessage::Row(row) = message else { continue };
            let columns = (0..row.len()).map(|index| row.get(index).map(str::to_owned));
            rows.push((query.kind, columns.collect()));
        }
        if rows.len() > FACT_ROWS_MAX {
            return Err(ControlError(format!("more than {FACT_ROWS_MAX} catalog rows")));
        }
    }
    connection.client.batch_execute("commit").await?;
    Ok(rows)
}

/// The queries have no order; equal rows in another order are equal facts.
fn hash_unordered(rows: &Rows) -> u64 {
    let hash = |row| {
        let mut hasher = DefaultHasher::new();
        Hash::hash(row, &mut hasher);
        hasher.finish()
    };
    rows.iter().map(hash).fold(0, u64::wrapping_add)
}

/// Views are parsed here, so this can take a while and does not belong on the control runtime.
fn build(version: u64, rows: &Rows) -> Result<Facts, ControlError> {
    let mut builder = FactsBuilder::new(version);
    for (kind, columns) in rows {
        let columns: Vec<Option<&str>> = columns.iter().map(Option::as_deref).collect();
        builder.add(*kind, &columns).map_err(|error| ControlError(error.to_string()))?;
    }
    Ok(builder.build())
}
