//! Owns `Pool`: the connections of one database and user to one host. First come, first served;
//! the most recently used connection is lent first; a connect error reaches those who wait at
//! once.

use crate::backend::connect::Connector;
use crate::backend::connection::Server;
use crate::backend::error::ConnectError;
use crate::cluster::Cluster;
use crate::config::model::{Database, Host, User};
use crate::metrics::HostMetrics;
use crate::pool::Lease;
use crate::timer::timeout_at;
use crate::wire::error::SqlError;
use crate::wire::stream::IdleState;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A connection that lay idle for less is lent without a look at its socket.
const TRUSTED_IDLE_TIME: Duration = Duration::from_millis(5);

/// Limits of one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLimits {
    /// Most connections, in use or idle.
    pub size: usize,
    /// Connections kept open when idle.
    pub min_idle: usize,
    /// An idle connection is closed after this time.
    pub idle_timeout: Duration,
    /// A connection older than this (less up to 10 %) is closed when it comes back.
    pub max_lifetime: Duration,
    /// Longest wait for a connection.
    pub checkout_timeout: Duration,
    /// Most prepared statements on one connection.
    pub prepared_statements: usize,
}

impl PoolLimits {
    /// The limits of a user's pools in a database.
    pub fn new(database: &Database, user: &User) -> Self {
        let size = user.pool_size.unwrap_or(database.pool_size).max(1);
        Self {
            size,
            min_idle: database.min_idle.min(size),
            idle_timeout: database.idle_timeout,
            max_lifetime: database.max_lifetime,
            checkout_timeout: database.checkout_timeout,
            prepared_statements: database.prepared_statements,
        }
    }
}

/// Connections of one database and user to one host.
pub struct Pool {
    database: Arc<Database>,
    user: Arc<User>,
    host: Arc<Host>,
    host_index: usize,
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    metrics: Arc<HostMetrics>,
    limits: PoolLimits,
    inner: Mutex<Inner>,
    /// Seed of the lifetime jitter.
    jitter: AtomicU32,
}

#[derive(Debug)]
struct Inner {
    /// Idle connections by the worker whose event loop they belong to; the last is used first.
    #[expect(clippy::vec_box, reason = "a connection is moved from hand to hand as it is")]
    idle: Vec<Vec<Box<Server>>>,
    /// Connections open or being opened, in use or idle.
    open: usize,
    /// Connections being opened.
    connecting: usize,
    /// A reload has replaced this pool: what comes back is closed.
    retired: bool,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    hand: oneshot::Sender<Result<Box<Server>, SqlError>>,
}

type Handed = oneshot::Receiver<Result<Box<Server>, SqlError>>;

/// What a pool looks like at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolNumbers {
    /// Connections open or being opened.
    pub open: usize,
    /// Idle among them.
    pub idle: usize,
    /// Sessions that wait for one.
    pub waiting: usize,
    /// Being opened among them.
    pub connecting: usize,
}

impl PoolNumbers {
    /// Connections lent to sessions.
    pub fn in_use(&self) -> usize {
        self.open.saturating_sub(self.idle + self.connecting)
    }
}

impl std::iter::Sum for PoolNumbers {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        numbers.fold(Self::default(), |sum, next| Self {
            open: sum.open + next.open,
            idle: sum.idle + next.idle,
            connecting: sum.connecting + next.connecting,
            waiting: sum.waiting + next.waiting,
        })
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("host", &self.host.address).finish_non_exhaustive()
    }
}

/// One place among the `size` of a pool; dropping it frees the place.
#[derive(Debug)]
pub struct Slot {
    pool: Weak<Pool>,
    worker: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.lock().open -= 1;
            pool.open_for_waiters(self.worker);
        }
    }
}

impl Pool {
    /// An empty pool.
    pub fn new(
        database: Arc<Database>,
        user: Arc<User>,
        cluster: Arc<Cluster>,
        host_index: usize,
        (connector, metrics): (Arc<Connector>, Arc<HostMetrics>),
        workers: usize,
    ) -> Arc<Self> {
        let host = Arc::clone(&cluster.hosts()[host_index].host);
        let inner = Inner {
            idle: (0..workers).map(|_| Vec::new()).collect(),
            open: 0,
            connecting: 0,
            retired: false,
            waiters: VecDeque::new(),
        };
        Arc::new(Self {
            limits: PoolLimits::new(&database, &user),
            database,
            user,
            host,
            host_index,
            cluster,
            connector,
            metrics,
            inner: Mutex::new(inner),
            jitter: AtomicU32::new(0x9e37_79b9),
        })
    }

    /// Index of the host in its shard.
    pub fn host_index(&self) -> usize {
        self.host_index
    }

    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Requests under way on the host, from all pools.
    pub fn outstanding(&self) -> &AtomicU32 {
        &self.cluster.hosts()[self.host_index].outstanding
    }

    /// A connection, if one is idle and nobody waits. `now` is about now.
    pub fn try_get(self: &Arc<Self>, worker: usize, now: Instant) -> Option<Lease> {
        loop {
            let server = {
                let mut inner = self.lock();
                if !inner.waiters.is_empty() {
                    return None;
                }
                inner.pop_idle(worker)?
            };
            if let Some(lease) = self.check_out(server, now) {
                return Some(lease);
            }
        }
    }

    /// A connection, waiting for one up to `checkout_timeout`. Cancel safe.
    ///
    /// # Errors
    /// The connect error when the server cannot be reached; 53300 when all connections stayed in
    /// use for the whole time.
    pub async fn get(self: &Arc<Self>, worker: usize) -> Result<Lease, SqlError> {
        let deadline = tokio::time::Instant::now() + self.limits.checkout_timeout;
        loop {
            let server = match self.take_or_queue(worker) {
                Ok(server) => server,
                Err(receiver) => {
                    self.open_for_waiters(worker);
                    match timeout_at(deadline, receiver).await {
                        Ok(Ok(handed)) => handed?,
                        Ok(Err(_)) => return Err(SqlError::error("57P01", "the pool was closed")),
                        Err(_) => return Err(self.checkout_timed_out()),
                    }
                }
            };
            if let Some(lease) = self.check_out(server, Instant::now()) {
                return Ok(lease);
            }
        }
    }

    /// An idle connection, or a place in the queue: decided under one lock, so that nobody
    /// queues while a connection lies idle.
    fn take_or_queue(&self, worker: usize) -> Result<Box<Server>, Handed> {
        let mut inner = self.lock();
        if inner.waiters.is_empty()
            && let Some(server) = inner.pop_idle(worker)
        {
            return Ok(server);
        }
        let (hand, receiver) = oneshot::channel();
        inner.waiters.push_back(Waiter { hand });
        Err(receiver)
    }

    /// Lends a connection, unless the server closed it or spoke unasked while it lay idle.
    /// One that was used a moment ago is not looked at.
    fn check_out(self: &Arc<Self>, mut server: Box<Server>, now: Instant) -> Option<Lease> {
        if now.saturating_duration_since(server.idle_since) < TRUSTED_IDLE_TIME {
            return Some(Lease::new(server, Arc::clone(self)));
        }
        match server.stream.idle_state() {
            IdleState::Quiet => Some(Lease::new(server, Arc::clone(self))),
            IdleState::Spoke => None,
            IdleState::Closed => {
                self.cluster.suspect(self.host_index);
                None
            }
        }
    }

    /// Takes a clean connection back: to the first who waits, else to the idle ones.
    pub(super) fn put(&self, mut server: Box<Server>, worker: usize, now: Instant) {
        if now >= server.expires {
            return;
        }
        server.shrink();
        server.idle_since = now;
        let mut inner = self.lock();
        while let Some(waiter) = inner.waiters.pop_front() {
            match waiter.hand.send(Ok(server)) {
                Ok(()) => return,
                Err(Ok(unclaimed)) => server = unclaimed,
                Err(Err(_)) => unreachable!("a server was sent"),
            }
        }
        if !inner.retired {
            inner.idle[worker].push(server);
            return;
        }
        drop(inner);
        drop(server);
    }

    /// Closes what lies idle, and from now on what comes back. Sessions go on with what they
    /// have leased.
    pub fn retire(&self) {
        let idle: Vec<_> = {
            let mut inner = self.lock();
            inner.retired = true;
            inner.idle.iter_mut().map(std::mem::take).collect()
        };
        drop(idle);
    }

    /// Closes what is idle for too long or too old, and opens up to `min_idle`.
    pub fn maintain(self: &Arc<Self>, worker: usize, now: Instant) {
        let mut closed = Vec::new();
        let missing = {
            let mut inner = self.lock();
            let mut keep = self.limits.min_idle;
            for stack in &mut inner.idle {
                let mut index = stack.len();
                while index > 0 {
                    index -= 1;
                    let server = &mut stack[index];
                    let idle = now.saturating_duration_since(server.idle_since);
                    let surplus = keep == 0 && idle >= self.limits.idle_timeout;
                    if surplus || now >= server.expires || !server.stream.is_quiet() {
                        closed.push(stack.remove(index));
                    } else {
                        keep = keep.saturating_sub(1);
                    }
                }
            }
            let room = self.limits.size.saturating_sub(inner.open);
            let missing = keep.saturating_sub(inner.connecting).min(room);
            inner.open += missing;
            inner.connecting += missing;
            missing
        };
        drop(closed);
        for _ in 0..missing {
            tokio::spawn(Arc::clone(self).open_one(worker));
        }
    }

    /// The pool's numbers now.
    pub fn numbers(&self) -> PoolNumbers {
        let inner = self.lock();
        PoolNumbers {
            open: inner.open,
            idle: inner.idle.iter().map(Vec::len).sum(),
            waiting: inner.waiters.len(),
            connecting: inner.connecting,
        }
    }

    /// Starts as many connection attempts as there are waiters without one and places left.
    fn open_for_waiters(self: &Arc<Self>, worker: usize) {
        let starting = {
            let mut inner = self.lock();
            inner.waiters.retain(|waiter| !waiter.hand.is_closed());
            let wanted = inner.waiters.len().saturating_sub(inner.connecting);
            let starting = wanted.min(self.limits.size.saturating_sub(inner.open));
            inner.open += starting;
            inner.connecting += starting;
            starting
        };
        for _ in 0..starting {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(Arc::clone(self).open_one(worker))),
                Err(_) => self.attempt_failed(None),
            }
        }
    }

    async fn open_one(self: Arc<Self>, worker: usize) {
        let login =
            self.connector.connect_as(&self.host, &self.user, &self.database.server_database).await;
        match login {
            Ok(login) => {
                self.lock().connecting -= 1;
                self.metrics.connected();
                self.cluster.report_success(self.host_index);
                let slot = Slot { pool: Arc::downgrade(&self), worker };
                let limits = (self.limits.prepared_statements, self.lifetime());
                let host = Arc::clone(&self.host);
                let connector = Arc::clone(&self.connector);
                let server = Server::new(login, (host, self.host_index), connector, limits, slot);
                self.put(Box::new(server), worker, Instant::now());
            }
            Err(error) => self.connect_failed(&error),
        }
    }

    fn connect_failed(&self, error: &ConnectError) {
        self.metrics.connect_failed();
        let host = self.host.address.to_string();
        tracing::warn!(%host, database = %self.database.name, user = %self.user.name, %error,
            "server connection failed");
        if error.is_host_down() {
            self.cluster.report_failure(self.host_index, &error.to_string());
        }
        self.attempt_failed(Some(error.to_sql_error(&host)));
    }

    /// Frees the place of a failed attempt. Nobody is left waiting for a server that cannot be
    /// had: with no connection at all, all who wait get the cause.
    fn attempt_failed(&self, cause: Option<SqlError>) {
        let waiters = {
            let mut inner = self.lock();
            inner.connecting -= 1;
            inner.open -= 1;
            if inner.open > 0 { VecDeque::new() } else { std::mem::take(&mut inner.waiters) }
        };
        let cause = cause.unwrap_or_else(|| SqlError::error("57P01", "the proxy is stopping"));
        for waiter in waiters {
            let _ = waiter.hand.send(Err(cause.clone()));
        }
    }

    fn checkout_timed_out(&self) -> SqlError {
        let numbers = self.numbers();
        SqlError::error("53300", "no server connection became free in time")
            .detail(format!(
                "All {} connections of database \"{}\", user \"{}\" to {} were in use for {} ms; \
                 {} sessions wait.",
                numbers.open,
                self.database.name,
                self.user.name,
                self.host.address,
                self.limits.checkout_timeout.as_millis(),
                numbers.waiting,
            ))
            .hint("Raise pool_size, shorten transactions, or raise checkout_timeout_ms.")
    }

    /// `max_lifetime` less up to 10 %, so that connections opened together do not end together.
    fn lifetime(&self) -> Duration {
        let mut seed = self.jitter.load(Ordering::Relaxed);
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        self.jitter.store(seed, Ordering::Relaxed);
        self.limits.max_lifetime.mul_f64(1.0 - 0.1 * f64::from(seed) / f64::from(u32::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("invariant: no panic under this lock")
    }
}

impl Inner {
    /// The worker's most recently used connection, else that of another worker.
    fn pop_idle(&mut self, worker: usize) -> Option<Box<Server>> {
        if let Some(server) = self.idle.get_mut(worker)?.pop() {
            return Some(server);
        }
        self.idle.iter_mut().find_map(Vec::pop)
    }
}
