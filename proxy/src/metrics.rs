//! Owns the one registry of what is counted. Console, `/metrics` and the demo are views of it; it
//! knows neither pools nor sessions: they hold its counters, or register a source.

mod host;
mod moves;
pub mod periods;
mod reading;
mod samples;
mod stages;
pub mod table;
mod traffic;
mod worker;

pub use host::{HostMetrics, HostTraffic};
pub use samples::{Samples, Timings};
pub use stages::{Stage, StageTimes};
pub use traffic::{Totals, Traffic};
pub use worker::{ClientGuard, ClientState, Origin, RouteKind, TimeoutKind, WorkerMetrics};

use periods::{ByDatabase, Periods};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

/// Why a client was refused before it had logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginFailure {
    /// What it sent was not the protocol.
    Protocol,
    /// TLS failed, or was missing where it is required.
    Tls,
    /// It took longer than `login_timeout_ms`.
    Timeout,
    /// No such user, or no proof, or a wrong one.
    Authentication,
    /// No such database.
    UnknownDatabase,
    /// A limit on clients was reached.
    TooManyClients,
    /// pgmanifold is draining.
    Shutdown,
    /// No server could say what a client must know.
    NoServer,
    /// Too many failed logins before.
    Throttled,
    /// An administrator has disabled the database.
    Disabled,
}

const LOGIN_FAILURES: [&str; 10] = [
    "protocol",
    "tls",
    "timeout",
    "authentication",
    "unknown_database",
    "too_many_clients",
    "shutdown",
    "no_server",
    "throttled",
    "disabled",
];

/// A limit that turned somebody away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `general.max_clients`.
    Process,
    /// `listener.max_clients`.
    Listener,
    /// `database.max_clients`.
    Database,
    /// `user.max_clients`.
    User,
    /// `max_logins`.
    Logins,
}

const LIMITS: [&str; 5] = ["process", "listener", "database", "user", "logins"];

/// Adds samples at every scrape.
type Source = dyn Fn(&mut Samples) + Send + Sync;

/// All counters of the process.
pub struct Metrics {
    started: SystemTime,
    login: AtomicI64,
    login_failures: [AtomicU64; LOGIN_FAILURES.len()],
    refusals: [AtomicU64; LIMITS.len()],
    reloads: [AtomicU64; 2],
    /// By database and worker. Entries stay when a database goes: counters must not start again.
    workers: Mutex<BTreeMap<(String, usize), Arc<WorkerMetrics>>>,
    /// By shard, host and worker.
    hosts: Mutex<BTreeMap<(String, String, usize), Arc<HostMetrics>>>,
    sources: Mutex<Vec<Weak<Source>>>,
    /// The averages of PgBouncer's statistics.
    pub periods: Periods,
}

/// Keeps a registered source; dropping it takes the source out.
#[must_use = "the source is gone when this is dropped"]
pub struct SourceGuard(#[expect(dead_code, reason = "held for its Drop")] Arc<Source>);

/// A client in the login gauge; dropping it takes the client out.
pub struct LoginGuard(Arc<Metrics>);

impl Drop for LoginGuard {
    fn drop(&mut self) {
        self.0.login.fetch_sub(1, Relaxed);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: SystemTime::now(),
            login: AtomicI64::new(0),
            login_failures: Default::default(),
            refusals: Default::default(),
            reloads: Default::default(),
            workers: Mutex::default(),
            hosts: Mutex::default(),
            sources: Mutex::default(),
            periods: Periods::default(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("started", &self.started).finish_non_exhaustive()
    }
}

impl Metrics {
    /// A registry in which nothing was counted yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// When the process began.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// The counters of `worker` for `database`: the same ones at every call, so that a reload
    /// goes on counting. Takes a lock: call it once per client, not per query.
    pub fn worker(&self, worker: usize, database: &str) -> Arc<WorkerMetrics> {
        lock(&self.workers).entry((database.to_owned(), worker)).or_default().clone()
    }

    /// The counters of `worker` for a host of a shard. Takes a lock: call it once per pool.
    pub fn host(&self, worker: usize, shard: &str, host: &str) -> Arc<HostMetrics> {
        lock(&self.hosts).entry((shard.to_owned(), host.to_owned(), worker)).or_default().clone()
    }

    /// The counters of every database, worker by worker.
    pub fn by_database(&self) -> Vec<(String, Arc<WorkerMetrics>)> {
        let workers = lock(&self.workers);
        workers.iter().map(|((database, _), worker)| (database.clone(), worker.clone())).collect()
    }

    /// What each host has done so far, by shard and address.
    pub fn traffic(&self) -> BTreeMap<(String, String), HostTraffic> {
        let hosts = lock(&self.hosts).clone();
        let mut traffic: BTreeMap<(String, String), HostTraffic> = BTreeMap::new();
        for ((shard, host, _), metrics) in hosts {
            metrics.add_to(traffic.entry((shard, host)).or_default());
        }
        traffic
    }

    /// Keeps a client in the login gauge until the guard is dropped.
    pub fn login(self: &Arc<Self>) -> LoginGuard {
        self.login.fetch_add(1, Relaxed);
        LoginGuard(self.clone())
    }

    /// Counts a client that was refused before it had logged in.
    pub fn login_failed(&self, reason: LoginFailure) {
        self.login_failures[reason as usize].fetch_add(1, Relaxed);
    }

    /// Counts somebody turned away by a limit.
    pub fn refused(&self, limit: Limit) {
        self.refusals[limit as usize].fetch_add(1, Relaxed);
    }

    /// Counts a reload of the configuration.
    pub fn reloaded(&self, ok: bool) {
        self.reloads[usize::from(!ok)].fetch_add(1, Relaxed);
    }

    /// Asks `source` for samples at every scrape, for as long as the guard lives. It must not
    /// block: it runs on the thread that answers HTTP.
    pub fn register_source(
        &self,
        source: impl Fn(&mut Samples) + Send + Sync + 'static,
    ) -> SourceGuard {
        let source: Arc<Source> = Arc::new(source);
        lock(&self.sources).push(Arc::downgrade(&source));
        SourceGuard(source)
    }

    /// Clients that have not logged in yet.
    pub fn logins(&self) -> i64 {
        self.login.load(Relaxed)
    }

    /// What each database has done since the start, of all that were ever used.
    pub fn totals(&self) -> ByDatabase {
        let workers = lock(&self.workers).clone();
        let mut all = ByDatabase::new();
        for ((database, _), metrics) in workers {
            metrics.add_to(all.entry(database).or_default());
        }
        all
    }

    /// Everything as OpenMetrics text.
    pub fn scrape(&self) -> String {
        self.gather().into_text()
    }

    /// Everything as it is now.
    pub fn gather(&self) -> Samples {
        let mut samples = Samples::default();
        self.collect_process(&mut samples);
        // Copied first: a collection must not hold up a worker that asks for its counters.
        let workers = lock(&self.workers).clone();
        for ((database, _), metrics) in &workers {
            metrics.collect(database, &mut samples);
        }
        let hosts = lock(&self.hosts).clone();
        for ((shard, host, _), metrics) in &hosts {
            metrics.collect(shard, host, &mut samples);
        }
        let sources: Vec<Arc<Source>> = {
            let mut sources = lock(&self.sources);
            sources.retain(|source| source.strong_count() > 0);
            sources.iter().filter_map(Weak::upgrade).collect()
        };
        for source in sources {
            source(&mut samples);
        }
        samples
    }

    fn collect_process(&self, samples: &mut Samples) {
        samples.gauge(&table::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        samples.gauge(&table::START_TIME, &[], started.as_secs_f64());
        if let Some(bytes) = resident_bytes() {
            samples.gauge(&table::RESIDENT_MEMORY, &[], bytes);
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            samples.gauge(&table::OPEN_FILES, &[], files.count() as f64);
        }
        samples.gauge(&table::CLIENTS_LOGIN, &[], self.login.load(Relaxed) as f64);
        for (count, reason) in self.login_failures.iter().zip(LOGIN_FAILURES) {
            samples.counter(&table::LOGIN_FAILURES, &[reason], count.load(Relaxed));
        }
        for (count, limit) in self.refusals.iter().zip(LIMITS) {
            samples.counter(&table::LIMIT_REFUSALS, &[limit], count.load(Relaxed));
        }
        for (count, result) in self.reloads.iter().zip(["ok", "refused"]) {
            samples.counter(&table::RELOADS, &[result], count.load(Relaxed));
        }
    }
}

/// Counters stay meaningful after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

#[cfg(test)]
mod tests;
