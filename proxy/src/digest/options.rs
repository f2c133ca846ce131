//! Owns what the configuration says about statements: how many shapes are kept, and which
//! statements are logged. A reload changes it under the feet of sessions.

use super::stats::micros;
use crate::config::model::StatementOptions;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Of how many statements `sample_per_mille` says how many are logged.
const MILLE: u64 = 1_000;

/// The configuration in force.
#[derive(Debug)]
pub struct Options {
    shapes_max: AtomicUsize,
    /// `u64::MAX`: none.
    slow_us: AtomicU64,
    sample_per_mille: AtomicU32,
    literals: AtomicBool,
}

/// Why a statement is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logged {
    /// It took long.
    Slow,
    /// It is a sample.
    Sample,
}

impl Options {
    /// As configured.
    pub fn new(config: &StatementOptions) -> Self {
        let options = Self {
            shapes_max: AtomicUsize::new(0),
            slow_us: AtomicU64::new(u64::MAX),
            sample_per_mille: AtomicU32::new(0),
            literals: AtomicBool::new(false),
        };
        options.set(config);
        options
    }

    /// Takes a new configuration into use.
    pub fn set(&self, config: &StatementOptions) {
        self.shapes_max.store(config.digests_max, Relaxed);
        self.slow_us.store(config.slow.map_or(u64::MAX, micros), Relaxed);
        self.sample_per_mille.store(config.sample_per_mille, Relaxed);
        self.literals.store(config.literals, Relaxed);
    }

    /// Shapes kept per worker and database.
    pub fn shapes_max(&self) -> usize {
        self.shapes_max.load(Relaxed)
    }

    /// Lines show texts as they came.
    pub fn literals(&self) -> bool {
        self.literals.load(Relaxed)
    }

    /// Whether a statement that took so long is logged. `random` is asked for only where it
    /// matters.
    #[inline]
    pub fn logged(&self, total: Duration, random: impl FnOnce() -> u64) -> Option<Logged> {
        if micros(total) >= self.slow_us.load(Relaxed) {
            return Some(Logged::Slow);
        }
        let sample = u64::from(self.sample_per_mille.load(Relaxed));
        // The high bits of the sessions' generator are the random ones.
        (sample > 0 && (random() >> 32) % MILLE < sample).then_some(Logged::Sample)
    }
}
