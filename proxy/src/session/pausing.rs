//! Owns the wait of a request for the end of a pause. Nothing of it was sent, so it can run later
//! as if the client had sent it then. It waits as long as for any server: `checkout_timeout_ms`.
//!
//! A session that holds a server already, for a transaction or for what ties it there, does not
//! wait: the pause waits for it.

use super::failover::stopped;
use super::place::cancelled;
use super::{Event, Session};
use crate::config::model::Database;
use crate::metrics::ClientState;
use crate::pool::{Claim, Lever};
use crate::server::ClientHandle;
use crate::timer::timeout_at;
use crate::wire::error::SqlError;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Why a wait is over.
enum Over {
    Resumed,
    Timeout,
    Cancelled,
    Close(Option<SqlError>),
}

impl Session {
    /// Whether a pause keeps a server from this session, which has none on the shard at hand.
    pub(super) fn is_held_back(&self) -> bool {
        !self.has_server_elsewhere()
    }

    /// With what right the session asks for a server.
    pub(super) fn claim(&self) -> Claim {
        let resumed = self.placement.resumed.is_some_and(|resumed| resumed >= self.started);
        match (self.has_server_elsewhere(), resumed) {
            (true, _) => Claim::Joining,
            (false, true) => Claim::Resumed,
            (false, false) => Claim::Usual,
        }
    }

    /// Since when the request at hand could have had a server, as far as an administrator is
    /// concerned.
    pub(super) fn free_since(&self) -> Instant {
        self.placement.resumed.map_or(self.started, |resumed| resumed.max(self.started))
    }

    /// Waits until the database is resumed. `Some` when the session ends.
    pub(super) async fn await_resume(&mut self) -> Option<Event> {
        let (lever, waiting) = (Arc::clone(&self.pools.lever), Instant::now());
        self.set_state(ClientState::Waiting);
        self.start_waiting();
        let over = self.while_paused(&lever).await;
        self.metrics.pool_wait(waiting.elapsed());
        self.account.waited(waiting.elapsed());
        match over {
            Over::Resumed => {
                self.count_wait(waiting.elapsed());
                self.placement.resumed = Some(Instant::now());
            }
            Over::Timeout => {
                self.rest();
                self.metrics.checkout_timeout();
                let waited = self.started.elapsed();
                self.refused = Some(Box::new(paused_too_long(&self.pools.database, waited)));
            }
            Over::Cancelled => {
                self.rest();
                self.refused = Some(Box::new(cancelled()));
            }
            Over::Close(error) => return Some(Event::Close(error)),
        }
        None
    }

    async fn while_paused(&mut self, lever: &Lever) -> Over {
        let waiting = self.pools.database.waiting;
        let deadline = self.started + self.pools.database.checkout_timeout;
        let notice = waiting.notify.map(|after| (self.started + after, after));
        let mut notice = notice.filter(|(at, _)| *at > Instant::now());
        loop {
            let until = notice.map_or(deadline, |(at, _)| at.min(deadline));
            match timeout_at(until.into(), self.until_resumed(lever)).await {
                Ok(over) => return over,
                Err(_) => match notice.take() {
                    Some((_, after)) => self.tell_waiting(after).await,
                    None => return Over::Timeout,
                },
            }
        }
    }

    /// Cancel safe.
    async fn until_resumed(&mut self, lever: &Lever) -> Over {
        let handle = Arc::clone(&self.handle);
        tokio::select! {
            biased;
            () = handle.wait_cancelled() => Over::Cancelled,
            error = stopped(&handle) => Over::Close(Some(error)),
            () = lever.resumed() => Over::Resumed,
            () = poll_fn(|cx| self.client.poll_gone(cx)) => Over::Close(None),
        }
    }

    /// What the client is told last when its session was ended while it waited.
    pub(super) fn ended_waiting(&self) -> Option<SqlError> {
        self.handle.ends_now().then(terminated)
    }
}

/// Completes when the session is to end whatever it does. Its task is woken then.
pub(super) async fn ends_now(handle: &ClientHandle) {
    poll_fn(|_| if handle.ends_now() { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// What a client is told whose session an administrator ends.
pub(super) fn terminated() -> SqlError {
    SqlError::fatal("57P01", "terminating connection due to administrator command")
}

/// What a client is told that has waited for the end of a pause in vain.
pub(crate) fn paused_too_long(database: &Database, waited: Duration) -> SqlError {
    SqlError::error("53300", "no server connection became free in time")
        .detail(format!(
            "Database \"{}\" is paused by an administrator; waited {} ms (checkout_timeout_ms).",
            database.name,
            waited.as_millis()
        ))
        .hint("Repeat the transaction later.")
}
