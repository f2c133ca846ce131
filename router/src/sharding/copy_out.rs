//! Owns COPY … TO STDOUT of tables and queries over several shards.

use super::named::Refused;
use super::place::Form;
use super::{Catalog, Merge, Placing, Refusal, Spread, Values, query, select, unsharded};
use crate::lexer::TokenKind;
use crate::plan::Plan;
use crate::planner::Text;
use crate::shard_map::ShardId;
use std::ops::Range;

/// What a COPY … TO consists of.
struct CopyOut {
    /// The query without parentheses, or the table's name without columns.
    source: Range<usize>,
    is_query: bool,
    to_client: bool,
    header: bool,
    binary: bool,
}

fn read(text: &Text<'_>, at: Range<usize>) -> Option<CopyOut> {
    let start = at.start + 1;
    let is_query = text.is_kind(start, TokenKind::OpenParen);
    let to = |word: &str, _: usize| word == "to";
    let to = query::find(text, start..at.end, to)?;
    let source = if is_query {
        let close = text.partner(start)?;
        if close + 1 != to {
            return None;
        }
        start + 1..close
    } else {
        let end = (start..to).find(|&here| text.is_kind(here, TokenKind::OpenParen)).unwrap_or(to);
        start..end
    };
    let options = to + 2..at.end;
    let mut copy = CopyOut {
        source,
        is_query,
        to_client: text.is(to + 1, "stdout"),
        header: false,
        binary: false,
    };
    for here in options {
        match text.word(here) {
            "header" => {
                let value = text.raw(here + 1).to_ascii_lowercase();
                copy.header = !matches!(
                    value.as_slice(),
                    b"false" | b"off" | b"0" | b"'off'" | b"'false'" | b"'0'"
                );
            }
            "binary" => copy.binary = true,
            "format" => {
                let value = text.raw(here + 1).to_ascii_lowercase();
                copy.binary |= matches!(value.as_slice(), b"'binary'" | b"\"binary\"");
            }
            _ => {}
        }
    }
    Some(copy)
}

/// The query or the name of the table, whether it is a query, and the word TO.
pub(super) fn source(text: &Text<'_>, at: Range<usize>) -> Option<(Range<usize>, bool, usize)> {
    let to = query::find(text, at.start + 1..at.end, |word, _| word == "to")?;
    read(text, at).map(|copy| (copy.source, copy.is_query, to))
}

/// Where a COPY … TO goes.
pub(super) fn place(
    text: &Text<'_>,
    at: Range<usize>,
    plan: &Plan,
    catalog: Catalog<'_>,
) -> Refused<Placing> {
    let Some(copy) = read(text, at.clone()).filter(|copy| copy.to_client) else {
        return unsharded::place(text, at, catalog, "copy-to-file");
    };
    if copy.is_query {
        return match Form::of(text, copy.source.clone()) {
            Form::Query => reading(select::place(text, copy.source, plan, catalog)?, catalog),
            _ => unsharded::place(text, at, catalog, "copy"),
        };
    }
    match select::place_table(text, copy.source.clone(), catalog) {
        Some(placing) => reading(placing?, catalog),
        None => unsharded::place(text, at, catalog, "copy"),
    }
}

/// COPY counts as no read, so that a shard of its own is named.
fn reading(placing: Placing, catalog: Catalog<'_>) -> Refused<Placing> {
    Ok(match placing {
        Placing::Keyed { distribution, filters, also, .. } => {
            Placing::Keyed { distribution, filters, also, writes: false }
        }
        Placing::Anywhere => Placing::On(catalog.map.home),
        placing => placing,
    })
}

/// Every shard copies its rows; a client sees one stream.
pub(super) fn spread(
    text: &Text<'_>,
    at: Range<usize>,
    placing: &Placing,
    shards: &[ShardId],
    catalog: Catalog<'_>,
    values: &Values<'_>,
) -> Refused<Spread> {
    let unread = || Box::new(Refusal::new("copy", "COPY could not be read"));
    let copy = read(text, at).ok_or_else(unread)?;
    let mut spread = match copy.is_query {
        true => select::spread(text, copy.source, placing, shards, catalog, values)?,
        false => {
            super::writes::all_alike(shards, Merge::Concat { limits: Default::default() }, values)
        }
    };
    spread.writes = false;
    match spread.merge {
        Merge::Concat { limits } if limits == Default::default() => {}
        _ => {
            let why =
                "COPY gives rows as they come, without ORDER BY, LIMIT or groups over shards.";
            return Err(select::refused("copy", why, "Use a SELECT instead."));
        }
    }
    spread.merge = Merge::CopyOut { header: copy.header, binary: copy.binary };
    Ok(spread)
}
