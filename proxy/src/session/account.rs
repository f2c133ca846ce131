//! Owns the counting of a session's statements: which statement each answer belongs to, from its
//! being sent to its end, and what is said of slow ones in the log. It decides nothing about them.
//!
//! A simple query is one statement, an Execute another. Statements are noted in the order they are
//! sent, with the server that answers them (`digest::Owed`). The clock that a ReadyForQuery costs
//! anyway is read for the last statement before it; only of several in one batch, the others read
//! it as well.

use super::Session;
use super::reply::Fate;
use super::request::Step;
use crate::backend::connection::{Expect, Hidden};
use crate::digest::{Call, Logged, Running, rows_of_tag};
use crate::metrics::RouteKind;
use crate::pool::Lease;
use crate::wire::error::SqlError;
use hashbrown::HashMap;
use pgmanifold_router::plan::{Effect, Plan};
use pgmanifold_router::shard_map::ShardId;
use pgmanifold_router::sharding::{Merge, Placing, Spread};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most portals with names whose statements are known; others are counted without a text.
const PORTALS_MAX: usize = 1_000;

/// Longest text of a statement in a log line.
const LOGGED_BYTES_MAX: usize = 1_024;

/// Plans by portal.
type Portals = HashMap<Box<[u8]>, Arc<Plan>>;

/// What the session knows of the statements under way, beside what it has sent.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// What the message at hand is about, until it is sent or answered.
    about: Option<Arc<Plan>>,
    /// What the unnamed portal was made of.
    unnamed: Option<Arc<Plan>>,
    /// What portals with names were made of.
    portals: Option<Box<Portals>>,
    /// The text at hand, when that is to be logged.
    text: Option<Box<[u8]>>,
    /// Since when servers are in a transaction for the session.
    pub(super) transaction_since: Option<Instant>,
    /// When the statement before the next one of this request was answered.
    since: Option<Instant>,
    /// How long the request has waited for servers.
    waited: Duration,
    /// The part of it that no statement of the request was charged with.
    uncharged: Duration,
}

impl Account {
    /// The message at hand is about a statement with this plan.
    #[inline]
    pub(super) fn is_about(&mut self, plan: &Arc<Plan>) {
        self.about = Some(Arc::clone(plan));
    }

    /// The message at hand is about no statement.
    pub(super) fn is_about_nothing(&mut self) {
        self.about = None;
    }

    /// A statement is bound to a portal.
    pub(super) fn bind(&mut self, portal: &[u8], plan: &Arc<Plan>) {
        self.is_about(plan);
        if portal.is_empty() {
            self.unnamed = Some(Arc::clone(plan));
            return;
        }
        let portals = self.portals.get_or_insert_default();
        if portals.len() < PORTALS_MAX {
            portals.insert(portal.into(), Arc::clone(plan));
        }
    }

    /// The message at hand executes a portal.
    pub(super) fn executes(&mut self, portal: &[u8]) {
        if portal.is_empty() {
            self.about = self.unnamed.clone();
            return;
        }
        self.about = self.portals.as_ref().and_then(|portals| portals.get(portal).cloned());
        self.text = None;
    }

    /// How long the request has waited for servers.
    pub(super) fn waited_for(&self) -> Duration {
        self.waited
    }

    /// The request has waited for a server.
    pub(super) fn waited(&mut self, time: Duration) {
        self.waited += time;
        self.uncharged += time;
    }
}

/// Where a statement of several shards goes, and why it needs several.
pub(super) type SpreadRoute = (RouteKind, &'static str);

/// The route of a statement of several shards.
pub(super) fn spread_route(plan: &Plan, spread: &Spread) -> SpreadRoute {
    let kind = match spread.merge {
        Merge::Finish { .. } => RouteKind::Gather,
        Merge::Same if plan.effect == Effect::Write => RouteKind::Reference,
        _ => RouteKind::Scatter,
    };
    let why = match plan.placing.as_deref() {
        Some(Placing::Keyed { filters, .. })
            if filters.iter().any(|filter| filter.conditions.is_empty()) =>
        {
            "no condition on the shard key"
        }
        Some(Placing::Keyed { .. }) => "keys on several shards",
        Some(Placing::Rows { .. } | Placing::CopyIn) => "rows for several shards",
        Some(Placing::Everywhere { .. }) => "all shards do the same",
        _ => "several shards",
    };
    (kind, why)
}

impl Session {
    /// Where a statement goes that is about to be sent, and why where its plan does not say.
    fn classify(&self, plan: &Plan) -> (RouteKind, Option<&'static str>) {
        let placed = &self.placement;
        match (placed.kind, plan.effect) {
            (_, Effect::Transaction) => (RouteKind::Transaction, None),
            (RouteKind::Transaction, _) => (RouteKind::Transaction, Some("inside a transaction")),
            (_, Effect::Read) if self.pins.any() && placed.kind != RouteKind::ReplicaRead => {
                (RouteKind::PrimaryRead, Some("the session keeps its server"))
            }
            (RouteKind::Write, Effect::Read) => {
                (RouteKind::PrimaryRead, Some("goes with what was sent before it"))
            }
            (kind, Effect::Read) => (kind, placed.why),
            (RouteKind::ReplicaRead, _) => (RouteKind::ReplicaRead, placed.why),
            _ => (RouteKind::Write, placed.why),
        }
    }

    /// A simple query is about to be looked at.
    #[inline]
    pub(super) fn account_query(&mut self, text: &[u8], plan: &Arc<Plan>) {
        self.account.is_about(plan);
        self.note_text(text);
    }

    /// Notes a text, when texts are to be logged.
    #[inline]
    pub(super) fn note_text(&mut self, text: &[u8]) {
        self.account.text = match self.shared.statements.literals() {
            true => text.get(..text.len().min(LOGGED_BYTES_MAX)).map(Into::into),
            false => None,
        };
    }

    /// A query, or an Execute of at most `limit` rows, is being sent.
    pub(super) fn account_sent(&mut self, limit: u32) {
        let plan = self.account.about.take();
        let (kind, why) = match &plan {
            Some(plan) => self.classify(plan),
            None => (self.placement.kind, None),
        };
        let text = self.account.text.clone();
        let Some(lease) = &mut self.lease else { return };
        let running = Running { plan, kind, why, failed: false, limit, rows: 0, bytes: 0, text };
        lease.owed.running.push_back(running);
    }

    /// The server has answered with an error; `by_query` when a simple query has met it.
    pub(super) fn account_error(&mut self, by_query: bool) {
        let Some(lease) = &mut self.lease else { return };
        if by_query && let Some(first) = lease.owed.running.front_mut() {
            first.failed = true;
        }
        if let Some(traffic) = lease.traffic(self.worker.index) {
            traffic.failed();
        }
    }

    /// So many bytes of an answer go to the client, up to the message at hand.
    #[inline]
    pub(super) fn account_bytes(&mut self, bytes: usize) {
        let Some(lease) = &mut self.lease else { return };
        let server = &mut **lease;
        let statement = match server.expect.front() {
            Some(Expect::Sync | Expect::Hidden(Hidden::Restore)) => server.owed.answered.as_mut(),
            Some(Expect::Hidden(_) | Expect::Poison(_) | Expect::PoisonBatch(_)) | None => None,
            Some(_) => server.owed.running.front_mut(),
        };
        if let Some(statement) = statement {
            statement.bytes += bytes as u64;
        }
    }

    /// A batch goes on after its answers came: what its client waited for in between is no
    /// statement's time.
    pub(super) fn account_goes_on(&mut self) {
        if self.lease.as_ref().is_some_and(|lease| lease.expect.is_empty()) {
            self.account.since = Some(Instant::now());
        }
    }

    /// An Execute is answered, with `C`, `I` or `s`. That passes.
    pub(super) fn account_executed(&mut self, kind: u8, tag: &[u8]) -> Fate {
        let Some(lease) = &mut self.lease else { return Fate::Pass };
        lease.expect.pop_front();
        let at_end = matches!(lease.expect.front(), Some(Expect::Sync));
        if let Some(first) = lease.owed.running.front_mut() {
            first.rows += match kind {
                b'C' => rows_of_tag(tag),
                b's' => u64::from(first.limit),
                _ => 0,
            };
        }
        if at_end {
            lease.owed.answer();
        } else if let Some(running) = lease.owed.running.pop_front() {
            let (now, since) = (Instant::now(), self.account.since.unwrap_or(self.started));
            self.account.since = Some(now);
            self.account_for(&running, now.saturating_duration_since(since), 1);
        }
        Fate::Pass
    }

    /// A ReadyForQuery that the client sees came at `now`; the request took this long. Returns the
    /// part of it that it has waited for servers.
    #[inline]
    pub(super) fn account_ready(&mut self, now: Instant, elapsed: Duration) -> Duration {
        let since = self.account.since.take();
        let waited = std::mem::take(&mut self.account.waited);
        match waited.is_zero() {
            true => self.metrics.query(self.placement.kind, elapsed),
            false => self.metrics.query_waited(self.placement.kind, elapsed, waited),
        }
        let Some(lease) = &mut self.lease else { return waited };
        let answered = lease.owed.answered.take();
        if let Some(traffic) = lease.traffic(self.worker.index) {
            traffic.served(elapsed.saturating_sub(waited));
        }
        if lease.status == b'I'
            && lease.owed.running.is_empty()
            && let Some(portals) = &mut self.account.portals
        {
            portals.clear();
        }
        if let Some(running) = answered {
            let total = since.map_or(elapsed, |since| now.saturating_duration_since(since));
            self.account_for(&running, total, 1);
        }
        self.account.uncharged = Duration::ZERO;
        waited
    }

    /// A ReadyForQuery that the client does not see came at `now`. It may end a part of a batch
    /// that goes on elsewhere; a statement that has failed in it has no other end.
    pub(super) fn account_hidden_ready(&mut self, now: Instant) {
        let Some(lease) = &mut self.lease else { return };
        // After the start-up values are set again, the client is answered.
        if matches!(lease.expect.front(), Some(Expect::Hidden(Hidden::Restore))) {
            return;
        }
        let Some(running) = lease.owed.answered.take() else { return };
        let since = self.account.since.replace(now).unwrap_or(self.started);
        self.account_for(&running, now.saturating_duration_since(since), 1);
    }

    /// The server is gone with what it owed; nothing is counted of a request that is `repeated`.
    pub(super) fn account_lost(&mut self, lease: &mut Lease, repeated: bool) {
        let elapsed = self.started.elapsed();
        let lost = lease.owed.take_all();
        if repeated {
            return;
        }
        for mut running in lost {
            running.failed = true;
            self.account_for(&running, elapsed, 1);
        }
        self.account_settled();
    }

    /// A request that needed no server, or several, has ended.
    fn account_settled(&mut self) {
        let account = &mut self.account;
        (account.since, account.about) = (None, None);
        (account.waited, account.uncharged) = (Duration::ZERO, Duration::ZERO);
    }

    /// A simple query was looked at without a server; it may have to come again.
    pub(super) fn account_local_query(&mut self, step: Step) -> Step {
        if matches!(step, Step::Done) && self.account.about.is_some() {
            self.metrics.query(RouteKind::Local, self.started.elapsed());
        }
        self.account_local(step)
    }

    /// Passes on what became of a message that no server need see. When it was carried out, its
    /// statement is counted; when it was refused, that has been counted.
    pub(super) fn account_local(&mut self, step: Step) -> Step {
        if matches!(step, Step::Done)
            && let Some(plan) = self.account.about.take()
        {
            let elapsed = self.started.elapsed();
            let text = self.account.text.clone();
            let running = self.apart(plan, (RouteKind::Local, None), text);
            self.account_for(&running, elapsed, 0);
        }
        step
    }

    /// A statement is refused before any server has it.
    pub(super) fn account_refused(&mut self, error: &SqlError) {
        let plan = self.account.about.take();
        let waited = self.account.uncharged;
        let why = error.routine.as_deref().copied();
        let text = self.account.text.clone();
        let mut running = Running { failed: true, ..refused(plan, text) };
        running.why = Some(why.unwrap_or("an error of pgmanifold's own"));
        self.account_for(&running, waited, 0);
        (self.account.waited, self.account.uncharged) = (Duration::ZERO, Duration::ZERO);
    }

    fn apart(
        &self,
        plan: Arc<Plan>,
        (kind, why): (RouteKind, Option<&'static str>),
        text: Option<Box<[u8]>>,
    ) -> Running {
        let plan = Some(plan);
        Running { plan, kind, why, failed: false, limit: 0, rows: 0, bytes: 0, text }
    }

    /// A statement over several shards has ended, with this tag unless it failed.
    pub(super) fn account_spread(
        &mut self,
        route: (RouteKind, Option<&'static str>),
        shards: usize,
        (tag, bytes): (Option<&str>, u64),
    ) {
        self.span_routed(route.0, route.1);
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.account.since.unwrap_or(self.started));
        match self.account.waited.is_zero() {
            true => self.metrics.query(route.0, elapsed),
            false => self.metrics.query_waited(route.0, elapsed, self.account.waited),
        }
        if let Some(plan) = self.account.about.take() {
            let text = self.account.text.clone();
            let mut running = self.apart(plan, route, text);
            (running.failed, running.bytes) = (tag.is_none(), bytes);
            running.rows = tag.map_or(0, |tag| rows_of_tag(tag.as_bytes()));
            self.account_for(&running, elapsed, u32::try_from(shards).unwrap_or(u32::MAX));
        }
        self.account_settled();
        self.started = now;
    }

    /// Several hosts were asked at `began`; when each has answered stands with its server.
    pub(super) fn account_hosts(&self, lifted: &mut [(ShardId, Lease)], began: Instant) {
        for (_, lease) in lifted {
            let answered = lease.answered.take();
            let failed = std::mem::take(&mut lease.failed);
            let Some(traffic) = lease.traffic(self.worker.index) else { continue };
            if let Some(answered) = answered {
                traffic.served(answered.saturating_duration_since(began));
            }
            if failed {
                traffic.failed();
            }
        }
    }

    /// Counts a statement that has ended, and logs it if it is to be.
    fn account_for(&mut self, running: &Running, total: Duration, shards: u32) {
        let waited = std::mem::take(&mut self.account.uncharged).min(total);
        let options = &self.shared.statements;
        self.metrics.digests.record(
            options.shapes_max(),
            &Call {
                shape: running.shape(),
                kind: running.kind,
                why: running.reason(),
                total,
                waited,
                rows: running.rows,
                bytes: running.bytes,
                failed: running.failed,
                shards,
            },
        );
        let seed = &mut self.seed;
        let logged = self.shared.statements.logged(total, || super::place::next_seed(seed));
        if let Some(logged) = logged {
            self.log_statement(logged, running, (total, waited), shards);
        }
    }

    #[cold]
    fn log_statement(
        &self,
        logged: Logged,
        running: &Running,
        (total, waited): (Duration, Duration),
        shards: u32,
    ) {
        let (duration_us, pool_wait_us) = (total.as_micros(), waited.as_micros());
        let lease = self.lease.as_ref().filter(|_| shards == 1);
        let host = lease.map(|lease| lease.info.host.address.to_string());
        let shard = lease.map(|_| self.pools.cluster.shard().name.as_str());
        let came = running.text.as_deref().map(String::from_utf8_lossy);
        let shape = running.shape();
        let statement = came.as_deref().or(shape.map(|shape| &*shape.text)).unwrap_or_default();
        let fingerprint = shape.map(|shape| format!("{:016x}", shape.fingerprint));
        let (route, reason) = (running.kind.word(), running.reason());
        let (database, user) = (&*self.pools.database.name, &*self.guards.user.name);
        let (client, rows, failed) = (self.handle.id, running.rows, running.failed);
        macro_rules! line {
            ($message:literal) => {
                tracing::info!(
                    duration_us,
                    pool_wait_us,
                    route,
                    reason,
                    shards,
                    shard,
                    host,
                    database,
                    user,
                    client,
                    rows,
                    failed,
                    fingerprint,
                    statement,
                    $message
                )
            };
        }
        match logged {
            Logged::Slow => line!("slow statement"),
            Logged::Sample => line!("statement"),
        }
    }
}

fn refused(plan: Option<Arc<Plan>>, text: Option<Box<[u8]>>) -> Running {
    let kind = RouteKind::Refused;
    Running { plan, kind, why: None, failed: false, limit: 0, rows: 0, bytes: 0, text }
}
