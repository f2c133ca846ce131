//! Owns the sums of one statement shape.

use super::histogram::Histogram;
use crate::metrics::RouteKind;
use pgmanifold_router::shape::Shape;
use std::sync::Arc;
use std::time::Duration;

/// A statement that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What it looks like; `None` when it has no text.
    pub shape: Option<&'a Arc<Shape>>,
    /// Where it went.
    pub kind: RouteKind,
    /// Why.
    pub why: &'a str,
    /// From the request to the end of its answer.
    pub total: Duration,
    /// Of it, waiting for servers.
    pub waited: Duration,
    /// Rows returned or changed.
    pub rows: u64,
    /// Bytes of its answer.
    pub bytes: u64,
    /// It ended with an error.
    pub failed: bool,
    /// Shards it ran on: 0 when no server had it.
    pub shards: u32,
}

/// Sums of calls.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Calls.
    pub calls: u64,
    /// Those that ended with an error.
    pub errors: u64,
    /// Rows returned or changed.
    pub rows: u64,
    /// Bytes sent to clients.
    pub bytes: u64,
    /// Sum of their times.
    pub total: Duration,
    /// Of it, waiting for servers.
    pub pool_wait: Duration,
    /// Of it, with a server.
    pub server: Duration,
    /// The shortest, in microseconds.
    pub min_us: u64,
    /// The longest, in microseconds.
    pub max_us: u64,
    /// Most shards of one call.
    pub shards_max: u32,
    /// Sum of the shards of all calls.
    pub shards: u64,
    /// Calls on one server.
    pub single: u64,
    /// Calls on several shards.
    pub scatter: u64,
    /// Calls answered without a server.
    pub local: u64,
    /// Calls refused before a server had them.
    pub refused: u64,
    histogram: Histogram,
}

/// Whole microseconds.
#[inline]
pub(super) fn micros(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(time.subsec_micros()))
}

impl Stats {
    /// Adds a call.
    #[inline]
    pub(super) fn add(&mut self, call: &Call<'_>) {
        let total_us = micros(call.total);
        self.min_us = if self.calls == 0 { total_us } else { self.min_us.min(total_us) };
        self.max_us = self.max_us.max(total_us);
        self.calls += 1;
        self.errors += u64::from(call.failed);
        self.rows = self.rows.saturating_add(call.rows);
        self.bytes += call.bytes;
        self.total = self.total.saturating_add(call.total);
        self.pool_wait = self.pool_wait.saturating_add(call.waited);
        match (call.shards, call.kind) {
            (0, RouteKind::Refused) => self.refused += 1,
            (0, _) => self.local += 1,
            (shards, _) => {
                self.server = self.server.saturating_add(call.total.saturating_sub(call.waited));
                self.shards += u64::from(shards);
                self.shards_max = self.shards_max.max(shards);
                *(if shards == 1 { &mut self.single } else { &mut self.scatter }) += 1;
            }
        }
        self.histogram.record(total_us);
    }

    /// Adds the calls of another.
    pub(super) fn merge(&mut self, other: &Stats) {
        if other.calls == 0 {
            return;
        }
        self.min_us = if self.calls == 0 { other.min_us } else { self.min_us.min(other.min_us) };
        self.max_us = self.max_us.max(other.max_us);
        self.calls += other.calls;
        self.errors += other.errors;
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes += other.bytes;
        self.total = self.total.saturating_add(other.total);
        self.pool_wait = self.pool_wait.saturating_add(other.pool_wait);
        self.server = self.server.saturating_add(other.server);
        self.shards_max = self.shards_max.max(other.shards_max);
        self.shards += other.shards;
        self.single += other.single;
        self.scatter += other.scatter;
        self.local += other.local;
        self.refused += other.refused;
        self.histogram.merge(&other.histogram);
    }

    /// The time, in microseconds, that `share` (0 to 1) of the calls have not exceeded.
    pub fn percentile_us(&self, share: f64) -> u64 {
        let found = self.histogram.percentile(share).unwrap_or(0);
        found.clamp(self.min_us, self.max_us.max(self.min_us))
    }

    /// The mean time in microseconds.
    pub fn mean_us(&self) -> f64 {
        self.total.as_secs_f64() * 1e6 / self.calls.max(1) as f64
    }

    /// Shards per call that ran on any.
    pub fn shards_mean(&self) -> f64 {
        self.shards as f64 / (self.single + self.scatter).max(1) as f64
    }
}
