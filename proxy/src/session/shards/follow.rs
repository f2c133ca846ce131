//! Owns how a session of a sharded database follows a reload, between transactions.

use super::super::Session;
use pgmanifold_router::shard_map::ShardId;
use std::sync::Arc;

impl Session {
    /// Takes the pools of the new configuration, on all shards, unless something of the session's
    /// is still on servers of the old one.
    pub(in crate::session) fn follow_reload_on_shards(&mut self) {
        let (name, user) = (&self.pools.database.name, &self.guards.user);
        let Some(next) = self.shared.shard_pools(name, user) else { return };
        let Some(shards) = &mut self.shards else { return };
        let kept = shards.parked.iter().flatten().any(|bench| bench.lease.is_some());
        if kept || Arc::ptr_eq(&next, &shards.pools) {
            return;
        }
        let Some(first) = next.first() else { return };
        let Some(sharded) = &first.sharded else { return };
        let here = sharded.shard_named(shards.name(shards.here)).unwrap_or(sharded.home());
        let Some(pools) = next.get(usize::from(here.0)).cloned() else { return };
        if !Arc::ptr_eq(sharded, &shards.sharded) {
            shards.sharded = Arc::clone(sharded);
            shards.map = None;
        }
        // What was written before is read from primaries, or from replicas that have it all.
        let marks = |pools: &Arc<crate::pool::manager::UserPools>| pools.cluster.mark_write();
        let wrote = self.last_write.is_some()
            || shards.parked.iter().flatten().any(|bench| bench.has_written());
        shards.parked = next.iter().map(|_| None).collect();
        shards.pools = Arc::clone(&next);
        shards.here = here;
        let others: Vec<ShardId> = (0u16..)
            .map(ShardId)
            .zip(next.iter())
            .map(|(id, _)| id)
            .filter(|id| *id != here)
            .collect();
        if wrote {
            self.last_write = Some(marks(&pools));
            for id in others {
                self.mark_bench(id);
            }
        }
        self.pools = pools;
        self.show_write();
    }
}
