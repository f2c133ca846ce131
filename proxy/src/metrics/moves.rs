//! Owns what is counted of statements that meet keys on their way to another shard, for one worker
//! and database.

use super::samples::{Samples, Timings};
use super::table;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// See the file.
#[derive(Debug, Default)]
pub struct Moves {
    held: AtomicU64,
    repeats: AtomicU64,
    waits: Mutex<Timings>,
}

impl Moves {
    /// A statement waits, for its keys are about to change hands.
    pub fn held(&self) {
        self.held.fetch_add(1, Relaxed);
    }

    /// A statement was refused by a shard that keys were moved away from, and is repeated.
    pub fn repeated(&self) {
        self.repeats.fetch_add(1, Relaxed);
    }

    /// A wait for another map has ended.
    pub fn waited(&self, time: Duration) {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).record(time);
    }

    pub(super) fn collect(&self, database: &str, samples: &mut Samples) {
        samples.counter(&table::HELD_STATEMENTS, &[database], self.held.load(Relaxed));
        samples.counter(&table::MOVED_REPEATS, &[database], self.repeats.load(Relaxed));
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner).clone();
        samples.timings(&table::HELD_SECONDS, &[database], &waits);
    }
}
