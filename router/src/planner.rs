//! Owns the step from a statement text to its `Plan`: what it does, and why.
//!
//! By tokens, not by a grammar, and conservative: whatever is not proven to be a read runs on the
//! primary. It must not know sessions, servers or values bound later, and it never recurses along
//! its input.

use crate::facts::Facts;
use crate::hint::Hints;
use crate::lexer::{Dialect, LexError};
use crate::plan::{Effect, PinReason, Plan, SessionEffect};
use std::borrow::Cow;

mod body;
mod byname;
mod calls;
pub(crate) mod keywords;
mod notify;
mod outcome;
mod query;
mod session;
mod statement;
mod system;
mod text;
mod transaction;
mod vacates;

pub use body::is_custom_name;
pub(crate) use body::{Body, read as read_body, read_foreign};
pub use byname::{calling, executed_name};
pub(crate) use calls::{argument_count, is_call, is_syntax, schema_of};
use outcome::Outcome;
pub(crate) use statement::split;
pub(crate) use system::is_local_function;
pub(crate) use text::identifier;
pub use text::{MAX_DEPTH, MAX_OPERATORS, MAX_TOKENS};
pub(crate) use text::{ReadError, Text};

/// Plans a query string: classifies every statement in it and adds them up.
pub fn plan(sql: &[u8], facts: &Facts, dialect: Dialect) -> Plan {
    let text = match Text::read(sql, dialect) {
        Ok(text) => text,
        Err(error) => return unreadable(error),
    };
    let (hints, hint_error) = read_hints(&text);
    let mut plan = Plan { hints, hint_error, ..Plan::default() };
    let ranges = statement::split(&text);
    let several = ranges.len() > 1;
    for (from, to) in ranges {
        let outcome = statement::classify(&text, facts, from, to);
        add(&mut plan, outcome, several);
    }
    plan
}

fn add(plan: &mut Plan, outcome: Outcome, several: bool) {
    plan.statements += 1;
    let stronger = outcome.effect.strength() > plan.effect.strength();
    if stronger || plan.statements == 1 {
        plan.effect = outcome.effect;
        plan.reason = match several && outcome.effect != Effect::Read {
            true => Cow::Owned(format!("statement {}: {}", plan.statements, outcome.reason)),
            false => outcome.reason,
        };
    }
    if several {
        plan.has_transaction_control |= outcome.transaction.is_some();
        plan.misplaced_local |= outcome.local.is_some_and(|command| command.is_setting());
    } else {
        plan.transaction = outcome.transaction;
        plan.local = outcome.local;
    }
    plan.misplaced_local |= outcome.misplaced_local;
    plan.needs_transaction |= outcome.needs_transaction;
    plan.cacheable &= outcome.cacheable;
    add_session(&mut plan.session, outcome.session);
}

fn add_session(to: &mut SessionEffect, from: SessionEffect) {
    to.settings |= from.settings;
    to.setting_names.extend(from.setting_names);
    // What no query can tell of later must not be forgotten for what one can.
    to.pin = match from.pin {
        Some(PinReason::Load | PinReason::Unclassified) => from.pin,
        pin => to.pin.or(pin),
    };
    to.sequence_state |= from.sequence_state;
    to.drops_prepared |= from.drops_prepared;
    to.unpins |= from.unpins;
    to.probes |= from.probes;
    to.local_settings |= from.local_settings;
    to.local_defaults.extend(from.local_defaults);
    to.names_bound |= from.names_bound;
    to.resets |= from.resets;
    to.async_commit |= from.async_commit;
    to.listening |= from.listening;
    to.unlistens_all |= from.unlistens_all;
    to.vacates = to.vacates.take().or(from.vacates);
}

fn read_hints(text: &Text<'_>) -> (Hints, Option<Box<str>>) {
    let mut hints = Hints::default();
    for hint in &text.hints {
        if hint.tokens_before > 1 {
            let error = "a hint must stand before or right after the first keyword";
            return (Hints::default(), Some(error.into()));
        }
        if let Err(error) = hints.add_comment(hint.token.text(text.sql)) {
            return (Hints::default(), Some(error.0));
        }
    }
    (hints, None)
}

/// The plan of a text that could not be read. When the server will reject it too, it does
/// nothing; else it may do anything, and its session must not be shared afterwards.
fn unreadable(error: ReadError) -> Plan {
    let mut plan =
        Plan { effect: Effect::Unknown, statements: 1, cacheable: false, ..Plan::default() };
    plan.reason = match error {
        ReadError::Lex(error) => error.as_str().into(),
        ReadError::Limit(limit) => limit.into(),
    };
    if !matches!(error, ReadError::Lex(error) if LexError::is_syntax_error(error)) {
        plan.has_transaction_control = true;
        plan.session.settings = true;
        plan.session.async_commit = true;
        plan.session.drops_prepared = true;
        plan.session.pin = Some(PinReason::Unclassified);
    }
    plan
}

#[cfg(test)]
mod tests;
