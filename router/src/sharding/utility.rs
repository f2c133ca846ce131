//! Owns statements that are neither queries nor writes of rows nor DDL: TRUNCATE, LOCK, PREPARE,
//! DO and maintenance.

use super::named::{Kind, Refused, is_sharded_name};
use super::operand::split;
use super::target::read as read_name;
use super::{Catalog, Placing, Refusal, unsharded};
use crate::facts::{Call, body_mentions};
use crate::lexer::TokenKind;
use crate::planner::Text;
use crate::shard_map::ShardId;
use std::ops::Range;

/// Every shard does it.
pub(super) fn everywhere(outside_transaction: bool) -> Placing {
    Placing::Everywhere { outside_transaction }
}

/// TRUNCATE: everywhere, unless all its tables live on one shard.
pub(super) fn truncate(
    text: &Text<'_>,
    at: Range<usize>,
    catalog: Catalog<'_>,
) -> Refused<Placing> {
    let first = at.start + 1 + usize::from(text.is(at.start + 1, "table"));
    tables(text, first..at.end, catalog)
}

/// LOCK: everywhere, unless all its tables live on one shard.
pub(super) fn lock(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    let first = at.start + 1 + usize::from(text.is(at.start + 1, "table"));
    tables(text, first..at.end, catalog)
}

/// Where a list of tables is.
fn tables(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    let mut only: Option<ShardId> = None;
    for item in split(text, at.clone()) {
        let mut start = item.start + usize::from(text.is(item.start, "only"));
        start += usize::from(text.is_kind(start, TokenKind::OpenParen));
        let named = read_name(text, start)?.find(catalog)?;
        let shard = match named.kind {
            Kind::On(shard) => shard,
            Kind::Unknown => catalog.map.home,
            Kind::Sharded(_) | Kind::Reference(_) | Kind::Mixed => return Ok(everywhere(false)),
        };
        if only.is_some_and(|only| only != shard) {
            return Ok(everywhere(false));
        }
        only = Some(shard);
    }
    // What a CASCADE reaches may be anywhere.
    let cascades = at.clone().any(|at| text.is(at, "cascade"));
    let reaches = || {
        at.clone().filter_map(|at| text.name(at)).any(|name| {
            let facts = catalog.facts.schema();
            facts.reaches(&name, |inner| is_sharded_name(catalog, inner)).is_some()
        })
    };
    match only {
        Some(shard) if !cascades && !reaches() => Ok(Placing::On(shard)),
        _ => Ok(everywhere(false)),
    }
}

/// PREPARE: on the home shard, where EXECUTE goes too.
pub(super) fn prepare(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    let placing = unsharded::place(text, at, catalog, "sql-prepare");
    placing.map_err(|mut refusal| {
        refusal.hint = Some(
            "Prepare it by the protocol (as drivers do), which chooses shards by its parameters."
                .into(),
        );
        refusal
    })
}

/// CALL: on the home shard, when it is known what the procedure does.
pub(super) fn call(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    let name = read_name(text, at.start + 1)?;
    if catalog.facts.call(name.schema.as_deref(), &name.name, None) == Call::Unknown {
        return Err(Box::new(
            Refusal::new("unknown-function", format!("procedure {} is not known", name.name))
                .detail("What it reads or writes cannot be told.")
                .hint("If it was created just now, try again in a moment."),
        ));
    }
    unsharded::place(text, at, catalog, "procedure")
}

/// DO: its body is a string.
pub(super) fn anonymous(
    text: &Text<'_>,
    at: Range<usize>,
    catalog: Catalog<'_>,
) -> Refused<Placing> {
    for at in at.clone().filter(|&at| text.kind(at).is_some_and(TokenKind::is_literal)) {
        let body = String::from_utf8_lossy(text.raw(at));
        let inside = match text.kind(at) {
            Some(TokenKind::DollarString) => dollar_quoted(&body).to_string(),
            // Escapes could hide a name.
            Some(TokenKind::String | TokenKind::EscapeString) if !body.contains('\\') => {
                body.trim_start_matches(['E', 'e']).trim_matches('\'').replace("''", "'")
            }
            _ => return Err(refused_body("It stands in a string with escapes.".into())),
        };
        let mentions = body_mentions(&inside);
        let facts = catalog.facts.schema();
        let is_sharded = |name: &str| is_sharded_name(catalog, name);
        let reached = mentions
            .names
            .iter()
            .find(|name| is_sharded(name) || facts.reaches(name, is_sharded).is_some());
        if let Some(name) = reached {
            return Err(refused_body(format!("It names \"{name}\".")));
        }
        if mentions.runs_text {
            return Err(refused_body("It runs SQL that is not seen.".into()));
        }
    }
    Ok(Placing::On(catalog.map.home))
}

fn refused_body(detail: String) -> Box<Refusal> {
    Box::new(
        Refusal::new("anonymous-block", "the block cannot be run over shards")
            .detail(detail)
            .hint("Run it for one shard with SET pgm.shard, or send its statements one by one."),
    )
}

/// What stands in `$tag$…$tag$`.
fn dollar_quoted(raw: &str) -> &str {
    let Some(end) = raw.get(1..).and_then(|rest| rest.find('$')) else { return raw };
    let tag = end + 2;
    raw.get(tag..raw.len().saturating_sub(tag)).unwrap_or_default()
}
