//! Owns MERGE: the rows of its source must be on the shard of the rows that they meet, and those
//! that it adds must stay there.

use super::conditions::{self, Reader};
use super::integrity::{self, Change};
use super::levels::{Levels, Rows};
use super::modify::{as_query, changed, checked, defaults_in};
use super::named::{Kind, Refused, Tables, expressions_of};
use super::operand::{self, find_word, literal_numbers, split};
use super::query::{Body, From, Nested};
use super::references::Found;
use super::several::single_keys;
use super::target::{misread, read as read_name};
use super::writes::update_of_key;
use super::{Catalog, KeyFilter, Operand, Placing, Refusal, reference, unsharded};
use crate::facts::schema::Relation;
use crate::lexer::TokenKind;
use crate::planner::Text;
use crate::shard_map::Table;
use std::ops::Range;

/// The parts of a MERGE.
struct Merge {
    target: Range<usize>,
    source: Range<usize>,
    on: Range<usize>,
    /// From each WHEN to the next.
    branches: Vec<Range<usize>>,
}

/// Where the rows are that a MERGE meets.
pub(super) fn place(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    if !text.is(at.start + 1, "into") {
        return Err(misread("MERGE"));
    }
    let only = usize::from(text.is(at.start + 2, "only"));
    let named = read_name(text, at.start + 2 + only)?.find(catalog)?;
    match (named.kind, named.relation) {
        (Kind::Sharded(table), Some(relation)) => sharded(text, at, table, relation, catalog),
        (Kind::Reference(_), Some(relation)) => {
            Err(reference::differs(relation, "MERGE takes rows from other tables."))
        }
        (Kind::Mixed, _) => Err(misread("a parent of sharded tables")),
        _ => unsharded::place(text, at, catalog, "merge-from-sharded"),
    }
}

/// The rows of target and source together.
pub(super) fn rows(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Rows> {
    let merge = read(text, at)?;
    let query = as_query(text, &[merge.target, merge.source], Some(merge.on), &merge.branches)?;
    let literals = conditions::literals(text);
    let mut levels = Levels::new(catalog, Reader::new(text, &literals));
    Ok(levels.query(&query, None).rows)
}

/// A MERGE as far as the rows that it meets are concerned.
pub(super) struct Parts {
    pub(super) target: From,
    pub(super) source: From,
    /// The condition of ON.
    pub(super) on: Range<usize>,
    /// Sub-selects in ON and behind it.
    pub(super) nested: Vec<Nested>,
    /// It does something with rows of the source that meet none.
    pub(super) adds: bool,
    /// It does something with rows of the target that none meets.
    pub(super) by_source: bool,
}

/// Reads a MERGE once more.
pub(super) fn parts(text: &Text<'_>, at: Range<usize>) -> Refused<Parts> {
    let merge = read(text, at)?;
    let from = [merge.target, merge.source];
    let query = as_query(text, &from, Some(merge.on.clone()), &merge.branches)?;
    let Body::Select(select) = query.body else { return Err(misread("MERGE")) };
    let Ok([target, source]) = <[From; 2]>::try_from(select.from) else {
        return Err(misread("MERGE"));
    };
    let unmatched = |branch: &Range<usize>| text.is(branch.start + 1, "not");
    let by_source = |branch: &Range<usize>| text.are(branch.start + 3, &["by", "source"]);
    Ok(Parts {
        target,
        source,
        on: merge.on,
        nested: select.nested,
        adds: merge.branches.iter().any(unmatched),
        by_source: merge.branches.iter().any(by_source),
    })
}

fn read(text: &Text<'_>, at: Range<usize>) -> Refused<Merge> {
    let find = |from: usize, word: &str| {
        find_word(text, from..at.end, &[word]).ok_or_else(|| misread("MERGE"))
    };
    let using = find(at.start, "using")?;
    let on = find(using, "on")?;
    let first = find(on, "when")?;
    if find_word(text, at.clone(), &["returning"]).is_some() {
        return Err(misread("MERGE … RETURNING"));
    }
    // A join in the source has an ON of its own.
    if find_word(text, using..on, &["join"]).is_some() {
        return Err(misread("a join as the source of MERGE"));
    }
    let mut branches = Vec::new();
    let mut here = first;
    loop {
        let next = find_word(text, here + 1..at.end, &["when"]);
        let next = next_branch(text, next, at.end);
        branches.push(here..next.unwrap_or(at.end));
        match next {
            Some(next) => here = next,
            None => break,
        }
    }
    Ok(Merge { target: at.start + 2..using, source: using + 1..on, on: on + 1..first, branches })
}

/// `WHEN` of MERGE stands before MATCHED or NOT MATCHED, that of CASE before an expression.
fn next_branch(text: &Text<'_>, mut found: Option<usize>, end: usize) -> Option<usize> {
    while let Some(at) = found {
        if text.is(at + 1, "matched") || text.are(at + 1, &["not", "matched"]) {
            return Some(at);
        }
        found = find_word(text, at + 1..end, &["when"]);
    }
    None
}

fn sharded(
    text: &Text<'_>,
    at: Range<usize>,
    table: &Table,
    relation: &Relation,
    catalog: Catalog<'_>,
) -> Refused<Placing> {
    let merge = read(text, at.clone())?;
    expressions_of(text, merge.on.start..at.end, catalog, Tables::Read)?;
    let from = [merge.target.clone(), merge.source.clone()];
    let query = as_query(text, &from, Some(merge.on.clone()), &merge.branches)?;
    let literals = conditions::literals(text);
    let reader = Reader::new(text, &literals);
    let mut levels = Levels::new(catalog, reader);
    let level = levels.query(&query, None);
    checked(&levels)?;
    let scope = levels.blocks.iter().find(|block| block.at == 0).map(|block| block.scope);
    let unmatched = |branch: &Range<usize>| text.is(branch.start + 1, "not");
    let by_source = |branch: &Range<usize>| text.are(branch.start + 3, &["by", "source"]);
    let filters = match merge.branches.iter().any(unmatched) {
        // Rows that do not meet ON matter too: it restricts nothing.
        true => vec![KeyFilter { distribution: table.distribution, conditions: Vec::new() }],
        false => levels.references.filters(),
    };
    let also = levels.also.clone();
    let placing = Placing::Keyed { distribution: table.distribution, filters, also, writes: true };
    let met = matches!(&level.rows, Rows::Spread { refs, .. } if refs.contains(&0));
    let from_source = |(at, item): (usize, &Range<usize>)| {
        let column = reader.column(item.clone());
        let found = column.zip(scope).map(|(column, scope)| levels.references.find(scope, &column));
        let Some(Found::Key { columns, .. }) = found else { return false };
        met && columns.iter().any(|key| key.0 != 0 && key.1 == at)
    };
    let mut added: Vec<Vec<Operand>> = Vec::new();
    for branch in &merge.branches {
        let Some(items) = change(text, branch.clone(), table, relation, catalog)? else { continue };
        if !items.iter().enumerate().all(from_source) {
            added.push(constants(text, &items, table, relation)?);
        }
    }
    if added.is_empty() {
        return Ok(placing);
    }
    // Rows with constant keys: everything must be on their shard, and nothing else be sharded.
    let is_sharded = |at: &usize| levels.references.base(*at).is_some();
    let alone = (1..levels.references.all.len()).all(|at| !is_sharded(&at));
    if !alone || merge.branches.iter().any(by_source) || !levels.also.is_empty() {
        return Err(not_tied());
    }
    let filters = levels.references.filters();
    let also = Vec::new();
    let met = Placing::Keyed { distribution: table.distribution, filters, also, writes: true };
    let (distribution, mut keys) = single_keys(&met, catalog).ok_or_else(not_tied)?;
    keys.extend(added);
    Ok(Placing::Rows { distribution, keys })
}

/// Checks what a branch does; when it adds rows, the values of the columns of their key.
fn change(
    text: &Text<'_>,
    branch: Range<usize>,
    table: &Table,
    relation: &Relation,
    catalog: Catalog<'_>,
) -> Refused<Option<Vec<Range<usize>>>> {
    let then = find_word(text, branch.clone(), &["then"]).ok_or_else(|| misread("MERGE"))?;
    match text.word(then + 1) {
        "insert" => {
            integrity::check(catalog, table, relation, Change::Insert)?;
            return inserted(text, then + 1..branch.end, table, relation, catalog).map(Some);
        }
        "update" => {
            let columns = changed(text, then + 3..branch.end)?;
            if table.key_columns.iter().any(|key| columns.contains(key)) {
                return Err(update_of_key());
            }
            integrity::check(catalog, table, relation, Change::Update(&columns))?;
            for column in defaults_in(text, then + 3..branch.end, relation)? {
                integrity::check_sequence(catalog, relation, column)?;
            }
        }
        "delete" => integrity::check(catalog, table, relation, Change::Delete)?,
        "do" => {}
        _ => return Err(misread("MERGE")),
    }
    Ok(None)
}

/// The values that `INSERT [(…)] [OVERRIDING …] VALUES (…)` gives to the columns of the key.
fn inserted(
    text: &Text<'_>,
    at: Range<usize>,
    table: &Table,
    relation: &Relation,
    catalog: Catalog<'_>,
) -> Refused<Vec<Range<usize>>> {
    let mut names: Vec<Box<str>> =
        relation.columns.iter().map(|column| column.name.clone()).collect();
    if text.is_kind(at.start + 1, TokenKind::OpenParen) {
        let close = text.partner(at.start + 1).ok_or_else(|| misread("MERGE"))?;
        names = split(text, at.start + 2..close)
            .into_iter()
            .filter_map(|item| text.name(item.start).map(|name| (*name).into()))
            .collect();
    }
    let values = find_word(text, at.clone(), &["values"]).ok_or_else(not_tied)?;
    if find_word(text, at.start..values, &["overriding"]).is_some() {
        return Err(misread("OVERRIDING in MERGE"));
    }
    let close = text.partner(values + 1).ok_or_else(|| misread("MERGE"))?;
    let items = split(text, values + 2..close);
    let is_default = |item: &Range<usize>| text.is(item.start, "default");
    let all = !items.iter().any(is_default);
    for column in relation.columns.iter().filter(|column| !(all && names.contains(&column.name))) {
        integrity::check_sequence(catalog, relation, column)?;
    }
    let place = |key: &str| names.iter().position(|name| **name == *key);
    let keys = table.key_columns.iter();
    let key: Option<Vec<_>> = keys.map(|key| items.get(place(key)?).cloned()).collect();
    key.ok_or_else(not_tied)
}

fn constants(
    text: &Text<'_>,
    items: &[Range<usize>],
    table: &Table,
    relation: &Relation,
) -> Refused<Vec<Operand>> {
    let literals = literal_numbers(text);
    let pairs = items.iter().zip(&table.key_columns);
    let read = |item: &Range<usize>, key: &str| {
        operand::read(text, item.clone(), relation.column(key)?, &literals)
    };
    let key: Option<Vec<_>> = pairs.map(|(item, key)| read(item, key)).collect();
    key.ok_or_else(not_tied)
}

fn not_tied() -> Box<Refusal> {
    Box::new(
        Refusal::new("merge", "MERGE would add rows whose shard is not known")
            .detail(
                "The shard key of a new row is neither that of the source's row nor a constant.",
            )
            .hint(
                "Compare the shard keys of target and source in ON, and insert the source's key.",
            ),
    )
}
