//! Owns `Pool`: the connections of one database and user to one host. First come, first served;
//! the most recently used connection is lent first; a connect error reaches those who wait at
//! once.

mod holding;
mod opening;
mod seen;
mod sharing;

use crate::backend::connect::Connector;
use crate::backend::connection::Server;
use crate::backend::error;
use crate::cluster::Cluster;
use crate::config::model::{Database, Host, User};
use crate::metrics::HostMetrics;
use crate::pool::budget::{Budget, Permit};
use crate::pool::lever::{Claim, Lever, held_back};
use crate::pool::servers::Servers;
use crate::pool::{Attach, Lease, PoolLimits, PoolNumbers};
use crate::timer::timeout_at;
use crate::wire::error::SqlError;
use crate::wire::stream::IdleState;
use sharing::closed;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A connection that lay idle for less is lent without a look at its socket.
const TRUSTED_IDLE_TIME: Duration = Duration::from_millis(5);

/// How long nothing stays idle in a database that somebody wants for himself. PostgreSQL waits up
/// to 5 s for others to leave.
const VACATED_PAUSE: Duration = Duration::from_secs(5);

/// Connections of one database and user to one host.
pub struct Pool {
    database: Arc<Database>,
    user: Arc<User>,
    host: Arc<Host>,
    host_index: usize,
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    metrics: Arc<HostMetrics>,
    servers: Arc<Servers>,
    /// Counters of requests, by worker: each writes to its own.
    traffic: Box<[Arc<HostMetrics>]>,
    limits: PoolLimits,
    inner: Mutex<Inner>,
    /// Seed of the lifetime jitter.
    jitter: AtomicU32,
    /// Number of the pool in the process.
    id: usize,
    budgets: [Arc<Budget>; 2],
    /// What an administrator has said of the database.
    lever: Arc<Lever>,
    /// What each connection says first, where it belongs to a database with moving keys.
    attach: Option<Attach>,
    /// Times that all connections were asked to be made anew; changes under the lock.
    generation: AtomicU32,
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
    /// Those of an older generation among `open`.
    old: usize,
    /// A reload has replaced this pool: what comes back is closed.
    retired: bool,
    /// Somebody wants the database for himself: what comes back until then is closed.
    vacated_until: Option<Instant>,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    since: Instant,
    /// A pause waits for its session.
    joins: bool,
    hand: oneshot::Sender<Result<Box<Server>, SqlError>>,
}

type Handed = oneshot::Receiver<Result<Box<Server>, SqlError>>;

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("host", &self.host.address).finish_non_exhaustive()
    }
}

/// What asking a pool has led to.
enum Turn {
    Now(Box<Server>),
    Later(Handed),
}

/// One place among the `size` of a pool; dropping it frees the place. The default one belongs to no
/// pool.
#[derive(Debug, Default)]
pub struct Slot {
    pool: Weak<Pool>,
    worker: usize,
    permit: Option<Permit>,
    /// The pool's when the connection was asked for.
    generation: u32,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.leave(&mut pool.lock(), self.generation);
            // Others may have waited longer for a place in a budget.
            drop(self.permit.take());
            pool.open_for_waiters(self.worker);
            pool.lever.tell_closed();
        }
    }
}

impl Pool {
    /// An empty pool. Requests are counted by worker, each in counters of its own.
    pub fn new(
        database: Arc<Database>,
        user: Arc<User>,
        cluster: Arc<Cluster>,
        host_index: usize,
        (connector, traffic, servers): (Arc<Connector>, Box<[Arc<HostMetrics>]>, Arc<Servers>),
        budgets: [Arc<Budget>; 2],
        (lever, attach): (Arc<Lever>, Option<Attach>),
    ) -> Arc<Self> {
        static NEXT_ID: AtomicUsize = AtomicUsize::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let host = Arc::clone(&cluster.hosts()[host_index].host);
        let inner = Inner {
            idle: traffic.iter().map(|_| Vec::new()).collect(),
            open: 0,
            connecting: 0,
            old: 0,
            retired: false,
            vacated_until: None,
            waiters: VecDeque::new(),
        };
        let pool = Arc::new(Self {
            id,
            budgets,
            limits: PoolLimits::new(&database, &user),
            database,
            user,
            host,
            host_index,
            cluster,
            connector,
            metrics: traffic.first().cloned().unwrap_or_default(),
            servers,
            traffic,
            inner: Mutex::new(inner),
            jitter: AtomicU32::new(0x9e37_79b9),
            lever,
            attach,
            generation: AtomicU32::new(0),
        });
        for budget in &pool.budgets {
            budget.join(id, Arc::downgrade(&pool));
        }
        pool.lever.join(Arc::downgrade(&pool));
        pool
    }

    /// Index of the host in its shard.
    pub fn host_index(&self) -> usize {
        self.host_index
    }

    /// The counters of a worker's requests to the host.
    pub fn traffic(&self, worker: usize) -> Option<&Arc<HostMetrics>> {
        self.traffic.get(worker)
    }

    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Requests under way on the host, from all pools.
    pub fn outstanding(&self) -> &AtomicU32 {
        &self.cluster.hosts()[self.host_index].outstanding
    }

    /// A connection, if one is idle, nobody waits and the database is not paused. `now` is about
    /// now.
    pub fn try_get(self: &Arc<Self>, worker: usize, now: Instant) -> Option<Lease> {
        loop {
            let server = {
                let mut inner = self.lock();
                if !inner.waiters.is_empty() || self.lever.is_paused() {
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
    /// use for the whole time; 53400 when too many wait already; while the database is paused, one
    /// that `lever::is_held_back` knows.
    pub async fn get(self: &Arc<Self>, worker: usize, claim: Claim) -> Result<Lease, SqlError> {
        let began = Instant::now();
        loop {
            let server = match self.take_or_queue(worker, claim)? {
                Turn::Now(server) => server,
                Turn::Later(handed) => {
                    self.open_for_waiters(worker);
                    self.wait(handed, began, worker).await?
                }
            };
            if let Some(lease) = self.check_out(server, Instant::now()) {
                return Ok(lease);
            }
        }
    }

    async fn wait(
        self: &Arc<Self>,
        mut handed: Handed,
        began: Instant,
        worker: usize,
    ) -> Result<Box<Server>, SqlError> {
        let limits = &self.limits;
        if limits.reserve_size > 0 && limits.reserve_timeout < limits.checkout_timeout {
            let reserve_at = (began + limits.reserve_timeout).into();
            match timeout_at(reserve_at, &mut handed).await {
                Ok(result) => return result.unwrap_or_else(|_| Err(closed())),
                Err(_) => drop(self.open_for_waiters(worker)),
            }
        }
        match timeout_at((began + limits.checkout_timeout).into(), handed).await {
            Ok(result) => result.unwrap_or_else(|_| Err(closed())),
            Err(_) => {
                let error = self.checkout_timed_out();
                self.open_for_waiters(worker);
                Err(error)
            }
        }
    }

    /// An idle connection, or a place in the queue: decided under one lock, so that nobody
    /// queues while a connection lies idle.
    fn take_or_queue(&self, worker: usize, claim: Claim) -> Result<Turn, SqlError> {
        let mut inner = self.lock();
        if self.holds_back(claim) {
            return Err(held_back());
        }
        if inner.waiters.is_empty()
            && let Some(server) = inner.pop_idle(worker)
        {
            return Ok(Turn::Now(server));
        }
        if inner.waiters.len() >= self.limits.queue_max {
            inner.waiters.retain(|waiter| !waiter.hand.is_closed());
        }
        if inner.waiters.len() >= self.limits.queue_max && claim != Claim::Resumed {
            self.metrics.queue_refused();
            return Err(self.queue_full());
        }
        let (hand, receiver) = oneshot::channel();
        let joins = claim == Claim::Joining;
        inner.waiters.push_back(Waiter { since: Instant::now(), joins, hand });
        Ok(Turn::Later(receiver))
    }

    /// Lends a connection, unless the server closed it or spoke unasked while it lay idle.
    /// One that was used a moment ago is not looked at.
    fn check_out(self: &Arc<Self>, mut server: Box<Server>, now: Instant) -> Option<Lease> {
        if self.is_stale(&server) {
            return None;
        }
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

    /// Whether the host was given up since the connection was made, or all were asked to be made
    /// anew.
    fn is_stale(&self, server: &Server) -> bool {
        server.host_losses != self.cluster.hosts()[self.host_index].losses()
            || self.is_outworn(server)
    }

    /// Tells all who wait that the host does not answer: nothing of theirs was sent, so they look
    /// elsewhere instead of waiting for attempts to connect to run out of time.
    pub fn turn_away(&self) {
        let waiters = std::mem::take(&mut self.lock().waiters);
        self.leave_lines();
        for waiter in waiters {
            let _ = waiter.hand.send(Err(error::turned_away(&self.host)));
        }
    }

    /// Closes what lies idle.
    pub fn close_idle(&self) {
        let idle = self.lock().take_idle();
        drop(idle);
    }

    /// Closes what lies idle, and for a moment what comes back: somebody is about to drop the
    /// database.
    pub fn vacate(&self, now: Instant) {
        let idle = {
            let mut inner = self.lock();
            inner.vacated_until = Some(now + VACATED_PAUSE);
            inner.take_idle()
        };
        drop(idle);
    }

    /// Takes a clean connection back: to the first who waits, else to the idle ones.
    pub(super) fn put(&self, mut server: Box<Server>, worker: usize, now: Instant) {
        if now >= server.expires || self.is_stale(&server) || self.is_owed_elsewhere(now) {
            return;
        }
        server.shrink();
        server.info.lent_to.store(0, Ordering::Relaxed);
        server.idle_since = now;
        let mut inner = self.lock();
        while let Some(waiter) = inner.waiters.pop_front() {
            match waiter.hand.send(Ok(server)) {
                Ok(()) => {
                    let last = inner.waiters.is_empty();
                    drop(inner);
                    if last {
                        self.leave_lines();
                    }
                    return;
                }
                Err(Ok(unclaimed)) => server = unclaimed,
                Err(Err(_)) => unreachable!("a server was sent"),
            }
        }
        let vacated = inner.vacated_until.is_some_and(|until| now < until);
        let kept = !inner.retired && !vacated && !self.keeps_nothing();
        if kept && inner.open <= self.limits.size {
            inner.idle[worker].push(server);
            return;
        }
        drop(inner);
        drop(server);
    }

    /// Closes what lies idle, and from now on what comes back. Sessions go on with what they
    /// have leased.
    pub fn retire(&self) {
        let idle = {
            let mut inner = self.lock();
            inner.retired = true;
            inner.take_idle()
        };
        drop(idle);
    }

    /// Closes what is idle for too long or too old, and opens up to `min_idle`.
    pub fn maintain(self: &Arc<Self>, worker: usize, now: Instant) {
        let mut closed = Vec::new();
        let missing = {
            let mut inner = self.lock();
            let mut keep = if self.keeps_nothing() { 0 } else { self.limits.min_idle };
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
            keep.saturating_sub(inner.connecting).min(room)
        };
        drop(closed);
        for _ in 0..missing {
            let Some(permit) = Permit::take(&self.budgets, self.id, worker) else { return };
            let generation = self.note_connecting(&mut self.lock());
            tokio::spawn(Arc::clone(self).open_one(worker, permit, generation));
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
            oldest_wait: inner
                .waiters
                .front()
                .map_or(Duration::ZERO, |first| first.since.elapsed()),
        }
    }

    /// Starts as many connection attempts as there are waiters without one and places left. True
    /// when it started any.
    pub(super) fn open_for_waiters(self: &Arc<Self>, worker: usize) -> bool {
        self.lock().waiters.retain(|waiter| !waiter.hand.is_closed());
        let mut started = false;
        loop {
            let permit = {
                let mut inner = self.lock();
                if !inner.wants_one(&self.limits) {
                    let nobody_waits = inner.waiters.is_empty();
                    drop(inner);
                    if nobody_waits {
                        self.leave_lines();
                    }
                    return started;
                }
                let permit = Permit::take(&self.budgets, self.id, worker);
                permit.map(|permit| (permit, self.note_connecting(&mut inner)))
            };
            let Some((permit, generation)) = permit else {
                return self.starve(worker) || started;
            };
            started = true;
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => {
                    drop(runtime.spawn(Arc::clone(self).open_one(worker, permit, generation)));
                }
                Err(_) => self.attempt_failed(None, generation),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("invariant: no panic under this lock")
    }
}

impl Inner {
    /// True when somebody waits for whom no attempt is under way, and there is a place.
    fn wants_one(&self, limits: &PoolLimits) -> bool {
        let Some(first) = self.waiters.get(self.connecting) else { return false };
        let reserve = match limits.reserve_size {
            0 => 0,
            size if first.since.elapsed() >= limits.reserve_timeout => size,
            _ => 0,
        };
        self.open < limits.size + reserve
    }

    /// The worker's most recently used connection, else that of another worker.
    fn pop_idle(&mut self, worker: usize) -> Option<Box<Server>> {
        if let Some(server) = self.idle.get_mut(worker)?.pop() {
            return Some(server);
        }
        self.idle.iter_mut().find_map(Vec::pop)
    }
}
