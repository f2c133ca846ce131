//! Owns the counters of one worker and database. They are written by that worker on the path of
//! every query, so they cost an uncontended atomic addition, or an uncontended lock for latencies;
//! the only other reader is a scrape.

use super::moves::Moves;
use super::samples::Samples;
use super::stages::Latencies;
use super::table;
use super::traffic::{Totals, Traffic};
use crate::digest::Digests;
use pgmanifold_router::plan::PinReason;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where a request went, as far as metrics tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// A read on a replica.
    ReplicaRead,
    /// A read on the primary, because of its text, a hint or the configuration.
    PrimaryRead,
    /// A read on the primary, because no replica had replayed what the session must see.
    PinnedRead,
    /// A write.
    Write,
    /// Inside or control of an explicit transaction.
    Transaction,
    /// Answered without a server.
    Local,
    /// Answered with an error without reaching a server.
    Refused,
    /// Over several shards, whose answers are merged as they come.
    Scatter,
    /// Over several shards, whose partial answers one server makes into the answer.
    Gather,
    /// A write of reference tables, which every shard does alike.
    Reference,
}

pub(super) const ROUTES: [&str; 10] = [
    "replica_read",
    "primary_read",
    "pinned_read",
    "write",
    "transaction",
    "local",
    "refused",
    "scatter",
    "gather",
    "reference",
];

impl RouteKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; ROUTES.len()] = [
        Self::ReplicaRead,
        Self::PrimaryRead,
        Self::PinnedRead,
        Self::Write,
        Self::Transaction,
        Self::Local,
        Self::Refused,
        Self::Scatter,
        Self::Gather,
        Self::Reference,
    ];

    /// The kind as one lowercase word.
    pub fn word(self) -> &'static str {
        ROUTES[self as usize]
    }
}

/// What a logged-in client is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientState {
    /// Between requests, outside a transaction.
    Idle,
    /// A request of it runs.
    Active,
    /// Waits for a server connection.
    Waiting,
    /// Between requests, inside a transaction.
    IdleInTransaction,
}

const CLIENT_STATES: [&str; 4] = ["idle", "active", "waiting", "idle_in_transaction"];

/// Which time of a session was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutKind {
    /// `query_timeout_ms`.
    Query,
    /// `idle_transaction_timeout_ms`.
    IdleTransaction,
    /// `transaction_timeout_ms`.
    Transaction,
    /// `client_idle_timeout_ms`.
    ClientIdle,
}

const TIMEOUT_KINDS: [&str; 4] = ["query", "idle_transaction", "transaction", "client_idle"];

/// Who made an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// PostgreSQL.
    Server,
    /// pgmanifold itself.
    Proxy,
}

const ORIGINS: [&str; 2] = ["server", "pgmanifold"];

/// SQLSTATE classes of the manual, appendix A, and `PG` for pgmanifold's own. The last entry stands
/// for all others, so that a server cannot invent series.
const CLASSES: [&str; 45] = [
    "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "20", "21", "22", "23",
    "24", "25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42",
    "44", "53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "PG", "XX", "other",
];

const LOOKUPS: [&str; 2] = ["miss", "hit"];

const PIN_REASONS: [&str; PinReason::ALL.len()] = [
    "temp_object",
    "listen",
    "advisory_lock",
    "hold_cursor",
    "sql_prepare",
    "load",
    "unclassified",
    "sequence_state",
    "asked",
];

fn pin_index(reason: PinReason) -> usize {
    match reason {
        PinReason::TempObject => 0,
        PinReason::Listen => 1,
        PinReason::AdvisoryLock => 2,
        PinReason::HoldCursor => 3,
        PinReason::SqlPrepare => 4,
        PinReason::Load => 5,
        PinReason::Unclassified => 6,
        PinReason::SequenceState => 7,
        PinReason::Asked => 8,
    }
}

/// For the documentation: which label takes which values.
#[cfg(test)]
pub(super) const LABEL_VALUES: &[(&str, &str, &[&str])] = &[
    ("pgmanifold_clients", "state", &CLIENT_STATES),
    ("pgmanifold_queries_total", "route", &ROUTES),
    ("pgmanifold_server_seconds", "route", &ROUTES),
    ("pgmanifold_plan_lookups_total", "result", &LOOKUPS),
    ("pgmanifold_errors_total", "origin", &ORIGINS),
    ("pgmanifold_errors_total", "class", &CLASSES),
    ("pgmanifold_pins_total", "reason", &PIN_REASONS),
    ("pgmanifold_pinned_sessions", "reason", &PIN_REASONS),
    ("pgmanifold_session_timeouts_total", "kind", &TIMEOUT_KINDS),
];

/// Counters of one worker and database. Aligned so that two workers never share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct WorkerMetrics {
    clients: [AtomicI64; CLIENT_STATES.len()],
    queries: [AtomicU64; ROUTES.len()],
    lookups: [AtomicU64; LOOKUPS.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    connections: AtomicU64,
    checkout_timeouts: AtomicU64,
    pins: [AtomicU64; PIN_REASONS.len()],
    pinned: [AtomicI64; PIN_REASONS.len()],
    timeouts: [AtomicU64; TIMEOUT_KINDS.len()],
    errors: [[AtomicU64; CLASSES.len()]; ORIGINS.len()],
    /// What PgBouncer's statistics count beside.
    pub traffic: Traffic,
    /// What met keys on their way.
    pub moves: Moves,
    /// Locked by the worker that owns this, and by a scrape while it copies.
    latencies: Mutex<Latencies>,
    /// What was counted of statements.
    pub digests: Digests,
}

impl Default for WorkerMetrics {
    fn default() -> Self {
        Self {
            clients: Default::default(),
            queries: Default::default(),
            lookups: Default::default(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            checkout_timeouts: AtomicU64::new(0),
            pins: Default::default(),
            pinned: Default::default(),
            timeouts: Default::default(),
            errors: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            traffic: Traffic::default(),
            moves: Moves::default(),
            latencies: Mutex::default(),
            digests: Digests::default(),
        }
    }
}

impl WorkerMetrics {
    /// Counts a request that was answered after `total`.
    pub fn query(&self, kind: RouteKind, total: Duration) {
        self.queries[kind as usize].fetch_add(1, Relaxed);
        self.with_latencies(|latencies| latencies.total[kind as usize].record(total));
    }

    /// Counts a request that was answered after `total`, of which it had `waited` for servers.
    pub fn query_waited(&self, kind: RouteKind, total: Duration, waited: Duration) {
        self.queries[kind as usize].fetch_add(1, Relaxed);
        self.with_latencies(|latencies| latencies.record(kind, total, waited));
    }

    /// Notes how long a client let its server wait inside of a transaction.
    pub fn client_wait(&self, time: Duration) {
        self.with_latencies(|latencies| latencies.client_wait.record(time));
    }

    /// A copy of the latencies by stage.
    pub(super) fn latencies(&self) -> Latencies {
        let mut copied = Latencies::default();
        self.with_latencies(|live| copied = live.clone());
        copied
    }

    /// Counts a text that was looked up among the plans.
    pub fn plan_lookup(&self, hit: bool) {
        self.lookups[usize::from(hit)].fetch_add(1, Relaxed);
    }

    /// Notes a wait for a server connection.
    pub fn pool_wait(&self, time: Duration) {
        self.with_latencies(|latencies| latencies.pool_wait.record(time));
    }

    /// Counts a wait given up.
    pub fn checkout_timeout(&self) {
        self.checkout_timeouts.fetch_add(1, Relaxed);
    }

    /// Counts bytes received from clients.
    pub fn bytes_in(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes sent to clients.
    pub fn bytes_out(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    /// Counts an error sent to a client.
    pub fn error(&self, sqlstate: &str, origin: Origin) {
        let class = sqlstate.get(..2).unwrap_or_default();
        let last = CLASSES.len() - 1;
        let index = CLASSES.iter().position(|known| *known == class).unwrap_or(last);
        self.errors[origin as usize][index].fetch_add(1, Relaxed);
    }

    /// Counts a session that must keep its server from now on.
    pub fn pin(&self, reason: PinReason) {
        self.pins[pin_index(reason)].fetch_add(1, Relaxed);
        self.pinned[pin_index(reason)].fetch_add(1, Relaxed);
    }

    /// Notes that the reason of a session counted by [`Self::pin`] has ended.
    pub fn unpin(&self, reason: PinReason) {
        self.pinned[pin_index(reason)].fetch_sub(1, Relaxed);
    }

    /// Counts a timeout of a session.
    pub fn timeout(&self, kind: TimeoutKind) {
        self.timeouts[kind as usize].fetch_add(1, Relaxed);
    }

    /// Counts a client that logged in, and keeps it in the gauge until the guard is dropped.
    pub fn client(self: &Arc<Self>) -> ClientGuard {
        self.connections.fetch_add(1, Relaxed);
        self.clients[ClientState::Idle as usize].fetch_add(1, Relaxed);
        ClientGuard { metrics: self.clone(), state: ClientState::Idle }
    }

    fn with_latencies(&self, change: impl FnOnce(&mut Latencies)) {
        // Counters stay meaningful after a panic elsewhere.
        change(&mut self.latencies.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Adds what PgBouncer's statistics tell.
    pub(super) fn add_to(&self, totals: &mut Totals) {
        let queries: u64 = self.queries.iter().map(|count| count.load(Relaxed)).sum();
        totals.queries += queries;
        totals.received += self.bytes_in.load(Relaxed);
        totals.sent += self.bytes_out.load(Relaxed);
        totals.logins += self.connections.load(Relaxed);
        self.traffic.add_to(totals);
    }

    /// Adds everything to `samples`.
    pub(super) fn collect(&self, database: &str, samples: &mut Samples) {
        for (count, state) in self.clients.iter().zip(CLIENT_STATES) {
            samples.gauge(&table::CLIENTS, &[database, state], count.load(Relaxed) as f64);
        }
        for (count, route) in self.queries.iter().zip(ROUTES) {
            samples.counter(&table::QUERIES, &[database, route], count.load(Relaxed));
        }
        for (count, result) in self.lookups.iter().zip(LOOKUPS) {
            samples.counter(&table::PLAN_LOOKUPS, &[database, result], count.load(Relaxed));
        }
        for (family, count) in [
            (&table::CLIENT_CONNECTIONS, &self.connections),
            (&table::CLIENT_RECEIVED, &self.bytes_in),
            (&table::CLIENT_SENT, &self.bytes_out),
            (&table::CHECKOUT_TIMEOUTS, &self.checkout_timeouts),
        ] {
            samples.counter(family, &[database], count.load(Relaxed));
        }
        self.traffic.collect(database, samples);
        self.moves.collect(database, samples);
        for (count, reason) in self.pins.iter().zip(PIN_REASONS) {
            samples.counter(&table::PINS, &[database, reason], count.load(Relaxed));
        }
        for (count, reason) in self.pinned.iter().zip(PIN_REASONS) {
            samples.gauge(&table::PINNED, &[database, reason], count.load(Relaxed) as f64);
        }
        for (count, kind) in self.timeouts.iter().zip(TIMEOUT_KINDS) {
            samples.counter(&table::SESSION_TIMEOUTS, &[database, kind], count.load(Relaxed));
        }
        for (classes, origin) in self.errors.iter().zip(ORIGINS) {
            for (count, class) in classes.iter().zip(CLASSES) {
                let count = count.load(Relaxed);
                if count > 0 {
                    samples.counter(&table::ERRORS, &[database, class, origin], count);
                }
            }
        }
        let latencies = self.latencies();
        for (kind, route) in RouteKind::ALL.into_iter().zip(ROUTES) {
            let total = &latencies.total[kind as usize];
            samples.timings(&table::QUERY_SECONDS, &[database, route], total);
            let server = latencies.server(kind);
            samples.timings(&table::SERVER_SECONDS, &[database, route], &server);
        }
        samples.timings(&table::POOL_WAIT_SECONDS, &[database], &latencies.pool_wait);
        samples.timings(&table::CLIENT_WAIT_SECONDS, &[database], &latencies.client_wait);
    }
}

/// A logged-in client in the gauge; dropping it takes the client out.
#[derive(Debug)]
pub struct ClientGuard {
    metrics: Arc<WorkerMetrics>,
    state: ClientState,
}

impl ClientGuard {
    /// Moves the client to `state`.
    pub fn set(&mut self, state: ClientState) {
        if state != self.state {
            self.metrics.clients[self.state as usize].fetch_sub(1, Relaxed);
            self.metrics.clients[state as usize].fetch_add(1, Relaxed);
            self.state = state;
        }
    }
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        self.metrics.clients[self.state as usize].fetch_sub(1, Relaxed);
    }
}
