//! Owns the choice of a server for a request: stay, wait, or lease another one.

use super::request::POISON;
use super::{Event, Session, Stop, Virtual};
use crate::backend::connection::{Expect, Hidden};
use crate::cluster::{Freshness, Role, WaitEnd};
use crate::metrics::{ClientState, RouteKind};
use crate::pool::{Lease, lever};
use crate::session::held::{self, Reasons};
use crate::session::knobs::Scope;
use crate::session::settings::{self, Settings};
use crate::wire::error::SqlError;
use pgmanifold_router::plan::{Effect, PinReason, Plan};
use pgmanifold_router::route::{self, Route, SessionView, Target};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

/// Why a request runs where it runs; for logs and metrics.
#[derive(Debug)]
pub(super) struct Placement {
    /// For the counter of queries by route.
    pub(super) kind: RouteKind,
    /// Why a read did not go to a replica, when it did not.
    pub(super) fallback: Option<Cow<'static, str>>,
    /// Why, where the plan's own reason is not it.
    pub(super) why: Option<&'static str>,
    /// No primary will do.
    pub(super) replica_only: bool,
    /// When the last pause ended that a request has waited for.
    pub(super) resumed: Option<Instant>,
}

/// Why nothing is read from replicas for a moment.
const UNSETTLED: &str = "the catalog is being read again after DDL";

pub(super) fn cancelled() -> SqlError {
    SqlError::error("57014", "canceling statement due to user request")
}

impl Default for Placement {
    fn default() -> Self {
        let kind = RouteKind::PrimaryRead;
        Self { kind, fallback: None, why: None, replica_only: false, resumed: None }
    }
}

/// The next of a small random generator; its high bits are the random ones.
pub(super) fn next_seed(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
    *seed
}

/// `Err(Ok(stop))`: not now. `Err(Err(error))`: never.
pub(super) type Placed = Result<(), Result<Stop, SqlError>>;

impl Session {
    /// Where the plan wants to run, seen alone.
    pub(super) fn route(&self, plan: &Plan) -> Route {
        match self.view() {
            Some(view) => route::route(plan, view),
            None => Route { target: Target::Primary, reason: UNSETTLED.into() },
        }
    }

    /// Why it wants to run there, where the plan's own reason is not it.
    fn why(&self, plan: &Plan) -> Option<&'static str> {
        match self.view() {
            Some(view) => route::decide(plan, view).1.fixed(),
            None => Some(UNSETTLED),
        }
    }

    /// What the route depends on beside the plan; `None` while nothing is known.
    fn view(&self) -> Option<SessionView> {
        let begin = match &self.virtual_transaction {
            Virtual::Begun(begin) => Some(begin.kind),
            _ => None,
        };
        if !self.pools.facts.is_settled() {
            return None;
        }
        let split_reads =
            self.pools.database.read_replicas && !self.pins.any() && !self.settings.serializable;
        Some(SessionView { role: self.knobs.role(), begin, split_reads })
    }

    /// Makes sure the session has a server for a request with this target.
    pub(super) fn place(&mut self, target: Target, plan: &Plan) -> Placed {
        let failed = matches!(self.virtual_transaction, Virtual::Failed(Some(_)));
        let target = if failed { Target::Primary } else { target };
        if let Some(error) = self.refused.take() {
            self.failover = None;
            self.end_waiting();
            if self.lease.is_none() {
                self.guards.gauge.set(ClientState::Idle);
            }
            return Err(Err(*error));
        }
        if self.lease.is_some() {
            self.place_again(target, plan)?;
        } else {
            self.lease_for(target, plan)?;
        }
        if self.failover.take().is_some() && self.waits {
            self.pools.cluster.wait_ended(WaitEnd::Served);
        }
        if self.end_waiting() {
            return Err(Err(cancelled()));
        }
        self.wipe_sequences(target, plan);
        self.send_begin()
    }

    pub(super) fn start_waiting(&mut self) {
        self.waits = true;
        self.handle.wait();
    }

    /// True when the request was cancelled while it waited.
    fn end_waiting(&mut self) -> bool {
        std::mem::take(&mut self.waits) && self.handle.end_wait()
    }

    /// The session has a server already: it is used again if it may be.
    fn place_again(&mut self, target: Target, plan: &Plan) -> Placed {
        if let Some(error) = self.refused_on_replica(plan) {
            return Err(Err(error));
        }
        let Some(lease) = &self.lease else { return Ok(()) };
        if self.is_looking() {
            return Err(Ok(Stop::Drain));
        }
        let on_primary = !self.leased_replica();
        let fits = match target {
            Target::Primary => on_primary,
            Target::Replica => true,
            Target::ReplicaOnly => !on_primary,
        };
        let free = lease.status == b'I' && lease.expect.is_empty();
        if fits
            && free
            && !Arc::ptr_eq(&lease.settings, &self.settings)
            && (self.shards.is_some() || !self.pins.any())
            && let Some(lease) = self.lease.take()
        {
            return self.attach(lease);
        }
        let Some(lease) = &self.lease else { return Ok(()) };
        if fits || lease.status != b'I' || self.keeps_server() {
            if lease.status != b'I' {
                self.placement.kind = RouteKind::Transaction;
            }
            self.acquire_attempts = 0;
            return Ok(());
        }
        if !lease.expect.is_empty() {
            return Err(Ok(Stop::Drain));
        }
        // Nothing is owed any more, yet the server was kept for a request that has changed its
        // mind (or the host its role): lend another one.
        self.release_server();
        if self.lease.is_some() { Err(Ok(Stop::Drain)) } else { self.lease_for(target, plan) }
    }

    fn lease_for(&mut self, target: Target, plan: &Plan) -> Placed {
        self.follow_reload();
        if self.pools.lever.is_paused() && self.is_held_back() {
            return Err(Ok(Stop::Event(Event::AwaitResume)));
        }
        let host = match self.choose_host(target, plan) {
            Ok(host) => host,
            Err(cause) => return Err(self.or_wait(target, cause)),
        };
        let pool = &self.pools.pools[host];
        match pool.try_get(self.worker.index, self.started) {
            Some(lease) => {
                self.metrics.traffic.assigned();
                self.attach(lease)
            }
            None => match self.in_vain(host) {
                Some(cause) => Err(self.or_wait(target, cause)),
                None => Err(Ok(Stop::Event(Event::Acquire(host)))),
            },
        }
    }

    fn choose_host(&mut self, target: Target, plan: &Plan) -> Result<usize, SqlError> {
        self.placement.fallback = None;
        self.placement.replica_only = target == Target::ReplicaOnly;
        let repeating = std::mem::take(&mut self.repeating_on_primary);
        self.placement.why = match repeating {
            true => Some("repeated after a replica could not answer"),
            false => self.why(plan),
        };
        if target == Target::Primary || repeating {
            self.placement.kind = match plan.effect {
                Effect::Read => RouteKind::PrimaryRead,
                Effect::Transaction => RouteKind::Transaction,
                _ => RouteKind::Write,
            };
            return self.pools.cluster.primary();
        }
        if let Some(why) = self.away_from_replicas() {
            if target == Target::ReplicaOnly {
                return Err(SqlError::error("57P03", "no replica can serve this read")
                    .detail(format!("The reason: {why}."))
                    .hint("Drop role=replica to let the primary serve it."));
            }
            self.placement.kind = RouteKind::PinnedRead;
            self.placement.fallback = Some(why.into());
            self.placement.why = Some(why);
            return self.pools.cluster.primary();
        }
        let (need, seed) = (self.freshness(plan), self.next_seed());
        let cluster = &self.pools.cluster;
        match cluster.pick_replica(&need, seed) {
            Ok(host) => {
                self.placement.kind = RouteKind::ReplicaRead;
                Ok(host)
            }
            Err(stale) if target == Target::ReplicaOnly => {
                Err(SqlError::error("57P03", "no replica can serve this read")
                    .detail(format!("Replicas: {stale}."))
                    .hint("Drop role=replica to let the primary serve it."))
            }
            Err(stale) => {
                if let Some(token) = &need.token {
                    cluster.check_token(token)?;
                }
                self.placement.kind = RouteKind::PinnedRead;
                self.placement.fallback = Some(stale.to_string().into());
                self.placement.why = Some(stale.reason());
                cluster.primary()
            }
        }
    }

    /// A random number for the choice among replicas.
    fn next_seed(&mut self) -> u64 {
        next_seed(&mut self.seed)
    }

    /// What a replica must have seen to answer this session.
    fn freshness(&self, plan: &Plan) -> Freshness {
        let database = &self.pools.database;
        let scope = self.knobs.scope(&plan.hints);
        let (mark, async_commit) = match scope {
            Scope::Off => (None, false),
            Scope::Session => (self.last_write, self.last_write_async),
            Scope::Key(key) => {
                let shared = self.pools.keys.get(key);
                let mark = match (self.last_write, shared) {
                    (Some(own), Some(shared)) => Some(own.latest(shared.mark)),
                    (own, shared) => own.or(shared.map(|shared| shared.mark)),
                };
                let shared_async = shared.is_some_and(|shared| shared.async_commit);
                (mark, self.last_write_async || shared_async)
            }
        };
        Freshness {
            mark,
            token: self.knobs.min_lsn(),
            max_lag: self.knobs.max_lag(&plan.hints).or(database.max_replica_lag),
            max_lag_bytes: database.max_replica_lag_bytes,
            async_commit,
        }
    }

    /// Takes a leased server into use: first it is given the session's parameters, and the BEGIN
    /// that was put off.
    pub(super) fn attach(&mut self, mut lease: Lease) -> Placed {
        self.set_state(ClientState::Active);
        self.handle.lend(&lease.info);
        if self.is_home() {
            self.pools.hub.uses(&lease.info, self.handle.id, lease.heard_after);
        }
        self.server_tainted = false;
        let sql = if Arc::ptr_eq(&lease.settings, &self.settings) {
            None
        } else {
            Some(lease.settings.difference_sql(&self.settings)).filter(|sql| !sql.is_empty())
        };
        lease.settings = Arc::clone(&self.settings);
        if let Some(sql) = sql {
            lease.query(sql.as_bytes(), Expect::Hidden(Hidden::Apply));
            self.lease = Some(lease);
            // What follows must not run if a parameter is refused, so it waits.
            self.start_waiting();
            return Err(Ok(Stop::Drain));
        }
        self.lease = Some(lease);
        Ok(())
    }

    /// Sends the BEGIN that was put off. A transaction that has failed since fails there as well,
    /// before anything else runs in it.
    fn send_begin(&mut self) -> Placed {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        match &self.virtual_transaction {
            Virtual::Begun(begin) => {
                lease.query(&begin.text, Expect::Hidden(Hidden::Begin));
                self.virtual_transaction = Virtual::None;
                Ok(())
            }
            Virtual::Failed(Some(begin)) => {
                let text = [&begin.text, &b"\n;"[..], POISON].concat();
                lease.query(&text, Expect::Hidden(Hidden::Fail));
                self.virtual_transaction = Virtual::None;
                self.start_waiting();
                Err(Ok(Stop::Drain))
            }
            Virtual::None | Virtual::Failed(None) | Virtual::Lost(_) => Ok(()),
        }
    }

    /// A transaction that runs on a replica stays there: what a replica must not run is refused.
    pub(super) fn refused_on_replica(&self, plan: &Plan) -> Option<SqlError> {
        let lease = self.lease.as_ref()?;
        if lease.status == b'I' || !self.leased_replica() {
            return None;
        }
        match plan.effect {
            Effect::Read | Effect::Transaction => None,
            Effect::SessionState if plan.session.pin.is_none() => None,
            Effect::SessionState => Some(
                SqlError::error("25006", "cannot run this statement in a read-only transaction")
                    .detail("The transaction runs on a replica, which cannot be kept.")
                    .hint("Begin with /* pgm: primary */ or SET pgm.role = 'primary'."),
            ),
            Effect::Ddl | Effect::Write | Effect::Copy | Effect::Unknown => Some(
                SqlError::error("25006", "cannot run this statement in a read-only transaction")
                    .detail(format!("The transaction runs on a replica; reason: {}.", plan.reason))
                    .hint("Begin with /* pgm: primary */ or SET pgm.role = 'primary'."),
            ),
        }
    }

    /// True while the server is asked what the session has left there.
    pub(super) fn is_looking(&self) -> bool {
        let looks = |owed: &Expect| matches!(owed, Expect::Hidden(Hidden::ReadSettings));
        self.lease.as_ref().is_some_and(|lease| lease.expect.iter().any(looks))
    }

    /// True when the session keeps its server between transactions and has one.
    pub(super) fn keeps_server(&self) -> bool {
        self.pins.any() && self.lease.is_some()
    }

    pub(super) fn leased_replica(&self) -> bool {
        let Some(lease) = &self.lease else { return false };
        self.pools
            .cluster
            .hosts()
            .get(lease.host_index())
            .is_some_and(|host| host.role() == Role::Replica)
    }

    /// Waits for a connection to the host. A replica that cannot be reached is passed over: the
    /// request looks for another server, a bounded number of times.
    pub(super) async fn acquire(&mut self, host: usize) {
        self.set_state(ClientState::Waiting);
        let waiting = Instant::now();
        let pool = Arc::clone(&self.pools.pools[host]);
        self.start_waiting();
        let claim = self.claim();
        let result = self.wait_for_server(&pool, claim).await;
        let waited = waiting.elapsed();
        self.metrics.pool_wait(waited);
        self.account.waited(waited);
        if let Some(traffic) = pool.traffic(self.worker.index) {
            traffic.waited(waited);
        }
        match result {
            Ok(lease) => {
                self.acquire_attempts = 0;
                self.count_wait(waiting.elapsed());
                self.metrics.traffic.assigned();
                // A drain is not an answer: the request is looked at again when it is over.
                if let Err(Ok(Stop::Drain)) = self.attach(lease) {
                    self.draining = true;
                }
            }
            // It is looked at again, and waits for the end of the pause.
            Err(error) if lever::is_held_back(&error) => self.rest(),
            Err(error) => {
                self.rest();
                if error.sqlstate == "53300" {
                    self.metrics.checkout_timeout();
                }
                let other = self.pools.cluster.primary().is_ok_and(|primary| primary != host);
                let unreachable = error.sqlstate.starts_with("08") || error.sqlstate == "57P03";
                let tries = usize::from(self.acquire_attempts);
                if other && unreachable && tries < self.pools.pools.len() {
                    self.acquire_attempts += 1;
                } else if unreachable && self.waits_after(&error) {
                    self.acquire_attempts = 0;
                } else {
                    self.acquire_attempts = 0;
                    self.refused = Some(Box::new(error));
                }
            }
        }
    }

    /// After a reload the session goes on with the new pools, between transactions.
    pub(super) fn follow_reload(&mut self) {
        if self.pools.is_current() {
            return;
        }
        if self.shards.is_some() {
            return self.follow_reload_on_shards();
        }
        let pools = &self.pools;
        let Some(next) = self.shared.user_pools(&pools.database.name, &self.guards.user) else {
            return;
        };
        if !Arc::ptr_eq(&next.cluster, &self.pools.cluster) && self.last_write.is_some() {
            self.last_write = Some(next.cluster.mark_write());
        }
        self.pools = next;
        self.show_write();
    }

    /// Notes what a server has after `ReadSettings`: parameters, and what ties the session.
    pub(super) fn state_read(&mut self, mut rows: Vec<(Box<str>, Box<str>)>) {
        let mut found = Reasons::default();
        let mut names: Vec<Box<str>> = Vec::new();
        rows.retain_mut(|(name, value)| match held::row_reason(name) {
            Some(reason) => {
                found.insert(reason);
                false
            }
            None if **name == *held::STATEMENT_ROW => {
                names.push(std::mem::take(value));
                false
            }
            None => true,
        });
        self.listens_natively = found.has(PinReason::Listen);
        self.pins.looked(found);
        self.settings_dirty = false;
        if std::mem::take(&mut self.statements_dirty)
            && let Some(lease) = &mut self.lease
        {
            self.server_tainted |= !lease.statements.keep_only(&names);
        }
        self.settings_read(rows);
    }

    fn settings_read(&mut self, rows: Vec<(Box<str>, Box<str>)>) {
        let server_user = self.pools.user.server_user.as_str();
        let is_default = |name: &str, value: &str| {
            (name == "role" && value == "none")
                || (name == "session_authorization" && value == server_user)
        };
        let rows = rows.into_iter().filter_map(|(name, hex)| {
            let value = settings::decode(&hex)?;
            (!is_default(&name, &value)).then_some((name, value))
        });
        let on_server = self.shared.settings.intern(Settings::new(rows));
        let startup = self.startup.iter().filter(|(name, _)| on_server.get(name).is_none());
        let mut missing: Vec<(Box<str>, Box<str>)> =
            startup.map(|(name, value)| (name.into(), value.into())).collect();
        self.settings = if missing.is_empty() {
            Arc::clone(&on_server)
        } else {
            let kept = on_server.iter().map(|(name, value)| (name.into(), value.into()));
            missing.extend(kept);
            self.shared.settings.intern(Settings::new(missing))
        };
        self.handle.sight.has_set(&self.settings);
        self.dialect = self.settings.dialect(&self.greeting);
        if let Some(lease) = &mut self.lease {
            lease.settings = on_server;
        }
    }
}
