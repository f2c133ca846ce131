//! Owns INSERT: the shard of each of its rows, and its splitting when they have several.

use super::insert_select::{self, Filled};
use super::integrity::{self, Change};
use super::levels::Rows;
use super::modify::defaults_in;
use super::named::{Kind, Refused, expressions};
use super::operand::{self, find_word, literal_numbers, split};
use super::row::{shard_of, unknown_key};
use super::splice::{Splicer, parameter};
use super::target::{misread, read as read_name};
use super::{
    Catalog, Merge, Operand, Part, Placing, Refusal, Spread, Values, reference, unsharded,
};
use crate::facts::schema::{Column, Relation, TriggerTime};
use crate::lexer::TokenKind;
use crate::planner::Text;
use crate::shard_map::{ShardId, Table};
use std::collections::HashMap;
use std::ops::Range;

mod conflict;

use conflict::Conflict;

/// The parts of an INSERT of rows.
struct Insert<'a> {
    table: &'a Table,
    relation: &'a Relation,
    /// The columns that values are given to, in their order.
    columns: Vec<&'a Column>,
    /// The rows, each with its parentheses.
    rows: Vec<Range<usize>>,
    conflict: Option<Conflict>,
    /// From RETURNING on.
    returning: Option<Range<usize>>,
    /// The end of the statement.
    end: usize,
}

/// Where new rows come from.
enum Source<'a> {
    Rows(Insert<'a>),
    Query {
        columns: Vec<&'a Column>,
        /// Where it begins.
        at: usize,
    },
}

/// Where the rows of an INSERT go.
pub(super) fn place(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    if !text.is(at.start + 1, "into") {
        return Err(misread("INSERT"));
    }
    let name = read_name(text, at.start + 2)?;
    let named = name.find(catalog)?;
    match (named.kind, named.relation) {
        (Kind::Sharded(table), Some(relation)) => {
            match read(text, at.clone(), name.end, table, relation)? {
                Source::Rows(insert) => {
                    let keys = keys(text, &insert)?;
                    check(text, &insert, catalog)?;
                    Ok(Placing::Rows { distribution: table.distribution, keys })
                }
                Source::Query { columns, at: start } => {
                    let filled = Filled { table, relation, columns: &columns };
                    insert_select::place(text, start..at.end, &filled, catalog)
                }
            }
        }
        (Kind::Reference(table), Some(relation)) => {
            let insert = read_rows(text, at.clone(), name.end, table, relation)?;
            check_reference(text, &insert)?;
            reference::place(text, name.end..at.end, relation, catalog)
        }
        (Kind::Mixed, _) => Err(misread("a parent of sharded tables")),
        _ => unsharded::place(text, at, catalog, "insert-select"),
    }
}

/// What each of several shards is sent.
pub(super) fn spread(
    text: &Text<'_>,
    at: Range<usize>,
    catalog: Catalog<'_>,
    keys: &[Vec<Operand>],
    values: &Values<'_>,
) -> Refused<Spread> {
    let name = read_name(text, at.start + 2)?;
    let named = name.find(catalog)?;
    let (Kind::Sharded(table), Some(relation)) = (named.kind, named.relation) else {
        return Err(misread("INSERT"));
    };
    let insert = read_rows(text, at.clone(), name.end, table, relation)?;
    if keys.len() != insert.rows.len() {
        return Err(misread("INSERT"));
    }
    let mut shards = Vec::with_capacity(keys.len());
    for key in keys {
        shards.push(shard_of(catalog.map, table.distribution, key, values)?);
    }
    if values.bound.is_some() {
        same_places(text, &insert)?;
    }
    let mut all: Vec<ShardId> = shards.clone();
    all.sort_unstable();
    all.dedup();
    let parts = all.iter().map(|shard| part(text, at.start, &insert, &shards, *shard, values));
    let parts = parts.collect();
    let skips = insert.conflict.as_ref().is_some_and(Conflict::skips)
        || relation.triggers.iter().any(|trigger| trigger.time == TriggerTime::BeforeRow);
    let merge = match insert.returning {
        Some(_) if skips => return Err(unordered()),
        Some(_) => Merge::InputOrder(shards),
        None => Merge::Sum,
    };
    Ok(Spread { parts, merge, writes: true, original: values.sql.to_vec() })
}

/// The rows of an INSERT of several shards' rows that has a query.
pub(super) fn query_rows(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Rows> {
    let name = read_name(text, at.start + 2)?;
    let named = name.find(catalog)?;
    let (Kind::Sharded(table), Some(relation)) = (named.kind, named.relation) else {
        return Err(misread("INSERT"));
    };
    match read(text, at.clone(), name.end, table, relation)? {
        Source::Query { columns, at: start } => {
            let filled = Filled { table, relation, columns: &columns };
            insert_select::rows(text, start..at.end, &filled, catalog)
        }
        Source::Rows(_) => Err(misread("INSERT")),
    }
}

/// The query that an INSERT takes its rows from.
pub(super) fn query_at(
    text: &Text<'_>,
    at: Range<usize>,
    catalog: Catalog<'_>,
) -> Refused<Range<usize>> {
    let name = read_name(text, at.start + 2)?;
    let named = name.find(catalog)?;
    let (Kind::Sharded(table), Some(relation)) = (named.kind, named.relation) else {
        return Err(misread("INSERT"));
    };
    match read(text, at.clone(), name.end, table, relation)? {
        Source::Query { at: start, .. } => Ok(start..insert_select::query_end(text, start..at.end)),
        Source::Rows(_) => Err(misread("INSERT")),
    }
}

/// Checks what stands after the query of an INSERT.
pub(super) fn conflict_and_returning(
    text: &Text<'_>,
    at: Range<usize>,
    filled: &Filled<'_>,
    catalog: Catalog<'_>,
) -> Refused<()> {
    let returning = find_word(text, at.clone(), &["returning"]).unwrap_or(at.end);
    expressions(text, returning..at.end, catalog)?;
    if at.start == returning {
        return Ok(());
    }
    let conflict = conflict::read(text, at.start..returning)?;
    conflict::check(text, filled.table, filled.relation, &conflict, catalog)
}

fn part(
    text: &Text<'_>,
    start: usize,
    insert: &Insert<'_>,
    shards: &[ShardId],
    shard: ShardId,
    values: &Values<'_>,
) -> Part {
    let mut splicer = Splicer::default();
    let (first, last) = match (insert.rows.first(), insert.rows.last()) {
        (Some(first), Some(last)) => (first.start, last.end),
        _ => (start, start),
    };
    splicer.tokens(text, start..first);
    let mut between = " ";
    for (row, at) in insert.rows.iter().zip(shards) {
        if *at == shard {
            splicer.text(between);
            splicer.tokens(text, row.clone());
            between = ", ";
        }
    }
    if last < insert.end {
        splicer.text(" ");
        splicer.tokens(text, last..insert.end);
    }
    let parameters = values.bound.is_some().then_some(splicer.parameters);
    Part { shard, sql: splicer.sql, parameters }
}

/// A parameter has the type of the place where it stands first. A part without that place would
/// read its bytes as another type.
fn same_places(text: &Text<'_>, insert: &Insert<'_>) -> Refused<()> {
    let mut places: HashMap<u16, usize> = HashMap::new();
    for row in &insert.rows {
        let mut seen: HashMap<u16, usize> = HashMap::new();
        for (place, item) in split(text, row.start + 1..row.end - 1).into_iter().enumerate() {
            for number in item.filter_map(|at| parameter(text, at)) {
                seen.entry(number).or_insert(place);
            }
        }
        for (number, place) in seen {
            if *places.entry(number).or_insert(place) != place {
                return Err(Box::new(
                    Refusal::new("parameter-in-rows", "a parameter stands in several columns")
                        .detail("Its type would differ from shard to shard.")
                        .hint("Use a parameter of its own for each column."),
                ));
            }
        }
    }
    Ok(())
}

fn read_rows<'a>(
    text: &Text<'_>,
    at: Range<usize>,
    name_end: usize,
    table: &'a Table,
    relation: &'a Relation,
) -> Refused<Insert<'a>> {
    match read(text, at, name_end, table, relation)? {
        Source::Rows(insert) => Ok(insert),
        Source::Query { .. } => Err(from_query(relation)),
    }
}

fn read<'a>(
    text: &Text<'_>,
    at: Range<usize>,
    name_end: usize,
    table: &'a Table,
    relation: &'a Relation,
) -> Refused<Source<'a>> {
    let mut here = name_end;
    if text.is(here, "as") {
        here += 2;
    }
    let mut columns: Vec<&Column> = relation.columns.iter().collect();
    let opens_query = matches!(text.word(here + 1), "select" | "with" | "values" | "table")
        || text.is_kind(here + 1, TokenKind::OpenParen);
    if text.is_kind(here, TokenKind::OpenParen) && !opens_query {
        let close = text.partner(here).ok_or_else(|| misread("a list of columns"))?;
        columns = named_columns(text, here + 1..close, relation)?;
        here = close + 1;
    }
    if text.is(here, "overriding") {
        // OVERRIDING USER VALUE takes identities from sequences, whatever is given.
        if !text.is(here + 1, "system") {
            return Err(misread("OVERRIDING USER VALUE"));
        }
        here += 3;
    }
    if text.are(here, &["default", "values"]) {
        return Err(missing_key(table));
    }
    if !text.is(here, "values") {
        return Ok(Source::Query { columns, at: here });
    }
    let mut rows = Vec::new();
    here += 1;
    loop {
        match text.partner(here) {
            Some(close) if text.is_kind(here, TokenKind::OpenParen) && close < at.end => {
                rows.push(here..close + 1);
                here = close + 1;
            }
            _ => return Err(misread("VALUES")),
        }
        if !text.is_kind(here, TokenKind::Comma) || here >= at.end {
            break;
        }
        here += 1;
    }
    let width = |row: &Range<usize>| split(text, row.start + 1..row.end - 1).len();
    let first = rows.first().map(width);
    if rows.iter().any(|row| Some(width(row)) != first) {
        // Each shard would see its own rows only, and some may be of equal length.
        let mut refusal = Refusal::new("rows", "VALUES lists must all be the same length");
        refusal.sqlstate = "42601";
        return Err(Box::new(refusal));
    }
    let returning_at = find_word(text, here..at.end, &["returning"]);
    let tail_end = returning_at.unwrap_or(at.end);
    let conflict = match here < tail_end {
        true => Some(conflict::read(text, here..tail_end)?),
        false => None,
    };
    let returning = returning_at.map(|from| from + 1..at.end);
    Ok(Source::Rows(Insert { table, relation, columns, rows, conflict, returning, end: at.end }))
}

/// The columns of a list, in its order.
fn named_columns<'a>(
    text: &Text<'_>,
    at: Range<usize>,
    relation: &'a Relation,
) -> Refused<Vec<&'a Column>> {
    let mut columns = Vec::new();
    for item in split(text, at) {
        let name = text.name(item.start).filter(|_| text.is_identifier(item.start));
        let column = name.as_deref().and_then(|name| relation.column(name));
        match column {
            Some(column) => columns.push(column),
            None => return Err(no_column(relation, name.as_deref().unwrap_or("?"))),
        }
        // `column.field` and `column[1]` give a part of a value.
        if item.len() != 1 {
            return Err(misread("a part of a column"));
        }
    }
    Ok(columns)
}

/// The key of each row.
fn keys(text: &Text<'_>, insert: &Insert<'_>) -> Refused<Vec<Vec<Operand>>> {
    let mut places = Vec::new();
    for key in &insert.table.key_columns {
        let place = insert.columns.iter().position(|column| column.name == *key);
        places.push(place.ok_or_else(|| missing_key(insert.table))?);
    }
    let literals = literal_numbers(text);
    let mut keys = Vec::with_capacity(insert.rows.len());
    for row in &insert.rows {
        let items = split(text, row.start + 1..row.end - 1);
        let mut key = Vec::with_capacity(places.len());
        for place in &places {
            let (Some(item), Some(column)) = (items.get(*place), insert.columns.get(*place)) else {
                return Err(missing_key(insert.table));
            };
            if text.is(item.start, "default") {
                return Err(missing_key(insert.table));
            }
            let operand = operand::read(text, item.clone(), column, &literals);
            key.push(operand.ok_or_else(unknown_key)?);
        }
        keys.push(key);
    }
    Ok(keys)
}

fn check(text: &Text<'_>, insert: &Insert<'_>, catalog: Catalog<'_>) -> Refused<()> {
    integrity::check(catalog, insert.table, insert.relation, Change::Insert)?;
    for column in defaulted(text, insert) {
        integrity::check_sequence(catalog, insert.relation, column)?;
    }
    for row in &insert.rows {
        expressions(text, row.clone(), catalog)?;
    }
    if let Some(returning) = &insert.returning {
        expressions(text, returning.clone(), catalog)?;
    }
    match &insert.conflict {
        Some(conflict) => conflict::check(text, insert.table, insert.relation, conflict, catalog),
        None => Ok(()),
    }
}

/// Columns that some row leaves to their default.
fn defaulted<'a>(text: &Text<'_>, insert: &Insert<'a>) -> Vec<&'a Column> {
    let mut given = vec![true; insert.columns.len()];
    for row in &insert.rows {
        let items = split(text, row.start + 1..row.end - 1);
        let defaults = reference::defaults(text, row.start + 1..row.end - 1);
        for place in defaults.into_iter().chain(items.len()..insert.columns.len()) {
            if let Some(given) = given.get_mut(place) {
                *given = false;
            }
        }
    }
    let is_given = |column: &&Column| {
        let place = insert.columns.iter().position(|known| known.name == column.name);
        place.is_some_and(|place| given.get(place) == Some(&true))
    };
    insert.relation.columns.iter().filter(|column| !is_given(column)).collect()
}

fn check_reference(text: &Text<'_>, insert: &Insert<'_>) -> Refused<()> {
    for column in defaulted(text, insert) {
        reference::check_default(insert.relation, column)?;
    }
    if let Some(set) = insert.conflict.as_ref().and_then(|conflict| conflict.set.clone()) {
        for column in defaults_in(text, set, insert.relation)? {
            reference::check_default(insert.relation, column)?;
        }
    }
    Ok(())
}

fn unordered() -> Box<Refusal> {
    let refusal = Refusal::new("returning", "rows of RETURNING cannot be put in their order");
    let detail = "ON CONFLICT or a trigger may leave rows out, and those that come back are of \
                  several shards.";
    let hint = "Leave RETURNING out, or send rows of one shard key.";
    Box::new(refusal.detail(detail).hint(hint))
}

fn missing_key(table: &Table) -> Box<Refusal> {
    Box::new(
        Refusal::new("missing-key", format!("a new row of {} has no shard key", table.name))
            .detail(format!(
                "Each row must give a value for {}; what a default would be is not known.",
                table.key_columns.join(", ")
            ))
            .hint("Compute it first (SELECT …) and give it as a value."),
    )
}

fn no_column(relation: &Relation, column: &str) -> Box<Refusal> {
    let message = format!("column \"{column}\" of table \"{}\" is not known", relation.name);
    let mut refusal = Refusal::new("unknown-column", message);
    refusal.sqlstate = "42703";
    Box::new(refusal)
}

pub(super) fn from_query(relation: &Relation) -> Box<Refusal> {
    Box::new(
        Refusal::new("insert-select", format!("{} cannot be filled from a query", relation.name))
            .detail("The shard key of its rows is not that of the rows they are made from.")
            .hint("Select the shard key of a co-located table by its name, or use VALUES or COPY."),
    )
}
