//! Owns the running of statements that need several shards at once: seats, execution, commit,
//! answer. What is sent to whom was decided before.

use super::super::{Event, Session};
use super::ends::Answer;
use super::log::Replay;
use super::seat::{Begins, Unseated, is_unreachable};
use super::watch::{Cut, cancel, watched};
use crate::backend::connection::ServerInfo;
use crate::execute::{self, ClientSide, Done, Failure, Limits, Participant};
use crate::metrics::{ClientState, Origin, RouteKind};
use crate::pool::Lease;
use crate::wire::error::{Severity, SqlError};
use crate::wire::frame;
use pgmanifold_router::plan::Plan;
use pgmanifold_router::shard_map::ShardId;
use pgmanifold_router::sharding;
use std::sync::Arc;

/// What stops the relay.
#[derive(Debug)]
pub(in crate::session) enum Work {
    /// This shard joins the transaction; the statement that needs it comes again.
    Join(ShardId),
    /// The other participants do this; the statement comes again for the one at hand.
    Others(Replay, Arc<Plan>),
    /// All participants do this, which is answered with this tag.
    All { replay: Replay, plan: Arc<Plan>, tag: &'static str },
    /// This shard must show what the session has committed; the statement comes again.
    Finish(ShardId),
    /// Ends a transaction of several shards.
    End {
        /// COMMIT, not ROLLBACK.
        commit: bool,
        answer: Answer,
    },
    /// A statement of several shards.
    Spread(Arc<Spread>),
    /// `COPY … FROM STDIN` of a table whose rows are spread.
    CopyIn { text: Box<[u8]>, plan: Arc<Plan> },
}

/// A statement of several shards.
#[derive(Debug)]
pub(in crate::session) struct Spread {
    pub(super) plan: Arc<Plan>,
    pub(super) spread: sharding::Spread,
    pub(super) call: Call,
}

/// How it came.
#[derive(Debug)]
pub(super) enum Call {
    Simple,
    Portal { bind: Box<[u8]>, types: Vec<u32> },
}

impl Call {
    fn answer(&self) -> Answer {
        match self {
            Self::Simple => Answer::Query,
            Self::Portal { .. } => Answer::Execute,
        }
    }
}

/// How a statement of several shards went wrong.
pub(super) enum Failed {
    /// This is the answer.
    Answer(Failure),
    /// The session ends.
    Close(Option<SqlError>),
}

impl From<Unseated> for Failed {
    fn from(unseated: Unseated) -> Self {
        match unseated {
            Unseated::Refused(error) => Self::Answer(Failure::new(error)),
            Unseated::Close(error) => Self::Close(error),
        }
    }
}

impl Session {
    /// Does what the relay was stopped for. `Some` when the session ends.
    pub(in crate::session) async fn run_work(&mut self, work: Work) -> Option<Event> {
        if let Some(event) = self.flush_output().await {
            return Some(event);
        }
        self.set_state(ClientState::Active);
        let map = self.shards.as_ref().and_then(|shards| shards.map.clone());
        match work {
            Work::Join(shard) => self.join(shard).await,
            Work::Others(replay, plan) => {
                self.run_on_others(&replay, &plan).await;
                None
            }
            Work::All { replay, plan, tag } => self.run_on_all(&replay, &plan, tag).await,
            Work::Finish(shard) => {
                if let Err(error) = self.finish_commit(shard).await {
                    self.refused = Some(Box::new(error));
                }
                None
            }
            Work::End { commit, answer } => self.end(commit, answer).await,
            Work::Spread(work) => {
                let event = self.run_spread(&work).await;
                drop(map);
                event
            }
            Work::CopyIn { text, plan } => self.copy_in(&text, &plan).await,
        }
    }

    async fn run_spread(&mut self, work: &Spread) -> Option<Event> {
        let inside = self.in_transaction();
        let begins = match (inside, work.spread.writes) {
            (true, _) => Begins::Joins,
            (false, true) => Begins::Own,
            (false, false) => Begins::Never,
        };
        let shards: Vec<ShardId> = work.spread.parts.iter().map(|part| part.shard).collect();
        let result = match self.run_on(work, &shards, begins).await {
            Ok(done) if begins == Begins::Own => match self.commit_all(&shards).await {
                Ok(()) => Ok(done),
                Err(error) => Err(Failed::Answer(Failure::new(error))),
            },
            result => result,
        };
        if let Some(event) = self.leave_statement(&shards, begins, result.is_ok()).await {
            return Some(event);
        }
        let kind = match begins {
            Begins::Never => RouteKind::PrimaryRead,
            Begins::Own => RouteKind::Write,
            Begins::Joins => RouteKind::Transaction,
        };
        match result {
            Ok(done) => {
                self.metrics.query(kind, self.started.elapsed());
                self.answer_done(&done.tag, work.call.answer());
                None
            }
            Err(Failed::Close(error)) => Some(Event::Close(error)),
            Err(Failed::Answer(failure)) if failure.client_gone => Some(Event::Close(None)),
            Err(Failed::Answer(failure)) => {
                self.metrics.query(kind, self.started.elapsed());
                self.answer_failure(&failure, work.call.answer());
                None
            }
        }
    }

    /// Seats the shards and runs the statement on them.
    async fn run_on(
        &mut self,
        work: &Spread,
        shards: &[ShardId],
        begins: Begins,
    ) -> Result<Done, Failed> {
        if begins != Begins::Never && work.spread.writes {
            self.check_two_phase().map_err(Unseated::Refused)?;
        }
        let partial = begins == Begins::Never && self.knobs.partial_results();
        let mut missing: Vec<(ShardId, SqlError)> = Vec::new();
        for &shard in shards {
            match self.seat(shard, &work.plan, begins).await {
                Ok(()) => {}
                Err(Unseated::Refused(error)) if partial && is_left_out(&error) => {
                    missing.push((shard, error));
                }
                Err(unseated) => return Err(unseated.into()),
            }
        }
        let mut spread = None;
        if let Some((_, error)) = missing.first() {
            if missing.len() == shards.len() {
                return Err(Unseated::Refused(error.clone()).into());
            }
            let mut rest = work.spread.clone();
            rest.parts.retain(|part| missing.iter().all(|(shard, _)| *shard != part.shard));
            self.tell_missing(&missing);
            spread = Some(rest);
        }
        let spread = spread.as_ref().unwrap_or(&work.spread);
        self.execute(spread, &work.call).await
    }

    /// A NOTICE that names the shards whose rows are not in the answer.
    fn tell_missing(&mut self, missing: &[(ShardId, SqlError)]) {
        let Some(shards) = &self.shards else { return };
        let names: Vec<&str> = missing.iter().map(|(shard, _)| shards.name(*shard)).collect();
        let detail = missing.first().and_then(|(_, error)| error.detail.clone());
        let message = format!("partial result: without shards {}", names.join(", "));
        let notice =
            SqlError { severity: Severity::Notice, detail, ..SqlError::error("PGM05", message) };
        notice.encode(&mut self.output);
    }

    /// Runs a statement on shards that are seated.
    async fn execute(&mut self, spread: &sharding::Spread, call: &Call) -> Result<Done, Failed> {
        let shards: Vec<ShardId> = spread.parts.iter().map(|part| part.shard).collect();
        let call = match call {
            Call::Simple => execute::Call::Simple,
            Call::Portal { bind, types } => execute::Call::Portal { bind, types },
        };
        let (known, mut lifted) = (self.sharded(), self.lift(&shards));
        let servers: Vec<Arc<ServerInfo>> = infos(&lifted);
        let mut parts = participants(&mut lifted, |shard| {
            known.as_ref().map_or("?", |known| known.shard_name(shard))
        });
        let mut client = ClientSide {
            stream: &mut self.client,
            input: &mut self.input,
            output: &mut self.output,
        };
        let limits = Limits::default();
        let running = execute::run(&mut parts, spread, &call, &mut client, &limits);
        let watched = watched(&self.handle, &servers, running).await;
        let lost: Vec<bool> = parts.iter().map(|part| part.lost).collect();
        drop(parts);
        if watched.result.is_err() {
            cancel(&servers);
            lifted.clear();
        }
        let mut lost = lost.into_iter();
        lifted.retain(|_| !lost.next().unwrap_or(true));
        if lifted.len() < shards.len()
            && let Some(known) = &mut self.shards
        {
            known.lost_participant = true;
        }
        self.lay(lifted);
        match watched.result {
            Ok(Ok(done)) => {
                self.metrics.bytes_out(done.written_bytes);
                Ok(done)
            }
            Ok(Err(failure)) if watched.timed_out && failure.error.sqlstate == "57014" => {
                self.metrics.timeout(crate::metrics::TimeoutKind::Query);
                Err(Failed::Answer(Failure::new(self.query_timed_out())))
            }
            Ok(Err(failure)) => Err(Failed::Answer(failure)),
            Err(cut) => Err(self.cut(cut)),
        }
    }

    /// What follows when servers were given up half-way.
    pub(super) fn cut(&mut self, cut: Cut) -> Failed {
        match cut {
            Cut::Grace => Failed::Answer(Failure::new(self.query_timed_out())),
            Cut::Transaction => Failed::Close(Some(self.transaction_timed_out())),
            Cut::Stopped => {
                let message = "terminating connection due to administrator command";
                Failed::Close(Some(SqlError::fatal("57P01", message)))
            }
        }
    }

    /// Puts everything in its place after a statement of several shards.
    async fn leave_statement(
        &mut self,
        shards: &[ShardId],
        begins: Begins,
        done: bool,
    ) -> Option<Event> {
        match begins {
            Begins::Joins if done => {
                self.go_to_participant();
                self.set_state(ClientState::IdleInTransaction);
                None
            }
            Begins::Joins => {
                self.fail_transaction().await;
                self.rest_in_transaction();
                None
            }
            Begins::Own | Begins::Never => {
                if begins == Begins::Own && !done {
                    self.rollback_all(shards).await;
                    self.rolled_back = true;
                }
                let event = self.leave_seats(shards, begins == Begins::Own).await;
                self.leave_map();
                event
            }
        }
    }

    /// CommandComplete, and what follows it.
    pub(super) fn answer_done(&mut self, tag: &str, answer: Answer) {
        if tag.is_empty() {
            frame::put(&mut self.output, b'I', &[]);
        } else {
            frame::put_command_complete(&mut self.output, tag);
        }
        self.answer_end(answer);
    }

    /// The error, and what follows it.
    pub(super) fn answer_failure(&mut self, failure: &Failure, answer: Answer) {
        self.metrics.error(&failure.error.sqlstate, Origin::Proxy);
        failure.encode(&mut self.output);
        if answer == Answer::Execute {
            self.skip_to_sync = true;
        }
        self.answer_end(answer);
    }

    pub(super) fn sharded(&self) -> Option<Arc<crate::shard_map::ShardedDatabase>> {
        self.shards.as_ref().map(|shards| Arc::clone(&shards.sharded))
    }
}

/// Whether a read goes on without a shard when the session wants partial results.
fn is_left_out(error: &SqlError) -> bool {
    error.sqlstate == "PGM05" || is_unreachable(error)
}

pub(super) fn infos(lifted: &[(ShardId, Lease)]) -> Vec<Arc<ServerInfo>> {
    lifted.iter().map(|(_, lease)| Arc::clone(&lease.info)).collect()
}

/// Servers as the executor takes them.
pub(super) fn participants<'a>(
    lifted: &'a mut [(ShardId, Lease)],
    name: impl Fn(ShardId) -> &'a str,
) -> Vec<Participant<'a>> {
    let part = |(shard, lease): &'a mut (ShardId, Lease)| Participant {
        shard: *shard,
        name: name(*shard),
        server: lease,
        lost: false,
    };
    lifted.iter_mut().map(part).collect()
}
