//! Owns transaction control in sharded databases: what is noted for shards that join later, and
//! what concerns more than the server at hand.

use super::super::Session;
use super::super::request::{Step, aborted, chains};
use super::choice::take;
use super::ends::Answer;
use super::log::{Log, Replay};
use super::run::Work;
use super::turn::work;
use crate::wire::error::SqlError;
use pgmanifold_router::plan::{Plan, Transaction};
use pgmanifold_router::savepoint::{self, SavepointCommand};
use std::sync::Arc;

use super::super::{Stop, Virtual};

impl Session {
    /// To be called for a simple query, or an Execute, that may be transaction control. `None`
    /// when it goes the usual way.
    pub(in crate::session) fn control(
        &mut self,
        text: &[u8],
        plan: &Arc<Plan>,
        answer: Answer,
    ) -> Option<Step> {
        self.shards.as_ref()?;
        let Some(control) = plan.transaction else {
            return self.control_among_several(plan, answer);
        };
        if self.refused.is_some() {
            return None;
        }
        if self.owes_answers() {
            return Some(Stop::Drain.into());
        }
        if !self.in_transaction() {
            return self.control_outside(text, control, answer);
        }
        let step = match control {
            Transaction::Begin { .. } => {
                if let Some(shards) = &mut self.shards {
                    // The client's own from now on: it does not end with the batch.
                    shards.own_transaction = false;
                }
                return None;
            }
            Transaction::Commit | Transaction::Rollback => {
                self.control_end(text, control == Transaction::Commit, answer)
            }
            Transaction::Savepoint => self.control_savepoint(text, plan),
            Transaction::SetTransaction => {
                let set = self.set_everywhere(plan, || Replay::Text(text.into()));
                set.map(|set| set.map(Into::into))
            }
            Transaction::TwoPhase => self.control_prepared(),
        };
        step.map(|step| step.unwrap_or_else(|error| self.refuse(error, answer)))
    }

    /// Answers with an error, as the request came.
    pub(super) fn refuse(&mut self, error: SqlError, answer: Answer) -> Step {
        match answer {
            Answer::Query => self.refuse_query(error),
            Answer::Execute | Answer::Sync => self.refuse_batch(error),
        }
    }

    fn control_outside(
        &mut self,
        text: &[u8],
        control: Transaction,
        answer: Answer,
    ) -> Option<Step> {
        let shards = self.shards.as_mut()?;
        match control {
            Transaction::Begin { .. } => {
                shards.log = Some(Box::new(Log::new(text, control)));
                None
            }
            Transaction::TwoPhase => {
                let home = shards.sharded.home();
                match self.turn(home) {
                    Ok(()) => None,
                    Err(Ok(stop)) => Some(stop.into()),
                    Err(Err(error)) => Some(self.refuse(error, answer)),
                }
            }
            _ => None,
        }
    }

    fn control_end(
        &mut self,
        text: &[u8],
        commit: bool,
        answer: Answer,
    ) -> Option<Result<Step, SqlError>> {
        if !self.has_parked_participant() {
            return None;
        }
        if chains(text) {
            let error =
                SqlError::refused("chain", "cannot chain a transaction over several shards")
                    .hint("Send COMMIT or ROLLBACK, and then BEGIN.");
            return Some(Err(error));
        }
        if commit && let Some(error) = self.take_refused_commit() {
            return Some(Err(error));
        }
        if commit && !self.listening_ready() && !self.has_failed_anywhere() {
            return Some(Ok(Stop::Event(super::super::Event::Hub).into()));
        }
        Some(match self.leave_for_end() {
            Some(stop) => Ok(stop.into()),
            None => Ok(take(Work::End { commit, answer })),
        })
    }

    /// A batch that is half done on the server at hand ends there first.
    fn leave_for_end(&mut self) -> Option<Stop> {
        (self.batch_open && self.lease.is_some()).then(|| self.leave_batch())
    }

    fn control_savepoint(
        &mut self,
        text: &[u8],
        plan: &Arc<Plan>,
    ) -> Option<Result<Step, SqlError>> {
        let others = self.has_parked_participant();
        let Some(command) = savepoint::read(text, self.dialect) else {
            let unread = "the name of a savepoint could not be read";
            if let Some(log) = self.shards.as_mut().and_then(|shards| shards.log.as_mut()) {
                log.close(unread);
            }
            let error =
                SqlError::refused("savepoint-name", unread).hint("Write its name without U&.");
            return others.then_some(Err(error));
        };
        if self.has_failed_anywhere() && !matches!(command, SavepointCommand::RollbackTo(_)) {
            return others.then(|| Err(aborted()));
        }
        if matches!(self.virtual_transaction, Virtual::Failed(None) | Virtual::Lost(_)) {
            return None;
        }
        if others {
            if self.batch_open {
                return Some(Ok(self.leave_batch().into()));
            }
            let did = self.shards.as_mut().map(|shards| std::mem::take(&mut shards.others_did));
            if did != Some(true) {
                let others = Work::Others(Replay::Text(text.into()), Arc::clone(plan));
                return Some(Ok(work(others).into()));
            }
        }
        if let Some(log) = self.shards.as_mut().and_then(|shards| shards.log.as_mut()) {
            // One that is not known fails on the server, and the transaction with it.
            log.savepoint(&command, text);
        }
        None
    }

    fn control_prepared(&mut self) -> Option<Result<Step, SqlError>> {
        let alone = !self.has_parked_participant() && self.is_home();
        (!alone).then(|| {
            Err(SqlError::refused(
                "prepare-transaction",
                "cannot PREPARE a transaction that left its home shard",
            )
            .hint("Send COMMIT: transactions over several shards are committed atomically."))
        })
    }

    /// Transaction control among several statements ends or opens what nobody has looked at.
    fn control_among_several(&mut self, plan: &Plan, answer: Answer) -> Option<Step> {
        if !plan.has_transaction_control {
            return None;
        }
        if self.owes_answers() {
            return Some(Stop::Drain.into());
        }
        if self.has_parked_participant() {
            let error = SqlError::refused(
                "several-statements",
                "transaction control among several statements of a transaction over shards",
            )
            .hint("Send BEGIN, COMMIT, ROLLBACK and SAVEPOINT as statements of their own.");
            return Some(self.refuse(error, answer));
        }
        if let Some(shards) = &mut self.shards {
            shards.log = None;
        }
        None
    }
}
