//! Owns what a session does about maps that are out of date for a shard, which then refuses new
//! connections (see `pool::attach`): it waits for a newer one, by which the statement is placed
//! again. Statements of several shards begin anew (see `moved`).

use super::super::place::cancelled;
use super::super::{Event, Session, pausing};
use crate::metrics::ClientState;
use crate::timer::timeout;
use crate::wire::error::SqlError;
use pgmanifold_router::shard_map::ShardId;
use pgmanifold_router::shard_schema::TOO_OLD;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Shortest and longest pause before a server is asked for again.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

impl Session {
    /// After a wait for a server: when a shard has refused it because maps of this process are too
    /// old, waits a moment for newer ones, and the statement then looks for a server anew. When it
    /// goes by an old map itself it fails, as it does when `checkout_timeout_ms` is over.
    pub(in crate::session) async fn await_newer_map(&mut self) {
        let too_old = |error: &mut Box<SqlError>| error.sqlstate == TOO_OLD;
        let Some(error) = self.refused.take_if(too_old) else { return };
        let Some(shards) = &self.shards else { return };
        let (sharded, epoch) = (Arc::clone(&shards.sharded), shards.sharded.epoch());
        let own_is_old = shards.map.as_ref().is_some_and(|map| map.epoch < epoch);
        let left = self.newer_map_until().saturating_duration_since(Instant::now());
        if own_is_old || left.is_zero() {
            self.refused = Some(Box::new(self.not_sent(*error)));
            return;
        }
        let pause = (self.started.elapsed() / 4).clamp(PAUSE_MIN, PAUSE_MAX).min(left);
        let (handle, waiting) = (Arc::clone(&self.handle), Instant::now());
        self.set_state(ClientState::Waiting);
        let refused = tokio::select! {
            biased;
            () = handle.wait_cancelled() => Some(cancelled()),
            () = pausing::ends_now(&handle) => Some(pausing::terminated()),
            () = poll_fn(|cx| self.client.poll_gone(cx)) => {
                Some(SqlError::error("57014", "the client has left"))
            }
            _ = timeout(pause, sharded.newer_than(epoch)) => None,
        };
        self.account.waited(waiting.elapsed());
        self.rest();
        self.refused = refused.map(Box::new);
    }

    fn newer_map_until(&self) -> Instant {
        self.free_since() + self.pools.database.checkout_timeout
    }

    /// Whether a statement that a shard would not have a connection for may look for one by a
    /// newer map.
    pub(super) fn may_await_newer_map(&self) -> bool {
        Instant::now() < self.newer_map_until()
    }

    /// Why nothing is read from replicas: the catalog does not know of this process, so that nobody
    /// could end its connections there when its map has become too old.
    pub(in crate::session) fn away_from_replicas(&self) -> Option<&'static str> {
        let unknown = self.shards.as_ref().is_some_and(|shards| shards.sharded.is_unknown());
        unknown.then_some("the catalog of shard maps was not reached since the start")
    }

    fn not_sent(&self, error: SqlError) -> SqlError {
        let (shard, waited) = (self.pools.shard, self.started.elapsed());
        let shard = self.shards.as_ref().map_or("?", |shards| shards.name(shard));
        let said = error.detail.as_deref().unwrap_or_default().replace('\n', " ");
        let detail = format!(
            "{said} Shard \"{shard}\". The statement waited {} ms and was not sent.",
            waited.as_millis()
        );
        let hint = match self.in_transaction() {
            true => "Repeat the transaction. It began before keys were moved to another shard.",
            false => {
                "Repeat the statement. If that does not help, see whether pgmanifold can read the \
                 catalog (SHOW RANGES, its log)."
            }
        };
        error.detail(detail.trim_start().to_owned()).hint(hint)
    }

    /// Whether the server that the session holds on another shard has sent something since, or was
    /// closed. Costs no system call.
    pub(super) fn has_spoken(&mut self, shard: ShardId) -> bool {
        let shards = self.shards.as_mut();
        let bench = shards.and_then(|shards| shards.parked.get_mut(usize::from(shard.0))?.as_mut());
        let lease = bench.and_then(|bench| bench.lease.as_mut());
        lease.is_some_and(|lease| lease.stream.may_have_bytes())
    }

    /// Reads what it has sent. A server that was closed meanwhile is found out before anything is
    /// sent there, so that it is certain that nothing of it was carried out.
    pub(super) fn hear(&mut self, shard: ShardId) -> Option<Event> {
        self.exchange(shard);
        let mut cx = Context::from_waker(Waker::noop());
        while self.lease.is_some() {
            match self.poll_server(&mut cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(lost)) => return self.server_lost(lost),
                Poll::Pending => break,
            }
        }
        None
    }
}
