//! Owns what ties a session to its server between transactions. The server is the authority: after
//! a statement that may have taken or ended such a thing, the query that reads settings back also
//! asks what the server holds, and what it does not hold ties nobody. It sends nothing itself.
//!
//! ```text
//!            statement that may take or end        transaction ended: asked
//!   known ─────────────────────────────► doubtful ──────────────────────────► known
//!                                                       could not be asked: doubtful
//! ```

use crate::config::model::{Database, PoolMode};
use crate::metrics::WorkerMetrics;
use crate::server::ClientHandle;
use pgmanifold_router::plan::PinReason;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A set of reasons to keep a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reasons(u16);

impl Reasons {
    /// Adds a reason.
    pub fn insert(&mut self, reason: PinReason) {
        self.0 |= bit(reason);
    }

    fn remove(&mut self, reason: PinReason) {
        self.0 &= !bit(reason);
    }

    /// Whether the reason is among them.
    pub fn has(self, reason: PinReason) -> bool {
        self.0 & bit(reason) != 0
    }

    /// True when there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = PinReason> {
        PinReason::ALL.into_iter().filter(move |reason| self.has(*reason))
    }
}

fn bit(reason: PinReason) -> u16 {
    PinReason::ALL.iter().position(|known| *known == reason).map_or(0, |at| 1 << at)
}

/// The reasons of a session, for those who look at it from elsewhere.
#[derive(Debug, Default)]
pub struct SharedReasons {
    held: AtomicU16,
    /// When there were none last, in milliseconds since 1970.
    since_ms: AtomicU64,
}

impl SharedReasons {
    /// What the session is tied by now.
    pub fn get(&self) -> Reasons {
        Reasons(self.held.load(Ordering::Relaxed))
    }

    /// Since when there have been any, in milliseconds since 1970.
    pub fn since_ms(&self) -> u64 {
        self.since_ms.load(Ordering::Relaxed)
    }

    fn set(&self, reasons: Reasons) {
        if self.get().is_empty() && !reasons.is_empty() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            self.since_ms.store(now_ms, Ordering::Relaxed);
        }
        self.held.store(reasons.0, Ordering::Relaxed);
    }
}

/// Why a session keeps its server. Dropping it takes the session out of the gauge.
pub(super) struct Pins {
    metrics: Arc<WorkerMetrics>,
    handle: Arc<ClientHandle>,
    /// The server belongs to the session for as long as it lives.
    session_pooling: bool,
    held: Reasons,
    /// A statement since the last look may have taken something, or ended something.
    doubtful: bool,
    /// The last look failed; the next one is after the client's next transaction.
    look_failed: bool,
    /// The client was told of the end of a transaction that set parameters or took something, and
    /// the server has not said yet what.
    unread: bool,
}

impl Pins {
    pub(super) fn new(
        database: &Database,
        metrics: Arc<WorkerMetrics>,
        handle: Arc<ClientHandle>,
    ) -> Self {
        let session_pooling = database.pool_mode == PoolMode::Session;
        let held = Reasons::default();
        Self {
            metrics,
            handle,
            session_pooling,
            held,
            doubtful: false,
            look_failed: false,
            unread: false,
        }
    }

    /// True when the session must stay on its server, or may have to.
    pub(super) fn any(&self) -> bool {
        self.doubtful || self.session_pooling || !self.held.is_empty()
    }

    /// True when the server surely has something of the session's.
    pub(super) fn is_held(&self) -> bool {
        self.session_pooling || !self.held.is_empty()
    }

    /// True when the server is the session's by configuration.
    pub(super) fn session_pooling(&self) -> bool {
        self.session_pooling
    }

    pub(super) fn has(&self, reason: PinReason) -> bool {
        self.held.has(reason)
    }

    /// A statement that is sent now may take this. What no query can tell holds at once, and
    /// until the session ends.
    pub(super) fn may_take(&mut self, reason: PinReason) {
        match can_be_read(reason) {
            true => self.doubt(),
            false => self.hold(reason),
        }
    }

    /// A statement that is sent now may take or end anything.
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
    }

    /// A statement that is sent now may end something.
    pub(super) fn may_end(&mut self) {
        self.doubtful |= !self.held.is_empty();
    }

    /// Ties the session until `release`.
    pub(super) fn hold(&mut self, reason: PinReason) {
        let mut held = self.held;
        held.insert(reason);
        self.change(held);
    }

    /// Ends a reason that is no longer wanted.
    pub(super) fn release(&mut self, reason: PinReason) {
        let mut held = self.held;
        held.remove(reason);
        self.change(held);
    }

    /// True when the server must be asked before the session may leave it.
    pub(super) fn must_look(&self) -> bool {
        self.doubtful && !self.session_pooling
    }

    /// The server could not be asked.
    pub(super) fn look_failed(&mut self) {
        self.doubtful = true;
        self.look_failed = true;
    }

    /// False after a look has failed, until the client has ended another transaction.
    pub(super) fn may_look(&self) -> bool {
        !self.look_failed
    }

    /// The client's transaction has ended; it may have set parameters.
    pub(super) fn transaction_ended(&mut self, may_have_set: bool) {
        self.look_failed = false;
        self.unread |= may_have_set || self.doubtful;
    }

    /// True when the session loses with its server what its client counts on.
    pub(super) fn is_lost_with_server(&self) -> bool {
        self.is_held() || self.unread
    }

    /// The server said what it holds.
    pub(super) fn looked(&mut self, found: Reasons) {
        let mut held = found;
        for reason in self.held.iter().filter(|reason| !can_be_read(*reason)) {
            held.insert(reason);
        }
        (self.doubtful, self.unread) = (false, false);
        self.change(held);
    }

    /// Those of a session that has nothing on its server.
    pub(super) fn emptied(&self) -> Self {
        Self {
            metrics: Arc::clone(&self.metrics),
            handle: Arc::clone(&self.handle),
            session_pooling: self.session_pooling,
            held: Reasons::default(),
            doubtful: false,
            look_failed: false,
            unread: false,
        }
    }

    /// Shows these reasons to those who look at the session from elsewhere.
    pub(super) fn publish(&self) {
        self.handle.pins.set(self.held);
    }

    fn change(&mut self, held: Reasons) {
        if held == self.held {
            return;
        }
        for reason in held.iter().filter(|reason| !self.held.has(*reason)) {
            self.metrics.pin(reason);
        }
        for reason in self.held.iter().filter(|reason| !held.has(*reason)) {
            self.metrics.unpin(reason);
        }
        self.held = held;
        self.handle.pins.set(held);
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.change(Reasons::default());
    }
}

/// Whether a query can tell that the reason holds.
fn can_be_read(reason: PinReason) -> bool {
    match reason {
        PinReason::TempObject
        | PinReason::Listen
        | PinReason::AdvisoryLock
        | PinReason::HoldCursor
        | PinReason::SqlPrepare => true,
        PinReason::Load | PinReason::Unclassified | PinReason::SequenceState | PinReason::Asked => {
            false
        }
    }
}

/// Names of rows that say what the server holds; no parameter has such a name.
const ROWS: [(&str, PinReason); 5] = [
    ("=lock", PinReason::AdvisoryLock),
    ("=temp", PinReason::TempObject),
    ("=cursor", PinReason::HoldCursor),
    ("=prepared", PinReason::SqlPrepare),
    ("=listen", PinReason::Listen),
];

/// Name of rows that name a statement prepared by protocol.
pub(super) const STATEMENT_ROW: &str = "=statement";

/// The reason a row of the answer names.
pub(super) fn row_reason(name: &str) -> Option<PinReason> {
    ROWS.iter().find(|(row, _)| *row == name).map(|(_, reason)| *reason)
}

/// Appended to the query that reads settings back. Everything in a temporary schema depends on
/// the schema: by that PostgreSQL itself finds what to drop.
pub(super) const HELD_SQL: &str = "\
 UNION ALL SELECT '=lock', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_locks \
 WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()) \
 UNION ALL SELECT '=temp', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_depend \
 WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass \
 AND refobjid = pg_catalog.pg_my_temp_schema()) \
 UNION ALL SELECT '=cursor', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) \
 UNION ALL SELECT '=prepared', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_prepared_statements \
 WHERE from_sql) \
 UNION ALL SELECT '=listen', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_listening_channels())";

/// Appended when statements prepared by protocol may be gone.
pub(super) const STATEMENTS_SQL: &str = "\
 UNION ALL SELECT '=statement', name FROM pg_catalog.pg_prepared_statements WHERE NOT from_sql";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_reasons() {
        let mut reasons = Reasons::default();
        assert!(reasons.is_empty());
        for reason in PinReason::ALL {
            assert!(!reasons.has(reason));
            reasons.insert(reason);
        }
        assert_eq!(reasons.iter().count(), PinReason::ALL.len());
        reasons.remove(PinReason::Load);
        assert!(!reasons.has(PinReason::Load) && reasons.has(PinReason::Listen));
    }

    #[test]
    fn every_reason_that_can_be_read_has_its_row() {
        for reason in PinReason::ALL {
            let row = ROWS.iter().find(|(_, known)| *known == reason);
            assert_eq!(row.is_some(), can_be_read(reason), "{reason}");
            if let Some((name, _)) = row {
                assert!(HELD_SQL.contains(&format!("'{name}'")), "{name}");
            }
        }
    }
}
