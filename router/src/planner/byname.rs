//! Owns the statements about statements prepared by name: PREPARE, EXECUTE, DEALLOCATE, and where
//! the name stands. Whether the session knows the name by protocol is not known here.

use super::outcome::Outcome;
use super::text::{Text, identifier};
use crate::facts::Facts;
use crate::lexer::{Dialect, Lexer, TokenKind};
use crate::plan::{Effect, LocalCommand, PinReason, Plan};
use std::ops::Range;

pub(super) fn prepare(text: &Text<'_>, from: usize) -> Outcome {
    let outcome = Outcome::new(Effect::SessionState, "prepares a statement by name");
    named(outcome, text, from + 1, |name| LocalCommand::Prepare { name })
        .pinned(PinReason::SqlPrepare)
}

pub(super) fn execute(text: &Text<'_>, facts: &Facts, from: usize, to: usize) -> Outcome {
    let outcome = super::statement::by_word(text, facts, from, to, "execute");
    named(outcome, text, from + 1, |name| LocalCommand::Execute { name })
}

pub(super) fn deallocate(text: &Text<'_>, from: usize) -> Outcome {
    let name = if text.is(from + 1, "prepare") { from + 2 } else { from + 1 };
    let mut outcome = Outcome::new(Effect::SessionState, "drops a statement prepared by name");
    outcome.session.unpins = true;
    outcome.session.drops_prepared = text.is(name, "all");
    if outcome.session.drops_prepared {
        return outcome;
    }
    named(outcome, text, name, |name| LocalCommand::Deallocate { name })
}

fn named(
    mut outcome: Outcome,
    text: &Text<'_>,
    at: usize,
    command: impl FnOnce(Box<str>) -> LocalCommand,
) -> Outcome {
    outcome.local = text.name(at).map(|name| command(name.into()));
    outcome
}

/// The plan of a call (`EXECUTE`) of a prepared statement: what both do. `None` for a statement
/// whose protocol, or whose effect on the session, is not that of a call.
pub fn calling(call: &Plan, called: &Plan) -> Option<Plan> {
    let is_special = called.transaction.is_some()
        || called.has_transaction_control
        || called.local.is_some()
        || called.effect == Effect::Copy
        || called.session.names_bound
        || called.session.drops_prepared;
    if is_special {
        return None;
    }
    let mut plan = Plan { local: None, shape: called.shape.clone(), ..call.clone() };
    if called.effect.strength() > plan.effect.strength() {
        plan.effect = called.effect;
    }
    plan.needs_transaction |= called.needs_transaction;
    plan.misplaced_local |= called.misplaced_local;
    plan.hint_error = plan.hint_error.or_else(|| called.hint_error.clone());
    super::add_session(&mut plan.session, called.session.clone());
    Some(plan)
}

/// Where the name stands in the text of an EXECUTE, also under EXPLAIN. `None` when it is not
/// `name`.
pub fn executed_name(sql: &[u8], name: &str, dialect: Dialect) -> Option<Range<usize>> {
    let mut lexer = Lexer::new(sql, dialect).ok()?;
    let mut follows = false;
    while let Some(token) = lexer.next_token().ok()? {
        match token.kind {
            TokenKind::HintComment => {}
            _ if follows => {
                let is_name = identifier(sql, &token).is_some_and(|found| found == name);
                return is_name.then_some(token.start as usize..token.end as usize);
            }
            TokenKind::Word => follows = token.text(sql).eq_ignore_ascii_case(b"execute"),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(sql: &'a str, name: &str) -> Option<&'a str> {
        executed_name(sql.as_bytes(), name, Dialect::default()).map(|range| &sql[range])
    }

    #[test]
    fn the_name_is_found_where_it_stands() {
        assert_eq!(found("execute p", "p"), Some("p"));
        assert_eq!(found("EXECUTE /* execute q */ Foo(1, 'foo')", "foo"), Some("Foo"));
        assert_eq!(
            found("execute /* pgm: primary */ \"P \"\"1\"(2);", "P \"1"),
            Some(r#""P ""1""#)
        );
        assert_eq!(found("explain (analyze, verbose) execute execute", "execute"), Some("execute"));
        assert_eq!(found("execute p", "q"), None);
        assert_eq!(found("select 1", "p"), None);
        assert_eq!(found("execute", "p"), None);
    }
}
