//! Owns the form of what is remembered: small numbers, because there are many of them.

use std::time::{Duration, SystemTime};

/// What happened between two looks.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it ended.
    pub at: SystemTime,
    /// How long it was.
    pub took: Duration,
    /// By the place of the database; one that came later is missing.
    pub databases: Box<[DatabasePoint]>,
    /// By the place of the host; one that came later is missing.
    pub hosts: Box<[HostPoint]>,
}

impl Sample {
    /// How often something happened per second that happened `count` times.
    pub fn per_second(&self, count: impl Into<f64>) -> f64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { count.into() / seconds } else { 0.0 }
    }
}

/// Of one database in one sample.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DatabasePoint {
    /// Requests that ended.
    pub queries: u32,
    /// Errors sent to clients.
    pub errors: u32,
    /// Their latencies; `None` when there were no requests.
    pub latency: Option<Latency>,
    /// All their time, in microseconds.
    pub total_sum_us: f32,
    /// Requests that had to wait for a server connection.
    pub waits: u32,
    /// All their waiting, in microseconds.
    pub wait_sum_us: f32,
    /// 95 % of them waited no longer, in microseconds; 0 when none waited.
    pub wait_p95_us: u32,
    /// Clients at the end.
    pub clients: u32,
    /// Of these, with a request that runs.
    pub active: u32,
    /// Of these, waiting for a server connection.
    pub waiting: u32,
}

/// Percentiles, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Half took no longer.
    pub p50_us: u32,
    /// 95 % took no longer.
    pub p95_us: u32,
    /// 99 % took no longer.
    pub p99_us: u32,
}

/// Of one host in one sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostPoint {
    /// Requests it has answered.
    pub queries: u32,
    /// Errors among its answers, and requests that lost their connection to it.
    pub errors: u32,
    /// Times of its answers; `None` when there were none.
    pub latency: Option<Latency>,
    /// Server connections lent to clients at the end.
    pub active: u32,
    /// Clients waiting for one at the end.
    pub waiting: u32,
    /// Age of a replica's data at the end, in milliseconds, when it was known.
    pub lag_ms: Option<u32>,
    /// Attempts to connect that failed.
    pub failures: u32,
}

/// What does not fit is shown as the largest number that does.
pub(super) fn small(number: f64) -> u32 {
    // Rust's `as` from floats saturates, and NaN becomes 0.
    number as u32
}
