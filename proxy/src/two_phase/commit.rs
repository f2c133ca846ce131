//! Owns the protocol of a commit: what is sent in which order, what follows from each failure.
//!
//! 1. *ask*: one SELECT to each. When one fails, everything is rolled back.
//! 2. *prepare*: PREPARE TRANSACTION to each writer but the home, COMMIT to serializable readers.
//!    When one fails, everything is rolled back.
//! 3. *decide*: the decision and COMMIT, in one message, to the home. When it is refused,
//!    everything is rolled back; when the home is lost, it is asked by another connection.
//! 4. *finish*: COMMIT PREPARED to the prepared, COMMIT to the other readers. What fails is left
//!    to recovery: the commit is decided.
//!
//! With one writer there is nothing to decide: its own COMMIT does. A prepared part whose rollback
//! fails, or of which it is not known whether it was prepared, is left to recovery, at once.

use super::standing::{self, ASK, Name, Standing};
use super::step::{Answer, Failed};
use super::{CommitError, Committed, Outcome, TwoPhase, explain};
use crate::execute::Participant;
use crate::wire::error::SqlError;
use bytes::BytesMut;
use futures_util::future::join_all;
use pgmanifold_router::dtx;
use std::sync::Arc;

/// What becomes of a prepared part.
const COMMIT_PREPARED: &str = "commit prepared";
const ROLLBACK_PREPARED: &str = "rollback prepared";

/// A commit under way.
struct Commit<'a, 'p> {
    two_phase: &'a Arc<TwoPhase>,
    parts: &'a mut [Participant<'p>],
    standings: Vec<Standing>,
    /// By participant: what has become of it so far.
    states: Vec<State>,
    passing: BytesMut,
}

/// How far a participant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its transaction is open.
    Open,
    /// It is prepared.
    Prepared,
    /// It may be prepared: the connection was lost on the way.
    MaybePrepared,
    /// It is over, or its connection is.
    Ended,
}

impl TwoPhase {
    pub(super) async fn commit_parts(
        self: &Arc<Self>,
        parts: &mut [Participant<'_>],
    ) -> Result<Committed, CommitError> {
        let states = vec![State::Open; parts.len()];
        let mut commit = Commit {
            two_phase: self,
            parts,
            standings: Vec::new(),
            states,
            passing: BytesMut::new(),
        };
        commit.look_around().await?;
        let written = |at: &usize| commit.standings.get(*at).is_some_and(|s| s.xid.is_some());
        let writers: Vec<usize> = (0..commit.parts.len()).filter(written).collect();
        match writers.as_slice() {
            [] => commit.by_itself(None).await,
            [only] => commit.by_itself(Some(*only)).await,
            several => commit.in_two_phases(several).await,
        }
    }

    /// Rolls back what is open on these servers.
    pub(super) async fn rollback_parts(&self, parts: &mut [Participant<'_>]) -> BytesMut {
        let mut passing = BytesMut::new();
        let one = async |part: &mut Participant<'_>| match part.lost || part.server.status == b'I' {
            true => None,
            false => self.ask(part, "rollback").await.ok(),
        };
        let answers = join_all(parts.iter_mut().map(one)).await;
        for answer in answers.into_iter().flatten() {
            pass(&mut passing, answer.passing);
        }
        passing
    }
}

impl Commit<'_, '_> {
    /// Asks every participant where it stands.
    async fn look_around(&mut self) -> Result<(), CommitError> {
        if self.parts.iter().any(|part| part.lost || part.server.status != b'T') {
            let error = SqlError::error("25P02", "current transaction is aborted")
                .detail("A server of the transaction is lost, or an error happened on it.");
            return Err(self.abort(None, error).await);
        }
        let two_phase = self.two_phase;
        let asked = join_all(self.parts.iter_mut().map(async |part| {
            let answer = two_phase.ask(part, ASK).await;
            answer.and_then(|answer| Standing::read(&answer))
        }));
        let mut failed = None;
        for (at, asked) in asked.await.into_iter().enumerate() {
            match asked {
                Ok(standing) => self.standings.push(standing),
                Err(error) => {
                    failed.get_or_insert((at, error));
                }
            }
        }
        match failed {
            Some((at, error)) => Err(self.abort_after(None, at, error).await),
            None => Ok(()),
        }
    }

    /// There is at most one writer: its COMMIT decides. Readers that may still fail go first, all
    /// others last: what they have to say (NOTIFY) is not to be said before the writer is done.
    async fn by_itself(mut self, writer: Option<usize>) -> Result<Committed, CommitError> {
        let early = self.open_where(|at, standing| standing.serializable && Some(at) != writer);
        self.commit_all(&early).await?;
        if let Some(writer) = writer {
            let committed = self.step(writer, "commit", "COMMIT", State::Ended).await;
            if let Err(failed) = committed {
                let unknown = matches!(failed, Failed::Lost(_));
                let known = self.abort_after(None, writer, failed).await;
                return Err(if unknown { explain::writer_lost(known) } else { known });
            }
            self.commit_late_readers().await;
        } else {
            let rest = self.open_where(|_, _| true);
            self.commit_all(&rest).await?;
        }
        Ok(Committed { passing: self.passing, unfinished: Vec::new() })
    }

    async fn in_two_phases(mut self, writers: &[usize]) -> Result<Committed, CommitError> {
        let two_phase = self.two_phase;
        let preferred = two_phase.preferred_home;
        let home = standing::choose_home(writers, &self.standings, self.parts, preferred);
        let home = home.expect("invariant: there are several writers");
        let clock_ms = self.standings[home].clock_ms;
        let name = Name::new(self.parts[home].name, clock_ms, rand::random());
        // As long as this lives, recovery in this process leaves the transaction alone.
        let _active = two_phase.begin(&name.transaction);
        self.prepare(writers, home, &name).await?;
        self.decide(writers, home, &name).await?;
        Ok(self.finish(&name).await)
    }

    /// Prepares all writers but the home, and commits readers that may still fail.
    async fn prepare(
        &mut self,
        writers: &[usize],
        home: usize,
        name: &Name,
    ) -> Result<(), CommitError> {
        let is_writer = |at: usize| writers.contains(&at);
        let early = self.open_where(|at, standing| standing.serializable && !is_writer(at));
        let steps: Vec<_> = self.parts.iter_mut().enumerate().collect();
        let two_phase = self.two_phase;
        let prepared =
            join_all(steps.into_iter().filter(|(at, _)| *at != home).map(async |(at, part)| {
                if is_writer(at) {
                    let part_name = dtx::part_name(&name.transaction, part.name);
                    let sql = format!("prepare transaction '{part_name}'");
                    (at, done(two_phase.ask(part, &sql).await, "PREPARE TRANSACTION"))
                } else if early.contains(&at) {
                    (at, done(two_phase.ask(part, "commit").await, "COMMIT"))
                } else {
                    (at, Ok(None))
                }
            }));
        let mut failed = None;
        for (at, result) in prepared.await {
            match result {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    self.states[at] = if is_writer(at) { State::Prepared } else { State::Ended };
                    pass(&mut self.passing, answer.passing);
                }
                Err(error) => {
                    self.states[at] = match &error {
                        Failed::Lost(_) if is_writer(at) => State::MaybePrepared,
                        _ => State::Ended,
                    };
                    failed.get_or_insert((at, error));
                }
            }
        }
        match failed {
            Some((at, error)) => Err(self.abort_after(Some(name), at, error).await),
            None => Ok(()),
        }
    }

    /// Commits the home together with the decision.
    async fn decide(
        &mut self,
        writers: &[usize],
        home: usize,
        name: &Name,
    ) -> Result<(), CommitError> {
        let own = |at: &usize| {
            let xid = self.standings[*at].xid.as_deref().unwrap_or_default();
            format!("{}={xid}", self.parts[*at].name)
        };
        let list = writers.iter().map(own).collect::<Vec<_>>().join(",");
        let sql = standing::decision(name, &self.standings[home], &list);
        let failed = match self.step(home, &sql, "COMMIT", State::Ended).await {
            Ok(()) => return Ok(()),
            Err(Failed::Said(error)) => {
                let failed = Failed::Said(explain::no_schema(error, self.parts[home].name));
                return Err(self.abort_after(Some(name), home, failed).await);
            }
            Err(Failed::Lost(error)) => error,
        };
        let shard = self.parts[home].shard;
        match self.two_phase.find_out(shard, &name.transaction).await {
            Some(true) => Ok(()),
            Some(false) => Err(self.abort_after(Some(name), home, Failed::Lost(failed)).await),
            None => Err(self.leave(name, failed).await),
        }
    }

    /// The commit is decided: brings it to everybody.
    async fn finish(mut self, name: &Name) -> Committed {
        let mut unfinished = Vec::new();
        for at in self.end_prepared(name, COMMIT_PREPARED).await {
            let part = &self.parts[at];
            let part_name = dtx::part_name(&name.transaction, part.name);
            let xid = self.standings[at].xid.clone();
            unfinished.push(self.two_phase.hand_over(part.shard, part_name, xid));
        }
        self.commit_late_readers().await;
        self.two_phase.counts.committed();
        Committed { passing: self.passing, unfinished }
    }

    /// Commits readers whose COMMIT changes nothing any more.
    async fn commit_late_readers(&mut self) {
        let rest = self.open_where(|_, _| true);
        let two_phase = self.two_phase;
        let parts = self.parts.iter_mut().enumerate().filter(|(at, _)| rest.contains(at));
        let answers = join_all(parts.map(async |(at, part)| {
            let answer = done(two_phase.ask(part, "commit").await, "COMMIT");
            (at, part.name, answer)
        }));
        for (at, shard, answer) in answers.await {
            self.states[at] = State::Ended;
            match answer {
                Ok(answer) => pass_some(&mut self.passing, answer),
                // What it had to say is lost; what the transaction wrote is not.
                Err(Failed::Said(error)) => explain::notice(&error, shard, &mut self.passing),
                Err(Failed::Lost(_)) => {}
            }
        }
    }

    /// Commits these, all at once.
    async fn commit_all(&mut self, which: &[usize]) -> Result<(), CommitError> {
        let two_phase = self.two_phase;
        let parts = self.parts.iter_mut().enumerate().filter(|(at, _)| which.contains(at));
        let answers = join_all(
            parts.map(async |(at, part)| (at, done(two_phase.ask(part, "commit").await, "COMMIT"))),
        );
        let mut failed = None;
        for (at, answer) in answers.await {
            self.states[at] = State::Ended;
            match answer {
                Ok(answer) => pass_some(&mut self.passing, answer),
                Err(error) => {
                    failed.get_or_insert((at, error));
                }
            }
        }
        match failed {
            Some((at, error)) => Err(self.abort_after(None, at, error).await),
            None => Ok(()),
        }
    }

    /// One step of one participant.
    async fn step(&mut self, at: usize, sql: &str, tag: &str, then: State) -> Result<(), Failed> {
        let answer = self.two_phase.ask(&mut self.parts[at], sql).await;
        self.states[at] = then;
        pass_some(&mut self.passing, done(answer, tag)?);
        Ok(())
    }

    /// Those whose transaction is open and of whom this is true.
    fn open_where(&self, is_it: impl Fn(usize, &Standing) -> bool) -> Vec<usize> {
        let all = self.states.iter().zip(&self.standings).enumerate();
        let open =
            all.filter(|(at, (state, standing))| **state == State::Open && is_it(*at, standing));
        open.map(|(at, _)| at).collect()
    }

    /// Commits or rolls back all that is prepared; those with whom that failed are returned.
    async fn end_prepared(&mut self, name: &Name, how: &str) -> Vec<usize> {
        let two_phase = self.two_phase;
        let states = &self.states;
        let prepared = self.parts.iter_mut().enumerate();
        let prepared = prepared.filter(|(at, _)| states.get(*at) == Some(&State::Prepared));
        let answers = join_all(prepared.map(async |(at, part)| {
            let sql = format!("{how} '{}'", dtx::part_name(&name.transaction, part.name));
            let answer = match part.lost {
                true => None,
                false => two_phase.ask(part, &sql).await.ok(),
            };
            (at, answer)
        }));
        let mut failed = Vec::new();
        for (at, answer) in answers.await {
            match answer {
                Some(answer) => {
                    self.states[at] = State::Ended;
                    pass(&mut self.passing, answer.passing);
                }
                None => failed.push(at),
            }
        }
        failed
    }

    /// Rolls back everything because of what happened to this participant.
    async fn abort_after(&mut self, name: Option<&Name>, at: usize, failed: Failed) -> CommitError {
        let lost = matches!(failed, Failed::Lost(_));
        let error = explain::failure(failed.into_error(), self.parts[at].name, lost);
        self.abort(name, error).await
    }

    /// Rolls back everything. What cannot be reached is left to recovery, which finds no decision
    /// and rolls back too.
    async fn abort(&mut self, name: Option<&Name>, error: SqlError) -> CommitError {
        if let Some(name) = name {
            let failed = self.end_prepared(name, ROLLBACK_PREPARED).await;
            let maybe = self.states.iter().enumerate();
            let maybe = maybe.filter(|(_, state)| **state == State::MaybePrepared);
            for at in failed.into_iter().chain(maybe.map(|(at, _)| at)) {
                let part = &self.parts[at];
                let part_name = dtx::part_name(&name.transaction, part.name);
                drop(self.two_phase.hand_over(part.shard, part_name, None));
            }
            self.two_phase.counts.rolled_back();
        }
        let passing = self.two_phase.rollback_parts(self.parts).await;
        pass(&mut self.passing, passing);
        let passing = std::mem::take(&mut self.passing);
        CommitError { error, outcome: Outcome::RolledBack, passing }
    }

    /// Nobody knows how it ended: recovery finds out what is prepared and sees to it.
    async fn leave(&mut self, name: &Name, error: SqlError) -> CommitError {
        for (at, state) in self.states.iter().enumerate() {
            if *state == State::Prepared {
                let part = &self.parts[at];
                let part_name = dtx::part_name(&name.transaction, part.name);
                drop(self.two_phase.hand_over(part.shard, part_name, None));
            }
        }
        let passing = self.two_phase.rollback_parts(self.parts).await;
        pass(&mut self.passing, passing);
        self.two_phase.counts.unknown();
        let error = explain::outcome_unknown(&error, &name.transaction);
        let passing = std::mem::take(&mut self.passing);
        CommitError { error, outcome: Outcome::Unknown, passing }
    }
}

/// The answer to a command that must end with this tag: a COMMIT that says ROLLBACK is none.
fn done(answer: Result<Answer, Failed>, tag: &str) -> Result<Option<Answer>, Failed> {
    let answer = answer?;
    if answer.tag == tag {
        return Ok(Some(answer));
    }
    Err(Failed::Said(SqlError::error("25P02", "current transaction is aborted")))
}

fn pass_some(passing: &mut BytesMut, answer: Option<Answer>) {
    if let Some(answer) = answer {
        pass(passing, answer.passing);
    }
}

fn pass(passing: &mut BytesMut, more: BytesMut) {
    passing.extend_from_slice(&more);
}
