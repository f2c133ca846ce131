//! Owns what a session does when one of its times is over: it cancels its statement, gives its
//! server up, or ends. When a time is over is told by `server::timeouts`.

use super::{Event, Session, Virtual};
use crate::config::limits::SessionTimeouts;
use crate::metrics::{ClientState, TimeoutKind};
use crate::server::timeouts::{CANCEL_GRACE, over};
use crate::wire::error::SqlError;
use std::time::Duration;

impl Session {
    /// Notes what the session is doing from now on.
    #[inline]
    pub(super) fn set_state(&mut self, state: ClientState) {
        self.guards.gauge.set(state);
        self.handle.pulse.step(state);
    }

    /// Notes that the session does nothing, and has no server that does.
    pub(super) fn rest(&mut self) {
        self.set_state(match self.virtual_transaction {
            Virtual::Begun(_) | Virtual::Failed(_) => ClientState::IdleInTransaction,
            Virtual::None | Virtual::Lost(_) => ClientState::Idle,
        });
    }

    /// Does what must follow when a time is over. `Ok(true)` when the session goes on with
    /// something new to do.
    pub(super) fn take_overdue(&mut self) -> Result<bool, Event> {
        let over = self.handle.pulse.take_over();
        let timeouts = self.pools.database.timeouts;
        let (working, in_transaction) = match &self.lease {
            Some(lease) => (!lease.expect.is_empty(), lease.status != b'I'),
            None => {
                (false, matches!(self.virtual_transaction, Virtual::Begun(_) | Virtual::Failed(_)))
            }
        };
        // A batch without its Sync keeps its server, though the server has nothing to do.
        let running = working || self.batch_open;
        if over & over::TRANSACTION != 0 && (running || in_transaction) {
            return Err(self.end_for(TimeoutKind::Transaction, &timeouts));
        }
        if over & over::IDLE_TRANSACTION != 0 && in_transaction && !running {
            return Err(self.end_for(TimeoutKind::IdleTransaction, &timeouts));
        }
        let idle = !running && !in_transaction && self.input.is_empty();
        if over & over::CLIENT_IDLE != 0 && idle {
            return Err(self.end_for(TimeoutKind::ClientIdle, &timeouts));
        }
        if over & over::QUERY != 0 && working && !self.waits {
            return self.cancel_overdue(over & over::QUERY_GRACE != 0, &timeouts);
        }
        Ok(false)
    }

    /// Cancels the statement on its server, once. A server that does not end it is given up.
    fn cancel_overdue(&mut self, grace: bool, timeouts: &SessionTimeouts) -> Result<bool, Event> {
        let word = self.handle.pulse.word();
        if self.cancelled_step != Some(word) {
            self.cancelled_step = Some(word);
            self.metrics.timeout(TimeoutKind::Query);
            tracing::info!(client = self.handle.id, database = %self.pools.database.name,
                timeout = ?timeouts.query, "canceling statement due to query timeout");
            for server in self.handle.cancel_targets() {
                tokio::spawn(async move {
                    let Some(key) = &server.cancel else { return };
                    if let Err(error) = server.connector.send_cancel(&server.host, key).await {
                        tracing::warn!(host = %server.host.address, %error, "cancel failed");
                    }
                });
            }
            return Ok(false);
        }
        if !grace {
            return Ok(false);
        }
        let error = self.query_timed_out();
        let what = format!(
            "{} The server did not end it within {} ms after it was cancelled.",
            error.detail.as_deref().unwrap_or_default(),
            CANCEL_GRACE.as_millis()
        );
        let error = error.detail(what);
        if let Some(lease) = &mut self.lease {
            // The host is not to blame: it is looked at, not banned.
            lease.dying = Some(error.clone());
            lease.repeatable.clear();
        }
        self.server_lost(error).map_or(Ok(true), Err)
    }

    /// What the client is told instead of the server's answer to our cancel request.
    pub(super) fn query_timed_out(&self) -> SqlError {
        let database = &self.pools.database;
        SqlError::error("57014", "canceling statement due to query timeout")
            .detail(setting("query_timeout_ms", database.timeouts.query, &database.name))
            .hint("Raise query_timeout_ms, or make the statement faster.")
    }

    /// Why a session ends whose transaction took too long.
    pub(super) fn transaction_timed_out(&mut self) -> SqlError {
        let timeouts = self.pools.database.timeouts;
        match self.end_for(TimeoutKind::Transaction, &timeouts) {
            Event::Close(Some(error)) => error,
            _ => SqlError::fatal("25P04", "terminating connection due to transaction timeout"),
        }
    }

    /// True when the error at hand is the end of a statement we have cancelled.
    pub(super) fn ends_cancelled(&self, sqlstate: &str) -> bool {
        sqlstate == "57014" && self.cancelled_step == Some(self.handle.pulse.word())
    }

    fn end_for(&mut self, kind: TimeoutKind, timeouts: &SessionTimeouts) -> Event {
        self.metrics.timeout(kind);
        let (sqlstate, what, key, time) = match kind {
            TimeoutKind::Query => ("57014", "query", "query_timeout_ms", timeouts.query),
            TimeoutKind::IdleTransaction => (
                "25P03",
                "idle-in-transaction",
                "idle_transaction_timeout_ms",
                timeouts.idle_transaction,
            ),
            TimeoutKind::Transaction => {
                ("25P04", "transaction", "transaction_timeout_ms", timeouts.transaction)
            }
            TimeoutKind::ClientIdle => {
                ("57P05", "idle-session", "client_idle_timeout_ms", timeouts.client_idle)
            }
        };
        let message = format!("terminating connection due to {what} timeout");
        let error = SqlError::fatal(sqlstate, message).detail(setting(
            key,
            time,
            &self.pools.database.name,
        ));
        // In the middle of a message nothing can be said.
        let mid_message = self.lease.as_ref().is_some_and(|lease| lease.passing > 0);
        Event::Close((!mid_message).then_some(error))
    }
}

fn setting(key: &str, time: Duration, database: &str) -> String {
    format!("{key} of database \"{database}\" is {}.", time.as_millis())
}
