//! Owns RESET STATS: statements are counted anew. Counters, and what is made of them, go on.

use crate::server::Shared;

/// Forgets all statements, on every worker, and what dry runs have counted.
pub(super) fn reset_stats(shared: &Shared) {
    for database in shared.state().running() {
        if let Some(dry_run) = &database.dry_run {
            dry_run.reset();
        }
    }
    shared.metrics.by_database().iter().for_each(|(_, worker)| worker.digests.reset());
}
