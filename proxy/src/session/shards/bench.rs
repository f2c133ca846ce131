//! Owns `Bench`: what a session has on one shard, while it works on another.

use super::super::Session;
use super::super::held::Pins;
use crate::backend::prepared::Statement;
use crate::cluster::WriteMark;
use crate::pool::Lease;
use crate::pool::manager::UserPools;
use pgmanifold_router::plan::PinReason;
use pgmanifold_router::shard_map::ShardId;
use std::mem::swap;
use std::sync::Arc;

/// The fields of a session that belong to one shard's server; see there.
pub(super) struct Bench {
    pub(super) lease: Option<Lease>,
    pub(super) pools: Arc<UserPools>,
    pub(super) pins: Pins,
    last_write: Option<WriteMark>,
    last_write_async: bool,
    pub(super) wrote: bool,
    wrote_async: bool,
    written_key: Option<Box<str>>,
    did_ddl: bool,
    settings_dirty: bool,
    local_settings: bool,
    statements_dirty: bool,
    server_tainted: bool,
    dropped: Vec<Arc<Statement>>,
    sequence_server: Option<u64>,
    sequences_lost: bool,
    listens_natively: bool,
    bound: Option<(Box<[u8]>, u64)>,
    /// A cancel request was sent to its server, and may still arrive.
    pub(super) cancelled: bool,
}

impl Bench {
    /// Closes its server, with everything the session has there.
    pub(super) fn discard(&mut self) {
        self.lease = None;
        self.pins = self.pins.emptied();
        self.settings_dirty = false;
        self.statements_dirty = false;
        self.listens_natively = false;
    }

    /// Its server is inside a transaction.
    pub(super) fn takes_part(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.status != b'I')
    }
}

impl Session {
    fn empty_bench(&self, pools: &Arc<UserPools>) -> Box<Bench> {
        let (metrics, handle) = (Arc::clone(&self.metrics), Arc::clone(&self.handle));
        Box::new(Bench {
            lease: None,
            pools: Arc::clone(pools),
            pins: Pins::new(&pools.database, metrics, handle),
            last_write: None,
            last_write_async: false,
            wrote: false,
            wrote_async: false,
            written_key: None,
            did_ddl: false,
            settings_dirty: false,
            local_settings: false,
            statements_dirty: false,
            server_tainted: false,
            dropped: Vec::new(),
            sequence_server: None,
            sequences_lost: false,
            listens_natively: false,
            bound: None,
            cancelled: false,
        })
    }

    /// Puts down what the session has on the shard at hand, and takes up what it has on `to`.
    /// What is put down must owe nothing.
    pub(super) fn exchange(&mut self, to: ShardId) {
        let Some(shards) = &mut self.shards else { return };
        if shards.here == to {
            return;
        }
        let Some(pools) = shards.pools.get(usize::from(to.0)).cloned() else { return };
        let known = shards.parked.get_mut(usize::from(to.0)).and_then(Option::take);
        let mut bench = known.unwrap_or_else(|| self.empty_bench(&pools));
        let returns_cancelled = std::mem::take(&mut bench.cancelled);
        let leaves_cancelled = self.lease.is_some() && self.handle.take_back();
        swap(&mut self.lease, &mut bench.lease);
        swap(&mut self.pools, &mut bench.pools);
        swap(&mut self.pins, &mut bench.pins);
        swap(&mut self.last_write, &mut bench.last_write);
        swap(&mut self.last_write_async, &mut bench.last_write_async);
        swap(&mut self.wrote, &mut bench.wrote);
        swap(&mut self.wrote_async, &mut bench.wrote_async);
        swap(&mut self.written_key, &mut bench.written_key);
        swap(&mut self.did_ddl, &mut bench.did_ddl);
        swap(&mut self.settings_dirty, &mut bench.settings_dirty);
        swap(&mut self.local_settings, &mut bench.local_settings);
        swap(&mut self.statements_dirty, &mut bench.statements_dirty);
        swap(&mut self.server_tainted, &mut bench.server_tainted);
        swap(&mut self.dropped, &mut bench.dropped);
        swap(&mut self.sequence_server, &mut bench.sequence_server);
        swap(&mut self.sequences_lost, &mut bench.sequences_lost);
        swap(&mut self.listens_natively, &mut bench.listens_natively);
        swap(&mut self.bound, &mut bench.bound);
        bench.cancelled = leaves_cancelled;
        if let Some(shards) = &mut self.shards {
            if let Some(place) = shards.parked.get_mut(usize::from(shards.here.0)) {
                *place = Some(bench);
            }
            shards.here = to;
        }
        if let Some(lease) = &self.lease {
            self.handle.lend(&lease.info);
            if returns_cancelled {
                self.handle.lent_cancelled();
            }
        }
        self.pins.publish();
        if self.knobs.keep_server() != self.pins.has(PinReason::Asked) {
            self.follow_keep_server();
        }
    }
}

impl Bench {
    /// The session has written on this shard.
    pub(super) fn has_written(&self) -> bool {
        self.last_write.is_some()
    }
}

impl Session {
    /// What the session reads on this shard must be as new as the shard is now.
    pub(super) fn mark_bench(&mut self, shard: ShardId) {
        let pools =
            self.shards.as_ref().and_then(|shards| shards.pools.get(usize::from(shard.0)).cloned());
        let Some(pools) = pools else { return };
        let mut bench = self.empty_bench(&pools);
        bench.last_write = Some(pools.cluster.mark_write());
        if let Some(shards) = &mut self.shards
            && let Some(place) = shards.parked.get_mut(usize::from(shard.0))
        {
            *place = Some(bench);
        }
    }
}
