//! Owns the placing of a batch: which server all of it can run on, found by looking through it
//! before its first message is sent.

use super::extended::{SYNC, check_definition};
use super::planning::{Planner, unplanned};
use super::request::Step;
use super::{CopyIn, Session, Stop};
use crate::backend::connection::{Expect, Hidden};
use crate::metrics::RouteKind;
use crate::wire::frame::{self, FrameError, HEADER_BYTES};
use pgmanifold_router::hint::Role;
use pgmanifold_router::plan::{Effect, Plan, Transaction};
use pgmanifold_router::route::Target;
use std::sync::Arc;

/// A batch is looked through up to its Sync before a replica is chosen for it; one that is longer
/// than this goes to the primary.
const SURVEY_BYTES: usize = 64 * 1024;

const FLUSH: &[u8] = &[b'H', 0, 0, 0, 4];

/// The plan of a statement, under the client's name for it.
type NamedPlan<'a> = (&'a [u8], Arc<Plan>);

/// What looking through a batch showed.
enum Survey {
    /// Where the batch must run.
    Target {
        target: Target,
        plan: Arc<Plan>,
        /// Bytes of the batch, if it can be repeated on another server; else 0.
        repeatable: usize,
    },
    /// The rest of the batch has not arrived.
    Incomplete,
}

/// What was found in a batch so far.
struct Found {
    decided: Option<(Target, Arc<Plan>)>,
    /// Nothing in it changes the session.
    repeatable: bool,
}

impl Default for Found {
    fn default() -> Self {
        Self { decided: None, repeatable: true }
    }
}

impl Found {
    fn survey(self, repeatable: usize) -> Survey {
        match self.decided {
            Some((Target::Replica, plan)) if plan.transaction.is_some() => {
                Survey::Target { target: Target::Primary, plan, repeatable: 0 }
            }
            Some((target, plan)) => Survey::Target { target, plan, repeatable },
            None => {
                let plan = Arc::new(unplanned("no statement in batch"));
                Survey::Target { target: Target::Primary, plan, repeatable: 0 }
            }
        }
    }
}

impl Session {
    /// Makes sure that the batch that goes on with `rest` has a server, and that a message with
    /// this plan may run there. `None` when all is well.
    pub(super) fn place_batch(
        &mut self,
        rest: &[u8],
        plan: Option<&Arc<Plan>>,
        planner: &mut Planner,
    ) -> Result<Option<Step>, FrameError> {
        if let Some(step) = self.open_batch(rest, plan, planner)? {
            return Ok(Some(step));
        }
        let refused = plan.and_then(|plan| self.refused_on_replica(plan));
        Ok(refused.map(|error| self.refuse_batch(error)))
    }

    fn open_batch(
        &mut self,
        rest: &[u8],
        plan: Option<&Arc<Plan>>,
        planner: &mut Planner,
    ) -> Result<Option<Step>, FrameError> {
        if self.batch_open {
            self.account_goes_on();
            let leaves = plan.is_some_and(|plan| self.must_leave_replica(plan));
            return Ok(leaves.then(|| self.leave_replica().into()));
        }
        // What the batch changes must not be taken for settled by the look that is under way.
        if self.is_looking() {
            return Ok(Some(Stop::Drain.into()));
        }
        self.begin_clock();
        let stays = self.lease.as_ref().is_some_and(|lease| lease.status != b'I');
        if stays {
            self.placement.kind = RouteKind::Transaction;
        }
        if stays || self.keeps_server() {
            if let Some(plan) = plan.filter(|_| !stays) {
                self.wipe_sequences(Target::Primary, plan);
            }
            self.batch_open = true;
            return Ok(None);
        }
        let (target, plan, repeatable) = match self.survey(rest, plan, planner)? {
            Survey::Incomplete => return Ok(Some(Stop::NeedBytes.into())),
            Survey::Target { target, plan, repeatable } => (target, plan, repeatable),
        };
        self.begin_own_transaction(rest, planner)?;
        match self.place(target, &plan) {
            Ok(()) => {
                self.keep_request(&rest[..repeatable], &plan);
                self.batch_open = true;
                Ok(None)
            }
            Err(Ok(stop)) => Ok(Some(stop.into())),
            Err(Err(error)) => Ok(Some(self.refuse_batch(error))),
        }
    }

    /// Looks through a batch for the server it needs: a replica only if nothing in it needs the
    /// primary. Bytes up to a Flush count as a batch, for their answers are waited for. `first` is
    /// the plan of the first message, when it has one.
    fn survey(
        &self,
        rest: &[u8],
        first: Option<&Arc<Plan>>,
        planner: &mut Planner,
    ) -> Result<Survey, FrameError> {
        if let (Some(plan), Some(end)) = (first, one_execution(rest)) {
            let target = self.batch_target(plan, None);
            if plan.transaction.is_none() {
                let plan = Arc::clone(plan);
                return Ok(Survey::Target { target, plan, repeatable: end });
            }
        }
        let mut at = 0;
        let mut parsed: Vec<NamedPlan<'_>> = Vec::new();
        let mut found = Found::default();
        while let Some(header) = frame::peek(&rest[at..]) {
            frame::check_frontend(header, self.shared.max_message_bytes())?;
            if matches!(header.kind, b'S' | b'H' | b'Q' | b'F' | b'X') {
                let whole = header.kind == b'S' && found.repeatable;
                return Ok(found.survey(if whole { at + header.total } else { 0 }));
            }
            let Some(message) = rest.get(at..at + header.total) else { break };
            let body = &message[HEADER_BYTES..];
            found.repeatable &= is_repeatable(header.kind, body);
            let plan = match first {
                Some(plan) if at == 0 => Some((frame::cstr(body, b'P')?.0, Arc::clone(plan))),
                _ => self.survey_message(header.kind, body, &parsed, planner)?,
            };
            if let Some((name, plan)) = plan {
                if header.kind == b'P' {
                    parsed.push((name, Arc::clone(&plan)));
                }
                let target = self.batch_target(&plan, found.decided.as_ref());
                if target == Target::Primary {
                    return Ok(Survey::Target { target, plan, repeatable: 0 });
                }
                found.decided.get_or_insert((target, plan));
            }
            at += header.total;
        }
        if rest.len() >= SURVEY_BYTES {
            let plan = Arc::new(unplanned("long batch"));
            return Ok(Survey::Target { target: Target::Primary, plan, repeatable: 0 });
        }
        Ok(Survey::Incomplete)
    }

    fn survey_message<'a>(
        &self,
        kind: u8,
        body: &'a [u8],
        parsed: &[NamedPlan<'a>],
        planner: &mut Planner,
    ) -> Result<Option<NamedPlan<'a>>, FrameError> {
        if kind == b'P' {
            let (name, definition) = frame::cstr(body, b'P')?;
            return Ok(Some((name, self.plan(check_definition(definition)?, planner))));
        }
        if kind != b'B' {
            return Ok(None);
        }
        let (_, tail) = frame::cstr(body, b'B')?;
        let (name, _) = frame::cstr(tail, b'B')?;
        let found = parsed.iter().rev().find(|(parsed, _)| *parsed == name);
        let plan = match found {
            Some((_, plan)) => Some(Arc::clone(plan)),
            None if name.is_empty() => self.unnamed.as_ref().map(|known| Arc::clone(&known.plan)),
            None => self.find_named(name).map(|known| Arc::clone(&known.plan)),
        };
        Ok(plan.map(|plan| (name, plan)))
    }

    /// Where one statement of a batch must run, given what stands before it. BEGIN READ ONLY
    /// takes the target of what follows it.
    fn batch_target(&self, plan: &Plan, decided: Option<&(Target, Arc<Plan>)>) -> Target {
        let begins = decided.and_then(|(_, first)| first.transaction);
        match plan.transaction {
            Some(Transaction::Begin { read_only: true, serializable: false })
                if decided.is_none() && self.knobs.role() != Role::Primary =>
            {
                Target::Replica
            }
            None if begins.is_some() && plan.effect != Effect::Read => Target::Primary,
            Some(_) if begins.is_some() => Target::Replica,
            _ => self.route(plan).target,
        }
    }

    /// True when a batch went to a replica before its client had sent all of it (it waited for a
    /// Flush), and now goes on with a statement that needs the primary.
    fn must_leave_replica(&self, plan: &Plan) -> bool {
        let is_open = self.lease.as_ref().is_some_and(|lease| lease.status == b'I');
        let controls = plan.transaction.is_some() || plan.has_transaction_control;
        let may_stay =
            plan.effect == Effect::Read || plan.effect == Effect::Transaction && controls;
        is_open && !may_stay && self.leased_replica()
    }

    /// The rest of a batch waits for the answers to its beginning, which a server keeps back until
    /// it sees a Sync or a Flush.
    pub(super) fn ask_for_answers(&mut self) {
        let owes = self.lease.as_ref().is_some_and(|lease| !lease.expect.is_empty());
        if self.batch_open && owes && self.copy_in == CopyIn::No {
            self.send(FLUSH);
        }
    }

    /// Ends the part of a batch that ran on a replica, so that the rest can go to the primary.
    fn leave_replica(&mut self) -> Stop {
        self.batch_open = false;
        self.send_expecting(SYNC, Expect::Hidden(Hidden::Sync));
        Stop::Drain
    }
}

/// The end of a batch that is whole and runs one statement: Bind, or Parse and Bind of the unnamed
/// statement, then Describe and Execute, and Sync. By far the commonest.
fn one_execution(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut header = frame::peek(rest)?;
    if header.kind == b'P' {
        at = header.total;
        let unnamed = rest.get(HEADER_BYTES) == Some(&0);
        header = frame::peek(rest.get(at..)?)?;
        let bind = rest.get(at + HEADER_BYTES..at + HEADER_BYTES + 2);
        if !unnamed || bind != Some(&[0, 0]) {
            return None;
        }
    }
    if header.kind != b'B' {
        return None;
    }
    loop {
        at += header.total;
        header = frame::peek(rest.get(at..)?)?;
        match header.kind {
            b'D' | b'E' => {}
            b'S' => return rest.get(..at + header.total).map(<[u8]>::len),
            _ => return None,
        }
    }
}

/// False for messages that change the session: a Parse with a name, a Close.
fn is_repeatable(kind: u8, body: &[u8]) -> bool {
    matches!(kind, b'B' | b'D' | b'E') || (kind == b'P' && body.first() == Some(&0))
}
