//! Owns the repeats of what a shard has refused because keys were moved away from it (PGM01), or
//! because the map it went by is too old for the shard (PGM07). The server has rolled it back as a
//! whole; when that is all there was, and the client has heard nothing of it, it is placed again by
//! the next map.
//!
//! ```text
//!   sent ── PGM01 ──► answer thrown away ──► undone (ROLLBACK of a transaction just begun)
//!     ▲                                            │
//!     └──────── placed ◄── the next map, a pause ◄─┘
//! ```

use super::super::{Event, Session, Virtual};
use super::ends::Answer;
use super::hold::{Hold, Owed, Waited, Why};
use super::run::{Attempt, Call, Failed, Spread, Task};
use super::values::BindValues;
use crate::backend::connection::{Expect, Hidden};
use crate::execute::Failure;
use crate::metrics::RouteKind;
use crate::wire::error::SqlError;
use bytes::BytesMut;
use pgmanifold_router::plan::{Effect, Plan};
use pgmanifold_router::shard_map::ShardId;
use pgmanifold_router::shard_schema::{MOVED, TOO_OLD};

/// Longest request that is kept to be repeated.
const REPEATABLE_BYTES: usize = 256 * 1024;

/// What a client is told of a transaction that cannot be repeated here.
pub(in crate::session) fn moved(said: &str, sqlstate: &str) -> SqlError {
    SqlError::error("40001", "rows of the statement were moved to another shard")
        .detail(format!("{said} ({sqlstate})."))
        .hint("Repeat the transaction.")
}

/// A shard has refused something for the map it went by.
pub(super) fn is_moved(sqlstate: &str) -> bool {
    sqlstate == MOVED || sqlstate == TOO_OLD
}

impl Session {
    /// Keeps a write that is about to be sent alone, while keys are on their way.
    #[inline]
    pub(in crate::session) fn keep_for_move(&mut self, request: &[u8], plan: &Plan) {
        let Some(shards) = &mut self.shards else { return };
        shards.forget_sent();
        if shards.map.as_ref().is_some_and(|map| map.is_moving()) {
            self.keep_sent(request, plan);
        }
    }

    #[cold]
    fn keep_sent(&mut self, request: &[u8], plan: &Plan) {
        let (Some(shards), Some(lease)) = (&mut self.shards, &self.lease) else { return };
        // What may commit half-way is not rolled back as a whole.
        let whole = plan.effect == Effect::Write
            && !plan.session.probes
            && !plan.has_transaction_control
            && plan.transaction.is_none();
        let first = match lease.expect.iter().collect::<Vec<_>>().as_slice() {
            [] => true,
            [Expect::Hidden(Hidden::Begin)] => {
                !shards.own_transaction && shards.log.as_ref().is_some_and(|log| !log.has_steps())
            }
            _ => false,
        };
        if whole && first && lease.status == b'I' && request.len() <= REPEATABLE_BYTES {
            shards.sent.extend_from_slice(request);
        }
    }

    /// Decides whether a refusal of the server at hand leads to another try. From then on its
    /// answers are thrown away, and nothing more is sent to it.
    pub(in crate::session) fn repeats_moved(&mut self, sqlstate: &str) -> bool {
        let Some(shards) = &self.shards else { return false };
        if shards.sent.is_empty() || sqlstate != MOVED {
            return false;
        }
        let Some(lease) = &self.lease else { return false };
        let ends = |owed: &Expect| matches!(owed, Expect::Query | Expect::Sync);
        let last = lease.expect.iter().position(ends).map(|at| at + 1);
        let alone = last == Some(lease.expect.len()) && self.output.is_empty();
        if !alone || !self.may_wait_for_map() {
            return false;
        }
        if let (Some(shards), Some(lease)) = (&mut self.shards, &mut self.lease) {
            lease.repeatable = std::mem::take(&mut shards.sent);
            lease.repeating = true;
            shards.undoing = true;
        }
        true
    }

    /// The refused request was answered. True when this is no end of a read's first try.
    pub(in crate::session) fn undoes_moved(&mut self) -> bool {
        let undoing = self.shards.as_ref().is_some_and(|shards| shards.undoing);
        let Some(lease) = self.lease.as_mut().filter(|_| undoing) else { return false };
        lease.owed.answered = None;
        if lease.status == b'I' {
            self.moved_undone(false);
        } else {
            lease.query(b"ROLLBACK", Expect::Hidden(Hidden::Undo));
        }
        true
    }

    /// What was refused is undone: it is placed again.
    pub(in crate::session) fn moved_undone(&mut self, in_transaction: bool) {
        let Some(lease) = &mut self.lease else { return };
        lease.repeating = false;
        let request = std::mem::take(&mut lease.repeatable);
        self.place_moved(request, in_transaction);
    }

    /// The server was lost while what was refused was undone. True when it is placed again.
    pub(in crate::session) fn undone_by_loss(
        &mut self,
        request: &mut BytesMut,
        in_transaction: bool,
    ) -> bool {
        let undoing = self.shards.as_ref().is_some_and(|shards| shards.undoing);
        if undoing {
            self.place_moved(std::mem::take(request), in_transaction);
        }
        undoing
    }

    fn place_moved(&mut self, request: BytesMut, in_transaction: bool) {
        self.forget_effects();
        if in_transaction {
            self.virtual_transaction = self.begun_again();
        }
        let hold = self.count_moved();
        if let Some(shards) = &mut self.shards {
            shards.undoing = false;
            shards.owed = Some(Owed::Wait(hold));
            shards.map = None;
            shards.portals.clear();
        }
        // Its clock goes on.
        self.start_waiting();
        self.put_back(request);
    }

    /// A repeat is due; what it waits for.
    fn count_moved(&mut self) -> Hold {
        self.metrics.moves.repeated();
        let Some(shards) = &mut self.shards else { return Hold { why: Why::Refused(1), epoch: 0 } };
        shards.refusals += 1;
        let hold = Hold { why: Why::Refused(shards.refusals), epoch: shards.epoch() };
        tracing::debug!(
            client = self.handle.id,
            epoch = hold.epoch,
            times = shards.refusals,
            "statement refused by a shard that keys were moved away from: it is repeated"
        );
        hold
    }

    /// What the statement at hand would have done was rolled back.
    fn forget_effects(&mut self) {
        (self.wrote, self.wrote_async, self.did_ddl) = (false, false, false);
        self.written_key = None;
        self.may_end_transaction = false;
    }

    /// Whether a statement of several shards that has failed so may be run again. `before` is how
    /// much the client was owed before it, and `fresh` that its transaction had done nothing.
    pub(super) fn repeats_task(
        &self,
        task: &Task<'_>,
        result: &Result<crate::execute::Done, Failed>,
        fresh: bool,
    ) -> bool {
        let Err(Failed::Answer(failure)) = result else { return false };
        is_moved(&failure.error.sqlstate)
            && fresh
            && !failure.answered
            && matches!(task, Task::Spread { .. })
            && (failure.error.sqlstate != TOO_OLD || self.may_await_newer_map())
            && self.may_wait_for_map()
    }

    /// Undoes what a statement has done on these shards, so that it can be run again.
    pub(super) async fn undo_task(&mut self, shards: &[ShardId], joins: bool) -> Option<Event> {
        self.rollback_all(shards).await;
        for &shard in shards {
            self.exchange(shard);
            self.forget_effects();
        }
        let left = self.leave_seats(shards, false).await;
        if let Some(known) = &mut self.shards {
            known.lost_participant = false;
        }
        if joins {
            self.virtual_transaction = self.begun_again();
        }
        left
    }

    /// Runs a statement of several shards, again by each next map while shards refuse it.
    pub(super) async fn run_repeatedly(&mut self, first: &Spread) -> Option<Event> {
        let mut next: Option<Spread> = None;
        loop {
            let spread = next.as_ref().unwrap_or(first);
            let shards: Vec<ShardId> = spread.spread.parts.iter().map(|part| part.shard).collect();
            let task = Task::Spread { spread: &spread.spread, call: &spread.call };
            // The map in use is that of the statement until it has ended.
            let map = self.shards.as_ref().and_then(|shards| shards.map.clone());
            let answer = spread.answer();
            match self.run_task(&task, &spread.plan, &shards, answer).await {
                Attempt::Ended(event) => return event,
                Attempt::Refused => {}
            }
            let mut hold = self.count_moved();
            drop(map);
            next = loop {
                if let Some(known) = &mut self.shards {
                    known.map = None;
                }
                match self.wait_for_map(&hold).await {
                    Waited::Again => {}
                    Waited::Refused(error) => return self.fail_spread(error, answer),
                    Waited::Close(error) => return Some(Event::Close(error)),
                }
                match self.spread_again(spread) {
                    Ok(Some(spread)) => break Some(spread),
                    Ok(None) => {
                        let epoch = self.shards.as_ref().map_or(0, |shards| shards.epoch());
                        hold = Hold { why: Why::Paused, epoch };
                    }
                    Err(error) => return self.fail_spread(error, answer),
                }
            };
        }
    }

    /// The statement fails without having done anything.
    fn fail_spread(&mut self, error: SqlError, answer: Answer) -> Option<Event> {
        self.waits = false;
        self.fail_virtual();
        self.rest();
        if matches!(self.virtual_transaction, Virtual::None) {
            self.leave_statement_on_shards();
        }
        let route = ((RouteKind::Refused, "its keys are being moved"), 0);
        self.answer_result(Err(Failed::Answer(Failure::new(error))), route, answer)
    }

    /// The same statement by the newest map; `None` while that has its keys paused.
    fn spread_again(&mut self, before: &Spread) -> Result<Option<Spread>, SqlError> {
        self.take_map();
        let text = &before.spread.original;
        let plan = super::super::planning::with_scratch(|_, planner| self.plan(text, planner));
        let types: Vec<u8> = match &before.call {
            Call::Simple => Vec::new(),
            Call::Portal { types, .. } => types.iter().flat_map(|oid| oid.to_be_bytes()).collect(),
        };
        let read = match &before.call {
            Call::Simple => None,
            Call::Portal { bind, .. } => Some(
                BindValues::read(bind, &types)
                    .map_err(|error| SqlError::error("08P01", error.to_string()))?,
            ),
        };
        let bound = read.as_ref().map(BindValues::bound);
        if self.meets_paused(text, &plan, None, bound.as_ref()) {
            return Ok(None);
        }
        let shards = self.shards_again(text, &plan, bound.as_ref())?;
        let spread = self.spread(text, &plan, &shards, None, bound.as_ref())?;
        Ok(Some(Spread { plan, spread, call: before.call.clone() }))
    }
}
