//! Owns the extended query protocol on the client's side: Parse, Bind, Describe, Execute, Close,
//! Sync. A batch is what stands between two Syncs; all of it runs on one server.
//!
//! Named statements live under names of ours on the servers, so that any server can run them:
//! one that does not know a statement gets its Parse first.

use super::byname::name_taken;
use super::planning::Planner;
use super::request::{Step, Taken, aborted};
use super::reuse::{self, Origin};
use super::{CopyIn, Prepared, Session, Stop, Virtual};
use crate::backend::connection::Expect;
use crate::backend::prepared::Statement;
use crate::wire::error::SqlError;
use crate::wire::frame::{self, FrameError};
use pgmanifold_router::plan::{Effect, LocalCommand};
use std::sync::Arc;

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
        self.span_begins(text, true);
        let plan = self.plan(text, planner);
        self.account.is_about(&plan);
        if let Some(error) = self.refused(&plan, true) {
            return Ok(self.refuse_batch(error));
        }
        if !name.is_empty() && self.find_named(name).is_some() {
            if self.has_failed() && plan.transaction.is_none() {
                return Ok(self.refuse_batch(aborted()));
            }
            return Ok(self.refuse_batch(name_taken(name)));
        }
        let statement = self.statement(name, definition);
        let facts_version = self.plan_version();
        let origin = (!name.is_empty()).then(|| Arc::new(Origin::new(self.stamp())));
        let prepared = Prepared { statement: Arc::clone(&statement), plan, facts_version, origin };
        let local = self.local_command(&prepared.plan).is_some() || self.calls(&prepared.plan);
        if local && let Some(error) = self.refused_in_aborted(&prepared.plan) {
            return Ok(self.refuse_batch(error));
        }
        if local || self.may_put_off(name, &statement) {
            self.keep_new(name, prepared);
            self.answer(|out| frame::put(out, b'1', &[]));
            return Ok(Step::Done);
        }
        if self.shards.is_some()
            && let Some(step) = self.place_parse(name, &prepared, rest)?
        {
            return Ok(step);
        }
        if let Some(step) = self.place_batch(rest, Some(&prepared.plan), planner)? {
            return Ok(step);
        }
        if let Some(step) = self.refuse_known_in_aborted(name, &prepared) {
            return Ok(step);
        }
        let origin = prepared.origin.clone();
        self.keep_new(name, prepared);
        self.probe_name(name);
        let Some(lease) = &mut self.lease else { return Ok(Step::Done) };
        let Some(stamp) = origin.map(|origin| origin.stamp.clone()) else {
            lease.unnamed = Some(Arc::clone(&statement));
            let expect = Expect::Parse { statement, name: Some(name.into()) };
            self.send_expecting(message, expect);
            return Ok(Step::Done);
        };
        if !reuse::is_good(lease, &statement, &stamp) {
            reuse::send_parse(lease, &statement, stamp, Some(name.into()));
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
        let Some(mut prepared) = self.find(name, planner) else {
            self.account.is_about_nothing();
            return Ok(self.refuse_batch(unknown_statement(name)));
        };
        self.span_begins(prepared.statement.text(), false);
        let call = match self.call(prepared.statement.text(), &prepared.plan, planner) {
            Err(error) => return Ok(self.refuse_batch(error)),
            Ok(call) => call,
        };
        if let Some(call) = &call {
            prepared = call.prepared(&prepared);
        }
        self.account.bind(portal, &prepared.plan);
        self.note_text(prepared.statement.text());
        if self.shards.is_some()
            && self.local_command(&prepared.plan).is_none()
            && let Some(step) = self.place_bind(portal, values, &prepared, call.is_some())?
        {
            return Ok(step);
        }
        if let Some(error) = self.refused(&prepared.plan, true) {
            return Ok(self.refuse_batch(error));
        }
        if self.listening.is_some()
            && let Some(step) = self.before_bind(&prepared.plan)
        {
            return Ok(step);
        }
        if let Some(step) = self.bind_local(portal, values, &prepared.plan) {
            return Ok(step);
        }
        if let Some(step) = self.place_batch(rest, Some(&prepared.plan), planner)? {
            return Ok(step);
        }
        if let Some(error) = self.refused_for_sequences(&prepared.plan) {
            return Ok(self.refuse_batch(error));
        }
        if let Some(step) = self.make_all_known(name, &prepared, call.as_deref(), rest) {
            return Ok(step);
        }
        if self.listening.is_some() && self.sender_is_uncertain(&prepared.plan) {
            return Ok(Stop::Event(super::Event::Hub).into());
        }
        self.note_bound(portal, values, &prepared);
        let Some(lease) = &mut self.lease else { return Ok(Step::Done) };
        if name.is_empty() {
            self.send_expecting(message, Expect::Bind);
        } else {
            let statement = &prepared.statement.name;
            frame::put(&mut lease.out, b'B', &[portal, &[0], statement, values]);
            lease.expect.push_back(Expect::Bind);
            self.metrics.traffic.bind();
        }
        Ok(Step::Done)
    }

    /// Notes what a Bind that is sent now will have done.
    fn note_bound(&mut self, portal: &[u8], values: &[u8], prepared: &Prepared) {
        self.observe_bind(values, prepared);
        if self.local_portal.as_ref().is_some_and(|local| *local.name == *portal) {
            self.local_portal = None;
        }
        let untold = prepared.origin.as_ref().is_some_and(|origin| !origin.is_told());
        self.bound = untold.then(|| (portal.into(), prepared.statement.id));
        self.copy_bound = prepared.plan.effect == Effect::Copy;
        self.trace_batch(prepared);
        if self.is_traced() {
            let route = self.route(&prepared.plan);
            self.span_sent(&route);
        }
        self.note_effects(&prepared.plan);
        if prepared.plan.session.names_bound {
            self.note_bound_names(values);
        }
        if self.listening.is_some() {
            self.note_bind(prepared.statement.text(), &prepared.plan);
        }
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
                let binary = self.local_portal.as_ref().is_some_and(|local| local.binary);
                self.describe_local(&command, Some(binary));
                return Ok(Step::Done);
            }
            if self.describe_control(name) {
                return Ok(Step::Done);
            }
            if self.failed_without_server() {
                return Ok(self.refuse_batch(unknown_portal(name)));
            }
            if let Some(step) = self.place_batch(rest, None, planner)? {
                return Ok(step);
            }
            let bound = self.bound.as_ref().filter(|(portal, _)| **portal == *name);
            let of = bound.map_or(0, |(_, statement)| *statement);
            self.send_expecting(message, Expect::Describe { of });
            return Ok(Step::Done);
        }
        let Some(mut prepared) = self.find(name, planner) else {
            return Ok(self.refuse_batch(unknown_statement(name)));
        };
        let call = match self.call(prepared.statement.text(), &prepared.plan, planner) {
            Err(error) => return Ok(self.refuse_batch(error)),
            Ok(call) => call,
        };
        if let Some(call) = &call {
            prepared = call.prepared(&prepared);
        }
        if let Some(command) = self.local_command(&prepared.plan) {
            self.describe_local(command, None);
            return Ok(Step::Done);
        }
        if self.describe_control_statement(&prepared.plan) {
            return Ok(Step::Done);
        }
        let told = prepared.origin.as_ref().and_then(|origin| origin.parameters_alone());
        if let Some(parameters) = told {
            self.answer(|out| {
                frame::put(out, b't', &[parameters]);
                frame::put(out, b'n', &[]);
            });
            return Ok(Step::Done);
        }
        if self.failed_without_server() && !self.can_fail_on_server() {
            return Ok(self.refuse_batch(aborted()));
        }
        if let Some(step) = self.place_batch(rest, None, planner)? {
            return Ok(step);
        }
        if let Some(step) = self.make_all_known(name, &prepared, call.as_deref(), rest) {
            return Ok(step);
        }
        let Some(lease) = &mut self.lease else { return Ok(Step::Done) };
        frame::put(&mut lease.out, b'D', &[b"S", &prepared.statement.name]);
        lease.expect.push_back(Expect::DescribeStatement(name.into()));
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
        self.account.executes(portal);
        if let Some(command) = self.find_local_portal(portal) {
            let step = self.run_local_portal(&command);
            return Ok(self.account_local(step));
        }
        if let Some(step) = self.place_execute(portal, limit) {
            return Ok(self.account_local(step));
        }
        if self.failed_without_server() {
            return Ok(self.refuse_batch(unknown_portal(portal)));
        }
        if let Some(step) = self.place_batch(rest, None, planner)? {
            return Ok(step);
        }
        self.before_execute();
        self.note_execute();
        let rows = limit.first_chunk().map_or(0, |limit| u32::from_be_bytes(*limit));
        self.account_sent(rows);
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
            self.close_statement(name);
            return Ok(Step::Done);
        } else if self.find_local_portal(name).is_some() {
            self.local_portal = None;
        } else if self.close_portal(name) {
            // No server has it.
        } else if self.lease.is_some() {
            self.batch_open = true;
            self.send_expecting(message, Expect::Close);
            return Ok(Step::Done);
        }
        self.answer(|out| frame::put(out, b'3', &[]));
        Ok(Step::Done)
    }

    /// The statement is gone at once for what follows; an error in a message before its Close
    /// brings it back.
    fn close_statement(&mut self, name: &[u8]) {
        let known = match name.is_empty() {
            true => self.unnamed.take(),
            false => self.prepared.as_mut().and_then(|prepared| prepared.remove(name)),
        };
        self.show_prepared();
        match (known, &mut self.lease) {
            (Some(known), Some(lease)) if !lease.expect.is_empty() => {
                lease.expect.push_back(Expect::Closed);
                self.closing.push_back((name.into(), known));
            }
            _ => self.answer(|out| frame::put(out, b'3', &[])),
        }
    }

    pub(super) fn take_sync(&mut self) -> Step {
        if self.listening.is_some()
            && let Some(stop) = self.before_sync()
        {
            return stop.into();
        }
        if let Some(step) = self.place_sync() {
            return step;
        }
        self.account.is_about_nothing();
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
        self.leave_unused_server();
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

    fn statement(&self, name: &[u8], definition: &[u8]) -> Arc<Statement> {
        if !name.is_empty() {
            return self.shared.interner.intern(definition);
        }
        match &self.unnamed {
            Some(known) if *known.statement.body == *definition => Arc::clone(&known.statement),
            _ => Statement::private(definition),
        }
    }

    /// In a failed transaction a server refuses every Parse, but one of a statement that it has
    /// already must not be sent to it. Whether the transaction has failed is only known when no
    /// answer is owed.
    fn refuse_known_in_aborted(&mut self, name: &[u8], prepared: &Prepared) -> Option<Step> {
        let lease = self.lease.as_mut()?;
        let applies = lease.status == b'E' && prepared.plan.transaction.is_none();
        if !applies || name.is_empty() || lease.statements.touch(&prepared.statement).is_none() {
            return None;
        }
        if lease.expect.is_empty() {
            return Some(self.refuse_batch(aborted()));
        }
        Some(Stop::Drain.into())
    }

    /// The transaction has failed, as far as the answers show that have come.
    fn has_failed(&self) -> bool {
        let failed = |lease: &crate::pool::Lease| lease.status == b'E' && lease.expect.is_empty();
        self.lease.as_ref().is_some_and(failed) || self.failed_without_server()
    }

    /// The transaction failed before a server took part in it: there are no portals.
    fn failed_without_server(&self) -> bool {
        self.lease.is_none() && matches!(self.virtual_transaction, Virtual::Failed(_))
    }

    /// A server can be given that transaction, to answer what a failed one still answers.
    fn can_fail_on_server(&self) -> bool {
        matches!(self.virtual_transaction, Virtual::Failed(Some(_)))
    }

    /// A named statement that a server has accepted before under this schema, search path and role
    /// is parsed when a server is needed anyway; until then it costs nobody a server.
    fn may_put_off(&self, name: &[u8], statement: &Statement) -> bool {
        let accepted = || statement.was_accepted(reuse::acceptance(&self.pools, &self.settings));
        !name.is_empty() && self.lease.is_none() && self.knows_names() && accepted()
    }

    pub(super) fn keep(&mut self, name: &[u8], prepared: Prepared) {
        if name.is_empty() {
            self.unnamed = Some(prepared);
        } else {
            self.prepared.get_or_insert_default().insert(name.into(), prepared);
            self.show_prepared();
        }
    }

    pub(super) fn find_named(&self, name: &[u8]) -> Option<&Prepared> {
        self.prepared.as_ref()?.get(name)
    }

    /// The prepared statement of a name, planned anew if the catalog facts have changed.
    pub(super) fn find(&mut self, name: &[u8], planner: &mut Planner) -> Option<Prepared> {
        let known = if name.is_empty() { self.unnamed.as_ref() } else { self.find_named(name) };
        let mut known = known?.clone();
        let facts_version = self.plan_version();
        if known.facts_version != facts_version {
            known.plan = self.plan(known.statement.text(), planner);
            known.facts_version = facts_version;
            self.keep(name, known.clone());
        }
        Some(known)
    }

    fn find_local_portal(&self, name: &[u8]) -> Option<LocalCommand> {
        let local = self.local_portal.as_ref()?;
        (*local.name == *name).then(|| local.command.clone())
    }

    /// Forgets a statement whose Parse failed or was skipped.
    pub(super) fn forget(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = None;
            return;
        }
        for prepared in [&mut self.prepared, &mut self.dropping].into_iter().flatten() {
            prepared.remove(name);
        }
        self.show_prepared();
    }

    /// True when a begun transaction, or one that was lost, is all the session has.
    pub(super) fn waits_for_begin(&self) -> bool {
        matches!(self.virtual_transaction, Virtual::Begun(_))
    }
}

/// Body of a Bind that fails: there is no such statement. No formats, no values.
const POISON_BIND: &[u8] = b"\0pgmanifold_refused\0\0\0\0\0\0\0";

pub(super) const SYNC: &[u8] = &[b'S', 0, 0, 0, 4];

/// Checks a Parse body after its name: text, terminator, count, and exactly that many types.
pub(crate) fn check_definition(definition: &[u8]) -> Result<&[u8], FrameError> {
    let (text, tail) = frame::cstr(definition, b'P')?;
    let (count, types) = tail.split_first_chunk::<2>().ok_or(FrameError::Body(b'P'))?;
    if types.len() != usize::from(u16::from_be_bytes(*count)) * 4 {
        return Err(FrameError::Body(b'P'));
    }
    Ok(text)
}

/// The body of Describe and Close: `S` or `P`, and a name that ends the message.
pub(crate) fn kind_and_name(body: &[u8], message: u8) -> Result<(u8, &[u8]), FrameError> {
    let (&kind, tail) = body.split_first().ok_or(FrameError::Body(message))?;
    let (name, rest) = frame::cstr(tail, message)?;
    if !matches!(kind, b'S' | b'P') || !rest.is_empty() {
        return Err(FrameError::Body(message));
    }
    Ok((kind, name))
}

fn unknown_portal(name: &[u8]) -> SqlError {
    let name = String::from_utf8_lossy(name).into_owned();
    SqlError::error("34000", format!("portal \"{name}\" does not exist"))
}

fn unknown_statement(name: &[u8]) -> SqlError {
    if name.is_empty() {
        return SqlError::error("26000", "unnamed prepared statement does not exist");
    }
    let name = String::from_utf8_lossy(name).into_owned();
    SqlError::error("26000", format!("prepared statement \"{name}\" does not exist"))
}
