//! Owns the extended query protocol on the client's side: Parse, Bind, Describe, Execute, Close,
//! Sync. A batch is what stands between two Syncs; all of it runs on one server.
//!
//! Named statements live under names of ours on the servers, so that any server can run them:
//! one that does not know a statement gets its Parse first.

use super::planning::{Planner, unplanned};
use super::request::{Step, Taken};
use super::{CopyIn, Prepared, Session, Stop, Virtual};
use crate::backend::connection::{Expect, Hidden};
use crate::backend::prepared::Statement;
use crate::pool::Lease;
use crate::wire::error::SqlError;
use crate::wire::frame::{self, FrameError, HEADER_BYTES};
use pgmanifold_router::hint::Role;
use pgmanifold_router::plan::{Effect, LocalCommand, Plan, Transaction};
use pgmanifold_router::route::Target;
use std::sync::Arc;

/// A batch is looked through up to its Sync before a replica is chosen for it; one that is longer
/// than this goes to the primary.
const SURVEY_BYTES: usize = 64 * 1024;

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

/// False for messages that change the session: a Parse with a name, a Close.
fn is_repeatable(kind: u8, body: &[u8]) -> bool {
    matches!(kind, b'B' | b'D' | b'E') || (kind == b'P' && body.first() == Some(&0))
}

impl Session {
    pub(super) fn take_parse(
        &mut self,
        message: &[u8],
        body: &[u8],
        rest: &[u8],
        planner: &mut Planner,
    ) -> Taken {
        let (name, definition) = frame::cstr(body, b'P')?;
        let text = check_definition(definition)?;
        let plan = self.plan(text, planner);
        if let Some(error) = self.refusal(&plan) {
            return Ok(self.refuse_batch(error));
        }
        if !name.is_empty() && self.find_named(name).is_some() {
            let name = String::from_utf8_lossy(name).into_owned();
            let message = format!("prepared statement \"{name}\" already exists");
            return Ok(self.refuse_batch(SqlError::error("42P05", message)));
        }
        let statement = self.statement(name, definition);
        let facts_version = self.pools.facts.facts().version();
        let prepared = Prepared { statement: Arc::clone(&statement), plan, facts_version };
        if prepared.plan.local.is_some() || self.may_put_off(name, &statement) {
            self.keep(name, prepared);
            self.answer(|out| frame::put(out, b'1', &[]));
            return Ok(Step::Done);
        }
        if let Some(step) = self.place_batch(rest, Some(&prepared.plan), planner)? {
            return Ok(step);
        }
        if let Some(error) = self.refused_on_replica(&prepared.plan) {
            return Ok(self.refuse_batch(error));
        }
        self.keep(name, prepared);
        let Some(lease) = &mut self.lease else { return Ok(Step::Done) };
        if name.is_empty() {
            lease.unnamed = Some(Arc::clone(&statement));
            let expect = Expect::Parse { statement, name: Some(name.into()) };
            self.send_expecting(message, expect);
        } else if !lease.statements.touch(&statement) {
            send_parse(lease, &statement, Some(name.into()));
        } else if lease.expect.is_empty() {
            frame::put(&mut self.output, b'1', &[]);
        } else {
            lease.expect.push_back(Expect::Parsed(name.into()));
        }
        Ok(Step::Done)
    }

    pub(super) fn take_bind(
        &mut self,
        message: &[u8],
        body: &[u8],
        rest: &[u8],
        planner: &mut Planner,
    ) -> Taken {
        let (portal, tail) = frame::cstr(body, b'B')?;
        let (name, values) = frame::cstr(tail, b'B')?;
        let Some(prepared) = self.find(name, planner) else {
            return Ok(self.refuse_batch(unknown_statement(name)));
        };
        if let Some(error) = self.refusal(&prepared.plan) {
            return Ok(self.refuse_batch(error));
        }
        if let Some(command) = &prepared.plan.local {
            self.local_portal = Some(Box::new((portal.into(), command.clone())));
            self.answer(|out| frame::put(out, b'2', &[]));
            return Ok(Step::Done);
        }
        if let Some(step) = self.place_batch(rest, Some(&prepared.plan), planner)? {
            return Ok(step);
        }
        if let Some(error) = self.refused_on_replica(&prepared.plan) {
            return Ok(self.refuse_batch(error));
        }
        if self.local_portal.as_ref().is_some_and(|local| *local.0 == *portal) {
            self.local_portal = None;
        }
        self.copy_bound = prepared.plan.effect == Effect::Copy;
        self.trace_batch(&prepared);
        self.note_effects(&prepared.plan);
        let Some(lease) = &mut self.lease else { return Ok(Step::Done) };
        make_known(lease, name, &prepared.statement);
        if name.is_empty() {
            self.send_expecting(message, Expect::Bind);
        } else {
            let statement = &prepared.statement.name;
            frame::put(&mut lease.out, b'B', &[portal, &[0], statement, values]);
            lease.expect.push_back(Expect::Bind);
        }
        Ok(Step::Done)
    }

    pub(super) fn take_describe(
        &mut self,
        message: &[u8],
        body: &[u8],
        rest: &[u8],
        planner: &mut Planner,
    ) -> Taken {
        let (kind, name) = kind_and_name(body, b'D')?;
        if kind == b'P' {
            if let Some(command) = self.find_local_portal(name) {
                self.describe_local(&command, false);
                return Ok(Step::Done);
            }
            if let Some(step) = self.place_batch(rest, None, planner)? {
                return Ok(step);
            }
            self.send_expecting(message, Expect::Describe);
            return Ok(Step::Done);
        }
        let Some(prepared) = self.find(name, planner) else {
            return Ok(self.refuse_batch(unknown_statement(name)));
        };
        if let Some(command) = &prepared.plan.local {
            self.describe_local(command, true);
            return Ok(Step::Done);
        }
        if let Some(step) = self.place_batch(rest, None, planner)? {
            return Ok(step);
        }
        let Some(lease) = &mut self.lease else { return Ok(Step::Done) };
        make_known(lease, name, &prepared.statement);
        frame::put(&mut lease.out, b'D', &[b"S", &prepared.statement.name]);
        lease.expect.push_back(Expect::Describe);
        Ok(Step::Done)
    }

    pub(super) fn take_execute(
        &mut self,
        message: &[u8],
        body: &[u8],
        rest: &[u8],
        planner: &mut Planner,
    ) -> Taken {
        let (portal, limit) = frame::cstr(body, b'E')?;
        if limit.len() != 4 {
            return Err(FrameError::Body(b'E'));
        }
        if let Some(command) = self.find_local_portal(portal) {
            return Ok(self.run_local_portal(&command));
        }
        if let Some(step) = self.place_batch(rest, None, planner)? {
            return Ok(step);
        }
        self.send_expecting(message, Expect::Execute);
        if std::mem::take(&mut self.copy_bound) {
            self.copy_in = CopyIn::Asked;
        }
        Ok(Step::Done)
    }

    /// Close of a statement concerns only our names for it; Close of a portal goes on.
    pub(super) fn take_close(&mut self, message: &[u8], body: &[u8]) -> Taken {
        let (kind, name) = kind_and_name(body, b'C')?;
        if kind == b'S' {
            self.forget(name);
        } else if self.find_local_portal(name).is_some() {
            self.local_portal = None;
        } else if self.lease.is_some() {
            self.batch_open = true;
            self.send_expecting(message, Expect::Close { hidden: false });
            return Ok(Step::Done);
        }
        self.answer(|out| frame::put(out, b'3', &[]));
        Ok(Step::Done)
    }

    pub(super) fn take_sync(&mut self) -> Step {
        self.skip_to_sync = false;
        self.batch_open = false;
        if self.lease.is_some() {
            self.send_expecting(SYNC, Expect::Sync);
        } else {
            self.answer_ready();
        }
        Step::Done
    }

    /// Answers a message of a batch with an error: the rest of the batch is thrown away, and what
    /// it has done on a server is undone as it would have been there.
    pub(super) fn refuse_batch(&mut self, error: SqlError) -> Step {
        self.count_refusal(&error);
        self.skip_to_sync = true;
        match &mut self.lease {
            Some(lease) => {
                frame::put(&mut lease.out, b'B', &[POISON_BIND]);
                lease.expect.push_back(Expect::PoisonBatch(Box::new(error)));
                self.batch_open = true;
            }
            None => {
                self.fail_virtual();
                self.answer(|out| error.encode(out));
            }
        }
        Step::Done
    }

    /// Makes sure that the batch that goes on with `rest` has a server. `None` when it has.
    fn place_batch(
        &mut self,
        rest: &[u8],
        plan: Option<&Arc<Plan>>,
        planner: &mut Planner,
    ) -> Result<Option<Step>, FrameError> {
        if self.batch_open {
            let leaves = plan.is_some_and(|plan| self.must_leave_replica(plan));
            return Ok(leaves.then(|| self.leave_replica().into()));
        }
        self.begin_clock();
        let stays = self.lease.as_ref().is_some_and(|lease| lease.status != b'I');
        if stays || self.keeps_server() {
            self.batch_open = true;
            return Ok(None);
        }
        let (target, plan, repeatable) = match self.survey(rest, plan, planner)? {
            Survey::Incomplete => return Ok(Some(Stop::NeedBytes.into())),
            Survey::Target { target, plan, repeatable } => (target, plan, repeatable),
        };
        match self.place(target, &plan) {
            Ok(()) => {
                self.keep_for_repeat(&rest[..repeatable]);
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

    fn statement(&self, name: &[u8], definition: &[u8]) -> Arc<Statement> {
        if !name.is_empty() {
            return self.shared.interner.intern(definition);
        }
        match &self.unnamed {
            Some(known) if *known.statement.body == *definition => Arc::clone(&known.statement),
            _ => Statement::private(definition),
        }
    }

    /// A named statement that this database has accepted before is parsed when a server is needed
    /// anyway; until then it costs nobody a server.
    fn may_put_off(&self, name: &[u8], statement: &Statement) -> bool {
        !name.is_empty() && self.lease.is_none() && statement.was_accepted(self.pools.database_id)
    }

    fn keep(&mut self, name: &[u8], prepared: Prepared) {
        if name.is_empty() {
            self.unnamed = Some(prepared);
        } else {
            self.prepared.get_or_insert_default().insert(name.into(), prepared);
        }
    }

    fn find_named(&self, name: &[u8]) -> Option<&Prepared> {
        self.prepared.as_ref()?.get(name)
    }

    /// The prepared statement of a name, planned anew if the catalog facts have changed.
    fn find(&mut self, name: &[u8], planner: &mut Planner) -> Option<Prepared> {
        let known = if name.is_empty() { self.unnamed.as_ref() } else { self.find_named(name) };
        let mut known = known?.clone();
        let facts_version = self.pools.facts.facts().version();
        if known.facts_version != facts_version {
            known.plan = self.plan(known.statement.text(), planner);
            known.facts_version = facts_version;
            self.keep(name, known.clone());
        }
        Some(known)
    }

    fn find_local_portal(&self, name: &[u8]) -> Option<LocalCommand> {
        let local = self.local_portal.as_ref()?;
        (*local.0 == *name).then(|| local.1.clone())
    }

    /// Forgets a statement whose Parse failed or was skipped.
    pub(super) fn forget(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = None;
        } else if let Some(prepared) = &mut self.prepared {
            prepared.remove(name);
        }
    }

    /// True when a batch went to a replica before its client had sent all of it (it waited for a
    /// Flush), and now goes on with a statement that needs the primary.
    fn must_leave_replica(&self, plan: &Plan) -> bool {
        let is_open = self.lease.as_ref().is_some_and(|lease| lease.status == b'I');
        let may_stay = matches!(plan.effect, Effect::Read | Effect::Transaction);
        is_open && !may_stay && self.leased_replica()
    }

    /// Ends the part of a batch that ran on a replica, so that the rest can go to the primary.
    fn leave_replica(&mut self) -> Stop {
        self.batch_open = false;
        self.send_expecting(SYNC, Expect::Hidden(Hidden::Sync));
        Stop::Drain
    }

    /// True when a begun transaction, or one that was lost, is all the session has.
    pub(super) fn waits_for_begin(&self) -> bool {
        matches!(self.virtual_transaction, Virtual::Begun(_))
    }
}

/// Body of a Bind that fails: there is no such statement. No formats, no values.
const POISON_BIND: &[u8] = b"\0pgmanifold_refused\0\0\0\0\0\0\0";

const SYNC: &[u8] = &[b'S', 0, 0, 0, 4];

/// Gives the server the statement, if it does not know it.
fn make_known(lease: &mut Lease, name: &[u8], statement: &Arc<Statement>) {
    if name.is_empty() {
        if !lease.unnamed.as_ref().is_some_and(|known| Arc::ptr_eq(known, statement)) {
            lease.unnamed = Some(Arc::clone(statement));
            push_parse(lease, statement, None);
        }
    } else if !lease.statements.touch(statement) {
        send_parse(lease, statement, None);
    }
}

fn send_parse(lease: &mut Lease, statement: &Arc<Statement>, name: Option<Box<[u8]>>) {
    if let Some(evicted) = lease.statements.insert(Arc::clone(statement)) {
        frame::put(&mut lease.out, b'C', &[b"S", &evicted.name]);
        lease.expect.push_back(Expect::Close { hidden: true });
    }
    push_parse(lease, statement, name);
}

fn push_parse(lease: &mut Lease, statement: &Arc<Statement>, name: Option<Box<[u8]>>) {
    frame::put(&mut lease.out, b'P', &[&statement.name, &statement.body]);
    lease.expect.push_back(Expect::Parse { statement: Arc::clone(statement), name });
}

/// Checks a Parse body after its name: text, terminator, count, and exactly that many types.
fn check_definition(definition: &[u8]) -> Result<&[u8], FrameError> {
    let (text, tail) = frame::cstr(definition, b'P')?;
    let (count, types) = tail.split_first_chunk::<2>().ok_or(FrameError::Body(b'P'))?;
    if types.len() != usize::from(u16::from_be_bytes(*count)) * 4 {
        return Err(FrameError::Body(b'P'));
    }
    Ok(text)
}

/// The body of Describe and Close: `S` or `P`, and a name that ends the message.
fn kind_and_name(body: &[u8], message: u8) -> Result<(u8, &[u8]), FrameError> {
    let (&kind, tail) = body.split_first().ok_or(FrameError::Body(message))?;
    let (name, rest) = frame::cstr(tail, message)?;
    if !matches!(kind, b'S' | b'P') || !rest.is_empty() {
        return Err(FrameError::Body(message));
    }
    Ok((kind, name))
}

fn unknown_statement(name: &[u8]) -> SqlError {
    if name.is_empty() {
        return SqlError::error("26000", "unnamed prepared statement does not exist");
    }
    let name = String::from_utf8_lossy(name).into_owned();
    SqlError::error("26000", format!("prepared statement \"{name}\" does not exist"))
}
