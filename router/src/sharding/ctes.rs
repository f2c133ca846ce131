//! Owns WITH before a write, and writes inside of WITH: they run when all of it is on one shard.

use super::named::{Refused, expressions, touched};
use super::several::single_keys;
use super::target::misread;
use super::{Catalog, Operand, Placing, Refusal, statement, unsharded};
use crate::lexer::TokenKind;
use crate::planner::Text;
use std::ops::Range;

/// Where a statement goes that begins with WITH and writes.
pub(super) fn place(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    let found = touched(text, at.clone(), catalog);
    if found.sharded.is_none() && found.reference.is_none() {
        return unsharded::place(text, at, catalog, "with");
    }
    let mut parts = Vec::new();
    let mut here = at.start + 1 + usize::from(text.is(at.start + 1, "recursive"));
    loop {
        here += 1;
        if text.is_kind(here, TokenKind::OpenParen) {
            here = text.partner(here).ok_or_else(|| misread("WITH"))? + 1;
        }
        here += 1;
        here += usize::from(text.is(here, "not"));
        here += usize::from(text.is(here, "materialized"));
        let close = match text.partner(here) {
            Some(close) if text.is_kind(here, TokenKind::OpenParen) && close < at.end => close,
            _ => return Err(misread("WITH")),
        };
        parts.push(here + 1..close);
        here = close + 1;
        if !text.is_kind(here, TokenKind::Comma) {
            break;
        }
        here += 1;
    }
    parts.push(here..at.end);
    let mut keys: Vec<Vec<Operand>> = Vec::new();
    let mut distribution = None;
    for part in parts {
        let Some((known, more)) = keys_of(text, part, catalog)? else { continue };
        if distribution.replace(known).is_some_and(|before| before != known) {
            return Err(apart("Its parts concern different distributions."));
        }
        keys.extend(more);
    }
    match distribution {
        Some(distribution) => Ok(Placing::Rows { distribution, keys }),
        None => Err(apart("Every shard would write for itself.")),
    }
}

/// The keys of one part; `None` when it only reads other parts and reference tables.
fn keys_of(
    text: &Text<'_>,
    at: Range<usize>,
    catalog: Catalog<'_>,
) -> Refused<Option<(usize, Vec<Vec<Operand>>)>> {
    if matches!(text.word(at.start), "insert" | "update" | "delete" | "merge") {
        let placing = statement::place(text, at, catalog)?;
        return match single_keys(&placing, catalog) {
            Some(keys) => Ok(Some(keys)),
            None => Err(apart("One of its parts may need several shards.")),
        };
    }
    expressions(text, at.clone(), catalog)?;
    let found = touched(text, at, catalog);
    match found.sharded.is_none() && !found.home && found.elsewhere.is_empty() {
        true if found.unseen.is_none() => Ok(None),
        _ => Err(apart("A part that reads tables stands beside one that writes.")),
    }
}

fn apart(detail: &'static str) -> Box<Refusal> {
    Box::new(
        Refusal::new("with-writes", "a write within WITH must be on one shard with all the rest")
            .detail(detail)
            .hint("Give each part the same shard key, or send them one by one in a transaction."),
    )
}
