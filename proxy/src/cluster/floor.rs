//! Owns what every read on a replica must find there, whoever asks: rows that the shard was given
//! by another one. Their writes were answered while the other shard had them, so no session's own
//! mark is about this shard.

use super::Cluster;
use super::host::HostState;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first sample whose position covers it all; 0 when there is nothing to cover.
#[derive(Debug, Default)]
pub(super) struct Floor(AtomicU64);

impl Cluster {
    /// From now on reads only find replicas that have what the primary has now. What was applied
    /// there may not have been flushed yet.
    pub fn raise_floor(&self) {
        let mark = self.mark_write();
        self.floor.0.fetch_max(mark.sample.saturating_add(1), Ordering::AcqRel);
    }

    /// Whether a replica has what was handed over to the shard: without it, rows would be missing
    /// that were there all the time.
    #[inline]
    pub(super) fn has_floor(&self, host: &HostState, generation: u64) -> bool {
        let floor = self.floor.0.load(Ordering::Acquire);
        floor == 0 || host.covered_sample(generation, true) >= floor
    }
}
