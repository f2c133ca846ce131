//! Owns the counters of one worker and host.

use super::samples::{Samples, Timings};
use super::table;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counters of one worker and host. Aligned so that two workers never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct HostMetrics {
    connects: AtomicU64,
    connect_failures: AtomicU64,
    queue_refusals: AtomicU64,
    errors: AtomicU64,
    /// Locked by the worker that owns this, and by a scrape while it copies.
    times: Mutex<HostTimes>,
}

#[derive(Debug, Default, Clone)]
struct HostTimes {
    /// Of each request, from its lease to the end of the answer.
    served: Timings,
    pool_wait: Timings,
}

/// What a host has done so far.
#[derive(Debug, Default)]
pub struct HostTraffic {
    /// Requests it has answered, and how long it took.
    pub served: Timings,
    /// Waits for a connection to it.
    pub pool_wait: Timings,
    /// Errors it has answered with.
    pub errors: u64,
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

    /// Counts a request the host has answered; it took so long since it had a connection.
    pub fn served(&self, time: Duration) {
        self.with_times(|times| times.served.record(time));
    }

    /// Counts an error the host has answered with.
    pub fn failed(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// Notes a wait for a connection to the host.
    pub fn waited(&self, time: Duration) {
        self.with_times(|times| times.pool_wait.record(time));
    }

    /// Adds what it has done.
    pub(super) fn add_to(&self, traffic: &mut HostTraffic) {
        let mut times = HostTimes::default();
        self.with_times(|live| times = live.clone());
        traffic.served.merge(&times.served);
        traffic.pool_wait.merge(&times.pool_wait);
        traffic.errors += self.errors.load(Relaxed);
    }

    fn with_times(&self, change: impl FnOnce(&mut HostTimes)) {
        // Counters stay meaningful after a panic elsewhere.
        change(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Adds everything to `samples`.
    pub(super) fn collect(&self, shard: &str, host: &str, samples: &mut Samples) {
        let labels = [shard, host];
        samples.counter(&table::SERVER_CONNECTS, &labels, self.connects.load(Relaxed));
        let refusals = self.queue_refusals.load(Relaxed);
        samples.counter(&table::QUEUE_REFUSALS, &labels, refusals);
        let failures = self.connect_failures.load(Relaxed);
        samples.counter(&table::SERVER_CONNECT_FAILURES, &labels, failures);
        let mut traffic = HostTraffic::default();
        self.add_to(&mut traffic);
        samples.counter(&table::HOST_QUERIES, &labels, traffic.served.count());
        samples.counter(&table::HOST_ERRORS, &labels, traffic.errors);
        samples.timings(&table::HOST_QUERY_SECONDS, &labels, &traffic.served);
        samples.timings(&table::HOST_POOL_WAIT_SECONDS, &labels, &traffic.pool_wait);
    }
}
