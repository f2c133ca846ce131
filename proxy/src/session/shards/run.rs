//! Owns the running of statements that need several shards at once: seats, execution, commit,
//! answer. What is sent to whom was decided before.

use super::super::account::{SpreadRoute, spread_route};
use super::super::{Event, Session};
use super::ends::Answer;
use super::hold::Hold;
use super::log::Replay;
use super::moved::moved;
use super::seat::{Begins, Unseated, is_unreachable};
use super::watch::{Cut, cancel, watched};
use crate::backend::connection::ServerInfo;
use crate::execute::{self, ClientSide, Done, Failure, Limits, Participant};
use crate::metrics::{ClientState, Origin, RouteKind};
use crate::pool::Lease;
use crate::wire::error::{Severity, SqlError};
use crate::wire::frame;
use pgmanifold_router::plan::Plan;
use pgmanifold_router::shard_map::{ShardId, ShardMap};
use pgmanifold_router::shard_schema::MOVED;
use pgmanifold_router::sharding::{self, CopyPlan, Placing};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for the catalog to be read again after DDL on several shards.
const FACTS_WAIT: Duration = Duration::from_secs(20);

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
    /// This shard's server has sent something meanwhile; the statement comes again.
    Hear(ShardId),
    /// The catalog must be known first; the statement comes again.
    Facts,
    /// There must be another map first; the statement comes again.
    Hold(Hold),
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
#[derive(Debug, Clone)]
pub(super) enum Call {
    Simple,
    Portal { bind: Box<[u8]>, types: Vec<u32> },
}

impl Spread {
    /// How it is answered.
    pub(super) fn answer(&self) -> Answer {
        match self.call {
            Call::Simple => Answer::Query,
            Call::Portal { .. } => Answer::Execute,
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

impl Failed {
    /// As the client is told of it.
    fn told(self) -> Self {
        match self {
            Self::Answer(failure) if failure.error.sqlstate == MOVED => {
                let error = moved(&failure.error.message, MOVED);
                Self::Answer(Failure::new(error))
            }
            failed => failed,
        }
    }
}

/// What became of one try.
pub(super) enum Attempt {
    /// It was answered; the session may end.
    Ended(Option<Event>),
    /// Shards have refused it for the map it went by, and it was undone.
    Refused,
}

impl From<Unseated> for Failed {
    fn from(unseated: Unseated) -> Self {
        match unseated {
            Unseated::Refused(error) => Self::Answer(Failure::new(error)),
            Unseated::Close(error) => Self::Close(error),
        }
    }
}

/// What several shards do at once.
pub(super) enum Task<'a> {
    /// A statement.
    Spread { spread: &'a sharding::Spread, call: &'a Call },
    /// `COPY … FROM STDIN`.
    Copy { text: &'a [u8], plan: &'a CopyPlan, map: &'a ShardMap },
}

impl Task<'_> {
    fn writes(&self) -> bool {
        match self {
            Self::Spread { spread, .. } => spread.writes,
            Self::Copy { .. } => true,
        }
    }

    /// Where it goes, and why.
    fn route(&self, plan: &Plan) -> SpreadRoute {
        match self {
            Self::Spread { spread, .. } => spread_route(plan, spread),
            Self::Copy { .. } => (RouteKind::Scatter, "rows for several shards"),
        }
    }

    async fn run(
        &self,
        parts: &mut [Participant<'_>],
        client: &mut ClientSide<'_>,
        limits: &Limits,
    ) -> Result<Done, Failure> {
        match self {
            Self::Spread { spread, call } => {
                let call = match call {
                    Call::Simple => execute::Call::Simple,
                    Call::Portal { bind, types } => execute::Call::Portal { bind, types },
                };
                execute::run(parts, spread, &call, client, limits).await
            }
            Self::Copy { text, plan, map } => {
                let copy = execute::CopyIn { sql: text, plan, map };
                execute::copy_in(parts, copy, client, limits).await
            }
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
        // The map in use is that of the statement until it has ended; one that is to go by another
        // map keeps none.
        let map = match work {
            Work::Spread(_) | Work::Hold(_) => None,
            _ => self.shards.as_ref().and_then(|shards| shards.map.clone()),
        };
        let ddl = self.pools.facts.ddl_version();
        let event = match work {
            Work::Join(shard) => self.join(shard).await,
            Work::Others(replay, plan) => {
                self.run_on_others(&replay, &plan).await;
                None
            }
            Work::Hear(shard) => self.hear(shard),
            Work::Facts => {
                self.wait_for_facts().await;
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
            Work::Spread(work) => self.run_spread(&work).await,
            Work::Hold(hold) => self.wait_held(hold).await,
            Work::CopyIn { text, plan } => self.copy_in(&text, &plan, map.as_deref()).await,
        };
        drop(map);
        // The next statement may name what this one has created. One that finds it missing is
        // refused, so that the wait needs no certain end.
        if self.pools.facts.ddl_version() != ddl {
            let facts = Arc::clone(&self.pools.facts);
            let _ = crate::timer::timeout(FACTS_WAIT, facts.refreshed()).await;
        }
        event
    }

    async fn run_spread(&mut self, work: &Spread) -> Option<Event> {
        self.account.is_about(&work.plan);
        let apart = Placing::Everywhere { outside_transaction: true };
        let is_apart = work.plan.placing.as_deref() == Some(&apart);
        if is_apart && !self.in_transaction() {
            return self.run_apart(work).await;
        }
        self.run_repeatedly(work).await
    }

    /// Runs something on several shards, in the transaction it needs, and answers; unless shards
    /// have refused it for the map it went by, and it can be repeated.
    pub(super) async fn run_task(
        &mut self,
        task: &Task<'_>,
        plan: &Plan,
        shards: &[ShardId],
        answer: Answer,
    ) -> Attempt {
        let fresh = self.participants().is_empty();
        let begins = match (self.in_transaction(), task.writes()) {
            (true, _) => Begins::Joins,
            (false, true) => Begins::Own,
            (false, false) => Begins::Never,
        };
        let result = match self.run_on(task, plan, shards, begins).await {
            Ok(done) if begins == Begins::Own => {
                let began = self.is_traced().then(Instant::now);
                let committed = self.commit_all(shards).await;
                self.span_step("commit", began);
                match committed {
                    Ok(()) => Ok(done),
                    Err(error) => Err(Failed::Answer(Failure::new(error))),
                }
            }
            result => result,
        };
        if self.repeats_task(task, &result, fresh) {
            return match self.undo_task(shards, begins == Begins::Joins).await {
                Some(event) => Attempt::Ended(Some(event)),
                None => Attempt::Refused,
            };
        }
        let result = result.map_err(Failed::told);
        if let Some(event) = self.leave_statement(shards, begins, result.is_ok()).await {
            return Attempt::Ended(Some(event));
        }
        Attempt::Ended(self.answer_result(result, (task.route(plan), shards.len()), answer))
    }

    pub(super) fn answer_result(
        &mut self,
        result: Result<Done, Failed>,
        (route, shards): (SpreadRoute, usize),
        answer: Answer,
    ) -> Option<Event> {
        let route = (route.0, Some(route.1));
        match result {
            Ok(done) => {
                self.count_result();
                let bytes = done.written_bytes + self.output.len() as u64;
                self.account_spread(route, shards, (Some(&done.tag), bytes));
                self.answer_done(&done.tag, answer);
                None
            }
            Err(Failed::Close(error)) => Some(Event::Close(error)),
            Err(Failed::Answer(failure)) if failure.client_gone => Some(Event::Close(None)),
            Err(Failed::Answer(failure)) => {
                self.count_result();
                self.account_spread(route, shards, (None, 0));
                self.answer_failure(&failure, answer);
                None
            }
        }
    }

    /// Seats the shards and runs the statement on them.
    async fn run_on(
        &mut self,
        task: &Task<'_>,
        plan: &Plan,
        shards: &[ShardId],
        begins: Begins,
    ) -> Result<Done, Failed> {
        if begins != Begins::Never && task.writes() {
            self.check_two_phase().map_err(Unseated::Refused)?;
        }
        let partial = begins == Begins::Never && self.knobs.partial_results();
        let mut missing: Vec<(ShardId, SqlError)> = Vec::new();
        for &shard in shards {
            match self.seat(shard, plan, begins).await {
                Ok(()) => {}
                Err(Unseated::Refused(error)) if partial && is_left_out(&error) => {
                    missing.push((shard, error));
                }
                Err(unseated) => return Err(unseated.into()),
            }
        }
        let (Some((_, error)), Task::Spread { spread, call }) = (missing.first(), task) else {
            return self.execute(shards, task).await;
        };
        if missing.len() == shards.len() {
            return Err(Unseated::Refused(error.clone()).into());
        }
        let mut rest = (*spread).clone();
        rest.parts.retain(|part| missing.iter().all(|(shard, _)| *shard != part.shard));
        self.tell_missing(&missing);
        let shards: Vec<ShardId> = rest.parts.iter().map(|part| part.shard).collect();
        self.execute(&shards, &Task::Spread { spread: &rest, call }).await
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
    pub(super) async fn execute(
        &mut self,
        shards: &[ShardId],
        task: &Task<'_>,
    ) -> Result<Done, Failed> {
        let (known, mut lifted) = (self.sharded(), self.lift(shards));
        let began = Instant::now();
        let servers: Vec<Arc<ServerInfo>> = infos(&lifted);
        let mut parts = participants(&mut lifted, |shard| {
            known.as_ref().map_or("?", |known| known.shard_name(shard))
        });
        let mut client = ClientSide {
            stream: &mut self.client,
            input: &mut self.input,
            output: &mut self.output,
        };
        let inexact_floats = !self.knobs.float_exact();
        let limits = Limits { inexact_floats, ..Limits::default() };
        let running = task.run(&mut parts, &mut client, &limits);
        let watched = watched(&self.handle, &servers, running).await;
        let lost: Vec<bool> = parts.iter().map(|part| part.lost).collect();
        drop(parts);
        if self.is_traced() {
            self.span_shards(began, &lifted);
        }
        self.account_hosts(&mut lifted, began);
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
        self.span_fails(&failure.error.sqlstate);
        failure.encode(&mut self.output);
        if answer == Answer::Execute {
            self.skip_to_sync = true;
        }
        self.answer_end(answer);
    }

    pub(in crate::session) fn sharded(&self) -> Option<Arc<crate::shard_map::ShardedDatabase>> {
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
