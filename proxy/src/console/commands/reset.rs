//! Owns RESET STATS: statements are counted anew. Counters, and what is made of them, go on.

use crate::server::Shared;

/// Forgets all statements, on every worker.
pub(super) fn reset_stats(shared: &Shared) {
    shared.metrics.by_database().iter().for_each(|(_, worker)| worker.digests.reset());
}
