//! Owns what a statement of several shards must not see or change: rows of keys that are on their
//! way, on the shard that has them besides their owner. Each part for such a shard gets the
//! condition that rows are not of those keys, at every level that names a table of theirs.
//!
//! Leaving the rows out in WHERE is the same as leaving them out of the tables. Only queries come
//! here for which it is proven that the rows of a level meet each other by equal keys, those that
//! an outer join keeps as well: a row of a hidden key meets hidden rows only, and whatever a join
//! makes of it, also with NULLs for the other side, still shows a key that is hidden. Sub-selects
//! that are tied to the rows around them see no other rows than those of the same key.
//!
//! Statements of one shard are sent as they are. Their keys all belong to that shard: a shard is
//! chosen alone when it owns each key that meets the conditions, and no shard hides what it owns.

use super::copy_out;
use super::named::Refused;
use super::place::Form;
use super::query;
use super::target::misread;
use super::{Catalog, KeyFilter, Placing, Refusal, Spread, Values, insert, modify};
use crate::lexer::Dialect;
use crate::planner::{Text, split};
use crate::shard_map::{Moving, ShardId, ShardMap};
use levels::Levels;
use std::ops::Range;

mod levels;
mod merged;

/// Moves of a distribution whose keys a shard hides.
struct Hidden<'a> {
    distribution: usize,
    moves: Vec<&'a Moving>,
}

/// The same statement without what the shards hide.
pub(super) fn hide(
    mut spread: Spread,
    placing: &Placing,
    catalog: Catalog<'_>,
    values: &Values<'_>,
) -> Refused<Spread> {
    // Rows that are added go to their owner, and read no sharded table; what all shards do alike
    // neither.
    let Placing::Keyed { filters, .. } = placing else { return Ok(spread) };
    if !catalog.map.is_moving() {
        return Ok(spread);
    }
    for part in &mut spread.parts {
        let hidden = hidden_on(part.shard, filters, catalog.map);
        if !hidden.is_empty() {
            part.sql = without(&part.sql, &hidden, catalog, values.dialect)?;
        }
    }
    Ok(spread)
}

/// What a shard hides of the distributions that these filters are for.
fn hidden_on<'a>(shard: ShardId, filters: &[KeyFilter], map: &'a ShardMap) -> Vec<Hidden<'a>> {
    let of = |(at, one): (usize, &'a crate::shard_map::Distribution)| {
        let named = filters.iter().any(|filter| filter.distribution == at);
        let moves: Vec<&Moving> = if named { one.hidden_on(shard).collect() } else { Vec::new() };
        (!moves.is_empty()).then_some(Hidden { distribution: at, moves })
    };
    map.distributions.iter().enumerate().filter_map(of).collect()
}

/// A part's text without the rows that are hidden.
fn without(
    sql: &[u8],
    hidden: &[Hidden<'_>],
    catalog: Catalog<'_>,
    dialect: Dialect,
) -> Refused<Vec<u8>> {
    let refuse = |why: &str| refused(hidden, catalog.map, why);
    let Ok(text) = Text::read(sql, dialect) else {
        return Err(refuse("the statement cannot be read"));
    };
    let statements = split(&text);
    let [(from, to)] = *statements.as_slice() else {
        return Err(refuse("several statements stand in one text"));
    };
    let mut levels = Levels::new(&text, catalog, hidden);
    statement(&text, from..to, &mut levels)?;
    match levels.found {
        true => Ok(levels.edits.apply(sql)),
        false => Err(refuse("where the statement names their table was not found")),
    }
}

fn statement(text: &Text<'_>, at: Range<usize>, levels: &mut Levels<'_, '_>) -> Refused<()> {
    match Form::of(text, at.clone()) {
        Form::Query => levels.query(&read(text, at, levels)?),
        Form::Explain { inner, .. } => levels.query(&read(text, inner..at.end, levels)?),
        Form::CopyOut => copy(text, at, levels),
        Form::Other => match text.word(at.start) {
            "update" | "delete" => {
                let (query, end) = modify::as_level(text, at)?;
                match &query.body {
                    query::Body::Select(select) => levels.level(select, end),
                    _ => Err(levels.refused("the statement cannot be read")),
                }
            }
            "insert" => {
                let query = insert::query_at(text, at, levels.catalog)?;
                levels.query(&read(text, query, levels)?)
            }
            "merge" => levels.merged(text, at),
            _ => Err(levels.refused("the statement cannot leave them out")),
        },
        Form::Cursor { .. } => Err(levels.refused("a cursor cannot leave them out")),
    }
}

fn read(text: &Text<'_>, at: Range<usize>, levels: &Levels<'_, '_>) -> Refused<query::Query> {
    query::read(text, at).map_err(|_| levels.refused("the statement cannot be read"))
}

/// `COPY (query) TO` keeps its form; `COPY table TO` becomes one of a query.
fn copy(text: &Text<'_>, at: Range<usize>, levels: &mut Levels<'_, '_>) -> Refused<()> {
    let (source, is_query, to) = copy_out::source(text, at).ok_or_else(|| misread("COPY"))?;
    if is_query {
        let query = read(text, source, levels)?;
        return levels.query(&query);
    }
    let items = query::from_items(text, source.clone(), 0, &mut Vec::new());
    match items.as_deref() {
        Ok([query::From::Relation(relation)]) => levels.copied(relation, source.end..to),
        _ => Err(levels.refused("the table of COPY cannot be read")),
    }
}

/// The refusal of a statement that would see, or change, what is hidden.
fn refused(hidden: &[Hidden<'_>], map: &ShardMap, why: &str) -> Box<Refusal> {
    let message = "the statement cannot be answered over several shards while keys are moved";
    let refusal = Refusal::new("hidden-rows", message);
    let moving = hidden.iter().find_map(|one| Some((one.distribution, one.moves.first()?)));
    let Some((at, moving)) = moving else { return Box::new(refusal) };
    let distribution = map.distributions.get(at).map_or("", |one| &*one.name);
    let (source, target) = (map.name(moving.source), map.name(moving.target));
    let keys = &moving.keys;
    Box::new(
        refusal
            .detail(format!(
                "Keys {keys} of distribution \"{distribution}\" are on their way from {source} \
                 to {target}, rows of theirs lie on both, and {why}."
            ))
            .hint("Restrict it by the shard key, or wait until the move has ended."),
    )
}
