//! Owns the wait of a request for a server to be there at all. It was not sent to any, so it can
//! run on whichever is the primary then, as if the client had sent it later.
//!
//! ```text
//!            no primary, or it cannot be reached           something has changed
//!   placing ────────────────────────────────────► waiting ─────────────────────► placing
//!                                                    │ time is over, too many wait
//!                                                    └──► error to client
//! ```
//!
//! It must not choose servers: a request that goes on is placed like any other, and waits in the
//! queue of its pool after those who came before.

use super::place::cancelled;
use super::{Event, Session, Stop};
use crate::cluster::{Cluster, WaitEnd};
use crate::metrics::ClientState;
use crate::server::ClientHandle;
use crate::timer::timeout_at;
use crate::wire::error::SqlError;
use pgmanifold_router::route::Target;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

/// Bytes read ahead from a client that waits, to see whether it is still there.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// A request's wait for a server.
#[derive(Debug)]
pub(super) struct FailoverWait {
    since: Instant,
    /// Why it cannot run, by the last look.
    cause: SqlError,
    /// What the cluster's turns were before the last look; `None` before the first wait.
    seen: Option<u64>,
}

/// Why a wait is over.
enum Over {
    LookAgain(u64),
    Timeout,
    Cancelled,
    Close(Option<SqlError>),
}

impl Session {
    /// A request can have no server because of `cause`: it waits if that may change by itself.
    pub(super) fn or_wait(&mut self, target: Target, cause: SqlError) -> Result<Stop, SqlError> {
        if target == Target::ReplicaOnly || !self.may_wait(&cause) {
            return Err(cause);
        }
        let since = self.free_since();
        match &mut self.failover {
            Some(wait) => wait.cause = cause,
            None => {
                let wait = FailoverWait { since, cause, seen: None };
                self.failover = Some(Box::new(wait));
            }
        }
        Ok(Stop::Event(Event::AwaitServer))
    }

    /// A connection could not be made. True when the request shall be placed anew: it then waits
    /// until an attempt makes sense again.
    pub(super) fn waits_after(&mut self, cause: &SqlError) -> bool {
        let replica_only = self.placement.replica_only;
        let target = if replica_only { Target::ReplicaOnly } else { Target::Primary };
        if self.or_wait(target, cause.clone()).is_err() {
            return false;
        }
        let limit = self.pools.cluster.shard().failover.wait;
        let since = self.failover.as_ref().map(|wait| wait.since);
        if let Some(since) = since.filter(|since| since.elapsed() >= limit) {
            self.stop_waiting(WaitEnd::Timeout, since);
        }
        true
    }

    /// Why asking the pool would only meet the error that the request has just met there.
    pub(super) fn in_vain(&self, host: usize) -> Option<SqlError> {
        let wait = self.failover.as_ref()?;
        let cluster = &self.pools.cluster;
        let primary = cluster.hosts().get(host).filter(|_| cluster.primary() == Ok(host))?;
        primary.breaker.refuses_until(Instant::now())?;
        Some(wait.cause.clone())
    }

    fn may_wait(&self, cause: &SqlError) -> bool {
        let cluster = &self.pools.cluster;
        let passes = cause.sqlstate.starts_with("08") || cause.sqlstate == "57P03";
        !cluster.shard().failover.wait.is_zero()
            && cluster.primary_may_return()
            && (passes || cluster.primary().is_err())
    }

    /// Waits until the request may find a server. `Some` when the session ends.
    pub(super) async fn await_server(&mut self) -> Option<Event> {
        let cluster = Arc::clone(&self.pools.cluster);
        let mut turns = cluster.turns();
        let now_seen = *turns.borrow_and_update();
        let Some(wait) = &mut self.failover else { return None };
        let Some(seen) = wait.seen.replace(now_seen) else {
            // What changed between the last look and now was not seen: look once more.
            return None;
        };
        if seen != now_seen {
            return None;
        }
        let since = wait.since;
        self.start_waiting();
        self.guards.gauge.set(ClientState::Waiting);
        let Some(_place) = cluster.start_waiting() else {
            self.stop_waiting(WaitEnd::QueueFull, since);
            return None;
        };
        let (handle, began) = (Arc::clone(&self.handle), Instant::now());
        let over = tokio::select! {
            biased;
            () = handle.wait_cancelled() => Over::Cancelled,
            error = stopped(&handle) => Over::Close(Some(error)),
            over = next_turn(&cluster, &mut turns, since) => over,
            () = self.client_left() => Over::Close(None),
        };
        self.account.waited(began.elapsed());
        match over {
            Over::LookAgain(seen) => {
                self.count_wait(began.elapsed());
                if let Some(wait) = &mut self.failover {
                    wait.seen = Some(seen);
                }
            }
            Over::Timeout => self.stop_waiting(WaitEnd::Timeout, since),
            Over::Cancelled => {
                cluster.wait_ended(WaitEnd::Cancelled);
                self.refused = Some(Box::new(cancelled()));
            }
            Over::Close(error) => {
                cluster.wait_ended(WaitEnd::Cancelled);
                return Some(Event::Close(error));
            }
        }
        None
    }

    /// The wait is over, and the request is refused for its cause.
    fn stop_waiting(&mut self, end: WaitEnd, since: Instant) {
        let Some(wait) = self.failover.take() else { return };
        self.pools.cluster.wait_ended(end);
        let failover = &self.pools.cluster.shard().failover;
        let how = if end == WaitEnd::QueueFull {
            format!("{} clients wait already (failover_queue_max).", failover.queue_max)
        } else {
            format!("The statement waited {} ms and was not sent.", since.elapsed().as_millis())
        };
        let detail = match &wait.cause.detail {
            Some(detail) => format!("{detail} {how}"),
            None => how,
        };
        // Whatever the last attempt met: for the client there is no server now, and later there
        // will be.
        let mut cause = wait.cause.detail(detail);
        if cause.sqlstate.starts_with("08") {
            cause.sqlstate = "57P03".into();
        }
        self.refused = Some(Box::new(cause));
    }

    /// Completes when the client has closed its connection. What it sends meanwhile is kept for
    /// later, up to a bound; a client that sends more is not watched. Cancel safe.
    async fn client_left(&mut self) {
        while self.input.len() < READ_AHEAD_BYTES {
            match self.client.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return,
                Ok(read) => self.metrics.bytes_in(read as u64),
            }
        }
        pending::<()>().await;
    }
}

/// Completes when the proxy stops. The session's task is woken then.
pub(super) async fn stopped(handle: &ClientHandle) -> SqlError {
    poll_fn(|_| if handle.ends_when_idle() { Poll::Ready(()) } else { Poll::Pending }).await;
    SqlError::fatal("57P01", "terminating connection due to administrator command")
}

/// Waits for the next change in the cluster, the time at which the primary may be tried again, or
/// the end of `failover_wait_ms`. Cancel safe.
async fn next_turn(cluster: &Cluster, turns: &mut watch::Receiver<u64>, since: Instant) -> Over {
    let deadline = since + cluster.shard().failover.wait;
    let now = Instant::now();
    if now >= deadline {
        return Over::Timeout;
    }
    let primary = cluster.primary().ok().and_then(|primary| cluster.hosts().get(primary));
    let retry = primary.and_then(|host| host.breaker.refuses_until(now));
    let until = retry.map_or(deadline, |retry| retry.min(deadline));
    match timeout_at(until.into(), turns.changed()).await {
        Ok(_) => Over::LookAgain(*turns.borrow()),
        Err(_) if until < deadline => Over::LookAgain(*turns.borrow()),
        Err(_) => Over::Timeout,
    }
}
