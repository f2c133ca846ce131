//! Owns the counters of commits and recovery of one database, and brings them to the metrics.

use super::TwoPhase;
use crate::metrics::Samples;
use crate::metrics::table;
use crate::wire::error::SqlError;
use arc_swap::ArcSwapOption;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counts commits that needed two phases.
#[derive(Debug, Default)]
pub(super) struct Counts {
    committed: AtomicU64,
    rolled_back: AtomicU64,
    unknown: AtomicU64,
}

/// What is known of one shard.
#[derive(Debug, Default)]
pub(super) struct ShardCounts {
    /// It can prepare transactions and keep decisions, by the last check.
    pub ready: AtomicBool,
    /// Why it cannot.
    pub trouble: ArcSwapOption<SqlError>,
    /// Prepared parts that no commit of this process is about to end.
    pub in_doubt: AtomicU64,
    /// Parts that recovery has committed.
    pub committed: AtomicU64,
    /// Parts of committed transactions that their shard has lost.
    pub lost: AtomicU64,
    /// Parts that recovery has rolled back.
    pub rolled_back: AtomicU64,
}

impl Counts {
    pub(super) fn committed(&self) {
        self.committed.fetch_add(1, Relaxed);
    }

    pub(super) fn rolled_back(&self) {
        self.rolled_back.fetch_add(1, Relaxed);
    }

    pub(super) fn unknown(&self) {
        self.unknown.fetch_add(1, Relaxed);
    }
}

impl TwoPhase {
    /// Adds everything to `samples`.
    pub fn collect(&self, samples: &mut Samples) {
        let database = &*self.database;
        for (outcome, count) in [
            ("committed", &self.counts.committed),
            ("rolled_back", &self.counts.rolled_back),
            ("unknown", &self.counts.unknown),
        ] {
            let labels = [database, outcome];
            samples.counter(&table::TWO_PHASE_COMMITS, &labels, count.load(Relaxed));
        }
        for (place, counts) in self.shards.iter().zip(&self.shard_counts) {
            let labels = [database, &*place.name];
            let ready = f64::from(u8::from(counts.ready.load(Relaxed)));
            samples.gauge(&table::TWO_PHASE_READY, &labels, ready);
            let in_doubt = counts.in_doubt.load(Relaxed) as f64;
            samples.gauge(&table::TWO_PHASE_IN_DOUBT, &labels, in_doubt);
            for (outcome, count) in [
                ("committed", &counts.committed),
                ("rolled_back", &counts.rolled_back),
                ("lost", &counts.lost),
            ] {
                let labels = [database, &*place.name, outcome];
                samples.counter(&table::TWO_PHASE_RECOVERED, &labels, count.load(Relaxed));
            }
        }
    }
}
