//! Owns what a session counts for PgBouncer's statistics, and what it shows of itself: on the way
//! of a query a few stores, and no look at the clock of its own.

use super::{Prepared, Session};
use std::time::{Duration, Instant};

impl Session {
    /// A request begins.
    pub(super) fn start_clock(&mut self) {
        self.started = Instant::now();
        self.handle.sight.requested(self.started);
    }

    /// A request was answered by servers, so long after it began; it has waited for them so long.
    pub(super) fn count_answer(&self, elapsed: Duration, waited: Duration) {
        self.metrics.traffic.answered(elapsed.saturating_sub(waited));
    }

    /// A server has answered a request, and says whether a transaction is open.
    pub(super) fn count_ready(&mut self, status: u8, now: Instant) {
        if status == b'I' {
            self.count_transaction(now);
        } else {
            self.account.transaction_since.get_or_insert(self.started);
        }
    }

    /// A transaction has ended.
    pub(super) fn count_transaction(&mut self, now: Instant) {
        let since = self.account.transaction_since.take().unwrap_or(self.started);
        self.metrics.traffic.transaction(now.saturating_duration_since(since));
    }

    /// Several shards have answered a request.
    pub(super) fn count_result(&mut self) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.started);
        self.count_answer(elapsed, self.account.waited_for());
        if !self.in_transaction() {
            self.count_transaction(now);
        }
    }

    /// Several shards have ended a transaction; `took_part` when any had begun it.
    pub(super) fn count_end(&mut self, took_part: bool) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.started);
        self.count_answer(elapsed, self.account.waited_for());
        if took_part {
            self.count_transaction(now);
        }
        self.account.transaction_since = None;
    }

    /// The request has waited for a server, and goes on.
    pub(super) fn count_wait(&mut self, time: Duration) {
        self.span_waited(time);
        self.metrics.traffic.waited(time);
    }

    /// Keeps a statement that the client has just prepared.
    pub(super) fn keep_new(&mut self, name: &[u8], prepared: Prepared) {
        if !name.is_empty() {
            self.metrics.traffic.client_parse();
        }
        self.keep(name, prepared);
    }

    /// The client has other statements than before.
    pub(super) fn show_prepared(&self) {
        let count = self.prepared.as_ref().map_or(0, |prepared| prepared.len());
        self.handle.sight.has_prepared(count);
    }
}
