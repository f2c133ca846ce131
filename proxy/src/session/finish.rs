//! Owns endings: of a request, of a lease, of a server, of the session.

use super::{CopyIn, Event, Session, Virtual};
use crate::backend::connection::{Expect, Hidden};
use crate::backend::exec;
use crate::metrics::ClientState;
use crate::pool::Lease;
use crate::session::settings;
use crate::timer::timeout;
use crate::wire::error::{Severity, SqlError};
use crate::wire::frame;
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
        match &self.lease {
            None => {
                self.started = Instant::now();
                self.handle.pulse.step_again();
            }
            Some(lease) if lease.expect.is_empty() => {
                if !self.batch_open {
                    self.started = Instant::now();
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
            self.metrics.query(self.placement.kind, elapsed);
            self.started = now;
            if !last {
                self.handle.pulse.step_again();
            }
        }
        if status != b'I' {
            if last {
                self.set_state(ClientState::IdleInTransaction);
            }
            return;
        }
        if visible {
            self.transaction_ended(last);
        }
        // After a message of ours a request of the client waits for this very server.
        let answered = visible || !self.draining;
        if last && answered && !self.batch_open {
            self.release_at(now);
        }
    }

    /// Notes what the transaction did. `last` is false while further requests are under way: what
    /// they write is not covered by a mark of now.
    fn transaction_ended(&mut self, last: bool) {
        self.knobs.end_transaction(!self.rolled_back);
        self.rolled_back = false;
        if self.wrote {
            self.mark_write();
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
        let hinted = self.written_key.take();
        for key in self.knobs.key().into_iter().chain(hinted.as_deref()) {
            self.pools.keys.record(key, mark, self.last_write_async);
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
                    None => self.settings_read(rows),
                    Some(_) => self.pinned = Some("settings could not be read"),
                }
            }
            Hidden::Begin => return error.map_or(Ok(()), Err),
            Hidden::Sync => {}
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
        if self.pinned.is_some() {
            self.set_state(ClientState::Idle);
            return;
        }
        if std::mem::take(&mut self.settings_dirty) {
            let sql = settings::read_back_sql(self.custom_names.iter().map(AsRef::as_ref));
            frame::put_query(&mut lease.out, sql.as_bytes());
            lease.expect.push_back(Expect::Hidden(Hidden::ReadSettings));
            return;
        }
        self.set_state(ClientState::Idle);
        let cancelled = self.handle.take_back();
        let tainted = std::mem::take(&mut self.server_tainted);
        if let Some(lease) = self.lease.take()
            && !cancelled
            && !tainted
        {
            lease.give_back(self.worker.index, now);
        }
    }

    /// Closes the server's connection.
    fn drop_server(&mut self) -> Option<Lease> {
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
        let error = self.explain_loss(lease.dying.take().unwrap_or(error), &host);
        tracing::warn!(client = self.handle.id, %host, %error, "server connection lost");
        let mut expect = std::mem::take(&mut lease.expect);
        let repeatable = std::mem::take(&mut lease.repeatable);
        self.copy_in = CopyIn::No;
        let (in_transaction, mid_message) = (lease.status != b'I', lease.passing > 0);
        drop(lease);
        if std::mem::take(&mut self.wrote) {
            self.mark_write();
        }
        self.settings_dirty = false;
        // The client broke the protocol, and the server closed the connection for it.
        let violation = error.sqlstate == "08P01";
        if mid_message || violation || self.pinned.is_some() {
            let fatal = SqlError { severity: Severity::Fatal, ..error };
            return Some(Event::Close((!mid_message).then_some(fatal)));
        }
        if !repeatable.is_empty() {
            self.repeat(repeatable);
            return None;
        }
        let idle = expect.is_empty() && !self.batch_open;
        if idle && in_transaction {
            self.virtual_transaction = Virtual::Lost(Box::new(error));
            return None;
        }
        self.answer_for_lost_server(&mut expect, &error);
        None
    }

    fn answer_for_lost_server(
        &mut self,
        expect: &mut std::collections::VecDeque<Expect>,
        error: &SqlError,
    ) {
        let mut told = false;
        for owed in expect.drain(..) {
            match owed {
                Expect::Local(bytes) if !told => self.output.extend_from_slice(&bytes),
                Expect::Parsed(_) if !told => frame::put(&mut self.output, b'1', &[]),
                Expect::Local(_) | Expect::Parsed(_) => {}
                Expect::Hidden(Hidden::Apply) => {
                    self.refused = Some(Box::new(error.clone()));
                }
                Expect::Hidden(Hidden::ReadSettings | Hidden::Sync) => {}
                Expect::Query | Expect::Sync | Expect::Poison(_) => {
                    if !std::mem::take(&mut told) {
                        error.encode(&mut self.output);
                    }
                    frame::put_ready(&mut self.output, b'I');
                }
                Expect::Hidden(Hidden::Begin)
                | Expect::Parse { .. }
                | Expect::PoisonBatch(_)
                | Expect::Bind
                | Expect::Describe
                | Expect::Execute
                | Expect::Close { .. } => {
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

    /// Says what the loss means for the statement.
    fn explain_loss(&self, error: SqlError, host: &str) -> SqlError {
        let detail = error.detail.as_deref().unwrap_or_default();
        let outcome = if self.wrote {
            "Whether the statement took effect is not known."
        } else {
            "Nothing was changed."
        };
        let detail = format!("Server {host}: {detail} {outcome}");
        let hint = if self.wrote {
            "Check whether the change is there before you repeat it."
        } else {
            "Repeat the transaction."
        };
        error.detail(detail).hint(hint)
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
        if cancelled || self.server_tainted {
            return;
        }
        if self.pinned.is_some() || self.settings_dirty {
            let reset = exec::run(&mut lease, "DISCARD ALL");
            if !matches!(timeout(RESET_TIMEOUT, reset).await, Ok(Ok(_))) {
                return;
            }
            lease.statements.clear();
            lease.settings = settings::Settings::none();
        }
        lease.give_back(self.worker.index, Instant::now());
    }
}
