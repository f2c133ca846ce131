//! Owns the reading of a client's messages: borders, bounds, and the simple query protocol.

use super::knobs::Scope;
use super::local::begin_tag;
use super::planning::{Planner, unplanned};
use super::shards::Answer;
use super::{CopyIn, DeferredBegin, Event, Session, Stop, Virtual};
use crate::backend::connection::Expect;
use crate::config::model::PoolMode;
use crate::metrics::{Origin, RouteKind};
use crate::routing;
use crate::wire::error::SqlError;
use crate::wire::frame::{self, FrameError, HEADER_BYTES};
use bytes::BufMut;
use pgmanifold_router::plan::{Effect, Plan, Transaction};
use pgmanifold_router::route::Target;
use std::sync::Arc;

/// What became of one message.
pub(super) enum Step {
    /// It was taken.
    Done,
    /// It stays where it is; reading stops.
    Stop(Stop),
    /// It was taken; the relay must stop.
    Take(Event),
}

impl From<Stop> for Step {
    fn from(stop: Stop) -> Self {
        Step::Stop(stop)
    }
}

pub(super) type Taken = Result<Step, FrameError>;

impl Session {
    /// Takes as many messages from `bytes` as can go on now; returns how many bytes that were.
    pub(super) fn take_requests(&mut self, bytes: &[u8], planner: &mut Planner) -> (usize, Stop) {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            if self.copy_in == CopyIn::Asked {
                return (at, Stop::CopyAsked);
            }
            if !rest.is_empty() && self.waits_for_restore() {
                return (at, Stop::Drain);
            }
            if self.copy_passing > 0 {
                if rest.is_empty() {
                    return (at, Stop::NeedBytes);
                }
                at += self.pass_copy_part(rest);
                continue;
            }
            let Some(header) = frame::peek(rest) else { return (at, Stop::NeedBytes) };
            if self.listening.is_some() && self.waits_for_listening() {
                return (at, Stop::Drain);
            }
            if let Err(error) = frame::check_frontend(header, self.shared.max_message_bytes()) {
                return (at, protocol_violation(error));
            }
            if header.total > rest.len() {
                if header.kind != b'd' {
                    return (at, Stop::NeedBytes);
                }
                self.copy_passing = header.total;
                self.pass_copy_part(rest);
                return (bytes.len(), Stop::NeedBytes);
            }
            match self.take_message(header.kind, &rest[..header.total], rest, planner) {
                Ok(Step::Done) => at += header.total,
                Ok(Step::Stop(stop)) => return (at, stop),
                Ok(Step::Take(event)) => return (at + header.total, Stop::Event(event)),
                Err(error) => return (at, protocol_violation(error)),
            }
        }
    }

    /// Passes what is there of a CopyData too large to wait for. Its server may have ended the
    /// COPY meanwhile, and is kept until it has the whole message all the same.
    fn pass_copy_part(&mut self, rest: &[u8]) -> usize {
        let passing = self.copy_passing.min(rest.len());
        self.send(&rest[..passing]);
        self.copy_passing -= passing;
        self.forget_repeat();
        if let Some(lease) = &mut self.lease {
            lease.unsent = self.copy_passing;
        }
        passing
    }

    fn take_message(
        &mut self,
        kind: u8,
        message: &[u8],
        rest: &[u8],
        planner: &mut Planner,
    ) -> Taken {
        let body = &message[HEADER_BYTES..];
        self.take_map();
        match kind {
            b'X' => return Ok(Stop::Event(Event::Close(None)).into()),
            b'S' | b'H' if self.copy_in == CopyIn::Running => return Ok(Step::Done),
            b'S' => {
                self.span_without_text();
                let step = self.take_sync();
                return Ok(self.span_goes_on(step));
            }
            _ if self.skip_to_sync => return Ok(Step::Done),
            b'Q' => {
                let step = self.take_query(message, body, planner)?;
                return Ok(self.span_goes_on(step));
            }
            b'P' => return self.take_parse(message, body, rest, planner),
            b'B' => return self.take_bind(message, body, rest, planner),
            b'D' => return self.take_describe(message, body, rest, planner),
            b'E' => return self.take_execute(message, body, rest, planner),
            b'C' => return self.take_close(message, body),
            b'F' => {
                self.span_without_text();
                let step = self.take_function_call(message);
                return Ok(self.span_goes_on(step));
            }
            b'H' => self.send(message),
            b'd' => self.send(message),
            b'c' | b'f' => {
                self.copy_in = CopyIn::No;
                self.send(message);
            }
            kind => return Err(FrameError::Kind(kind)),
        }
        Ok(Step::Done)
    }

    /// Sends bytes to the server, if there is one. Without one they have no meaning (a Flush with
    /// nothing before it, COPY data after the COPY has failed) and PostgreSQL ignores them too.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if let Some(lease) = &mut self.lease {
            lease.out.put_slice(bytes);
        }
    }

    /// Sends a message and notes what the server will answer.
    pub(super) fn send_expecting(&mut self, message: &[u8], expect: Expect) {
        if let Some(lease) = &mut self.lease {
            lease.out.put_slice(message);
            lease.expect.push_back(expect);
        }
    }

    fn take_query(&mut self, message: &[u8], body: &[u8], planner: &mut Planner) -> Taken {
        let text = frame::query_text(body)?;
        self.begin_clock();
        self.span_begins(text, true);
        let mut plan = self.plan(text, planner);
        self.account_query(text, &plan);
        let call = match self.call(text, &plan, planner) {
            Err(error) => return Ok(self.refuse_query(error)),
            Ok(call) => call,
        };
        if let Some(call) = &call {
            plan = Arc::clone(&call.plan);
            self.account.is_about(&plan);
        }
        if self.shards.is_some()
            && let Some(step) = self.control(text, &plan, Answer::Query)
        {
            return Ok(step);
        }
        if let Some(error) = self.refused(&plan, false) {
            return Ok(self.refuse_query(error));
        }
        if self.listening.is_some()
            && let Some(step) = self.before_query(&plan)
        {
            return Ok(step);
        }
        if let Some(step) = self.answer_without_server(text, &plan) {
            return Ok(self.account_local_query(step));
        }
        if self.shards.is_some() {
            let lifted = if call.is_none() { planner.literals() } else { None };
            if let Some(step) = self.place_query(text, &plan, lifted, call.is_some()) {
                return Ok(step);
            }
        }
        let route = self.route(&plan);
        if let Err(step) = self.place(route.target, &plan) {
            return Ok(match step {
                Ok(stop) => stop.into(),
                Err(error) => self.refuse_query(error),
            });
        }
        if self.listening.is_some() && self.sender_is_uncertain(&plan) {
            return Ok(Stop::Event(Event::Hub).into());
        }
        if let Some(error) = self.refused_for_sequences(&plan) {
            return Ok(self.refuse_query(error));
        }
        self.span_sent(&route);
        self.note_simple(text, &plan, &route, planner, call.is_some());
        self.note_effects(&plan);
        if self.listening.is_some() {
            self.note_query(text, &plan);
        }
        self.unnamed = None;
        self.lease.iter_mut().for_each(|lease| lease.unnamed = None);
        self.account_sent(0);
        match call {
            None => {
                self.keep_request(message, &plan);
                self.send_expecting(message, Expect::Query);
            }
            Some(call) => self.send_call(&call),
        }
        if plan.effect == Effect::Copy {
            self.copy_in = CopyIn::Asked;
        }
        Ok(Step::Done)
    }

    /// FunctionCall: an old way to call any function, so it runs on the primary as a write.
    fn take_function_call(&mut self, message: &[u8]) -> Step {
        self.begin_clock();
        let mut plan = unplanned("function call message");
        plan.session.settings = true;
        plan.session.probes = true;
        self.account.is_about(&Arc::new(plan.clone()));
        if let Some(step) = self.turn_home() {
            return step;
        }
        if let Err(step) = self.place(Target::Primary, &plan) {
            return match step {
                Ok(stop) => stop.into(),
                Err(error) => self.refuse_query(error),
            };
        }
        self.note_effects(&plan);
        self.account_sent(0);
        self.send_expecting(message, Expect::Query);
        Step::Done
    }

    /// Requests that need no server: our own commands, empty strings, and transaction control
    /// while no server takes part in the transaction.
    fn answer_without_server(&mut self, text: &[u8], plan: &Plan) -> Option<Step> {
        if let Some(command) = self.local_command(plan) {
            return Some(self.run_local_query(command));
        }
        if self.lease.is_some() {
            return None;
        }
        match (&self.virtual_transaction, plan.transaction) {
            (Virtual::None, Some(Transaction::Begin { .. })) if self.may_defer_begin() => {
                let kind = plan.transaction?;
                let begin = DeferredBegin { text: text.into(), kind };
                self.virtual_transaction = Virtual::Begun(Box::new(begin));
                self.rest();
                self.answer_complete(begin_tag(text));
            }
            (Virtual::Begun(_), Some(Transaction::Commit)) if !chains(text) => {
                self.end_virtual("COMMIT");
            }
            (Virtual::Begun(_), Some(Transaction::Rollback)) if !chains(text) => {
                self.end_virtual("ROLLBACK");
            }
            (Virtual::Failed(_), Some(Transaction::Commit | Transaction::Rollback))
                if !chains(text) =>
            {
                self.end_virtual("ROLLBACK");
            }
            (Virtual::Lost(_), Some(Transaction::Rollback)) => self.end_virtual("ROLLBACK"),
            _ if plan.statements == 0 && plan.local.is_none() => {
                self.answer(|out| frame::put(out, b'I', &[]));
                self.answer_ready();
            }
            _ => return None,
        }
        Some(Step::Done)
    }

    pub(super) fn may_defer_begin(&self) -> bool {
        self.pools.database.pool_mode == PoolMode::Transaction && !self.pins.any()
    }

    fn end_virtual(&mut self, tag: &str) {
        self.end_virtual_silently(tag);
        self.answer_complete(tag);
    }

    /// The same, answered as an Execute.
    pub(super) fn end_virtual_in_batch(&mut self, tag: &str) {
        self.end_virtual_silently(tag);
        self.answer(|out| frame::put_command_complete(out, tag));
    }

    fn end_virtual_silently(&mut self, tag: &str) {
        self.virtual_transaction = Virtual::None;
        self.rest();
        if self.knobs.end_transaction(tag == "COMMIT") {
            self.follow_keep_server();
        }
        self.listening_ends(tag == "COMMIT");
    }

    /// CommandComplete and ReadyForQuery.
    pub(super) fn answer_complete(&mut self, tag: &str) {
        self.answer(|out| frame::put_command_complete(out, tag));
        self.answer_ready();
    }

    /// What must not run at all, whatever server it would run on.
    pub(super) fn refusal(&self, plan: &Plan, in_batch: bool) -> Option<SqlError> {
        let mode = self.pools.database.pool_mode;
        if let Some(error) = routing::refusal(plan, self.shards.is_some(), mode) {
            return Some(error);
        }
        if self.listening.is_some()
            && let Some(error) = self.refused_while_listening(plan)
        {
            return Some(error);
        }
        match &self.virtual_transaction {
            Virtual::Failed(Some(_)) if may_end_failure(plan) => None,
            Virtual::Failed(None) if plan.statements == 0 && !in_batch => None,
            Virtual::Failed(_) if !ends_transaction(plan) => Some(aborted()),
            // Sent to a server it would say COMMIT there, where no transaction is open.
            Virtual::Failed(_) if in_batch && plan.transaction == Some(Transaction::Commit) => {
                Some(aborted())
            }
            Virtual::Lost(error) if plan.transaction != Some(Transaction::Rollback) => {
                Some((**error).clone())
            }
            _ => None,
        }
    }

    /// Answers a simple query with an error. A transaction that is open on a server must fail as
    /// it would have there: a statement that cannot succeed is run in its place.
    pub(super) fn refuse_query(&mut self, error: SqlError) -> Step {
        self.count_refusal(&error);
        self.leave_unused_server();
        match &mut self.lease {
            Some(lease) if lease.status != b'I' || !lease.expect.is_empty() => {
                lease.query(POISON, Expect::Poison(Box::new(error)));
            }
            _ => {
                self.fail_virtual();
                self.answer(|out| error.encode(out));
                self.answer_ready();
            }
        }
        Step::Done
    }

    /// Gives back a server that was leased for the request that is refused now.
    pub(super) fn leave_unused_server(&mut self) {
        if !self.batch_open {
            self.release_server();
        }
    }

    pub(super) fn count_refusal(&mut self, error: &SqlError) {
        self.span_routed(RouteKind::Refused, None);
        self.span_fails(&error.sqlstate);
        self.account_refused(error);
        self.metrics.query(RouteKind::Refused, std::time::Duration::ZERO);
        self.metrics.error(&error.sqlstate, Origin::Proxy);
    }

    /// An error while no server takes part: a transaction has failed.
    pub(super) fn fail_virtual(&mut self) {
        self.virtual_transaction = match std::mem::take(&mut self.virtual_transaction) {
            Virtual::None => Virtual::None,
            Virtual::Begun(begin) => Virtual::Failed(Some(begin)),
            Virtual::Failed(begin) => Virtual::Failed(begin),
            Virtual::Lost(_) => Virtual::Failed(None),
        };
    }

    /// Notes what a statement that is sent will have done.
    pub(super) fn note_effects(&mut self, plan: &Plan) {
        if plan.has_transaction_control || plan.transaction.is_some() {
            self.note_transaction_control(plan);
        }
        match plan.effect {
            // COMMIT PREPARED makes visible what another transaction wrote.
            Effect::Transaction => self.wrote |= plan.transaction == Some(Transaction::TwoPhase),
            Effect::Read => {}
            Effect::SessionState => self.wrote_async |= plan.session.async_commit,
            Effect::Ddl => {
                self.did_ddl = true;
                self.wrote = true;
                // It may make or drop temporary objects, by its text or by the search_path.
                self.pins.doubt();
            }
            Effect::Write | Effect::Copy | Effect::Unknown => self.wrote = true,
        }
        if plan.effect.may_use_sequences() {
            self.note_sequence_use();
        }
        if self.wrote
            && plan.hints.causality.is_some()
            && let Scope::Key(key) = self.knobs.scope(&plan.hints)
        {
            self.written_key = Some(key.into());
        }
        if plan.effect != Effect::Read || plan.session.settings {
            self.note_session_effects(plan);
        }
    }

    fn note_transaction_control(&mut self, plan: &Plan) {
        self.may_end_transaction |= !matches!(
            plan.transaction,
            Some(Transaction::Begin { .. } | Transaction::Savepoint | Transaction::SetTransaction)
        );
        if ends_transaction(plan) {
            // It went to a server, where there is none: what was left of it here is over.
            self.virtual_transaction = Virtual::None;
        }
    }

    fn note_session_effects(&mut self, plan: &Plan) {
        let session = &plan.session;
        self.settings_dirty |= session.settings;
        if session.resets {
            self.note_reset(&session.setting_names, false);
        }
        if !session.local_defaults.is_empty() {
            self.note_reset(&session.local_defaults, true);
        }
        if let Some(database) = &session.vacates {
            self.shared.state().vacate(&self.pools.cluster, database);
        }
        self.local_settings |= session.local_settings;
        self.wrote_async |= session.async_commit;
        for name in session.setting_names.iter().filter(|name| name.contains('.')) {
            self.note_custom_name(name);
        }
        if let Some(reason) = session.pin {
            self.listens_natively |= session.listening;
            self.pins.may_take(reason);
        }
        if session.unpins {
            self.pins.may_end();
        }
        if session.probes {
            self.pins.doubt();
            self.statements_dirty = true;
        }
        if session.drops_prepared {
            if let Some(prepared) = self.prepared.take() {
                self.dropping.get_or_insert(prepared);
                self.show_prepared();
            }
            self.statements_dirty = true;
            if let Some(lease) = &mut self.lease {
                self.dropped.extend(lease.statements.take_all());
            }
        }
    }
}

/// Fails in any open transaction, and changes nothing.
pub(super) const POISON: &[u8] = b"ROLLBACK TO SAVEPOINT pgmanifold_refused";

/// What PostgreSQL says in a failed transaction.
pub(super) fn aborted() -> SqlError {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    SqlError::error("25P02", message)
}

fn ends_transaction(plan: &Plan) -> bool {
    matches!(plan.transaction, Some(Transaction::Commit | Transaction::Rollback))
}

/// What a failed transaction may be ended or continued by, as far as a server must decide that.
fn may_end_failure(plan: &Plan) -> bool {
    let controls = plan.transaction.is_some() || plan.has_transaction_control;
    controls || plan.statements == 0 || plan.effect == Effect::Unknown
}

pub(super) fn chains(text: &[u8]) -> bool {
    text.to_ascii_lowercase().windows(5).any(|word| word == b"chain")
}

fn protocol_violation(error: FrameError) -> Stop {
    Stop::Event(Event::Close(Some(SqlError::fatal("08P01", error.to_string()))))
}
