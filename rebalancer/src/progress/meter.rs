//! Owns the counts of what workers have done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what workers have done; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    /// A worker has done this much more.
    pub fn add(&self, rows: u64, bytes: u64) {
        self.counts.rows.fetch_add(rows, Ordering::Relaxed);
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Rows and bytes so far.
    pub fn done(&self) -> (u64, u64) {
        (self.counts.rows.load(Ordering::Relaxed), self.counts.bytes.load(Ordering::Relaxed))
    }
}
