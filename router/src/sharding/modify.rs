//! Owns UPDATE and DELETE: whose rows they change, and whether each shard can do so for its own.

use super::conditions::{self, Reader};
use super::integrity::{self, Change};
use super::levels::{Levels, Rows};
use super::named::{Kind, Refused, Tables, expressions_of};
use super::operand::{self, find_word, literal_numbers, split};
use super::query::{self, Body, Clause, Distinct, From, Query, Select};
use super::several::single_keys;
use super::target::{TableName, misread, read as read_name};
use super::writes::update_of_key;
use super::{Catalog, Operand, Placing, Refusal, insert, merge, reference, unsharded};
use crate::facts::schema::{Column, Relation};
use crate::lexer::TokenKind;
use crate::planner::Text;
use crate::shard_map::Table;
use std::ops::Range;

/// Columns whose values only one server knows.
const SYSTEM_COLUMNS: &[&str] = &["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// An UPDATE or DELETE.
struct Modify {
    name: TableName,
    /// The table and its alias, as an item of FROM.
    target: Range<usize>,
    /// What stands after SET.
    set: Option<Range<usize>>,
    /// What stands after FROM or USING.
    from: Option<Range<usize>>,
    filter: Option<Range<usize>>,
    returning: Option<Range<usize>>,
}

/// What the tables of a statement mean together.
pub(super) struct Meaning {
    pub(super) placing: Placing,
    pub(super) rows: Rows,
}

/// Where the rows are that a statement changes.
pub(super) fn place(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    if text.is(at.start, "merge") {
        return merge::place(text, at, catalog);
    }
    let modify = read(text, at.clone())?;
    let named = modify.name.find(catalog)?;
    match (named.kind, named.relation) {
        (Kind::Sharded(table), Some(relation)) => {
            check(text, &at, &modify, table, relation, catalog)?;
            let placing = meaning(text, &modify, catalog)?.placing;
            with_new_key(text, &modify, table, relation, placing, catalog)
        }
        (Kind::Reference(_), Some(relation)) => {
            if modify.from.is_some() {
                return Err(reference::differs(relation, "It takes rows from other tables."));
            }
            if let Some(set) = &modify.set {
                for column in defaults_in(text, set.clone(), relation)? {
                    reference::check_default(relation, column)?;
                }
            }
            reference::place(text, modify.target.end..at.end, relation, catalog)
        }
        (Kind::Mixed, _) => Err(misread("a parent of sharded tables")),
        _ => unsharded::place(text, at, catalog, "update-from-sharded"),
    }
}

/// Refuses what is right on one shard only.
pub(super) fn check_spread(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<()> {
    let rows = match text.word(at.start) {
        "merge" => merge::rows(text, at.clone(), catalog)?,
        "insert" => insert::query_rows(text, at.clone(), catalog)?,
        _ => meaning(text, &read(text, at.clone())?, catalog)?.rows,
    };
    let is_system = |at: &usize| SYSTEM_COLUMNS.contains(&text.word(*at));
    if let Some(column) = at.clone().find(is_system) {
        return Err(Box::new(
            Refusal::new("system-column", "system columns differ from shard to shard")
                .detail(format!(
                    "It names {}, and changes rows of several shards.",
                    text.word(column)
                ))
                .hint("Add a condition on the shard key."),
        ));
    }
    match rows {
        // The target is the first reference.
        Rows::Spread { refs, .. } if refs.contains(&0) => Ok(()),
        Rows::Whole(construct, why) => Err(Box::new(
            Refusal::new(construct, "the rows to change may be on several shards")
                .detail(why)
                .hint("Compare the shard keys of all tables, or give the key's value."),
        )),
        _ => Err(Box::new(
            Refusal::new("rows-not-spread", "the rows to change may be on several shards")
                .detail("Which rows of the table are changed is not told by its own shard.")
                .hint("Compare the shard keys of all tables, or give the key's value."),
        )),
    }
}

fn read(text: &Text<'_>, at: Range<usize>) -> Refused<Modify> {
    let update = text.is(at.start, "update");
    let start = at.start + if update { 1 } else { 2 };
    if !update && !text.is(at.start + 1, "from") {
        return Err(misread("DELETE"));
    }
    let mut name_at = start + usize::from(text.is(start, "only"));
    name_at += usize::from(text.is_kind(name_at, TokenKind::OpenParen));
    let name = read_name(text, name_at)?;
    let from_word = if update { "from" } else { "using" };
    let returning = find_word(text, name.end..at.end, &["returning"]);
    let end = returning.unwrap_or(at.end);
    let filter = find_word(text, name.end..end, &["where"]);
    let end = filter.unwrap_or(end);
    let set = match update {
        true => Some(find_word(text, name.end..end, &["set"]).ok_or_else(|| misread("UPDATE"))?),
        false => None,
    };
    let from = clause(text, set.unwrap_or(name.end)..end, from_word);
    let target = start..set.or(from).unwrap_or(end);
    Ok(Modify {
        name,
        target,
        set: set.map(|set| set + 1..from.unwrap_or(end)),
        from: from.map(|from| from + 1..end),
        filter: filter.map(|filter| filter + 1..returning.unwrap_or(at.end)),
        returning: returning.map(|returning| returning + 1..at.end),
    })
}

/// The word that begins a clause, and not the one of `IS DISTINCT FROM`.
fn clause(text: &Text<'_>, at: Range<usize>, word: &str) -> Option<usize> {
    let mut start = at.start;
    loop {
        let found = find_word(text, start..at.end, &[word])?;
        if text.word_before(found) != "distinct" {
            return Some(found);
        }
        start = found + 1;
    }
}

/// The statement's tables, read as those of a query.
fn meaning(text: &Text<'_>, modify: &Modify, catalog: Catalog<'_>) -> Refused<Meaning> {
    let others = [modify.set.clone(), modify.returning.clone()];
    let others = others.into_iter().flatten().collect::<Vec<_>>();
    let from = [Some(modify.target.clone()), modify.from.clone()];
    let from: Vec<_> = from.into_iter().flatten().collect();
    tables(text, &from, modify.filter.clone(), &others, catalog)
}

/// The tables and the condition of an UPDATE or DELETE as a level of a query, and the token before
/// which a condition would end if it had none.
pub(super) fn as_level(text: &Text<'_>, at: Range<usize>) -> Refused<(Query, usize)> {
    let modify = read(text, at.clone())?;
    let end = modify.returning.as_ref().map_or(at.end, |returning| returning.start - 1);
    let others: Vec<_> = [modify.set, modify.returning].into_iter().flatten().collect();
    let from: Vec<_> = [Some(modify.target), modify.from].into_iter().flatten().collect();
    Ok((as_query(text, &from, modify.filter, &others)?, end))
}

/// What tables in the places of FROM mean, under a condition, with expressions beside it.
pub(super) fn tables(
    text: &Text<'_>,
    from_at: &[Range<usize>],
    filter: Option<Range<usize>>,
    expressions: &[Range<usize>],
    catalog: Catalog<'_>,
) -> Refused<Meaning> {
    let query = as_query(text, from_at, filter, expressions)?;
    let literals = conditions::literals(text);
    let mut levels = Levels::new(catalog, Reader::new(text, &literals));
    let level = levels.query(&query, None);
    checked(&levels)?;
    let filters = levels.references.filters();
    let distribution = filters.first().map_or(0, |filter| filter.distribution);
    let mut also = levels.also.clone();
    also.sort_unstable();
    also.dedup();
    Ok(Meaning {
        placing: Placing::Keyed { distribution, filters, also, writes: true },
        rows: level.rows,
    })
}

/// Refuses names that make the rest of the statement meaningless over shards.
pub(super) fn checked(levels: &Levels<'_>) -> Refused<()> {
    if let Some(refusal) = &levels.refusal {
        return Err(refusal.clone());
    }
    if let Some(name) = &levels.unknown {
        return Err(Box::new(
            Refusal::new("unknown-relation", format!("relation \"{name}\" is not known"))
                .detail("Where its rows are cannot be told."),
        ));
    }
    if levels.system || levels.sampled {
        return Err(misread("a system catalog or TABLESAMPLE beside a sharded table"));
    }
    Ok(())
}

pub(super) fn as_query(
    text: &Text<'_>,
    from_at: &[Range<usize>],
    filter: Option<Range<usize>>,
    expressions: &[Range<usize>],
) -> Refused<Query> {
    let unread = |misread: query::Misread| self::misread(misread.what);
    let mut nested = Vec::new();
    let mut from: Vec<From> = Vec::new();
    for at in from_at {
        from.extend(query::from_items(text, at.clone(), 0, &mut nested).map_err(unread)?);
    }
    for at in expressions {
        query::find_nested(text, at.clone(), Clause::Targets, 0, &mut nested).map_err(unread)?;
    }
    if let Some(filter) = &filter {
        query::find_nested(text, filter.clone(), Clause::Where, 0, &mut nested).map_err(unread)?;
    }
    let whole = 0..text.len();
    let select = Select {
        at: whole.clone(),
        distinct: Distinct::No,
        targets_at: 0..0,
        targets: Vec::new(),
        into: false,
        from,
        filter,
        group_by: None,
        having: None,
        windows: None,
        nested,
    };
    Ok(Query {
        at: whole,
        recursive: false,
        with: Vec::new(),
        body: Body::Select(Box::new(select)),
        order_at: None,
        order_by: Vec::new(),
        limit: None,
        offset: None,
        locking: None,
        nested: Vec::new(),
    })
}

fn check(
    text: &Text<'_>,
    at: &Range<usize>,
    modify: &Modify,
    table: &Table,
    relation: &Relation,
    catalog: Catalog<'_>,
) -> Refused<()> {
    let of_cursor = modify.filter.as_ref().is_some_and(|at| text.are(at.start, &["current", "of"]));
    if of_cursor {
        return Err(Box::new(
            Refusal::new("current-of", "WHERE CURRENT OF cannot be used on a sharded table")
                .hint("Name the row by its key."),
        ));
    }
    let columns = modify.set.clone().map(|set| changed(text, set)).transpose()?;
    let change = match &columns {
        Some(columns) => Change::Update(columns),
        None => Change::Delete,
    };
    integrity::check(catalog, table, relation, change)?;
    if let Some(set) = &modify.set {
        for column in defaults_in(text, set.clone(), relation)? {
            integrity::check_sequence(catalog, relation, column)?;
        }
    }
    expressions_of(text, modify.target.end..at.end, catalog, Tables::Read)
}

/// The columns that SET changes.
pub(super) fn changed(text: &Text<'_>, set: Range<usize>) -> Refused<Vec<Box<str>>> {
    let mut columns = Vec::new();
    for item in split(text, set) {
        let (first, end) = match text.is_kind(item.start, TokenKind::OpenParen) {
            false => (item.start, item.start + 1),
            true => {
                let close = text.partner(item.start).ok_or_else(|| misread("SET"))?;
                (item.start + 1, close)
            }
        };
        for name in split(text, first..end) {
            let name = text.name(name.start).ok_or_else(|| misread("SET"))?;
            columns.push((*name).into());
        }
    }
    Ok(columns)
}

/// The columns that SET gives their default.
pub(super) fn defaults_in<'a>(
    text: &Text<'_>,
    set: Range<usize>,
    relation: &'a Relation,
) -> Refused<Vec<&'a Column>> {
    let mut columns = Vec::new();
    for item in split(text, set) {
        if item.clone().any(|at| text.is(at, "default")) {
            let names = changed(text, item)?;
            columns.extend(names.iter().filter_map(|name| relation.column(name)));
        }
    }
    Ok(columns)
}

/// An UPDATE that sets the key is right when the new key is on the same shard as the old one: all
/// keys must then be known.
fn with_new_key(
    text: &Text<'_>,
    modify: &Modify,
    table: &Table,
    relation: &Relation,
    placing: Placing,
    catalog: Catalog<'_>,
) -> Refused<Placing> {
    let Some(set) = &modify.set else { return Ok(placing) };
    let mut new: Vec<(usize, Operand)> = Vec::new();
    let literals = literal_numbers(text);
    for item in split(text, set.clone()) {
        let names = changed(text, item.clone())?;
        let mut keys = table.key_columns.iter();
        let Some(at) = keys.position(|key| names.contains(key)) else { continue };
        let value = item.start + 2..item.end;
        if names.len() != 1 || text.raw(item.start + 1) != b"=" {
            return Err(update_of_key());
        }
        if is_itself(text, modify, &value, text.name(item.start).as_deref()) {
            continue;
        }
        let column = table.key_columns.get(at).and_then(|key| relation.column(key));
        let operand = column.and_then(|column| operand::read(text, value, column, &literals));
        new.push((at, operand.ok_or_else(update_of_key)?));
    }
    if new.is_empty() {
        return Ok(placing);
    }
    let (distribution, mut keys) = single_keys(&placing, catalog).ok_or_else(update_of_key)?;
    let mut key = keys.first().cloned().ok_or_else(update_of_key)?;
    for (at, operand) in new {
        *key.get_mut(at).ok_or_else(update_of_key)? = operand;
    }
    keys.push(key);
    Ok(Placing::Rows { distribution, keys })
}

/// `key = key` or `key = table.key`
fn is_itself(text: &Text<'_>, modify: &Modify, value: &Range<usize>, key: Option<&str>) -> bool {
    let last = value.end.saturating_sub(1);
    if modify.from.is_some() || text.name(last).as_deref() != key {
        return false;
    }
    match value.len() {
        1 => true,
        3 => {
            let alias = text.name(value.start);
            text.is_kind(value.start + 1, TokenKind::Dot)
                && modify.target.clone().any(|at| text.name(at) == alias)
        }
        _ => false,
    }
}
