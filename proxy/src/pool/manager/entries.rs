//! Owns what one configuration runs: each shard with its monitor, each database with its catalog
//! facts and its listener. What is running ends when nobody has it any more.

use super::Surroundings;
use crate::backend::connect::Connector;
use crate::cluster::{self, CausalityKeys, Cluster, FactsStore};
use crate::config::model::{CatalogServers, Config, Database, Shard};
use crate::dry_run::DryRun;
use crate::notify::Hub;
use crate::shard_map::{MapStore, ShardedDatabase};
use crate::two_phase::{Place, Scope, TwoPhase};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Causality keys remembered per shard.
const CAUSALITY_KEYS_MAX: usize = 100_000;

/// A task on the control runtime that ends when this is dropped.
#[derive(Debug)]
struct Background {
    _stop: oneshot::Sender<()>,
}

impl Background {
    fn spawn<F: Future<Output = ()> + Send + 'static>(
        control: &Handle,
        start: impl FnOnce(Stopped) -> F,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        control.spawn(start(Stopped(stopped)));
        Self { _stop: stop }
    }
}

/// Completes when its `Background` is dropped.
struct Stopped(oneshot::Receiver<()>);

impl Stopped {
    async fn wait(self) {
        let _ = self.0.await;
    }
}

/// A shard with its monitor.
#[derive(Debug)]
pub(super) struct ShardEntry {
    pub(super) shard: Arc<Shard>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) keys: Arc<CausalityKeys>,
    _monitor: Background,
}

/// A database with its catalog facts. Those of a sharded database, and its notifications, are its
/// home shard's.
#[derive(Debug)]
pub(super) struct DatabaseEntry {
    pub(super) id: usize,
    pub(super) database: Arc<Database>,
    /// By `ShardId`; one alone when it is not sharded.
    pub(super) shards: Vec<Arc<ShardEntry>>,
    pub(super) sharded: Option<Arc<ShardedDatabase>>,
    /// Sharding rules that are tried on it.
    pub(super) dry_run: Option<Arc<DryRun>>,
    /// Ends its transactions, when it is sharded.
    pub(super) two_phase: Option<Arc<TwoPhase>>,
    /// The home shard's.
    pub(super) cluster: Arc<Cluster>,
    pub(super) facts: Arc<FactsStore>,
    pub(super) hub: Arc<Hub>,
    _refresh: Background,
    _listener: Background,
    _recovery: Option<Background>,
}

impl DatabaseEntry {
    /// Whether it is this database, on these shards.
    pub(super) fn is(&self, database: &Database, shards: &[Arc<ShardEntry>]) -> bool {
        let same = |(one, other): (&Arc<ShardEntry>, &Arc<ShardEntry>)| {
            Arc::ptr_eq(&one.cluster, &other.cluster)
        };
        *self.database == *database && self.shards.iter().zip(shards).all(same)
    }
}

/// What keeps the maps of all sharded databases.
#[derive(Debug)]
pub(super) struct StoreEntry {
    catalog: Arc<CatalogServers>,
    databases: Vec<Arc<ShardedDatabase>>,
    _store: Background,
}

/// Keeps the maps of these databases, when there is a catalog.
pub(super) fn start_store(
    config: &Config,
    mut databases: Vec<Arc<ShardedDatabase>>,
    before: Option<&Arc<StoreEntry>>,
    connector: &Arc<Connector>,
    around: &Surroundings<'_>,
) -> Option<Arc<StoreEntry>> {
    let catalog = config.catalog.as_ref().filter(|_| !databases.is_empty())?;
    databases.sort_by(|a, b| a.name().cmp(b.name()));
    let same = |entry: &&Arc<StoreEntry>| {
        let pairs = entry.databases.iter().zip(&databases);
        entry.catalog == *catalog
            && entry.databases.len() == databases.len()
            && pairs.into_iter().all(|(one, other)| Arc::ptr_eq(one, other))
    };
    if let Some(before) = before.filter(same) {
        return Some(Arc::clone(before));
    }
    let store = MapStore {
        catalog: Arc::clone(catalog),
        databases: databases.clone(),
        process: Arc::clone(around.process_name),
        connector: Arc::clone(connector),
    };
    let store = Background::spawn(around.control, |stopped| store.run(stopped.wait()));
    Some(Arc::new(StoreEntry { catalog: Arc::clone(catalog), databases, _store: store }))
}

pub(super) fn start_shard(
    shard: &Arc<Shard>,
    before: Option<&Arc<ShardEntry>>,
    connector: &Arc<Connector>,
    around: &Surroundings<'_>,
) -> ShardEntry {
    let cluster = Cluster::new(Arc::clone(shard));
    cluster.on_loss(around.host_lost);
    if let Some(before) = before {
        cluster.take_over(&before.cluster);
        cluster.take_over_by_hand(&before.cluster);
    }
    let monitor = Background::spawn(around.control, |stopped| {
        cluster::monitor(Arc::clone(&cluster), Arc::clone(connector), stopped.wait())
    });
    ShardEntry {
        shard: Arc::clone(shard),
        cluster,
        keys: Arc::new(CausalityKeys::new(CAUSALITY_KEYS_MAX)),
        _monitor: monitor,
    }
}

/// The shards a database lives on, by `ShardId`.
pub(super) fn shards_of(database: &Database, shards: &[Arc<ShardEntry>]) -> Vec<Arc<ShardEntry>> {
    let one = std::slice::from_ref(&database.shard);
    let own = database.sharding.as_ref().map_or(one, |sharding| &sharding.shards);
    let find = |shard: &Arc<Shard>| shards.iter().find(|entry| entry.shard == *shard);
    own.iter().filter_map(find).cloned().collect()
}

/// `None` only when it has no shard, which the configuration has excluded.
pub(super) fn start_database(
    database: &Arc<Database>,
    shards: Vec<Arc<ShardEntry>>,
    connector: &Arc<Connector>,
    before: Option<&DatabaseEntry>,
    around: &Surroundings<'_>,
) -> Option<DatabaseEntry> {
    let shard = Arc::clone(shards.iter().find(|entry| entry.shard == database.shard)?);
    let id = around.next_database_id.fetch_add(1, Ordering::Relaxed);
    let facts = FactsStore::new(Arc::clone(&shard.cluster), Arc::clone(database), id);
    let sharded_before = before.and_then(|before| before.sharded.as_ref());
    let sharded = ShardedDatabase::new(database, sharded_before);
    if let Some(sharded) = &sharded {
        sharded.set_clusters(shards.iter().map(|shard| &shard.cluster));
    }
    if let Some(max_lag) = database.max_replica_lag {
        shards.iter().for_each(|shard| shard.cluster.require_lag_resolution(max_lag));
    }
    let refresh = Background::spawn(around.control, |stopped| {
        let (facts, connector) = (Arc::clone(&facts), Arc::clone(connector));
        async move { facts.run(connector, stopped.wait()).await }
    });
    let hub = Hub::new(Arc::clone(&shard.cluster), Arc::clone(database));
    let listener = Background::spawn(around.control, |stopped| {
        let (hub, connector) = (Arc::clone(&hub), Arc::clone(connector));
        async move { hub.run(connector, stopped.wait()).await }
    });
    let two_phase = two_phase(database, &shards, connector, around);
    let dry_run_before = before.and_then(|before| before.dry_run.clone());
    let observed = database.observed.as_ref();
    let dry_run = observed.map(|_| dry_run_before.unwrap_or_else(DryRun::new));
    let recovery = two_phase.clone().map(|two_phase| {
        Background::spawn(around.control, |stopped| two_phase.run(stopped.wait()))
    });
    Some(DatabaseEntry {
        id,
        dry_run,
        two_phase,
        _recovery: recovery,
        database: Arc::clone(database),
        sharded,
        cluster: Arc::clone(&shard.cluster),
        facts,
        hub,
        _refresh: refresh,
        _listener: listener,
        shards,
    })
}

/// What ends transactions over several shards.
fn two_phase(
    database: &Database,
    shards: &[Arc<ShardEntry>],
    connector: &Arc<Connector>,
    around: &Surroundings<'_>,
) -> Option<Arc<TwoPhase>> {
    let sharding = database.sharding.as_ref()?;
    let place = |entry: &Arc<ShardEntry>| Place {
        name: entry.shard.name.as_str().into(),
        cluster: Arc::clone(&entry.cluster),
        login: entry.shard.recovery.clone(),
    };
    let scope = Scope {
        database: database.name.as_str().into(),
        server_database: database.server_database.clone(),
        shards: shards.iter().map(place).collect(),
        preferred_home: sharding.home,
        times: database.two_phase,
    };
    Some(TwoPhase::new(scope, Arc::clone(connector), around.control.clone()))
}
