//! Owns getting a server of each shard ready for a statement that needs several: leased, with the
//! session's settings, inside the transaction. Each waits as a statement of its own would.

use super::super::place::Placed;
use super::super::{DeferredBegin, Event, Session, Stop, Virtual};
use super::log::Replay;
use super::moved::is_moved;
use crate::backend::exec;
use crate::pool::Lease;
use crate::timer::timeout;
use crate::wire::error::SqlError;
use pgmanifold_router::plan::{Plan, Transaction};
use pgmanifold_router::shard_map::ShardId;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Longest time a server is given for a short query of ours.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);

/// In which transaction several shards do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// In none.
    Never,
    /// In one of ours, for this statement.
    Own,
    /// In the client's.
    Joins,
}

/// Why a shard has no server for the statement.
#[derive(Debug)]
pub(super) enum Unseated {
    /// The statement is refused.
    Refused(SqlError),
    /// The session ends.
    Close(Option<SqlError>),
}

impl From<SqlError> for Unseated {
    fn from(error: SqlError) -> Self {
        Self::Refused(error)
    }
}

impl Session {
    /// Seats a shard for a statement with this plan, and stays there.
    pub(super) async fn seat(
        &mut self,
        shard: ShardId,
        plan: &Plan,
        begins: Begins,
    ) -> Result<(), Unseated> {
        self.exchange(shard);
        self.finish_commit(shard).await?;
        match begins {
            Begins::Never => {}
            Begins::Own => {
                let kind = Transaction::Begin { read_only: false, serializable: false };
                let text = b"BEGIN"[..].into();
                self.virtual_transaction = Virtual::Begun(Box::new(DeferredBegin { text, kind }));
            }
            Begins::Joins => {
                if self.lease.as_ref().is_some_and(|lease| lease.status != b'I') {
                    return Ok(());
                }
                let log = self.joinable(shard)?;
                let begin = DeferredBegin { text: log.begin.clone(), kind: log.kind };
                self.virtual_transaction = Virtual::Begun(Box::new(begin));
            }
        }
        let seated = self.take_seat(plan).await.map_err(|unseated| self.name_shard(unseated));
        self.virtual_transaction = Virtual::None;
        seated?;
        if begins == Begins::Joins {
            self.replay_all().await?;
        }
        self.note_effects(plan);
        Ok(())
    }

    /// Says which shard it is that cannot be had.
    fn name_shard(&self, unseated: Unseated) -> Unseated {
        let Unseated::Refused(error) = unseated else { return unseated };
        let Some(shards) = &self.shards else { return Unseated::Refused(error) };
        Unseated::Refused(unavailable(error, shards.name(shards.here)))
    }

    async fn take_seat(&mut self, plan: &Plan) -> Result<(), Unseated> {
        loop {
            let target = self.route(plan).target;
            let placed: Placed = self.place(target, plan);
            let done = placed.is_ok();
            match placed {
                Ok(()) | Err(Ok(Stop::Drain | Stop::NeedBytes | Stop::CopyAsked)) => {
                    // The statement waits for this very server: it is not given back.
                    self.draining = true;
                    let settled = self.settle().await;
                    self.draining = false;
                    settled?;
                }
                Err(Ok(Stop::Event(event))) => self.wait_for_seat(event).await?,
                Err(Err(error)) => return Err(Unseated::Refused(error)),
            }
            if done {
                return Ok(());
            }
        }
    }

    async fn wait_for_seat(&mut self, event: Event) -> Result<(), Unseated> {
        match event {
            Event::Acquire(host) => {
                Box::pin(self.acquire(host)).await;
                Box::pin(self.await_newer_map()).await;
                self.draining = false;
                if let Some(error) = self.ended_waiting() {
                    return Err(Unseated::Close(Some(error)));
                }
                // The whole statement is to go by another map.
                if let Some(error) = self.refused.take_if(|error| is_moved(&error.sqlstate)) {
                    return Err(Unseated::Refused(*error));
                }
            }
            Event::AwaitResume => {
                if let Some(Event::Close(error)) = Box::pin(self.await_resume()).await {
                    return Err(Unseated::Close(error));
                }
            }
            Event::AwaitServer => {
                if let Some(Event::Close(error)) = Box::pin(self.await_server()).await {
                    return Err(Unseated::Close(error));
                }
            }
            Event::Close(error) => return Err(Unseated::Close(error)),
            Event::Token | Event::Hub | Event::Shards(_) => {
                let error = SqlError::error("XX000", "a shard waits for what it cannot have");
                return Err(Unseated::Refused(error));
            }
        }
        Ok(())
    }

    /// Does on the server at hand, which has just joined, what the transaction has set before.
    async fn replay_all(&mut self) -> Result<(), SqlError> {
        let log = self.shards.as_ref().and_then(|shards| shards.log.as_ref());
        let steps: Vec<Replay> = log.into_iter().flat_map(|log| log.steps()).cloned().collect();
        for step in steps {
            self.replay(&step).await?;
            self.local_settings = true;
            self.settings_dirty = true;
        }
        Ok(())
    }

    /// Runs something on the server at hand that its client has run on another.
    pub(super) async fn replay(&mut self, step: &Replay) -> Result<(), SqlError> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        lease.unnamed = None;
        let running = async {
            match step {
                Replay::Text(text) => exec::run_text(lease, text).await,
                Replay::Bound { definition, values } => {
                    exec::run_bound(lease, definition, values).await
                }
            }
        };
        match timeout(SETTLE_TIMEOUT, running).await {
            Ok(Err(error)) if error.sqlstate == "08006" => Err(self.lose_seat(error)),
            Ok(result) => result,
            Err(_) => Err(self.lose_seat(silent())),
        }
    }

    /// Waits until the server at hand has answered what we have asked it.
    ///
    /// # Errors
    /// It is lost; the session has no server then.
    pub(super) async fn settle(&mut self) -> Result<(), SqlError> {
        let settled = timeout(SETTLE_TIMEOUT, poll_fn(|cx| self.poll_settled(cx))).await;
        match settled {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lose_seat(error)),
            Err(_) => Err(self.lose_seat(silent())),
        }
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SqlError>> {
        loop {
            let Some(lease) = &self.lease else { return Poll::Ready(Ok(())) };
            if lease.expect.is_empty() && lease.out.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if let Err(error) = ready!(self.poll_server(cx)) {
                return Poll::Ready(Err(error));
            }
        }
    }

    /// The server at hand is gone.
    fn lose_seat(&mut self, error: SqlError) -> SqlError {
        let Some(mut lease) = self.drop_server() else { return error };
        let said = lease.dying.take();
        match &said {
            Some(_) => self.pools.cluster.suspect(lease.host_index()),
            None => self.pools.cluster.report_failure(lease.host_index(), &error.to_string()),
        }
        let error = said.unwrap_or(error);
        let host = lease.info.host.address.to_string();
        tracing::warn!(client = self.handle.id, %host, %error, "server connection lost");
        SqlError { severity: crate::wire::error::Severity::Error, ..error }
    }

    /// Waits until the client has what it was sent before.
    pub(super) async fn flush_output(&mut self) -> Option<Event> {
        poll_fn(|cx| {
            if self.handle.ends_now() {
                return Poll::Ready(Some(Event::Close(None)));
            }
            match self.poll_write_client(cx) {
                Err(_) => Poll::Ready(Some(Event::Close(None))),
                Ok(()) if self.output.is_empty() => Poll::Ready(None),
                Ok(()) => Poll::Pending,
            }
        })
        .await
    }

    /// Lifts the servers of these shards out of their places.
    pub(super) fn lift(&mut self, shards: &[ShardId]) -> Vec<(ShardId, Lease)> {
        let mut lifted = Vec::with_capacity(shards.len());
        for &shard in shards {
            let lease = match &mut self.shards {
                Some(known) if known.here != shard => {
                    let bench = known.parked.get_mut(usize::from(shard.0));
                    bench.and_then(Option::as_mut).and_then(|bench| bench.lease.take())
                }
                _ => self.lease.take(),
            };
            lifted.extend(lease.map(|lease| (shard, lease)));
        }
        let infos = lifted.iter().map(|(_, lease)| std::sync::Arc::clone(&lease.info)).collect();
        self.handle.lend_all(infos);
        lifted
    }

    /// Puts servers back into their places. One to which a cancel request was sent is marked.
    pub(super) fn lay(&mut self, lifted: Vec<(ShardId, Lease)>) {
        let cancelled = self.handle.take_back();
        for (shard, lease) in lifted {
            match &mut self.shards {
                Some(known) if known.here != shard => {
                    let bench = known.parked.get_mut(usize::from(shard.0));
                    if let Some(bench) = bench.and_then(Option::as_mut) {
                        bench.lease = Some(lease);
                        bench.cancelled |= cancelled;
                    }
                }
                _ => {
                    self.handle.lend(&lease.info);
                    if cancelled {
                        self.handle.lent_cancelled();
                    }
                    self.lease = Some(lease);
                }
            }
        }
    }
}

/// A shard that cannot be reached, as the client is told.
pub(super) fn unavailable(error: SqlError, shard: &str) -> SqlError {
    if !is_unreachable(&error) {
        return error;
    }
    let cause = match &error.detail {
        Some(detail) => format!("{} (SQLSTATE {}). {detail}", error.message, error.sqlstate),
        None => format!("{} (SQLSTATE {}).", error.message, error.sqlstate),
    };
    SqlError {
        hint: error.hint,
        ..SqlError::error("PGM05", format!("shard \"{shard}\" is not available")).detail(cause)
    }
}

/// Whether an error says that a server cannot be had.
pub(super) fn is_unreachable(error: &SqlError) -> bool {
    error.sqlstate.starts_with("08") || error.sqlstate.starts_with("57P0")
}

fn silent() -> SqlError {
    let seconds = SETTLE_TIMEOUT.as_secs();
    SqlError::error("08006", "the connection to the server was lost")
        .detail(format!("It did not answer within {seconds} s."))
}
