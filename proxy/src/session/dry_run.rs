//! Owns a session's part in the dry run of sharding rules: what it sends is counted, and goes its
//! way as ever.

use super::planning::Planner;
use super::shards::BindValues;
use super::{Prepared, Session};
use crate::dry_run::DryRun;
use pgmanifold_router::plan::Plan;
use pgmanifold_router::route::Route;

impl Session {
    /// A simple query is about to be sent: it is logged, and counted.
    pub(super) fn note_simple(
        &self,
        text: &[u8],
        plan: &Plan,
        route: &Route,
        planner: &Planner,
        calls: bool,
    ) {
        self.trace(text, plan, route);
        let Some(dry_run) = self.observer() else { return };
        let lifted = if calls { None } else { planner.literals() };
        let facts = self.pools.facts.facts();
        dry_run.observe(text, plan, (&facts, self.dialect), lifted, None);
    }

    /// The dry run, when there is one and the catalog is known: after DDL it would judge by what
    /// is no longer true.
    fn observer(&self) -> Option<&DryRun> {
        let dry_run = self.pools.dry_run.as_deref()?;
        self.pools.facts.is_settled().then_some(dry_run)
    }

    /// A bound statement is about to be sent.
    pub(super) fn observe_bind(&self, values: &[u8], prepared: &Prepared) {
        let Some(dry_run) = self.observer() else { return };
        // What the server refuses is not counted.
        let Ok(read) = BindValues::of(values, &prepared.statement.body) else { return };
        let (text, facts) = (prepared.statement.text(), self.pools.facts.facts());
        let (plan, bound) = (&prepared.plan, read.bound());
        dry_run.observe(text, plan, (&facts, self.dialect), None, Some(&bound));
    }
}
