//! Owns what a worker thread keeps for all its sessions: the scratch buffer, the scanner and the
//! plan caches. None of it lives across an await.

use super::redacted::redacted;
use super::{Prepared, Session};
use pgmanifold_router::fingerprint::Scan;
use pgmanifold_router::lexer::Token;
use pgmanifold_router::plan::{Effect, Plan};
use pgmanifold_router::plan_cache::PlanCache;
use pgmanifold_router::planner;
use pgmanifold_router::route::Route;
use pgmanifold_router::shape::Shape;
use std::cell::RefCell;
use std::sync::Arc;

/// Bytes read from a socket at once.
const SCRATCH_BYTES: usize = 32 * 1024;

/// Plans kept per worker and database.
const PLAN_CACHE_ENTRIES: usize = 10_000;

/// Bits of a map's epoch that tell plans apart.
const EPOCH_BITS: u32 = 24;

/// The scanner and the plan caches of one worker.
pub(super) struct Planner {
    scan: Scan,
    /// By the id of the database's facts.
    caches: Vec<Option<PlanCache>>,
}

thread_local! {
    static SCRATCH: RefCell<(Box<[u8]>, Planner)> = RefCell::new((
        vec![0; SCRATCH_BYTES].into_boxed_slice(),
        Planner { scan: Scan::new(rand::random()), caches: Vec::new() },
    ));
}

/// Lends the worker's scratch buffer and planner.
pub(super) fn with_scratch<T>(use_it: impl FnOnce(&mut [u8], &mut Planner) -> T) -> T {
    SCRATCH.with_borrow_mut(|(scratch, planner)| use_it(scratch, planner))
}

/// The plan of a request that has no text to look at.
pub(super) fn unplanned(reason: &'static str) -> Plan {
    Plan { effect: Effect::Unknown, reason: reason.into(), statements: 1, ..Plan::default() }
}

impl Planner {
    /// The literals of the text planned last, where all of them are known.
    pub(super) fn literals(&self) -> Option<&[Token]> {
        (self.scan.cacheable() && self.scan.lifts_all()).then(|| self.scan.literals())
    }
}

impl Session {
    /// What plans depend on beside the text and how it is read.
    pub(super) fn plan_version(&self) -> u64 {
        let facts = self.pools.facts.facts().version();
        match &self.shards {
            None => facts,
            Some(shards) => facts << EPOCH_BITS | shards.epoch() & ((1 << EPOCH_BITS) - 1),
        }
    }

    /// The plan of a text: from the cache, or made now.
    pub(super) fn plan(&self, text: &[u8], planner: &mut Planner) -> Arc<Plan> {
        let facts = self.pools.facts.facts();
        let dialect = self.dialect;
        let Planner { scan, caches } = planner;
        let index = self.pools.database_id;
        if caches.len() <= index {
            caches.resize_with(index + 1, || None);
        }
        if caches[index].is_none() {
            // Each reload that changes a database gives it another id.
            let state = self.shared.state();
            let gone = |(id, _): &(usize, &mut Option<PlanCache>)| !state.has_database(*id);
            caches.iter_mut().enumerate().filter(gone).for_each(|(_, cache)| *cache = None);
        }
        let cache = caches[index]
            .get_or_insert_with(|| PlanCache::new(PLAN_CACHE_ENTRIES, PlanCache::DEFAULT_BYTES));
        let context = self.plan_version() << 3 | dialect.bits();
        let scanned = scan.scan(text, dialect).is_ok() && scan.cacheable();
        let known = if scanned { cache.get(scan, context) } else { None };
        self.metrics.plan_lookup(known.is_some());
        if let Some(plan) = known {
            return plan;
        }
        let mut plan = planner::plan(text, &facts, dialect);
        if let Some(shards) = &self.shards {
            plan.placing = Some(Box::new(shards.place(text, &plan, &facts, dialect)));
        }
        let shape = Shape::read(text, dialect);
        plan.shape = Some(self.metrics.digests.share(shape));
        let plan = Arc::new(plan);
        if scanned && plan.cacheable {
            cache.insert(scan, context, Arc::clone(&plan));
        }
        plan
    }

    /// Logs the decision on a simple query.
    pub(super) fn trace(&self, text: &[u8], plan: &Plan, route: &Route) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let sql = redacted(text, self.dialect);
            let fallback = self.placement.fallback.as_deref();
            let host = self.lease.as_ref().map(|lease| lease.info.host.address.to_string());
            tracing::debug!(client = self.handle.id, sql, effect = ?plan.effect,
                target = ?route.target, reason = %route.reason, fallback, host, "routed");
        }
    }

    /// Logs the decision on a bound statement.
    pub(super) fn trace_batch(&self, prepared: &Prepared) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            self.trace(prepared.statement.text(), &prepared.plan, &self.route(&prepared.plan));
        }
    }
}
