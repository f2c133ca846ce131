//! Owns what a query may do: the one rule for SELECT, VALUES, TABLE and WITH, and for the
//! expressions inside other statements. A read is what survives every check here.

use super::body::{self, Name};
use super::calls;
use super::outcome::Outcome;
use super::session::commits_flush;
use super::system;
use super::text::Text;
use crate::facts::{Call, Facts};
use crate::lexer::TokenKind;
use crate::plan::{Effect, PinReason};
use std::borrow::Cow;

/// Whether the statement's expressions are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// The statement runs.
    Run,
    /// Functions are not called (EXPLAIN, COPY of a table): only names matter.
    NamesOnly,
}

/// Classifies the tokens of a query: a read, unless something in it says otherwise.
pub(super) fn classify(
    text: &Text<'_>,
    facts: &Facts,
    from: usize,
    to: usize,
    how: Use,
) -> Outcome {
    let outcome = Outcome::new(Effect::Read, "reads only");
    let first = (from..to).find(|&at| !text.is_kind(at, TokenKind::OpenParen)).unwrap_or(from);
    let in_query = matches!(text.word(first), "select" | "with" | "values" | "call");
    let mut finder = Finder { text, facts, how, in_query, outcome };
    if let Some(reason) = facts.everywhere() {
        finder.not_a_read(reason.clone());
    }
    for at in from..to {
        match text.kind(at) {
            Some(TokenKind::Word) => finder.word(at, to),
            Some(TokenKind::QuotedIdentifier) => finder.identifier(at, to),
            Some(TokenKind::UnicodeIdentifier) => finder.not_a_read("U& identifier"),
            Some(TokenKind::Operator) => finder.operator(at),
            Some(TokenKind::Other) => finder.not_a_read("a byte that is no SQL"),
            _ => {}
        }
    }
    finder.outcome
}

struct Finder<'a> {
    text: &'a Text<'a>,
    facts: &'a Facts,
    how: Use,
    /// What looks like a call is one.
    in_query: bool,
    outcome: Outcome,
}

impl Finder<'_> {
    /// The first reason found is the one that is told.
    fn not_a_read(&mut self, reason: impl Into<Cow<'static, str>>) {
        if matches!(self.outcome.effect, Effect::Read | Effect::Transaction) {
            self.outcome.effect = Effect::Write;
            self.outcome.reason = reason.into();
        }
    }

    fn word(&mut self, at: usize, to: usize) {
        let text = self.text;
        let before = text.word_before(at);
        match text.word(at) {
            "update" if matches!(before, "for" | "key") => {
                self.not_a_read("locks rows (FOR UPDATE)");
            }
            "share" => self.not_a_read("locks rows (FOR SHARE)"),
            "insert" => self.not_a_read("contains INSERT"),
            "update" => self.not_a_read("contains UPDATE"),
            "delete" => self.not_a_read("contains DELETE"),
            "merge" => self.not_a_read("contains MERGE"),
            "into" if !matches!(before, "insert" | "merge") => self.select_into(at),
            "into" => self.not_a_read("contains INSERT or MERGE"),
            _ => self.identifier(at, to),
        }
    }

    /// SELECT INTO makes a table; INTO cannot stand anywhere else in a query.
    fn select_into(&mut self, at: usize) {
        if self.outcome.effect != Effect::Ddl {
            self.outcome.effect = Effect::Ddl;
            self.outcome.reason = "SELECT INTO creates a table".into();
        }
        let next = at + 1 + usize::from(matches!(self.text.word(at + 1), "local" | "global"));
        let temp_schema = self.text.name(next).is_some_and(|name| name.starts_with("pg_temp"));
        if temp_schema || matches!(self.text.word(next), "temp" | "temporary") {
            self.pin(PinReason::TempObject);
        }
    }

    fn pin(&mut self, reason: PinReason) {
        self.outcome.session.pin = self.outcome.session.pin.or(Some(reason));
    }

    fn identifier(&mut self, at: usize, to: usize) {
        let text = self.text;
        if text.is_foreign_name(at) {
            self.not_a_read("a name outside ASCII in a client encoding other than UTF8");
            return;
        }
        let Some(name) = text.name(at) else {
            self.not_a_read("a name that is not valid UTF-8");
            return;
        };
        if at + 1 < to && text.is_kind(at + 1, TokenKind::OpenParen) {
            if self.how == Use::Run && calls::is_call(text, at) {
                self.call(at, &name);
            }
        } else if self.how == Use::Run
            && text.kind_before(at) == Some(TokenKind::Dot)
            && self.facts.is_volatile_attribute(&name)
        {
            self.not_a_read(format!("calls volatile function {name} as an attribute"));
        }
        self.named(&name);
    }

    /// A name that may be a relation or a type.
    fn named(&mut self, name: &str) {
        if name.starts_with("pg_") && system::is_local_relation(name) {
            self.not_a_read(format!("{name} is about one server"));
        }
        if let Some(reason) = self.facts.relation(name) {
            self.not_a_read(reason.clone());
        }
        if let Some(reason) = self.facts.data_type(name) {
            self.not_a_read(reason.clone());
        }
        if self.how == Use::Run
            && let Some(body) = self.facts.view_body(name)
        {
            self.outcome.take_body(body);
            self.not_a_read(format!("view {name} may change the session"));
        }
    }

    fn call(&mut self, at: usize, name: &str) {
        let text = self.text;
        match name {
            "pg_advisory_lock"
            | "pg_advisory_lock_shared"
            | "pg_try_advisory_lock"
            | "pg_try_advisory_lock_shared" => self.pin(PinReason::AdvisoryLock),
            "pg_advisory_unlock" | "pg_advisory_unlock_shared" | "pg_advisory_unlock_all" => {
                self.outcome.session.unpins = true;
            }
            "currval" | "lastval" => self.outcome.session.sequence_state = true,
            "pg_listening_channels" => self.outcome.session.listening = true,
            "set_config" => self.set_config(at),
            "current_setting" => self.current_setting(at),
            _ => {}
        }
        if let Some(body) = self.facts.body(name) {
            self.outcome.take_body(body);
            if body.touches {
                self.not_a_read(format!("calls {name}, which may change the session"));
            }
        }
        if system::is_local_function(name) {
            self.not_a_read(format!("{name} is about one server or session"));
            return;
        }
        let schema = calls::schema_of(text, at);
        let arguments = calls::argument_count(text, at + 1);
        match self.facts.call(schema.as_deref(), name, arguments) {
            Call::Harmless => {}
            Call::Volatile => self.not_a_read(format!("calls volatile function {name}")),
            // A word of SQL's own, unless somebody has made a function of that name.
            Call::Unknown if schema.is_none() && calls::is_syntax(text, at) => {}
            Call::Unknown => {
                // It may be newer than the facts, and do anything. Elsewhere than in a query it
                // is more likely the name of a table before its columns.
                if self.in_query && text.word_before(at) != "into" {
                    self.outcome.session.settings = true;
                    self.outcome.session.probes = true;
                }
                self.not_a_read(format!("calls unknown function {name}"));
            }
        }
    }

    fn set_config(&mut self, at: usize) {
        let text = self.text;
        let session = &mut self.outcome.session;
        session.settings = true;
        // Where a literal decides, the plan holds for this text only.
        self.outcome.cacheable &= !text.kind(at + 2).is_some_and(TokenKind::is_literal);
        match body::first_argument(text, at) {
            Name::Known(name) => {
                session.async_commit |=
                    *name == *"synchronous_commit" && !commits_flush(text.raw(at + 4));
                self.outcome.misplaced_local |= name.starts_with("pgm.");
                session.setting_names.push(name);
            }
            Name::Parameter => (session.async_commit, session.names_bound) = (true, true),
            Name::Local => session.async_commit = true,
            // It may be one that no catalog lists, and could not be read back.
            Name::Unknown => {
                session.async_commit = true;
                self.pin(PinReason::Unclassified);
            }
        }
    }

    /// Some settings are a server's own; with a parameter instead of a literal they are not seen.
    fn current_setting(&mut self, at: usize) {
        if self.text.kind(at + 2).is_some_and(TokenKind::is_literal) {
            self.outcome.cacheable = false;
            match body::plain_string(self.text.raw(at + 2)) {
                Some(name) if !system::is_server_setting(&name) => {}
                Some(name) if system::is_transaction_state(&name) => {
                    if self.outcome.effect == Effect::Read {
                        self.outcome.effect = Effect::Transaction;
                        self.outcome.reason = ASKS_TRANSACTION.into();
                    }
                }
                _ => self.not_a_read("asks for a setting of one server"),
            }
        }
    }

    fn operator(&mut self, at: usize) {
        let Ok(symbol) = std::str::from_utf8(self.text.raw(at)) else { return };
        // `!=` is another spelling, not another operator.
        let symbol = if symbol == "!=" { "<>" } else { symbol };
        if let Some(reason) = self.facts.operator(symbol) {
            self.not_a_read(reason.clone());
        }
    }
}

/// Outside of a transaction only the primary knows; a transaction on a replica knows its own.
pub(super) const ASKS_TRANSACTION: &str = "asks for the state of its transaction";
