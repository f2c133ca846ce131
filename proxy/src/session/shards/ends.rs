//! Owns the end of transactions of several shards, and what all of their participants do: joining,
//! savepoints, settings, failing together. Atomic commit itself belongs to `two_phase`.

use super::super::extended::SYNC;
use super::super::request::POISON;
use super::super::{DeferredBegin, Event, Session, Virtual};
use super::log::Replay;
use super::run::{infos, participants};
use super::seat::{Begins, Unseated};
use super::watch::watched;
use crate::backend::connection::{Expect, Hidden};
use crate::backend::exec;
use crate::execute::Failure;
use crate::metrics::{ClientState, RouteKind};
use crate::pool::Lease;
use crate::timer::timeout;
use crate::two_phase::Outcome;
use crate::wire::error::{Severity, SqlError};
use crate::wire::frame;
use pgmanifold_router::plan::Plan;
use pgmanifold_router::shard_map::ShardId;
use std::time::Duration;

/// Longest time a ROLLBACK may take before its connection is closed instead.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// What the client is answered at the end of some work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Answer {
    /// A simple query: ReadyForQuery follows.
    Query,
    /// An Execute: its Sync comes later.
    Execute,
    /// A Sync that ends a transaction of ours.
    Sync,
}

impl Session {
    /// ReadyForQuery, where it is due.
    pub(super) fn answer_end(&mut self, answer: Answer) {
        if answer == Answer::Execute {
            return;
        }
        let status = match (self.virtual_status(), &self.lease) {
            (b'I', Some(lease)) => lease.status,
            (status, _) => status,
        };
        let waits = status == b'I'
            && self.listening.as_ref().is_some_and(|listening| listening.is_active());
        match &mut self.listening {
            // What the session has sent itself comes first; ReadyForQuery follows it.
            Some(listening) if waits => listening.holds_ready = true,
            _ => frame::put_ready(&mut self.output, status),
        }
        self.span_answered();
    }

    /// A shard joins the transaction before the statement that needs it comes again.
    pub(super) async fn join(&mut self, shard: ShardId) -> Option<Event> {
        let plan = super::super::planning::unplanned("joins a transaction");
        let begin = self
            .joinable(shard)
            .map(|log| DeferredBegin { text: log.begin.clone(), kind: log.kind });
        let plan = Plan { effect: pgmanifold_router::plan::Effect::Transaction, ..plan };
        match self.seat(shard, &plan, Begins::Joins).await {
            Ok(()) => None,
            Err(Unseated::Close(error)) => Some(Event::Close(error)),
            Err(Unseated::Refused(error)) => {
                if self.lease.is_none()
                    && let Ok(begin) = begin
                {
                    self.virtual_transaction = Virtual::Begun(Box::new(begin));
                }
                self.refused = Some(Box::new(error));
                None
            }
        }
    }

    /// All participants but the one at hand do this. When that one is none, another takes its
    /// place.
    pub(super) async fn run_on_others(&mut self, replay: &Replay, plan: &Plan) {
        let here = self.shards.as_ref().map(|shards| shards.here);
        let all = self.participants();
        let stays = here.filter(|here| all.contains(here)).or(all.first().copied());
        self.virtual_transaction = Virtual::None;
        let mut failed = None;
        for shard in all.into_iter().filter(|shard| Some(*shard) != stays) {
            self.exchange(shard);
            self.note_effects(plan);
            self.restore_sql = None;
            if let Err(error) = self.replay(replay).await {
                failed = Some(error);
                break;
            }
        }
        let lost = failed.is_some() && self.lease.is_none();
        if let Some(stays) = stays {
            self.exchange(stays);
        }
        if lost {
            self.abandon_transaction();
        }
        match (failed, &mut self.shards) {
            (Some(error), _) => self.refused = Some(Box::new(error)),
            (None, Some(shards)) => shards.others_did = true,
            (None, None) => {}
        }
    }

    /// All participants do this.
    pub(super) async fn run_on_all(
        &mut self,
        replay: &Replay,
        plan: &Plan,
        tag: &'static str,
    ) -> Option<Event> {
        let shards = self.participants().len();
        self.run_on_others(replay, plan).await;
        if let Some(shards) = &mut self.shards {
            shards.others_did = false;
        }
        let mut error = self.refused.take().map(|error| *error);
        if error.is_none() {
            self.note_effects(plan);
            error = self.replay(replay).await.err();
        }
        match error {
            None => {
                self.account_spread((RouteKind::Transaction, None), shards, (Some(tag), 0));
                self.answer_done(tag, Answer::Execute);
            }
            Some(error) => {
                self.account_spread((RouteKind::Transaction, None), shards, (None, 0));
                if self.lease.is_none() {
                    self.abandon_transaction();
                }
                self.fail_transaction().await;
                self.answer_failure(&Failure::new(error), Answer::Execute);
            }
        }
        self.rest_in_transaction();
        None
    }

    /// Waits until a shard shows what this session has committed.
    pub(super) async fn finish_commit(&mut self, shard: ShardId) -> Result<(), SqlError> {
        let find = |known: &super::Shards| {
            known.unfinished.iter().position(|unfinished| unfinished.shard == shard)
        };
        let Some(known) = &mut self.shards else { return Ok(()) };
        let Some(at) = find(known) else { return Ok(()) };
        let unfinished = known.unfinished.swap_remove(at);
        let waited = unfinished.wait().await;
        if waited.is_err()
            && let Some(known) = &mut self.shards
        {
            known.unfinished.push(unfinished);
        }
        waited
    }

    /// Whether a transaction may write on several shards.
    ///
    /// # Errors
    /// 55000 when a shard cannot prepare transactions.
    pub(super) fn check_two_phase(&self) -> Result<(), SqlError> {
        self.pools.two_phase.as_ref().map_or(Ok(()), |two_phase| two_phase.check_writable())
    }

    /// Ends the batch under way on the server at hand; its transaction goes on.
    async fn end_batch(&mut self) -> Result<(), SqlError> {
        if !std::mem::take(&mut self.batch_open) || self.lease.is_none() {
            return Ok(());
        }
        self.send_expecting(SYNC, Expect::Hidden(Hidden::Sync));
        self.settle().await
    }

    /// COMMIT or ROLLBACK of all participants.
    pub(super) async fn end(&mut self, commit: bool, answer: Answer) -> Option<Event> {
        if answer == Answer::Sync
            && let Err(error) = self.end_batch().await
        {
            self.virtual_transaction = Virtual::Lost(Box::new(error));
        }
        let skipped = answer == Answer::Sync && std::mem::take(&mut self.skip_to_sync);
        let failed = self.has_failed_anywhere() || skipped;
        let shards = self.participants();
        self.virtual_transaction = Virtual::None;
        let result = match commit && !failed {
            true => self.commit_all(&shards).await,
            false => {
                self.rollback_all(&shards).await;
                Ok(())
            }
        };
        let committed = commit && !failed && result.is_ok();
        self.rolled_back = !committed;
        self.listening_ends(committed);
        if let Some(event) = self.leave_seats(&shards, true).await {
            return Some(event);
        }
        self.forget_transaction(committed);
        self.count_end(!shards.is_empty());
        let tag = if committed { "COMMIT" } else { "ROLLBACK" };
        let tag = result.is_ok().then_some(tag);
        self.account_spread((RouteKind::Transaction, None), shards.len(), (tag, 0));
        match (result, answer) {
            (Err(error), Answer::Sync) => {
                error.encode(&mut self.output);
                self.answer_end(answer);
            }
            (Err(error), _) => self.answer_failure(&Failure::new(error), answer),
            (Ok(()), Answer::Sync) => self.answer_end(answer),
            (Ok(()), _) => {
                let tag = if committed { "COMMIT" } else { "ROLLBACK" };
                self.answer_done(tag, answer);
            }
        }
        None
    }

    /// The transaction is over for the session itself.
    pub(super) fn forget_transaction(&mut self, committed: bool) {
        self.rolled_back = false;
        if self.knobs.end_transaction(committed) {
            self.follow_keep_server();
        }
        if let Some(shards) = &mut self.shards {
            shards.log = None;
            shards.own_transaction = false;
            shards.batch_wrote = false;
            shards.map = None;
            shards.refusals = 0;
        }
        if !self.batch_open {
            self.rest();
        }
    }

    /// Commits what these shards have done, all or nothing.
    ///
    /// # Errors
    /// For the client: nothing was committed, or nobody knows.
    pub(super) async fn commit_all(&mut self, shards: &[ShardId]) -> Result<(), SqlError> {
        let wrote = |session: &Self, shard: ShardId| match &session.shards {
            Some(known) if known.here != shard => {
                let bench = known.parked.get(usize::from(shard.0)).and_then(Option::as_ref);
                bench.is_some_and(|bench| bench.wrote)
            }
            _ => session.wrote,
        };
        let (writers, readers): (Vec<ShardId>, Vec<ShardId>) =
            shards.iter().partition(|shard| wrote(self, **shard));
        // A reader that cannot commit has read what the writers must not be based on.
        for shard in readers {
            if let Err(error) = self.commit_one(shard).await {
                self.rollback_all(shards).await;
                return Err(error);
            }
        }
        match *writers.as_slice() {
            [] => Ok(()),
            [one] => {
                let result = self.commit_one(one).await;
                if result.is_err() {
                    self.rollback_all(shards).await;
                }
                result
            }
            _ => self.commit_several(&writers).await,
        }
    }

    async fn commit_one(&mut self, shard: ShardId) -> Result<(), SqlError> {
        let mut lifted = self.lift(&[shard]);
        let servers = infos(&lifted);
        let Some((_, lease)) = lifted.first_mut() else {
            return Err(SqlError::error("XX000", "a shard has left its transaction"));
        };
        let committing = exec::run(lease, "COMMIT");
        let watched = watched(&self.handle, &servers, committing).await;
        let name = self.shards.as_ref().map_or("?", |shards| shards.name(shard)).to_owned();
        let error = match watched.result {
            Ok(Ok(_)) => None,
            Ok(Err(error)) if error.sqlstate != "08006" => Some(error),
            Ok(Err(_)) | Err(_) => {
                lifted.clear();
                Some(unknown_outcome(&name))
            }
        };
        self.lay(lifted);
        error.map_or(Ok(()), Err)
    }

    async fn commit_several(&mut self, shards: &[ShardId]) -> Result<(), SqlError> {
        let two_phase = self.pools.two_phase.clone();
        let (Some(known), Some(two_phase)) = (self.sharded(), two_phase) else {
            return Err(SqlError::error("XX000", "a database without shards has several"));
        };
        let mut lifted = self.lift(shards);
        let mut parts = participants(&mut lifted, |shard| known.shard_name(shard));
        let result = two_phase.commit(&mut parts).await;
        let lost: Vec<bool> = parts.iter().map(|part| part.lost).collect();
        drop(parts);
        let mut lost = lost.into_iter();
        lifted.retain(|_| !lost.next().unwrap_or(true));
        self.lay(lifted);
        match result {
            Ok(committed) => {
                self.output.extend_from_slice(&committed.passing);
                if let Some(known) = &mut self.shards {
                    known.unfinished.extend(committed.unfinished);
                }
                Ok(())
            }
            Err(failed) => {
                self.output.extend_from_slice(&failed.passing);
                if failed.outcome == Outcome::Unknown {
                    tracing::warn!(client = self.handle.id, error = %failed.error,
                        "outcome of a commit over shards is not known");
                }
                Err(failed.error)
            }
        }
    }

    /// Rolls back what these shards have done; a server that does not do it is closed.
    pub(super) async fn rollback_all(&mut self, shards: &[ShardId]) {
        let lifted = self.lift(shards);
        let mut kept: Vec<(ShardId, Lease)> = Vec::with_capacity(lifted.len());
        for (shard, mut lease) in lifted {
            let done = match lease.status {
                b'I' => true,
                _ => {
                    let rolling = exec::run(&mut lease, "ROLLBACK");
                    matches!(timeout(ROLLBACK_TIMEOUT, rolling).await, Ok(Ok(_)))
                }
            };
            if done {
                kept.push((shard, lease));
            }
        }
        self.lay(kept);
    }

    /// Gives back what these shards had for a statement or transaction that has ended.
    pub(super) async fn leave_seats(&mut self, shards: &[ShardId], ended: bool) -> Option<Event> {
        let rolled_back = self.rolled_back;
        for &shard in shards {
            self.exchange(shard);
            if ended {
                self.rolled_back = rolled_back;
                self.transaction_ended(true);
            }
            self.release_server();
            if let Err(error) = self.settle().await
                && self.pins.is_lost_with_server()
            {
                return Some(Event::Close(Some(SqlError { severity: Severity::Fatal, ..error })));
            }
        }
        None
    }

    /// A statement of the transaction has failed: so has the transaction, on every shard.
    pub(super) async fn fail_transaction(&mut self) {
        let shards = self.participants();
        let lost = |known: &mut Box<super::Shards>| std::mem::take(&mut known.lost_participant);
        if self.shards.as_mut().is_some_and(lost) {
            self.abandon_transaction();
            return;
        }
        self.virtual_transaction = Virtual::None;
        let failed = |session: &mut Self, shard: ShardId| {
            session.exchange(shard);
            session.lease.as_ref().is_some_and(|lease| lease.status == b'E')
        };
        if shards.iter().any(|shard| failed(self, *shard)) {
            return;
        }
        let Some(&first) = shards.first() else {
            let log = self.shards.as_ref().and_then(|shards| shards.log.as_deref());
            let begin = log.map(|log| DeferredBegin { text: log.begin.clone(), kind: log.kind });
            self.virtual_transaction = Virtual::Failed(begin.map(Box::new));
            return;
        };
        self.exchange(first);
        let poison = Replay::Text(POISON.into());
        // It answers with the error that is wanted.
        let _ = self.replay(&poison).await;
        if self.lease.is_none() {
            self.abandon_transaction();
        }
    }

    /// A participant is lost with what it did: the transaction can only be rolled back.
    pub(in crate::session) fn abandon_transaction(&mut self) {
        self.abandon_others();
        if self.lease.as_ref().is_some_and(|lease| lease.status != b'I') {
            self.drop_server();
        }
        self.virtual_transaction = Virtual::Failed(None);
    }

    /// Closes the servers of all other participants, which rolls back what they did.
    pub(in crate::session) fn abandon_others(&mut self) {
        let Some(shards) = &mut self.shards else { return };
        for bench in shards.parked.iter_mut().flatten().filter(|bench| bench.takes_part()) {
            bench.lease = None;
        }
    }

    /// Goes to a shard that takes part, if that at hand does not.
    pub(super) fn go_to_participant(&mut self) {
        let shards = self.participants();
        let here = self.shards.as_ref().map(|shards| shards.here);
        if !here.is_some_and(|here| shards.contains(&here))
            && let Some(first) = shards.first()
        {
            self.exchange(*first);
        }
    }

    pub(super) fn rest_in_transaction(&mut self) {
        self.set_state(ClientState::IdleInTransaction);
    }
}

fn unknown_outcome(shard: &str) -> SqlError {
    SqlError::error("08007", "the connection to the server was lost during COMMIT")
        .detail(format!("Shard \"{shard}\". Whether the transaction took effect is not known."))
        .hint("Check whether the change is there before you repeat it.")
}
