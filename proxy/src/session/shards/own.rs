//! Owns the decision that a batch needs a transaction of ours: PostgreSQL makes one of what stands
//! before a Sync, and on several shards only we can.

use super::super::extended::check_definition;
use super::super::planning::Planner;
use super::super::{DeferredBegin, Session, Virtual};
use super::choice::{Way, may_write};
use super::log::Log;
use super::values::{BindValues, declared};
use crate::wire::frame::{self, FrameError, HEADER_BYTES};
use pgmanifold_router::plan::{Plan, Transaction};
use pgmanifold_router::shard_map::ShardId;
use std::sync::Arc;

/// What was found in a batch so far.
#[derive(Default)]
struct Found {
    executions: usize,
    writes: bool,
    bound_writes: bool,
    shard: Option<ShardId>,
    /// It needs more than one shard.
    differs: bool,
}

impl Session {
    /// To be called when a batch is about to begin on a server. When it may write on several
    /// shards, a transaction is begun for it.
    pub(in crate::session) fn begin_own_transaction(
        &mut self,
        rest: &[u8],
        planner: &mut Planner,
    ) -> Result<(), FrameError> {
        let outside = matches!(self.virtual_transaction, Virtual::None) && !self.in_transaction();
        if self.shards.is_none() || !outside || !self.may_defer_begin() {
            return Ok(());
        }
        if !self.needs_transaction(rest, planner)? {
            return Ok(());
        }
        let kind = Transaction::Begin { read_only: false, serializable: false };
        let begin = DeferredBegin { text: BEGIN.into(), kind };
        self.virtual_transaction = Virtual::Begun(Box::new(begin));
        if let Some(shards) = &mut self.shards {
            shards.log = Some(Box::new(Log::new(BEGIN, kind)));
            shards.own_transaction = true;
        }
        Ok(())
    }

    fn needs_transaction(&self, rest: &[u8], planner: &mut Planner) -> Result<bool, FrameError> {
        let mut at = 0;
        let mut parsed: Vec<(&[u8], &[u8], Arc<Plan>)> = Vec::new();
        let mut found = Found::default();
        let mut whole = false;
        while let Some(header) = rest.get(at..).and_then(frame::peek) {
            frame::check_frontend(header, self.shared.max_message_bytes())?;
            let Some(message) = rest.get(at..at + header.total) else { break };
            let body = &message[HEADER_BYTES..];
            match header.kind {
                b'P' => {
                    let (name, definition) = frame::cstr(body, b'P')?;
                    let plan = self.plan(check_definition(definition)?, planner);
                    parsed.push((name, definition, plan));
                }
                b'B' => {
                    if !self.look_at_bind(body, &parsed, &mut found)? {
                        return Ok(false);
                    }
                }
                b'E' => {
                    found.executions += 1;
                    found.writes |= found.bound_writes;
                }
                b'D' | b'C' => {}
                kind => {
                    whole = kind == b'S';
                    break;
                }
            }
            at += header.total;
        }
        let alone = found.executions <= 1 || !found.differs;
        Ok(found.writes && !(whole && alone))
    }

    /// False when the batch has transaction control of its own.
    fn look_at_bind(
        &self,
        body: &[u8],
        parsed: &[(&[u8], &[u8], Arc<Plan>)],
        found: &mut Found,
    ) -> Result<bool, FrameError> {
        let (_, tail) = frame::cstr(body, b'B')?;
        let (name, values) = frame::cstr(tail, b'B')?;
        let known = match name.is_empty() {
            true => self.unnamed.as_ref(),
            false => self.find_named(name),
        };
        let recent = parsed.iter().rev().find(|(parsed, ..)| *parsed == name);
        let (definition, plan) = match (recent, known) {
            (Some((_, definition, plan)), _) => (*definition, plan),
            (None, Some(known)) => (&*known.statement.body, &known.plan),
            (None, None) => return Ok(true),
        };
        if plan.transaction.is_some() || plan.has_transaction_control {
            return Ok(false);
        }
        found.bound_writes = may_write(plan);
        let text = definition.split(|byte| *byte == 0).next().unwrap_or_default();
        let bound = BindValues::read(values, declared(definition))?;
        match self.way(text, plan, None, Some(&bound.bound())) {
            Ok(Way::To(shard)) => {
                found.differs |= found.shard.is_some_and(|known| known != shard);
                found.shard = Some(shard);
            }
            Ok(Way::Several(_)) => found.differs = true,
            Ok(Way::Here | Way::CopyIn | Way::Session) | Err(_) => {}
        }
        Ok(true)
    }
}

/// Begins it.
const BEGIN: &[u8] = b"BEGIN";
