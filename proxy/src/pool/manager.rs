//! Owns what one configuration has built: clusters with their monitors, catalog facts, and the
//! pools of each database and user. A reload builds the next one and takes over what has not
//! changed; sessions move to it between transactions.

mod entries;
mod look;

use crate::backend::connect::Connector;
use crate::backend::key_ring::KeyRing;
use crate::cluster::{CausalityKeys, Cluster, FactsStore, SecretQuery};
use crate::config::model::{Config, Database, SequenceState, User};
use crate::dry_run::DryRun;
use crate::frontend::startup::{Frontends, Means};
use crate::frontend::throttle::Throttle;
use crate::metrics::Metrics;
use crate::notify::Hub;
use crate::pool::budget::{Budget, BudgetKind, Budgets};
use crate::pool::servers::Servers;
use crate::pool::{Attach, Lever, Levers, Pool, PoolNumbers};
use crate::session::settings::Settings;
use crate::shard_map::ShardedDatabase;
use crate::two_phase::TwoPhase;
use crate::wire::tls::TlsConfigError;
use entries::{
    DatabaseEntry, ShardEntry, StoreEntry, shards_of, start_database, start_shard, start_store,
};
use hashbrown::HashMap;
pub use look::Running;
use pgmanifold_router::shard_map::ShardId;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Answers to "what does a server report with these parameters" remembered per database and user.
const GREETINGS_MAX: usize = 1_000;

/// Pools of one database and user on each shard, by `ShardId`.
pub type ShardPools = Arc<[Arc<UserPools>]>;

/// The pools of one database and user on one shard, one per host, and what its sessions need
/// beside them.
pub struct UserPools {
    /// The database.
    pub database: Arc<Database>,
    /// Small number of the database in this process.
    pub database_id: usize,
    /// The user.
    pub user: Arc<User>,
    /// Which shard of a sharded database.
    pub shard: ShardId,
    /// The sharded database, when it is one.
    pub sharded: Option<Arc<ShardedDatabase>>,
    /// Sharding rules that are tried on it.
    pub dry_run: Option<Arc<DryRun>>,
    /// Ends transactions over several shards of it.
    pub two_phase: Option<Arc<TwoPhase>>,
    /// The hosts.
    pub cluster: Arc<Cluster>,
    /// Newest writes under causality keys.
    pub keys: Arc<CausalityKeys>,
    /// What the catalog says.
    pub facts: Arc<FactsStore>,
    /// Listens for all sessions.
    pub hub: Arc<Hub>,
    /// By host index.
    pub pools: Vec<Arc<Pool>>,
    /// What an administrator has said of the database.
    pub lever: Arc<Lever>,
    /// A session has asked for `currval` or `lastval`.
    pub sequences_asked: AtomicBool,
    connector: Arc<Connector>,
    outdated: AtomicBool,
    greetings: Mutex<HashMap<String, Greeting>>,
}

/// What servers say at login with certain parameters.
#[derive(Debug)]
pub struct ServerGreeting {
    /// Names and values of ParameterStatus.
    pub reported: Vec<(String, String)>,
    /// `synchronous_commit` is off for who sets nothing.
    pub async_commit: bool,
}

impl ServerGreeting {
    /// The value servers report for a parameter.
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.reported.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A greeting, shared by all sessions with the same parameters.
pub type Greeting = Arc<ServerGreeting>;

impl UserPools {
    /// False after a reload has replaced these pools.
    pub fn is_current(&self) -> bool {
        !self.outdated.load(Ordering::Relaxed)
    }

    /// Connects to servers.
    pub fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// What servers report with these parameters, if it is known.
    pub fn greeting(&self, settings: &Settings) -> Option<Greeting> {
        lock(&self.greetings).get(&greeting_key(settings)).cloned()
    }

    /// Remembers what servers report with these parameters.
    pub fn remember_greeting(&self, settings: &Settings, greeting: Greeting) {
        let mut greetings = lock(&self.greetings);
        if greetings.len() >= GREETINGS_MAX {
            greetings.clear();
        }
        greetings.insert(greeting_key(settings), greeting);
    }
}

/// The application name differs from client to client and is reported as it was given.
fn greeting_key(settings: &Settings) -> String {
    let others = settings.iter().filter(|(name, _)| *name != "application_name");
    others.map(|(name, value)| format!("{name}={value}\0")).collect()
}

/// Everything built from one configuration.
pub struct State {
    /// The configuration.
    pub config: Arc<Config>,
    /// How clients log in.
    pub frontends: Frontends,
    connector: Arc<Connector>,
    ring: Arc<KeyRing>,
    throttle: Arc<Throttle>,
    shards: Vec<Arc<ShardEntry>>,
    databases: HashMap<String, Arc<DatabaseEntry>>,
    store: Option<Arc<StoreEntry>>,
    pools: Mutex<HashMap<(String, String), ShardPools>>,
    budgets: Arc<Budgets>,
    /// All connections of all pools.
    pub servers: Arc<Servers>,
    levers: Arc<Levers>,
    /// Name of this process in the catalog.
    process: Arc<str>,
}

/// What building a `State` needs beside the configuration.
pub struct Surroundings<'a> {
    /// Where monitors and refreshes run.
    pub control: &'a Handle,
    /// Number of workers.
    pub workers: usize,
    /// Gives databases their numbers.
    pub next_database_id: &'a AtomicUsize,
    /// Name of this process in the catalog.
    pub process_name: &'a Arc<str>,
    /// Told when something that runs on a host is lost.
    pub host_lost: &'a Arc<Notify>,
}

impl State {
    /// Builds the state of `config`, taking over from `old` what has not changed.
    ///
    /// # Errors
    /// When a certificate or secret cannot be used; nothing has changed then.
    pub fn build(
        config: Config,
        old: Option<&State>,
        around: &Surroundings<'_>,
    ) -> Result<Self, TlsConfigError> {
        let ring = old.map(|old| Arc::clone(&old.ring)).unwrap_or_default();
        let throttle = old.map(|old| Arc::clone(&old.throttle)).unwrap_or_default();
        let connector = Arc::new(Connector::with_keys(&config, Arc::clone(&ring))?);
        let mut shards = Vec::with_capacity(config.shards.len());
        for shard in &config.shards {
            let known = old.and_then(|old| old.shards.iter().find(|entry| entry.shard == *shard));
            shards.push(match known {
                Some(entry) => Arc::clone(entry),
                None => {
                    let before = old.and_then(|old| {
                        old.shards.iter().find(|entry| entry.shard.name == shard.name)
                    });
                    Arc::new(start_shard(shard, before, &connector, around))
                }
            });
        }
        let mut databases = HashMap::new();
        for database in &config.databases {
            let own = shards_of(database, &shards);
            let known = old.and_then(|old| old.databases.get(&database.name));
            let entry = match known.filter(|entry| entry.is(database, &own)) {
                Some(entry) => Arc::clone(entry),
                None => match start_database(
                    database,
                    own,
                    &connector,
                    known.map(AsRef::as_ref),
                    around,
                ) {
                    Some(entry) => Arc::new(entry),
                    None => continue,
                },
            };
            databases.insert(database.name.clone(), entry);
        }
        let query = secret_query(&config, &databases, &connector, around.control);
        let means = Means { ring: Arc::clone(&ring), throttle: Arc::clone(&throttle), query };
        let sharded = databases.values().filter_map(|entry| entry.sharded.clone()).collect();
        let store_before = old.and_then(|old| old.store.as_ref());
        let store = start_store(&config, sharded, store_before, &connector, around);
        let next = Self {
            store,
            frontends: Frontends::with(&config, means)?,
            config: Arc::new(config),
            connector,
            ring,
            throttle,
            shards,
            databases,
            pools: Mutex::default(),
            budgets: old.map(|old| Arc::clone(&old.budgets)).unwrap_or_default(),
            servers: old.map(|old| Arc::clone(&old.servers)).unwrap_or_default(),
            levers: old.map(|old| Arc::clone(&old.levers)).unwrap_or_default(),
            process: Arc::clone(around.process_name),
        };
        if let Some(old) = old {
            next.take_over_pools(old);
        }
        next.declare_maps();
        Ok(next)
    }

    /// The maps of the configuration hold from now on.
    fn declare_maps(&self) {
        for declared in &self.config.maps {
            let entry = self.databases.get(&declared.database);
            if let Some(dry_run) = entry.and_then(|entry| entry.dry_run.as_ref()) {
                dry_run.declare(&declared.map);
            }
        }
        if self.store.is_some() {
            return;
        }
        for declared in &self.config.maps {
            let entry = self.databases.get(&declared.database);
            if let Some(sharded) = entry.and_then(|entry| entry.sharded.as_ref()) {
                sharded.declare(&declared.map);
            }
        }
    }

    /// Pools of databases and users that are as they were go on; the others end when their last
    /// session leaves them.
    fn take_over_pools(&self, old: &State) {
        for (key, shards) in lock(&old.pools).iter() {
            let Some(pools) = shards.first() else { continue };
            let same_database = self
                .databases
                .get(&key.0)
                .is_some_and(|entry| Arc::ptr_eq(&entry.facts, &pools.facts));
            // Connections say whose they are only where there is a catalog.
            let same_catalog = self.config.catalog.is_some() == old.config.catalog.is_some();
            let same_database = same_database && (same_catalog || pools.sharded.is_none());
            let same_user = self.known_user(&pools.user).is_some_and(|user| user == pools.user);
            if same_database && same_user {
                lock(&self.pools).insert(key.clone(), Arc::clone(shards));
            } else {
                for pools in shards.iter() {
                    pools.outdated.store(true, Ordering::Relaxed);
                    pools.pools.iter().for_each(|pool| pool.retire());
                }
            }
        }
    }

    /// `user` as it is configured now; one that only a server knows goes on as it is, as long as
    /// servers are asked at all.
    fn known_user(&self, user: &Arc<User>) -> Option<Arc<User>> {
        let configured = self.config.users.iter().find(|known| known.name == user.name);
        let asks = self.config.access.query.is_some();
        configured.or_else(|| (user.fetched && asks).then_some(user)).cloned()
    }

    /// The pools of a database and user on its shard, or home shard; `None` when there is no such
    /// database or user. With a forced user, all users of the database have its pools.
    pub fn user_pools(
        &self,
        database: &str,
        user: &Arc<User>,
        workers: usize,
        metrics: &Metrics,
    ) -> Option<Arc<UserPools>> {
        let pools = self.shard_pools(database, user, workers, metrics)?;
        let home = pools.first()?.database.sharding.as_ref().map_or(0, |sharding| sharding.home.0);
        pools.get(usize::from(home)).cloned()
    }

    /// The same on every shard.
    pub fn shard_pools(
        &self,
        database: &str,
        user: &Arc<User>,
        workers: usize,
        metrics: &Metrics,
    ) -> Option<ShardPools> {
        let entry = self.databases.get(database)?;
        let user = self.known_user(user)?;
        let user = entry.database.forced_user.clone().unwrap_or(user);
        let key = (database.to_owned(), user.name.clone());
        let mut pools = lock(&self.pools);
        if let Some(known) = pools.get(&key) {
            return Some(Arc::clone(known));
        }
        let shards = entry.shards.iter().zip(0..);
        let make = |(shard, id): (&Arc<ShardEntry>, u16)| {
            self.make_pools(entry, shard, ShardId(id), &user, workers, metrics)
        };
        let made: ShardPools = shards.map(make).collect();
        pools.insert(key, Arc::clone(&made));
        Some(made)
    }

    fn make_pools(
        &self,
        entry: &DatabaseEntry,
        shard: &ShardEntry,
        id: ShardId,
        user: &Arc<User>,
        workers: usize,
        metrics: &Metrics,
    ) -> Arc<UserPools> {
        let lever = self.levers.of(&entry.database.name);
        let hosts = shard.cluster.hosts().iter().enumerate();
        let host_pools = hosts.map(|(index, host)| {
            let (database, user) = (Arc::clone(&entry.database), Arc::clone(user));
            let address = host.host.address.to_string();
            let name = &shard.shard.name;
            let traffic = (0..workers).map(|worker| metrics.host(worker, name, &address)).collect();
            let means = (Arc::clone(&self.connector), traffic, Arc::clone(&self.servers));
            let budgets = self.budgets_of(&database, &user, &address);
            let cluster = Arc::clone(&shard.cluster);
            let lever = (Arc::clone(&lever), self.attach_to(entry, id));
            Pool::new(database, user, cluster, index, means, budgets, lever)
        });
        Arc::new(UserPools {
            database: Arc::clone(&entry.database),
            database_id: entry.id,
            user: Arc::clone(user),
            shard: id,
            sharded: entry.sharded.clone(),
            dry_run: entry.dry_run.clone(),
            two_phase: entry.two_phase.clone(),
            cluster: Arc::clone(&shard.cluster),
            keys: Arc::clone(&shard.keys),
            facts: Arc::clone(&entry.facts),
            hub: Arc::clone(&entry.hub),
            pools: host_pools.collect(),
            lever: self.levers.of(&entry.database.name),
            sequences_asked: AtomicBool::new(entry.database.sequence_state != SequenceState::Auto),
            connector: Arc::clone(&self.connector),
            outdated: AtomicBool::new(false),
            greetings: Mutex::default(),
        })
    }

    /// What connections to a shard say first: only where the map is a catalog's can keys move.
    fn attach_to(&self, entry: &DatabaseEntry, shard: ShardId) -> Option<Attach> {
        let database = entry.sharded.clone().filter(|_| self.config.catalog.is_some())?;
        Some(Attach { database, shard, process: Arc::clone(&self.process) })
    }

    /// What the pools of this database and user may have together with others on the host.
    fn budgets_of(&self, database: &Database, user: &User, host: &str) -> [Arc<Budget>; 2] {
        let database_limit = database.waiting.max_db_connections;
        let of = |kind, name: &str, limit| self.budgets.get(kind, name, host, limit);
        [
            of(BudgetKind::Database, &database.name, database_limit),
            of(BudgetKind::User, &user.name, user.max_user_connections),
        ]
    }

    /// What an administrator has said of databases.
    pub fn levers(&self) -> &Arc<Levers> {
        &self.levers
    }

    /// Whether a database has this number.
    pub fn has_database(&self, id: usize) -> bool {
        self.databases.values().any(|entry| entry.id == id)
    }

    /// All pools of all users.
    pub fn all_pools(&self) -> Vec<Arc<UserPools>> {
        lock(&self.pools).values().flat_map(|shards| shards.iter().cloned()).collect()
    }

    /// Closes all connections to a database of the cluster that no client uses now: somebody is
    /// about to drop it.
    pub fn vacate(&self, cluster: &Arc<Cluster>, server_database: &str) {
        let is_it = |known: &Arc<Cluster>, database: &Database| {
            Arc::ptr_eq(known, cluster) && database.server_database == *server_database
        };
        for entry in self.databases.values().filter(|entry| is_it(&entry.cluster, &entry.database))
        {
            entry.facts.vacate();
            entry.hub.vacate();
            if let Some(two_phase) = &entry.two_phase {
                two_phase.vacate();
            }
        }
        let (now, all) = (Instant::now(), self.all_pools());
        for pools in all.iter().filter(|pools| is_it(&pools.cluster, &pools.database)) {
            pools.pools.iter().for_each(|pool| pool.vacate(now));
        }
    }

    /// All clusters.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.shards.iter().map(|entry| &entry.cluster)
    }

    /// All sharded databases.
    pub fn sharded(&self) -> impl Iterator<Item = &Arc<ShardedDatabase>> {
        self.databases.values().filter_map(|entry| entry.sharded.as_ref())
    }

    /// What ends transactions over several shards, of each sharded database.
    pub fn two_phases(&self) -> impl Iterator<Item = &Arc<TwoPhase>> {
        self.databases.values().filter_map(|entry| entry.two_phase.as_ref())
    }

    /// Whether clients cannot be let in without this cluster. A shard that is nobody's home is
    /// missed by those statements only that need it.
    pub fn is_needed(&self, cluster: &Arc<Cluster>) -> bool {
        let is_home = |entry: &DatabaseEntry| Arc::ptr_eq(&entry.cluster, cluster);
        let has = |entry: &DatabaseEntry| {
            entry.shards.iter().any(|shard| Arc::ptr_eq(&shard.cluster, cluster))
        };
        let mut all = self.databases.values();
        all.clone().any(|entry| is_home(entry)) || !all.any(|entry| has(entry))
    }

    /// What listens for the sessions of each database.
    pub fn hubs(&self) -> impl Iterator<Item = &Arc<Hub>> {
        self.databases.values().map(|entry| &entry.hub)
    }

    /// Server connections of a host, over all pools.
    pub fn host_numbers(&self, cluster: &Arc<Cluster>, host: usize) -> PoolNumbers {
        let pools = lock(&self.pools);
        let all = pools.values().flat_map(|shards| shards.iter());
        let on_cluster = all.filter(|pools| Arc::ptr_eq(&pools.cluster, cluster));
        on_cluster.map(|pools| pools.pools[host].numbers()).sum()
    }
}

/// Who is asked for secrets, when somebody is.
fn secret_query(
    config: &Config,
    databases: &HashMap<String, Arc<DatabaseEntry>>,
    connector: &Arc<Connector>,
    control: &Handle,
) -> Option<Arc<SecretQuery>> {
    let query = config.access.query.clone()?;
    let databases = databases.values();
    let known = databases.map(|entry| (Arc::clone(&entry.database), Arc::clone(&entry.cluster)));
    Some(SecretQuery::new(query, control.clone(), Arc::clone(connector), known))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("invariant: no panic under this lock")
}
