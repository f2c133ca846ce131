//! Owns what is known of portals that the server at hand may not have: those on other shards, those
//! of several shards, and those of transaction control that no server alone can carry out.

use super::run::Spread;
use pgmanifold_router::plan::Plan;
use pgmanifold_router::shard_map::ShardId;
use std::sync::Arc;

/// Most portals remembered per session.
const PORTALS_MAX: usize = 1_000;

/// The portals of a session, by name.
#[derive(Debug, Default)]
pub(super) struct Portals {
    known: Vec<(Box<[u8]>, Portal)>,
}

/// What a portal stands for.
#[derive(Debug, Clone)]
pub(super) enum Portal {
    /// It is on this shard's server.
    On(ShardId),
    /// Transaction control.
    Control { text: Box<[u8]>, plan: Arc<Plan> },
    /// A statement of several shards.
    Spread(Arc<Spread>),
}

impl Portals {
    pub(super) fn find(&self, name: &[u8]) -> Option<&Portal> {
        self.known.iter().find(|(known, _)| **known == *name).map(|(_, portal)| portal)
    }

    pub(super) fn forget(&mut self, name: &[u8]) {
        self.known.retain(|(known, _)| **known != *name);
    }

    /// False when there are too many.
    pub(super) fn put(&mut self, name: &[u8], portal: Portal) -> bool {
        self.forget(name);
        let fits = self.known.len() < PORTALS_MAX;
        if fits {
            self.known.push((name.into(), portal));
        }
        fits
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}
