//! Owns the wait of a statement for keys that are about to change hands: it is placed again by a
//! newer map, as if the client had sent it then. Nothing of it was sent to a server, and the
//! session has no map meanwhile: whoever hands the keys over need not wait for it.
//!
//! ```text
//!              its keys are paused                a newer map              by that
//!   statement ─────────────────────► waits ──────────────────────► placed ────────► ...
//!        ▲                             │ move_wait_ms is over
//!        │ a shard has refused it      └──► 40001 to the client
//!   rolled back ◄── (see `moved`)
//! ```
//!
//! Reads do not wait, nor does a transaction that has begun its work under its map: the keys are
//! not handed over before it has ended. Who waits is bounded by the clients there are.

use super::super::failover::stopped;
use super::super::place::cancelled;
use super::super::{Event, Session, Stop, Virtual};
use super::choice::may_write;
use super::run::Work;
use super::turn::work;
use super::values;
use crate::backend::connection::{Expect, Hidden};
use crate::metrics::{ClientState, TimeoutKind};
use crate::timer::timeout_at;
use crate::wire::error::SqlError;
use pgmanifold_router::lexer::Token;
use pgmanifold_router::plan::Plan;
use pgmanifold_router::shard_map::ShardMap;
use pgmanifold_router::sharding::{self, Bound, Catalog, Placing, Values};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// First and longest pause before a statement is sent again that a shard has refused: what it has
/// met may also go away without a new map.
const REPEAT_PAUSE_MIN: Duration = Duration::from_millis(20);
const REPEAT_PAUSE_MAX: Duration = Duration::from_millis(200);

/// Why a statement waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Why {
    /// Its keys are about to change hands.
    Paused,
    /// A shard has refused it: this often by now.
    Refused(u32),
}

/// What a statement waits for.
#[derive(Debug)]
pub(in crate::session) struct Hold {
    pub(super) why: Why,
    /// Epoch of the map it went by.
    pub(super) epoch: u64,
}

/// What the statement at hand is to do first.
#[derive(Debug)]
pub(super) enum Owed {
    /// Wait.
    Wait(Hold),
    /// Fail: it has waited in vain.
    Fail(Box<SqlError>),
}

/// How a wait ended.
pub(super) enum Waited {
    /// The statement is to be placed again.
    Again,
    /// It is refused.
    Refused(SqlError),
    /// The session ends.
    Close(Option<SqlError>),
}

/// What a statement answers that must wait first, or has waited in vain.
pub(super) type Held = Option<Result<Stop, SqlError>>;

impl Session {
    /// To be called for every statement before its shards are chosen. `None` when it goes on.
    #[inline]
    pub(super) fn held_back(
        &mut self,
        text: &[u8],
        plan: &Plan,
        lifted: Option<&[Token]>,
        bound: Option<&Bound<'_>>,
    ) -> Held {
        let shards = self.shards.as_ref()?;
        let paused = shards.map.as_ref().is_some_and(|map| map.is_paused());
        if shards.owed.is_none() && !paused {
            return None;
        }
        self.look_held(text, plan, lifted, bound)
    }

    #[cold]
    fn look_held(
        &mut self,
        text: &[u8],
        plan: &Plan,
        lifted: Option<&[Token]>,
        bound: Option<&Bound<'_>>,
    ) -> Held {
        match self.shards.as_mut()?.owed.take() {
            Some(Owed::Fail(error)) => {
                self.waits = false;
                return Some(Err(*error));
            }
            Some(Owed::Wait(hold)) => return Some(Ok(self.hold(hold))),
            None => {}
        }
        if !may_write(plan) || self.has_begun() || !self.meets_paused(text, plan, lifted, bound) {
            return None;
        }
        let epoch = self.shards.as_ref()?.epoch();
        Some(Ok(self.hold(Hold { why: Why::Paused, epoch })))
    }

    /// Something was done under the map at hand that it must be kept for.
    fn has_begun(&self) -> bool {
        let begins = |owed: &Expect| matches!(owed, Expect::Hidden(Hidden::Begin));
        let at_server = self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.status != b'I' || lease.expect.iter().any(begins));
        let in_batch = self.batch_open
            && self.shards.as_ref().is_some_and(|shards| shards.batch_wrote || shards.batch_begun);
        at_server || in_batch || self.has_parked_participant()
    }

    /// Lets the map go and waits, as soon as nothing is under way any more.
    fn hold(&mut self, hold: Hold) -> Stop {
        if self.batch_open && self.lease.is_some() {
            self.owe_again(hold);
            return self.leave_batch();
        }
        if self.lease.as_ref().is_some_and(|lease| lease.is_clean()) {
            self.release_server();
        }
        if self.owes_answers() {
            self.owe_again(hold);
            return Stop::Drain;
        }
        // A request that is repeated has its clock already.
        self.begin_clock();
        if let Some(shards) = &mut self.shards {
            shards.map = None;
        }
        work(Work::Hold(hold))
    }

    /// A statement that was refused by a shard waits in any case; one that met paused keys is
    /// looked at again.
    fn owe_again(&mut self, hold: Hold) {
        if let (Why::Refused(_), Some(shards)) = (hold.why, &mut self.shards) {
            shards.owed = Some(Owed::Wait(hold));
        }
    }

    /// Whether a statement that may write may meet keys that are about to change hands.
    pub(super) fn meets_paused(
        &self,
        text: &[u8],
        plan: &Plan,
        lifted: Option<&[Token]>,
        bound: Option<&Bound<'_>>,
    ) -> bool {
        let known = self.shards.as_ref().and_then(|shards| shards.map.as_ref());
        let (Some(map), Some(placing)) = (known, plan.placing.as_deref()) else { return false };
        match self.asked_shard(plan, map) {
            Ok(None) => {}
            // Which keys of the shard it means is not known.
            Ok(Some(shard)) => return map.has_paused(shard),
            Err(_) => return false,
        }
        if matches!(placing, Placing::CopyIn) {
            return self.copies_into_paused(text, map);
        }
        let read;
        let literals = match lifted {
            Some(lifted) => lifted,
            None => {
                read = values::literals(text, self.dialect);
                &read
            }
        };
        let values = Values { sql: text, literals, dialect: self.dialect, bound };
        sharding::meets_paused(placing, map, &values)
    }

    fn copies_into_paused(&self, text: &[u8], map: &ShardMap) -> bool {
        let facts = self.pools.facts.facts();
        let catalog = Catalog { map, facts: &facts };
        // One that cannot be read is refused later.
        sharding::copy_plan(text, catalog, self.dialect).is_ok_and(|copy| {
            let found = map.distributions.get(copy.distribution);
            found.is_some_and(|found| found.paused().next().is_some())
        })
    }

    /// Waits for a newer map, and has the statement placed again. `Some` when the session ends.
    pub(super) async fn wait_held(&mut self, hold: Hold) -> Option<Event> {
        match self.wait_for_map(&hold).await {
            Waited::Again => None,
            Waited::Refused(error) => {
                if let Some(shards) = &mut self.shards {
                    shards.owed = Some(Owed::Fail(Box::new(error)));
                }
                None
            }
            Waited::Close(error) => Some(Event::Close(error)),
        }
    }

    /// Waits until there is a newer map than that of `hold`, or until what a shard has refused may
    /// be tried again. The session must have no map meanwhile.
    pub(super) async fn wait_for_map(&mut self, hold: &Hold) -> Waited {
        let Some(sharded) = self.sharded() else { return Waited::Again };
        debug_assert!(self.shards.as_ref().is_none_or(|shards| shards.map.is_none()));
        let (began, handle) = (Instant::now(), Arc::clone(&self.handle));
        let limits = Limits::of(self);
        if hold.why == Why::Paused && !self.waits {
            self.metrics.moves.held();
        }
        tracing::debug!(client = handle.id, epoch = hold.epoch, why = ?hold.why,
            "statement waits for the next shard map");
        self.set_state(ClientState::Waiting);
        self.start_waiting();
        let until = match hold.why {
            Why::Paused => limits.end(),
            Why::Refused(times) => limits.end().min(began + pause_after(times)),
        };
        let ended = tokio::select! {
            biased;
            () = handle.wait_cancelled() => Waited::Refused(cancelled()),
            error = stopped(&handle) => Waited::Close(Some(error)),
            () = poll_fn(|cx| self.client.poll_gone(cx)) => Waited::Close(None),
            newer = timeout_at(until.into(), sharded.newer_than(hold.epoch)) => {
                match newer.is_err() && Instant::now() >= limits.end() {
                    true => self.waited_in_vain(&limits),
                    false => Waited::Again,
                }
            }
        };
        self.metrics.moves.waited(began.elapsed());
        self.account.waited(began.elapsed());
        // One that came just now is meant for the statement as well.
        let ended = match (handle.end_wait(), ended) {
            (true, Waited::Again) => Waited::Refused(cancelled()),
            (_, ended) => ended,
        };
        match &ended {
            Waited::Again => self.count_wait(began.elapsed()),
            Waited::Refused(_) => self.rest(),
            Waited::Close(_) => {}
        }
        ended
    }

    fn waited_in_vain(&self, limits: &Limits) -> Waited {
        if limits.query.is_some_and(|query| query < limits.wait) {
            self.metrics.timeout(TimeoutKind::Query);
            return Waited::Refused(self.query_timed_out());
        }
        Waited::Refused(
            SqlError::error("40001", "rows of the statement are being moved to another shard")
                .detail(format!(
                    "The statement waited {} ms (move_wait_ms) and has done nothing.",
                    self.started.elapsed().as_millis()
                ))
                .hint("Repeat the transaction."),
        )
    }

    /// Whether a statement that a shard has refused now may still wait.
    pub(super) fn may_wait_for_map(&self) -> bool {
        Instant::now() < Limits::of(self).end()
    }

    /// The statement or transaction that the map was kept for has ended, or has not begun: a map
    /// that is kept counts as in use.
    pub(in crate::session) fn let_map_go(&mut self) {
        let Some(shards) = &self.shards else { return };
        if shards.map.is_none() || self.batch_open || !shards.portals.is_empty() {
            return;
        }
        let idle = |lease: &crate::pool::Lease| {
            lease.status == b'I' && lease.expect.is_empty() && lease.out.is_empty()
        };
        if self.lease.as_ref().is_some_and(|lease| !idle(lease)) || self.has_parked_participant() {
            return;
        }
        if let Some(shards) = &mut self.shards {
            shards.map = None;
        }
    }

    /// The transaction as it was before its first statement, which has been undone.
    pub(super) fn begun_again(&self) -> Virtual {
        let log = self.shards.as_ref().and_then(|shards| shards.log.as_deref());
        log.map_or(Virtual::None, |log| {
            let (text, kind) = (log.begin.clone(), log.kind);
            Virtual::Begun(Box::new(super::super::DeferredBegin { text, kind }))
        })
    }
}

/// How long the statement at hand may wait.
struct Limits {
    since: Instant,
    wait: Duration,
    query: Option<Duration>,
}

impl Limits {
    fn of(session: &Session) -> Self {
        let database = &session.pools.database;
        let query = Some(database.timeouts.query).filter(|time| !time.is_zero());
        Self { since: session.started, wait: database.move_wait, query }
    }

    fn end(&self) -> Instant {
        self.since + self.query.map_or(self.wait, |query| query.min(self.wait))
    }
}

fn pause_after(times: u32) -> Duration {
    let factor = 2_u32.saturating_pow(times.saturating_sub(1).min(10));
    REPEAT_PAUSE_MIN.saturating_mul(factor).min(REPEAT_PAUSE_MAX)
}
