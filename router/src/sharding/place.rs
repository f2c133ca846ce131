//! Owns which part of the planner places a text, and what becomes of one that cannot be read.

use super::named::{Refused, has_sharded_word};
use super::{Catalog, Placing, Refusal, copy_out, select, several, statement};
use crate::lexer::{Dialect, TokenKind};
use crate::plan::Plan;
use crate::planner::{ReadError, Text, split};
use std::ops::Range;

/// Where a text goes.
pub(super) fn place(sql: &[u8], plan: &Plan, catalog: Catalog<'_>, dialect: Dialect) -> Placing {
    let text = match Text::read(sql, dialect) {
        Ok(text) => text,
        Err(error) => return unreadable(sql, error, catalog),
    };
    let mut placings = Vec::new();
    for (from, to) in split(&text) {
        match one(&text, from..to, plan, catalog) {
            Ok(placing) => placings.push(placing),
            Err(refusal) => return Placing::Refused(refusal),
        }
    }
    if placings.is_empty() {
        return Placing::Anywhere;
    }
    several::combine(placings, catalog)
}

/// A server rejects what has no end; what only is too large may name anything.
fn unreadable(sql: &[u8], error: ReadError, catalog: Catalog<'_>) -> Placing {
    let harmless = matches!(error, ReadError::Lex(error) if error.is_syntax_error());
    if harmless || !has_sharded_word(catalog, sql) {
        return Placing::On(catalog.map.home);
    }
    let reason = match error {
        ReadError::Lex(error) => error.as_str(),
        ReadError::Limit(limit) => limit,
    };
    let refusal = Refusal::new("unreadable", "the statement cannot be read")
        .detail(format!("It may name a sharded table: {reason}."));
    Placing::Refused(Box::new(refusal))
}

fn one(text: &Text<'_>, at: Range<usize>, plan: &Plan, catalog: Catalog<'_>) -> Refused<Placing> {
    match Form::of(text, at.clone()) {
        Form::Query => select::place(text, at, plan, catalog),
        Form::Cursor { query } => select::place(text, query..at.end, plan, catalog),
        Form::Explain { inner, .. } => explained(text, inner..at.end, plan, catalog),
        Form::CopyOut => copy_out::place(text, at, plan, catalog),
        Form::Other => statement::place(text, at, catalog),
    }
}

fn explained(
    text: &Text<'_>,
    at: Range<usize>,
    plan: &Plan,
    catalog: Catalog<'_>,
) -> Refused<Placing> {
    let placing = match Form::of(text, at.clone()) {
        Form::Query => select::place(text, at, plan, catalog)?,
        Form::Cursor { query } => select::place(text, query..at.end, plan, catalog)?,
        _ => statement::place(text, at, catalog)?,
    };
    match placing {
        Placing::Everywhere { .. } | Placing::Session | Placing::Transaction | Placing::Cursor => {
            Ok(Placing::On(catalog.map.home))
        }
        Placing::CopyIn => Ok(Placing::On(catalog.map.home)),
        placing => Ok(placing),
    }
}

/// What a statement is, as far as queries are concerned; tokens say where the query begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Query,
    Cursor {
        query: usize,
    },
    Explain {
        inner: usize,
        /// Another FORMAT than text.
        formatted: bool,
    },
    CopyOut,
    Other,
}

impl Form {
    pub(super) fn of(text: &Text<'_>, at: Range<usize>) -> Self {
        let first = at.clone().find(|&here| !text.is_kind(here, TokenKind::OpenParen));
        let Some(first) = first else { return Self::Other };
        match text.word(first) {
            "select" | "with" | "values" | "table" if is_query(text, first, &at) => Self::Query,
            _ if first != at.start => Self::Other,
            "declare" => match at.clone().find(|&here| text.is(here, "for")) {
                Some(word) => Self::Cursor { query: word + 1 },
                None => Self::Other,
            },
            "explain" => explain(text, at),
            "copy" if is_copy_out(text, &at) => Self::CopyOut,
            _ => Self::Other,
        }
    }
}

/// WITH may also stand before INSERT, UPDATE, DELETE and MERGE, and hold them.
fn is_query(text: &Text<'_>, first: usize, at: &Range<usize>) -> bool {
    if !text.is(first, "with") {
        return true;
    }
    let writes = |word: &str, _: usize| matches!(word, "insert" | "update" | "delete" | "merge");
    let holds =
        |here: usize| writes(text.word(here), here) && text.is_kind(here - 1, TokenKind::OpenParen);
    super::query::find(text, first..at.end, writes).is_none() && !(first + 1..at.end).any(holds)
}

fn explain(text: &Text<'_>, at: Range<usize>) -> Form {
    let mut inner = at.start + 1;
    let mut formatted = false;
    if text.is_kind(inner, TokenKind::OpenParen) && !super::query::opens(text, inner) {
        let Some(close) = text.partner(inner) else { return Form::Other };
        for here in inner + 1..close {
            if text.is(here, "format") {
                let value = text.raw(here + 1).to_ascii_lowercase();
                formatted |= !matches!(value.as_slice(), b"text" | b"'text'");
            }
        }
        inner = close + 1;
    } else {
        inner += usize::from(matches!(text.word(inner), "analyze" | "analyse"));
        inner += usize::from(text.is(inner, "verbose"));
    }
    match inner < at.end {
        true => Form::Explain { inner, formatted },
        false => Form::Other,
    }
}

fn is_copy_out(text: &Text<'_>, at: &Range<usize>) -> bool {
    let direction = |word: &str, _: usize| matches!(word, "to" | "from");
    super::query::find(text, at.start + 1..at.end, direction)
        .is_some_and(|found| text.is(found, "to"))
}
