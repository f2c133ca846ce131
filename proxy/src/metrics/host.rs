//! Owns the counters of one worker and host.

use super::samples::Samples;
use super::table;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// What a server connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// Connecting or logging in.
    Connecting,
    /// In the pool.
    Idle,
    /// Leased to a client.
    Active,
    /// Being reset before its return.
    Resetting,
}

pub(super) const STATES: [&str; 4] = ["connecting", "idle", "active", "resetting"];

/// Counters of one worker and host. Aligned so that two workers never share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct HostMetrics {
    states: [AtomicI64; STATES.len()],
    connects: AtomicU64,
    connect_failures: AtomicU64,
}

impl HostMetrics {
    /// Puts a server connection that is being made into the gauge, until the guard is dropped.
    pub fn server(self: &Arc<Self>) -> ServerGuard {
        self.states[ServerState::Connecting as usize].fetch_add(1, Relaxed);
        ServerGuard { metrics: self.clone(), state: ServerState::Connecting }
    }

    /// Counts a connection that logged in.
    pub fn connected(&self) {
        self.connects.fetch_add(1, Relaxed);
    }

    /// Counts an attempt that failed.
    pub fn connect_failed(&self) {
        self.connect_failures.fetch_add(1, Relaxed);
    }

    /// Adds everything to `samples`.
    pub(super) fn collect(&self, shard: &str, host: &str, samples: &mut Samples) {
        for (count, state) in self.states.iter().zip(STATES) {
            samples.gauge(&table::SERVERS, &[shard, host, state], count.load(Relaxed) as f64);
        }
        let labels = [shard, host];
        samples.counter(&table::SERVER_CONNECTS, &labels, self.connects.load(Relaxed));
        let failures = self.connect_failures.load(Relaxed);
        samples.counter(&table::SERVER_CONNECT_FAILURES, &labels, failures);
    }
}

/// A server connection in the gauge; dropping it takes the connection out.
#[derive(Debug)]
pub struct ServerGuard {
    metrics: Arc<HostMetrics>,
    state: ServerState,
}

impl ServerGuard {
    /// Moves the connection to `state`.
    pub fn set(&mut self, state: ServerState) {
        if state != self.state {
            self.metrics.states[self.state as usize].fetch_sub(1, Relaxed);
            self.metrics.states[state as usize].fetch_add(1, Relaxed);
            self.state = state;
        }
    }
}

impl Drop for ServerGuard {
    fn drop(&mut self) {
        self.metrics.states[self.state as usize].fetch_sub(1, Relaxed);
    }
}
