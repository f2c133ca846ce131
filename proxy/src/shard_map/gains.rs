//! Owns what follows from keys that a new map gives to a shard: their rows were written there by
//! the mover, after sessions were answered by the shard that had them before, so reads only find
//! replicas that have replayed them.

use crate::cluster::Cluster;
use pgmanifold_router::shard_map::{ShardId, ShardMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The servers of each shard, and which shards were given keys.
#[derive(Debug, Default)]
pub(super) struct Gains {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Those of earlier configurations too, while somebody uses them.
    clusters: Vec<(ShardId, Weak<Cluster>)>,
    gained: Vec<ShardId>,
}

impl Gains {
    /// The servers of all shards, in order. What they have now is not known to be enough for a
    /// shard that was given keys.
    pub(super) fn add<'a>(&self, clusters: impl Iterator<Item = &'a Arc<Cluster>>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clusters.retain(|(_, cluster)| cluster.strong_count() > 0);
        for (shard, cluster) in (0u16..).map(ShardId).zip(clusters) {
            let weak = Arc::downgrade(cluster);
            if known.clusters.iter().any(|(_, one)| one.ptr_eq(&weak)) {
                continue;
            }
            if known.gained.contains(&shard) {
                cluster.raise_floor();
            }
            known.clusters.push((shard, weak));
        }
    }

    /// A map is about to be taken into use. The first one of a process may follow a hand-over that
    /// its clients have seen elsewhere.
    pub(super) fn note(&self, before: Option<&ShardMap>, map: &ShardMap) {
        let gaining = match before {
            Some(before) => map.gaining(before),
            None => handed_over(map),
        };
        if gaining.is_empty() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let given = |(shard, cluster): &(ShardId, Weak<Cluster>)| {
            gaining.contains(shard).then(|| cluster.upgrade()).flatten()
        };
        known.clusters.iter().filter_map(given).for_each(|cluster| cluster.raise_floor());
        known.gained.extend(gaining);
        known.gained.sort_unstable();
        known.gained.dedup();
    }
}

/// Who has keys that were another shard's when their move began.
fn handed_over(map: &ShardMap) -> Vec<ShardId> {
    let moves = map.distributions.iter().flat_map(|one| {
        let owners = one.moving.iter().map(|moving| one.owner_of(&moving.keys));
        one.moving.iter().zip(owners)
    });
    moves.filter_map(|(moving, owner)| owner.filter(|owner| *owner == moving.target)).collect()
}
