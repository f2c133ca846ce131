//! Owns the counters of one worker and host.

use super::samples::Samples;
use super::table;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of one worker and host. Aligned so that two workers never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct HostMetrics {
    connects: AtomicU64,
    connect_failures: AtomicU64,
    queue_refusals: AtomicU64,
}

impl HostMetrics {
    /// Counts a connection that logged in.
    pub fn connected(&self) {
        self.connects.fetch_add(1, Relaxed);
    }

    /// Counts an attempt that failed.
    pub fn connect_failed(&self) {
        self.connect_failures.fetch_add(1, Relaxed);
    }

    /// Counts a request turned away because too many wait for the host.
    pub fn queue_refused(&self) {
        self.queue_refusals.fetch_add(1, Relaxed);
    }

    /// Adds everything to `samples`.
    pub(super) fn collect(&self, shard: &str, host: &str, samples: &mut Samples) {
        let labels = [shard, host];
        samples.counter(&table::SERVER_CONNECTS, &labels, self.connects.load(Relaxed));
        let refusals = self.queue_refusals.load(Relaxed);
        samples.counter(&table::QUEUE_REFUSALS, &labels, refusals);
        let failures = self.connect_failures.load(Relaxed);
        samples.counter(&table::SERVER_CONNECT_FAILURES, &labels, failures);
    }
}
