//! Owns endings: of a request, of a lease, of a server, of the session.

use super::loss::Fate;
use super::{CopyIn, Event, Session, Virtual};
use crate::backend::connection::{Expect, Hidden, Users};
use crate::backend::exec;
use crate::metrics::ClientState;
use crate::pool::Lease;
use crate::session::{held, settings};
use crate::timer::timeout;
use crate::wire::error::{Severity, SqlError};
use crate::wire::frame;
use pgmanifold_router::plan::PinReason;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// Longest time given to a client to take its last message.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time DISCARD ALL may take before the connection is closed instead.
const RESET_TIMEOUT: Duration = Duration::from_secs(5);

impl Session {
    /// Starts the clock of a request, unless an earlier one is still under way.
    pub(super) fn begin_clock(&mut self) {
        // A request that has waited is looked at again; its wait counts.
        let anew = !self.waits && !self.batch_open;
        match &self.lease {
            None => {
                if anew {
                    self.start_clock();
                }
                self.handle.pulse.step_again();
            }
            Some(lease) if lease.expect.is_empty() => {
                let in_transaction = lease.status != b'I';
                if anew {
                    let before = self.started;
                    self.start_clock();
                    if in_transaction {
                        let silent = self.started.saturating_duration_since(before);
                        self.metrics.client_wait(silent);
                    }
                }
                self.set_state(ClientState::Active);
            }
            Some(_) => {}
        }
    }

    /// A ReadyForQuery came; `visible` when the client sees it.
    pub(super) fn ready_came(&mut self, visible: bool) {
        let Some(lease) = &self.lease else { return };
        let (status, last) = (lease.status, lease.expect.is_empty());
        let now = Instant::now();
        if visible {
            let elapsed = now.saturating_duration_since(self.started);
            let waited = self.account_ready(now, elapsed);
            self.count_answer(elapsed, waited);
            self.count_ready(status, now);
            self.span_ready(now);
            self.started = now;
            self.repeated = false;
            self.may_end_transaction &= !last;
            if !last {
                self.handle.pulse.step_again();
            }
        }
        if !visible {
            self.account_hidden_ready(now);
        }
        if status != b'I' {
            if last {
                // What has not been dropped by now will not be: the transaction has failed.
                self.restore_prepared();
                self.set_state(ClientState::IdleInTransaction);
            }
            return;
        }
        if visible {
            self.transaction_ended(last);
        }
        if visible && last && !self.batch_open {
            self.leave_statement_on_shards();
        }
        // After a message of ours a request of the client waits for this very server.
        let answered = visible || !self.draining;
        if last && answered && !self.batch_open && !self.holds_ready() {
            self.release_at(now);
        }
    }

    /// Notes what the transaction did. `last` is false while further requests are under way: what
    /// they write is not covered by a mark of now.
    pub(super) fn transaction_ended(&mut self, last: bool) {
        if self.knobs.end_transaction(!self.rolled_back) {
            self.follow_keep_server();
        }
        self.rolled_back = false;
        self.pins.transaction_ended(self.settings_dirty);
        self.local_settings = false;
        if last {
            self.restore_prepared();
        }
        if self.wrote {
            self.mark_write();
            if let Some(lease) = &mut self.lease {
                lease.heard_after = self.pools.hub.wrote();
            }
            self.wrote = !last;
        }
        if self.did_ddl {
            self.pools.facts.ddl_seen();
            self.did_ddl = !last;
        }
    }

    fn mark_write(&mut self) {
        let mark = self.pools.cluster.mark_write();
        self.last_write = Some(mark);
        self.last_write_async =
            self.wrote_async || self.settings.async_commit.unwrap_or(self.greeting.async_commit);
        self.wrote_async = false;
        self.show_write();
        let hinted = self.written_key.take();
        for key in self.knobs.key().into_iter().chain(hinted.as_deref()) {
            self.pools.keys.record(key, mark, self.last_write_async);
        }
    }

    /// Shows the last write to those who look at the session from elsewhere.
    pub(super) fn show_write(&self) {
        match self.last_write.filter(|_| self.knobs.sees_own_writes()) {
            Some(mark) => {
                self.handle.last_write.set(mark, self.pools.shard, self.last_write_async);
            }
            None => self.handle.last_write.forget(),
        }
    }

    /// A query of ours has ended.
    pub(super) fn hidden_done(&mut self, hidden: Hidden) -> Result<(), SqlError> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        let error = lease.dying.take();
        match hidden {
            Hidden::Apply => {
                if let Some(error) = error {
                    self.refused = Some(Box::new(error));
                    self.drop_server();
                }
            }
            Hidden::ReadSettings => {
                let rows = std::mem::take(&mut lease.hidden_rows);
                match error {
                    None => self.state_read(rows),
                    Some(error) => {
                        tracing::debug!(client = self.handle.id, %error, "state not read");
                        self.pins.look_failed();
                    }
                }
            }
            Hidden::Begin | Hidden::Restore => return error.map_or(Ok(()), Err),
            Hidden::Undo => match error {
                None => self.moved_undone(true),
                Some(error) => return Err(error),
            },
            Hidden::Sync | Hidden::Called | Hidden::Sequences | Hidden::Fail => {}
        }
        Ok(())
    }

    /// Gives the server back if nothing ties the session to it.
    pub(super) fn release_server(&mut self) {
        self.release_at(Instant::now());
    }

    fn release_at(&mut self, now: Instant) {
        let Some(lease) = &mut self.lease else { return };
        if !lease.is_clean() {
            return;
        }
        let unread = self.shards.is_some() && self.settings_dirty;
        if self.pins.session_pooling() && !unread {
            self.set_state(ClientState::Idle);
            return;
        }
        if self.pins.must_look() || self.settings_dirty || self.statements_dirty {
            // Each question is asked once; when it fails, again after the next transaction.
            if self.pins.may_look() {
                self.read_state();
            }
            return;
        }
        if self.pins.any() {
            self.set_state(ClientState::Idle);
            return;
        }
        self.set_state(ClientState::Idle);
        let cancelled = self.handle.take_back();
        let tainted = std::mem::take(&mut self.server_tainted);
        if let Some(lease) = self.lease.take()
            && !cancelled
            && !tainted
        {
            debug_assert!(lease.owed.is_empty(), "each statement has been counted");
            lease.give_back(self.worker.index, now);
        }
    }

    /// Asks the server for the session's parameters, and for what it holds.
    fn read_state(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        let mut sql = settings::read_back_sql(self.custom_names.iter().map(AsRef::as_ref));
        if self.pins.any() {
            sql.push_str(held::HELD_SQL);
        }
        if self.statements_dirty {
            sql.push_str(held::STATEMENTS_SQL);
        }
        lease.query(sql.as_bytes(), Expect::Hidden(Hidden::ReadSettings));
    }

    /// Closes the server's connection.
    pub(super) fn drop_server(&mut self) -> Option<Lease> {
        self.account.transaction_since = None;
        self.handle.take_back();
        self.lease.take()
    }

    /// The server is gone, or speaks nonsense. Whoever waits for an answer gets an error; the
    /// session goes on, unless state that only that server had is lost with it.
    pub(super) fn server_lost(&mut self, error: SqlError) -> Option<Event> {
        let mut lease = self.drop_server()?;
        self.set_state(ClientState::Idle);
        let host = lease.info.host.address.to_string();
        match &lease.dying {
            Some(_) => self.pools.cluster.suspect(lease.host_index()),
            None => self.pools.cluster.report_failure(lease.host_index(), &error.to_string()),
        }
        let (said, fate) = (lease.dying.is_some(), self.fate(&lease));
        let error = self.explain_loss(lease.dying.take().unwrap_or(error), said, fate, &host);
        tracing::warn!(client = self.handle.id, %host, %error, "server connection lost");
        let mut expect = std::mem::take(&mut lease.expect);
        let mut repeatable = std::mem::take(&mut lease.repeatable);
        self.copy_in = CopyIn::No;
        self.listening_ends(false);
        self.restore_sql = None;
        self.closing.clear();
        let (in_transaction, mid_message) = (lease.status != b'I', lease.passing > 0);
        let repeats = !repeatable.is_empty() && !self.repeated;
        self.account_lost(&mut lease, repeats);
        drop(lease);
        if std::mem::take(&mut self.wrote) && fate != Fate::RolledBack {
            self.mark_write();
        }
        (self.settings_dirty, self.statements_dirty) = (false, false);
        self.restore_prepared();
        // The client broke the protocol, and the server closed the connection for it.
        let violation = error.sqlstate == "08P01";
        if mid_message || violation || self.pins.is_lost_with_server() {
            let fatal = SqlError { severity: Severity::Fatal, ..error };
            return Some(Event::Close((!mid_message).then_some(fatal)));
        }
        if self.undone_by_loss(&mut repeatable, in_transaction) {
            return None;
        }
        if !repeatable.is_empty() && !std::mem::replace(&mut self.repeated, true) {
            self.repeat(repeatable);
            return None;
        }
        self.repeated = false;
        let idle = expect.is_empty() && !self.batch_open;
        // A server that says FATAL takes the client's connection with it, as on PostgreSQL: drivers
        // and their pools know by that what happened. Who had nothing there is not concerned.
        let hidden = |owed: &Expect| matches!(owed, Expect::Hidden(_));
        let concerned = in_transaction || self.batch_open || !expect.iter().all(hidden);
        if error.severity == Severity::Fatal && concerned {
            return Some(Event::Close(Some(error)));
        }
        let error = SqlError { severity: Severity::Error, ..error };
        if in_transaction {
            self.abandon_others();
        }
        if idle && in_transaction {
            self.virtual_transaction = Virtual::Lost(Box::new(error));
            return None;
        }
        self.lose_transaction(fate);
        self.answer_for_lost_server(&mut expect, &error);
        None
    }

    fn answer_for_lost_server(
        &mut self,
        expect: &mut std::collections::VecDeque<Expect>,
        error: &SqlError,
    ) {
        let (mut told, status) = (false, self.virtual_status());
        for owed in expect.drain(..) {
            match owed {
                Expect::Local(bytes) if !told => self.output.extend_from_slice(&bytes),
                Expect::Parsed(_) if !told => frame::put(&mut self.output, b'1', &[]),
                Expect::Closed if !told => frame::put(&mut self.output, b'3', &[]),
                Expect::Local(_) | Expect::Parsed(_) | Expect::Closed => {}
                Expect::Hidden(hidden @ (Hidden::Apply | Hidden::Fail)) => {
                    if hidden == Hidden::Fail {
                        self.virtual_transaction = Virtual::Failed(None);
                    }
                    self.refused = Some(Box::new(error.clone()));
                }
                Expect::Hidden(
                    Hidden::ReadSettings
                    | Hidden::Sync
                    | Hidden::Called
                    | Hidden::Sequences
                    | Hidden::Undo,
                ) => {}
                Expect::Query
                | Expect::Sync
                | Expect::Poison(_)
                | Expect::Hidden(Hidden::Restore) => {
                    if !std::mem::take(&mut told) {
                        error.encode(&mut self.output);
                    }
                    frame::put_ready(&mut self.output, status);
                    self.span_lost(&error.sqlstate);
                }
                Expect::Hidden(Hidden::Begin)
                | Expect::Parse { .. }
                | Expect::PoisonBatch(_)
                | Expect::Bind
                | Expect::Describe { .. }
                | Expect::DescribeStatement(_)
                | Expect::Verify
                | Expect::Execute
                | Expect::Close
                | Expect::Evict(_) => {
                    if !std::mem::replace(&mut told, true) {
                        error.encode(&mut self.output);
                    }
                }
            }
        }
        if std::mem::take(&mut self.batch_open) {
            if !told {
                error.encode(&mut self.output);
            }
            self.skip_to_sync = true;
        }
    }

    /// Ends an idle session when the proxy stops.
    pub(super) fn stop_requested(&self) -> Option<Event> {
        if !self.handle.ends_when_idle() {
            return None;
        }
        let in_use = self.lease.as_ref().is_some_and(|lease| !lease.is_clean());
        let busy = in_use || !self.input.is_empty() || self.waits_for_begin();
        if busy && !self.handle.ends_now() {
            return None;
        }
        let message = "terminating connection due to administrator command";
        Some(Event::Close(Some(SqlError::fatal("57P01", message))))
    }

    /// Ends the session: a last message for the client, and the server back in a known state.
    pub(super) async fn close(&mut self, error: Option<SqlError>) {
        if let Some(error) = error {
            tracing::info!(client = self.handle.id, %error, "closing client");
            error.encode(&mut self.output);
        }
        if let Some(lease) = self.lease.take() {
            self.leave_server(lease).await;
        }
        while self.go_to_next_lease() {
            if let Some(lease) = self.lease.take() {
                self.leave_server(lease).await;
            }
        }
        let goodbye = async {
            let _ = poll_fn(|cx| match self.poll_write_client(cx) {
                Ok(()) if !self.output.is_empty() => Poll::Pending,
                result => Poll::Ready(result),
            })
            .await;
            let _ = self.client.shutdown().await;
        };
        let _ = timeout(GOODBYE_TIMEOUT, goodbye).await;
    }

    /// A statement that still runs is cancelled; a clean server is wiped and given back; any
    /// other is closed, which rolls its transaction back.
    async fn leave_server(&mut self, mut lease: Lease) {
        self.account_lost(&mut lease, false);
        let cancelled = self.handle.take_back();
        if !lease.is_clean() || self.batch_open {
            if !lease.expect.is_empty()
                && let Some(key) = lease.info.cancel.clone()
            {
                let info = Arc::clone(&lease.info);
                tokio::spawn(async move { info.connector.send_cancel(&info.host, &key).await });
            }
            return;
        }
        // No command takes a library out again.
        if cancelled || self.server_tainted || self.pins.has(PinReason::Load) {
            return;
        }
        if self.pins.any() || self.settings_dirty || self.statements_dirty {
            let reset = exec::run(&mut lease, "DISCARD ALL");
            if !matches!(timeout(RESET_TIMEOUT, reset).await, Ok(Ok(_))) {
                return;
            }
            lease.statements.clear();
            lease.settings = settings::Settings::none();
            lease.sequence_users = Users::Nobody;
        }
        lease.give_back(self.worker.index, Instant::now());
    }
}
