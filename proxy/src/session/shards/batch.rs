//! Owns the extended protocol of sharded databases: to which shard the messages of a batch go, and
//! how a batch goes on elsewhere. A batch that writes on several shards has a transaction of ours
//! (see `own`), which its Sync ends.

use super::super::extended::SYNC;
use super::super::local::begin_tag;
use super::super::request::{Step, aborted};
use super::super::{DeferredBegin, Prepared, Session, Stop, Virtual};
use super::choice::{Way, may_write, take};
use super::ends::Answer;
use super::log::{Log, Replay};
use super::portals::Portal;
use super::run::{Call, Spread, Work};
use super::values::{BindValues, declared, oids};
use crate::backend::connection::{Expect, Hidden};
use crate::wire::error::SqlError;
use crate::wire::frame::{self, FrameError, HEADER_BYTES};
use pgmanifold_router::plan::{Plan, Transaction};
use pgmanifold_router::savepoint::{self, SavepointCommand};
use pgmanifold_router::sharding::Placing;
use std::sync::Arc;

type Placed = Result<Option<Step>, FrameError>;

impl Session {
    /// To be called for a Parse that may go to a server. `None` when it goes to that at hand.
    pub(in crate::session) fn place_parse(
        &mut self,
        name: &[u8],
        prepared: &Prepared,
        rest: &[u8],
    ) -> Placed {
        let Some(shards) = &self.shards else { return Ok(None) };
        if self.has_failed_here() || self.refused.is_some() {
            return Ok(None);
        }
        if prepared.plan.transaction.is_some() {
            self.keep_new(name, prepared.clone());
            self.answer(|out| frame::put(out, b'1', &[]));
            return Ok(Some(Step::Done));
        }
        if let Some(stop) = self.before_facts(&prepared.plan) {
            return Ok(Some(stop.into()));
        }
        if let Some(Placing::Refused(refusal)) = prepared.plan.placing.as_deref()
            && !self.asks_for_shard(&prepared.plan)
        {
            let error = super::refused(refusal);
            return Ok(Some(self.refuse_batch(error)));
        }
        debug_assert!(shards.parked.len() > usize::from(shards.here.0));
        let Some(values) = bind_ahead(name, rest)? else { return Ok(None) };
        let definition = &prepared.statement.body;
        let bound = BindValues::read(values, declared(definition))?;
        let (text, values) = (prepared.statement.text(), bound.bound());
        if let Some(held) = self.held_back(text, &prepared.plan, None, Some(&values)) {
            let step = held.map_or_else(|error| self.refuse_batch(error), Step::from);
            return Ok(Some(step));
        }
        match self.way(text, &prepared.plan, None, Some(&values)) {
            // What is wrong with the values is said of the Bind.
            Err(_) | Ok(Way::Here | Way::Several(_) | Way::CopyIn | Way::Session) => Ok(None),
            Ok(Way::To(shard)) => Ok(match self.turn(shard) {
                Ok(()) => None,
                Err(Ok(stop)) => Some(stop.into()),
                Err(Err(error)) => Some(self.refuse_batch(error)),
            }),
        }
    }

    /// The statement or the session names its shard.
    pub(super) fn asks_for_shard(&self, plan: &Plan) -> bool {
        plan.hints.shard.is_some()
            || plan.hints.key.is_some()
            || self.knobs.shard().is_some()
            || self.knobs.shard_key().is_some()
    }

    /// To be called for a Bind that may go to a server. `None` when it goes to that at hand.
    pub(in crate::session) fn place_bind(
        &mut self,
        portal: &[u8],
        values: &[u8],
        prepared: &Prepared,
        calls: bool,
    ) -> Placed {
        if self.shards.is_none() || self.refused.is_some() {
            return Ok(None);
        }
        if let Some(shards) = &mut self.shards {
            shards.portals.forget(portal);
            shards.bound_writes = may_write(&prepared.plan);
        }
        let (text, plan) = (prepared.statement.text(), &prepared.plan);
        if plan.transaction.is_some() || plan.has_transaction_control {
            return Ok(self.bind_control(portal, text, plan));
        }
        if self.has_failed_here() {
            return Ok(None);
        }
        if let Some(stop) = self.before_facts(plan) {
            return Ok(Some(stop.into()));
        }
        let definition = &prepared.statement.body;
        let read = BindValues::read(values, declared(definition))?;
        let bound = read.bound();
        if let Some(held) = self.held_back(text, plan, None, Some(&bound)) {
            return Ok(Some(held.map_or_else(|error| self.refuse_batch(error), Step::from)));
        }
        let mut key = None;
        let way = match self.way_by_key(text, plan, None, Some(&bound), &mut key) {
            Ok(way) => way,
            Err(error) => return Ok(Some(self.refuse_batch(error))),
        };
        let placed = match way {
            Way::Here => Ok(None),
            Way::To(shard) => {
                if let Err(error) = self.check_second_writer(plan, shard) {
                    return Ok(Some(self.refuse_batch(error)));
                }
                self.turn(shard).map(|()| {
                    self.count_key(key);
                    self.note_unrepeatable(plan);
                    (!portal.is_empty()).then_some(Portal::On(shard))
                })
            }
            Way::Session => self.bind_setting(text, plan, definition, values),
            Way::CopyIn => Err(Err(copy_refused())),
            Way::Several(_) if calls => Err(Err(super::choice::call_refused())),
            Way::Several(shards) => {
                let spread = self.spread(text, plan, &shards, None, Some(&bound));
                spread.map_err(Err).map(|spread| {
                    let types = oids(declared(definition)).collect();
                    let call = Call::Portal { bind: values.into(), types };
                    let spread = Spread { plan: Arc::clone(plan), spread, call };
                    Some(Portal::Spread(Arc::new(spread)))
                })
            }
        };
        Ok(match placed {
            Ok(None) => None,
            Ok(Some(known)) => self.put_portal(portal, known),
            Err(Ok(stop)) => Some(stop.into()),
            Err(Err(error)) => Some(self.refuse_batch(error)),
        })
    }

    /// A statement that changes the session is bound, on all participants.
    fn bind_setting(
        &mut self,
        text: &[u8],
        plan: &Plan,
        definition: &[u8],
        values: &[u8],
    ) -> Result<Option<Portal>, Result<Stop, SqlError>> {
        // No formats, and no values.
        let replay = || match values.starts_with(&[0; 4]) {
            true => Replay::Text(text.into()),
            false => Replay::Bound { definition: definition.into(), values: values.into() },
        };
        match self.set_everywhere(plan, replay) {
            None => Ok(None),
            Some(Ok(stop)) => Err(Ok(stop)),
            Some(Err(error)) => Err(Err(error)),
        }
    }

    fn put_portal(&mut self, name: &[u8], portal: Portal) -> Option<Step> {
        let shards = self.shards.as_mut()?;
        if shards.portals.put(name, portal) {
            return None;
        }
        Some(self.refuse_batch(SqlError::error("54000", "too many portals are open")))
    }

    /// Transaction control that the server at hand cannot carry out alone becomes a portal of ours.
    fn bind_control(&mut self, portal: &[u8], text: &[u8], plan: &Arc<Plan>) -> Option<Step> {
        let others = self.has_parked_participant();
        let only_ours = self.lease.is_none() && !matches!(self.virtual_transaction, Virtual::None);
        let ours = match plan.transaction {
            Some(Transaction::Begin { .. }) => {
                self.lease.is_none() && !self.in_transaction() && self.may_defer_begin()
            }
            Some(Transaction::Commit | Transaction::Rollback) => others || only_ours,
            Some(Transaction::Savepoint | Transaction::SetTransaction) => others,
            Some(Transaction::TwoPhase) | None => false,
        };
        if ours {
            let control = Portal::Control { text: text.into(), plan: Arc::clone(plan) };
            let refused = self.put_portal(portal, control);
            return refused.or_else(|| {
                self.answer(|out| frame::put(out, b'2', &[]));
                Some(Step::Done)
            });
        }
        if plan.transaction.is_none() && self.batch_open && !self.owes_answers() {
            return self.control(text, plan, Answer::Execute);
        }
        self.note_control(text, plan)
    }

    /// Transaction control that goes to the server at hand.
    fn note_control(&mut self, text: &[u8], plan: &Arc<Plan>) -> Option<Step> {
        match plan.transaction {
            Some(control @ Transaction::Begin { .. }) => {
                let inside = self.in_transaction();
                if let Some(shards) = &mut self.shards {
                    shards.own_transaction = false;
                    shards.batch_begun = true;
                    if !inside {
                        shards.log = Some(Box::new(Log::new(text, control)));
                    }
                }
                None
            }
            Some(Transaction::Commit | Transaction::Rollback) => {
                if let Some(shards) = &mut self.shards {
                    shards.own_transaction = false;
                }
                None
            }
            Some(Transaction::Savepoint) => {
                let command = savepoint::read(text, self.dialect);
                let log = self.shards.as_mut().and_then(|shards| shards.log.as_mut());
                match (log, command) {
                    (Some(log), Some(command)) => {
                        log.savepoint(&command, text);
                    }
                    (Some(log), None) => log.close("the name of a savepoint could not be read"),
                    (None, _) => {}
                }
                None
            }
            Some(Transaction::SetTransaction) => {
                let log = self.shards.as_mut().and_then(|shards| shards.log.as_mut());
                if let Some(log) = log {
                    log.add(Replay::Text(text.into()));
                }
                None
            }
            Some(Transaction::TwoPhase) | None => self.control(text, plan, Answer::Execute),
        }
    }

    /// To be called for a Describe of a portal: true when it was answered.
    pub(in crate::session) fn describe_control(&mut self, portal: &[u8]) -> bool {
        let Some(shards) = &self.shards else { return false };
        let control = matches!(shards.portals.find(portal), Some(Portal::Control { .. }));
        if control {
            self.answer(|out| frame::put(out, b'n', &[]));
        }
        control
    }

    /// To be called for a Describe of a statement: true when it was answered.
    pub(in crate::session) fn describe_control_statement(&mut self, plan: &Plan) -> bool {
        let control = self.shards.is_some() && plan.transaction.is_some();
        if control {
            self.answer(|out| {
                frame::put(out, b't', &[&[0, 0]]);
                frame::put(out, b'n', &[]);
            });
        }
        control
    }

    /// To be called for a Close of a portal: true when no server has it.
    pub(in crate::session) fn close_portal(&mut self, portal: &[u8]) -> bool {
        let Some(shards) = &mut self.shards else { return false };
        let control = matches!(shards.portals.find(portal), Some(Portal::Control { .. }));
        shards.portals.forget(portal);
        control
    }

    /// To be called for an Execute. `None` when it goes to the server at hand.
    pub(in crate::session) fn place_execute(
        &mut self,
        portal: &[u8],
        limit: &[u8],
    ) -> Option<Step> {
        let shards = self.shards.as_ref()?;
        match shards.portals.find(portal).cloned() {
            Some(Portal::Control { text, plan }) => Some(self.execute_control(&text, &plan)),
            Some(Portal::Spread(spread)) => Some(self.execute_spread(portal, spread, limit)),
            Some(Portal::On(shard)) if shard != shards.here => match self.turn(shard) {
                Ok(()) => None,
                Err(Ok(stop)) => Some(stop.into()),
                Err(Err(error)) => Some(self.refuse_batch(error)),
            },
            Some(Portal::On(_)) | None => None,
        }
    }

    /// Notes an Execute that is sent to the server at hand.
    pub(in crate::session) fn note_execute(&mut self) {
        // What is owed is only looked through for a write that is not known of yet.
        let matters = |shards: &&mut Box<super::Shards>| {
            shards.bound_writes && !shards.batch_begun && !shards.batch_wrote
        };
        let Some(shards) = self.shards.as_mut().filter(matters) else { return };
        let begins = |owed: &Expect| matches!(owed, Expect::Hidden(Hidden::Begin));
        let outside =
            |lease: &crate::pool::Lease| lease.status == b'I' && !lease.expect.iter().any(begins);
        shards.batch_wrote = self.lease.as_ref().is_some_and(outside);
    }

    fn execute_spread(&mut self, portal: &[u8], spread: Arc<Spread>, limit: &[u8]) -> Step {
        if limit != [0; 4] {
            return self.refuse_batch(limit_refused());
        }
        if self.has_failed_here() {
            return self.refuse_batch(aborted());
        }
        match self.leave_for_work() {
            Ok(()) => {}
            Err(Ok(stop)) => return stop.into(),
            Err(Err(error)) => return self.refuse_batch(error),
        }
        if let Some(shards) = &mut self.shards {
            shards.portals.forget(portal);
        }
        take(Work::Spread(spread))
    }

    fn execute_control(&mut self, text: &[u8], plan: &Arc<Plan>) -> Step {
        if let Some(error) = self.refused.take() {
            return self.refuse_batch(*error);
        }
        if self.owes_answers() {
            return Stop::Drain.into();
        }
        let others = self.has_parked_participant();
        match plan.transaction {
            Some(Transaction::Savepoint | Transaction::SetTransaction) if others => {
                return self.control_all(text, plan);
            }
            _ => {}
        }
        if let Some(step) = self.control(text, plan, Answer::Execute) {
            return step;
        }
        match (plan.transaction, &self.virtual_transaction) {
            (Some(kind @ Transaction::Begin { .. }), Virtual::None) if self.lease.is_none() => {
                let begin = DeferredBegin { text: text.into(), kind };
                self.virtual_transaction = Virtual::Begun(Box::new(begin));
                self.rest();
                self.answer(|out| frame::put_command_complete(out, begin_tag(text)));
            }
            (Some(Transaction::Commit), Virtual::Begun(_)) => self.end_virtual_in_batch("COMMIT"),
            (Some(Transaction::Commit), Virtual::Failed(_)) | (Some(Transaction::Rollback), _) => {
                self.end_virtual_in_batch("ROLLBACK")
            }
            _ => {
                let error = SqlError::error("XX000", "transaction control without a transaction");
                return self.refuse_batch(error);
            }
        }
        Step::Done
    }

    /// A savepoint or SET TRANSACTION, on all participants.
    fn control_all(&mut self, text: &[u8], plan: &Arc<Plan>) -> Step {
        let command = savepoint::read(text, self.dialect);
        let (tag, back) = match &command {
            Some(SavepointCommand::Set(_)) => ("SAVEPOINT", false),
            Some(SavepointCommand::Release(_)) => ("RELEASE", false),
            Some(SavepointCommand::RollbackTo(_)) => ("ROLLBACK", true),
            None if plan.transaction == Some(Transaction::SetTransaction) => ("SET", false),
            None => {
                let error = SqlError::refused(
                    "savepoint-name",
                    "the name of a savepoint could not be read",
                );
                return self.refuse_batch(error.hint("Write its name without U&."));
            }
        };
        if self.has_failed_anywhere() && !back {
            return self.refuse_batch(aborted());
        }
        if let Err(stop) = self.leave_for_work_in_any_state() {
            return stop.into();
        }
        if let Some(log) = self.shards.as_mut().and_then(|shards| shards.log.as_mut()) {
            match &command {
                Some(command) => {
                    log.savepoint(command, text);
                }
                None => log.add(Replay::Text(text.into())),
            }
        }
        take(Work::All { replay: Replay::Text(text.into()), plan: Arc::clone(plan), tag })
    }

    fn leave_for_work_in_any_state(&mut self) -> Result<(), Stop> {
        match self.batch_open && self.lease.is_some() {
            true => Err(self.leave_batch()),
            false => Ok(()),
        }
    }

    /// Ends the part of a batch that ran on the server at hand, so that the rest can go elsewhere.
    pub(super) fn leave_batch(&mut self) -> Stop {
        self.batch_open = false;
        self.send_expecting(SYNC, Expect::Hidden(Hidden::Sync));
        Stop::Drain
    }

    /// To be called for a Sync. `None` when it goes the usual way.
    pub(in crate::session) fn place_sync(&mut self) -> Option<Step> {
        let shards = self.shards.as_mut()?;
        if !shards.own_transaction {
            (shards.batch_wrote, shards.batch_begun) = (false, false);
            return None;
        }
        if self.owes_answers() {
            return Some(Stop::Drain.into());
        }
        Some(take(Work::End { commit: true, answer: Answer::Sync }))
    }
}

/// The values of the Bind that follows a Parse of this name in the same batch.
fn bind_ahead<'a>(name: &[u8], rest: &'a [u8]) -> Result<Option<&'a [u8]>, FrameError> {
    let mut at = 0;
    while let Some(header) = rest.get(at..).and_then(frame::peek) {
        let Some(message) = rest.get(at..at + header.total) else { return Ok(None) };
        match header.kind {
            b'B' => {
                let (_, tail) = frame::cstr(&message[HEADER_BYTES..], b'B')?;
                let (bound, values) = frame::cstr(tail, b'B')?;
                if bound == name {
                    return Ok(Some(values));
                }
            }
            b'P' | b'D' | b'C' => {}
            _ => return Ok(None),
        }
        at += header.total;
    }
    Ok(None)
}

pub(super) fn leave_batch_refused() -> SqlError {
    SqlError::refused(
        "batch-over-shards",
        "a batch has written on one shard and goes on on another",
    )
    .detail("What was sent before its Sync would have to be one transaction.")
    .hint("Send a Sync after each statement, or open a transaction with BEGIN.")
}

fn limit_refused() -> SqlError {
    SqlError::refused(
        "row-limit",
        "cannot execute a statement over several shards with a row limit",
    )
    .detail("Execute asks for a limited number of rows.")
    .hint("Fetch all rows at once, or name a shard key in the statement.")
}

fn copy_refused() -> SqlError {
    SqlError::refused("copy-extended", "cannot COPY into a sharded table by the extended protocol")
        .hint("Send COPY as a simple query.")
}
