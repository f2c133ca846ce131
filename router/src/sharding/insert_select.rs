//! Owns INSERT … SELECT: every shard can run it for its own rows when each new row has the shard
//! key of a row that it was made from, or when everything in it has one known key.

use super::conditions::{self, Reader};
use super::insert::{conflict_and_returning, from_query};
use super::integrity::{self, Change};
use super::levels::{Levels, Rows};
use super::modify::checked;
use super::named::{Refused, Tables, expressions_of};
use super::operand::{self, find_word, literal_numbers};
use super::query::{self, Body, Label, Query, Select};
use super::references::Found;
use super::several::single_keys;
use super::target::misread;
use super::{Catalog, Operand, Placing};
use crate::facts::schema::{Column, Relation};
use crate::planner::Text;
use crate::shard_map::Table;
use std::ops::Range;

/// What is filled, and with which columns.
pub(super) struct Filled<'a> {
    pub(super) table: &'a Table,
    pub(super) relation: &'a Relation,
    pub(super) columns: &'a [&'a Column],
}

/// Where an INSERT goes whose query begins at the first of these tokens.
pub(super) fn place(
    text: &Text<'_>,
    at: Range<usize>,
    filled: &Filled<'_>,
    catalog: Catalog<'_>,
) -> Refused<Placing> {
    let end = query_end(text, at.clone());
    let query = read(text, at.start..end)?;
    let select = plain(&query, filled)?;
    integrity::check(catalog, filled.table, filled.relation, Change::Insert)?;
    let given = |column: &&Column| {
        let place = filled.columns.iter().position(|known| known.name == column.name);
        place.is_some_and(|place| place < select.targets.len())
    };
    for column in filled.relation.columns.iter().filter(|column| !given(column)) {
        integrity::check_sequence(catalog, filled.relation, column)?;
    }
    expressions_of(text, at.start..end, catalog, Tables::Read)?;
    conflict_and_returning(text, end..at.end, filled, catalog)?;
    let literals = conditions::literals(text);
    let reader = Reader::new(text, &literals);
    let mut levels = Levels::new(catalog, reader);
    levels.query(&query, None);
    checked(&levels)?;
    let filters = levels.references.filters();
    let distribution = filled.table.distribution;
    let also = levels.also.clone();
    let placing = Placing::Keyed { distribution, filters, also, writes: true };
    if key_from(&levels, &reader, select, filled).is_some() {
        return Ok(placing);
    }
    let mut keys = match &placing {
        Placing::Keyed { filters, also, .. } if filters.is_empty() && also.is_empty() => Vec::new(),
        placing => match single_keys(placing, catalog) {
            Some((known, keys)) if known == distribution => keys,
            _ => return Err(from_query(filled.relation)),
        },
    };
    keys.push(constants(text, select, filled).ok_or_else(|| from_query(filled.relation))?);
    Ok(Placing::Rows { distribution, keys })
}

/// The rows of the query, when each one has the key of the first reference it is spread by.
pub(super) fn rows(
    text: &Text<'_>,
    at: Range<usize>,
    filled: &Filled<'_>,
    catalog: Catalog<'_>,
) -> Refused<Rows> {
    let end = query_end(text, at.clone());
    let query = read(text, at.start..end)?;
    let select = plain(&query, filled)?;
    let literals = conditions::literals(text);
    let reader = Reader::new(text, &literals);
    let mut levels = Levels::new(catalog, reader);
    let level = levels.query(&query, None);
    let from = key_from(&levels, &reader, select, filled);
    match level.rows {
        Rows::Spread { refs, sure } if from.is_some_and(|from| refs.contains(&from)) => {
            Ok(Rows::Spread { refs: vec![0], sure })
        }
        Rows::Whole(construct, why) => Ok(Rows::Whole(construct, why)),
        _ => Err(from_query(filled.relation)),
    }
}

fn read(text: &Text<'_>, at: Range<usize>) -> Refused<Query> {
    query::read(text, at).map_err(|misread| self::misread(misread.what))
}

/// Where ON CONFLICT or RETURNING begins.
pub(super) fn query_end(text: &Text<'_>, at: Range<usize>) -> usize {
    let mut here = at.start;
    while let Some(found) = find_word(text, here..at.end, &["on", "returning"]) {
        if text.is(found, "returning") || text.is(found + 1, "conflict") {
            return found;
        }
        here = found + 1;
    }
    at.end
}

/// A SELECT whose columns are known one by one.
fn plain<'q>(query: &'q Query, filled: &Filled<'_>) -> Refused<&'q Select> {
    match &query.body {
        Body::Select(select)
            if query.with.is_empty()
                && !select.into
                && select.targets.iter().all(|target| target.label != Label::Star) =>
        {
            Ok(select)
        }
        _ => Err(from_query(filled.relation)),
    }
}

/// The reference whose key each new row has.
fn key_from(
    levels: &Levels<'_>,
    reader: &Reader<'_>,
    select: &Select,
    filled: &Filled<'_>,
) -> Option<usize> {
    let scope = levels.blocks.iter().find(|block| block.at == select.at.start)?.scope;
    let mut sources: Option<Vec<usize>> = None;
    for (index, key) in filled.table.key_columns.iter().enumerate() {
        let place = filled.columns.iter().position(|column| column.name == *key)?;
        // A row of an outer join could come with NULL for its key.
        if !filled.columns.get(place)?.not_null {
            return None;
        }
        let column = reader.column(select.targets.get(place)?.at.clone())?;
        let Found::Key { columns, above: 0, .. } = levels.references.find(scope, &column) else {
            return None;
        };
        let is_source = |key: &&(usize, usize)| {
            let table = levels.references.base(key.0);
            key.1 == index && table.is_some_and(|t| t.distribution == filled.table.distribution)
        };
        let found: Vec<usize> = columns.iter().filter(is_source).map(|key| key.0).collect();
        sources = Some(match sources {
            None => found,
            Some(known) => known.into_iter().filter(|source| found.contains(source)).collect(),
        });
    }
    sources?.first().copied()
}

/// The key of the new rows, when it is a constant.
fn constants(text: &Text<'_>, select: &Select, filled: &Filled<'_>) -> Option<Vec<Operand>> {
    let literals = literal_numbers(text);
    let one = |key: &str| {
        let place = filled.columns.iter().position(|column| *column.name == *key)?;
        let at = select.targets.get(place)?.at.clone();
        operand::read(text, at, filled.columns.get(place)?, &literals)
    };
    filled.table.key_columns.iter().map(|key| one(key)).collect()
}
