//! Owns DDL: every shard gets it, unless it would leave a sharded table without what sharding
//! needs. What a shard cannot keep is found again when rows are written, from the catalog.

use super::integrity::{KEYS_HINT, same_shard};
use super::named::{Kind, Refused, touched};
use super::operand::{find_word, split};
use super::target::{TableName, misread, read as read_name};
use super::utility::everywhere;
use super::{Catalog, Placing, Refusal, unsharded};
use crate::lexer::TokenKind;
use crate::planner::Text;
use crate::shard_map::{DistributionKind, Found, Table};
use std::ops::Range;

/// CREATE.
pub(super) fn create(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    let mut here = at.start + 1;
    if text.are(here, &["or", "replace"]) {
        here += 2;
    }
    if matches!(text.word(here), "local" | "global") {
        here += 1;
    }
    if matches!(text.word(here), "temp" | "temporary") {
        return temporary(text, here + 1, at, catalog);
    }
    here += usize::from(matches!(text.word(here), "unlogged" | "recursive" | "foreign"));
    match text.word(here) {
        "table" => create_table(text, here + 1, at, catalog),
        "index" if on_temporary(text, here..at.end) => {
            unsharded::place(text, at, catalog, "create")
        }
        "index" => Ok(everywhere(text.is(here + 1, "concurrently"))),
        "unique" => unique_index(text, here + 2, at, catalog),
        "materialized" => filled(text, &at).and_then(|placing| {
            unsharded::place(text, at, catalog, "materialized-view")?;
            Ok(placing)
        }),
        "rule" => {
            unsharded::place(text, at, catalog, "rule")?;
            Ok(everywhere(false))
        }
        "database" | "tablespace" | "subscription" => Ok(everywhere(true)),
        _ => Ok(everywhere(false)),
    }
}

fn on_temporary(text: &Text<'_>, at: Range<usize>) -> bool {
    let on = find_word(text, at, &["on"]);
    on.and_then(|on| text.name(on + 1)).is_some_and(|name| name.starts_with("pg_temp"))
}

/// A statement whose answer counts rows would count differently on each shard.
fn filled(text: &Text<'_>, at: &Range<usize>) -> Refused<Placing> {
    let empty = at.end.checked_sub(3).is_some_and(|at| text.are(at, &["with", "no", "data"]));
    match empty {
        true => Ok(everywhere(false)),
        false => Err(Box::new(
            Refusal::new("create-as", "a table cannot be made and filled in one statement")
                .detail("Every shard would fill it with its own rows.")
                .hint("Make it WITH NO DATA first; then INSERT, or REFRESH the materialized view."),
        )),
    }
}

/// Temporary relations live on the home shard.
fn temporary(
    text: &Text<'_>,
    here: usize,
    at: Range<usize>,
    catalog: Catalog<'_>,
) -> Refused<Placing> {
    let mut name_at = here + 1;
    if text.are(name_at, &["if", "not", "exists"]) {
        name_at += 3;
    }
    if let Some(name) = text.name(name_at)
        && catalog.map.tables.iter().any(|table| *table.name == *name)
    {
        return Err(Box::new(
            Refusal::new("temporary-table", format!("\"{name}\" is the name of a sharded table"))
                .detail("A temporary table of that name would hide it.")
                .hint("Choose another name."),
        ));
    }
    unsharded::place(text, at, catalog, "create-as")
}

fn create_table(
    text: &Text<'_>,
    here: usize,
    at: Range<usize>,
    catalog: Catalog<'_>,
) -> Refused<Placing> {
    let start = if text.are(here, &["if", "not", "exists"]) { here + 3 } else { here };
    let name = read_name(text, start)?;
    if is_temporary(&name) {
        return temporary(text, start - 1, at, catalog);
    }
    let as_at = find_word(text, name.end..at.end, &["as"]);
    if let Some(as_at) = as_at {
        unsharded::place(text, as_at..at.end, catalog, "create-as")?;
        return filled(text, &at);
    }
    let table = in_map(&name, catalog)?;
    if text.is_kind(name.end, TokenKind::OpenParen)
        && let Some(close) = text.partner(name.end)
    {
        for item in split(text, name.end + 1..close) {
            constraint(text, item, &name, table, catalog)?;
        }
    }
    Ok(everywhere(false))
}

/// Without its schema, a temporary table looks like one that was made a moment ago.
fn is_temporary(name: &TableName) -> bool {
    name.schema.as_deref().is_some_and(|schema| schema.starts_with("pg_temp"))
}

/// The map's table of this name, when it is spread by key.
fn in_map<'a>(name: &TableName, catalog: Catalog<'a>) -> Refused<Option<&'a Table>> {
    let spread = |table: &&Table| {
        let kind = catalog.map.distribution(table).kind;
        !matches!(kind, DistributionKind::Reference | DistributionKind::Single)
    };
    match catalog.map.find(name.schema.as_deref(), &name.name) {
        Found::One(table) => Ok(Some(table).filter(spread)),
        Found::No => match name.find(catalog)?.kind {
            Kind::Sharded(table) => Ok(Some(table)),
            _ => Ok(None),
        },
        Found::Several => Err(misread("a table's name that several schemas have")),
    }
}

/// Checks an item of a table's definition: a column or a constraint.
fn constraint(
    text: &Text<'_>,
    item: Range<usize>,
    name: &TableName,
    table: Option<&Table>,
    catalog: Catalog<'_>,
) -> Refused<()> {
    let named = usize::from(text.is(item.start, "constraint")) * 2;
    let own = matches!(text.word(item.start + named), "primary" | "unique" | "exclude" | "foreign");
    let column: Vec<Box<str>> = match own {
        true => Vec::new(),
        false => text.name(item.start).map(|name| (*name).into()).into_iter().collect(),
    };
    let mut here = item.start;
    while let Some(found) =
        find_word(text, here..item.end, &["primary", "unique", "exclude", "references"])
    {
        here = found + 1;
        if text.is(found, "references") {
            let columns = match find_word(text, item.clone(), &["foreign"]) {
                Some(foreign) => list_after(text, foreign..found),
                None => column.clone(),
            };
            references(text, found + 1, columns, name, table, catalog)?;
        } else if let Some(table) = table.filter(|table| !table.unchecked_unique) {
            let columns = match own {
                true => list_after(text, found..item.end),
                false => column.clone(),
            };
            if !table.key_columns.iter().all(|key| columns.contains(key)) {
                return Err(without_key(table));
            }
        }
    }
    Ok(())
}

/// The names in the first parentheses; of an exclusion constraint those compared by `=`.
fn list_after(text: &Text<'_>, at: Range<usize>) -> Vec<Box<str>> {
    let Some(open) = at.clone().find(|&at| text.is_kind(at, TokenKind::OpenParen)) else {
        return Vec::new();
    };
    let close = text.partner(open).unwrap_or(open);
    let mut columns = Vec::new();
    for item in split(text, open + 1..close) {
        let with = find_word(text, item.clone(), &["with"]);
        let equal = with.is_none_or(|with| text.raw(with + 1) == b"=");
        if let Some(name) = text.name(item.start).filter(|_| equal) {
            columns.push((*name).into());
        }
    }
    columns
}

fn references(
    text: &Text<'_>,
    at: usize,
    columns: Vec<Box<str>>,
    name: &TableName,
    table: Option<&Table>,
    catalog: Catalog<'_>,
) -> Refused<()> {
    let other = read_name(text, at)?;
    if other.name == name.name && other.schema == name.schema && table.is_none() {
        return Ok(());
    }
    let named = other.find(catalog);
    let given = match text.is_kind(other.end, TokenKind::OpenParen) {
        true => list_after(text, other.end..text.len()),
        // Without a list it is the primary key.
        false => named
            .as_ref()
            .ok()
            .and_then(|named| named.relation)
            .and_then(|relation| relation.unique.iter().find(|unique| unique.primary))
            .map(|unique| unique.columns.clone())
            .unwrap_or_default(),
    };
    let kind = match (other.name == name.name, table, named) {
        (true, Some(table), _) => Kind::Sharded(table),
        (_, _, named) => named?.kind,
    };
    let kept = match (table, kind) {
        (Some(table), Kind::Sharded(other)) => same_shard(table, &columns, other, &given),
        (_, Kind::Reference(_)) => true,
        (None, Kind::On(_) | Kind::Unknown) => true,
        _ => false,
    };
    match kept {
        true => Ok(()),
        false => Err(Box::new(
            Refusal::new("foreign-key", "the foreign key cannot be kept over shards")
                .detail(format!("The row of \"{}\" may be on another shard.", other.name))
                .hint(KEYS_HINT),
        )),
    }
}

fn without_key(table: &Table) -> Box<Refusal> {
    let key = table.key_columns.join(", ");
    Box::new(
        Refusal::new(
            "unique-over-shards",
            format!("uniqueness in {} cannot be kept over shards", table.name),
        )
        .detail(format!("The constraint does not contain the shard key ({key})."))
        .hint(format!(
            "Add the shard key to it, as in PRIMARY KEY ({key}, …); or, where the values are \
             unique by themselves (uuid, pgm.next_id()), set unchecked_unique for the table."
        )),
    )
}

/// `CREATE UNIQUE INDEX [CONCURRENTLY] [IF NOT EXISTS] [name] ON [ONLY] table [USING m] (…)`
fn unique_index(
    text: &Text<'_>,
    here: usize,
    at: Range<usize>,
    catalog: Catalog<'_>,
) -> Refused<Placing> {
    let on = find_word(text, here..at.end, &["on"]).ok_or_else(|| misread("CREATE INDEX"))?;
    let start = on + 1 + usize::from(text.is(on + 1, "only"));
    let name = read_name(text, start)?;
    if let Some(table) = in_map(&name, catalog)?.filter(|table| !table.unchecked_unique) {
        let columns = list_after(text, name.end..at.end);
        if !table.key_columns.iter().all(|key| columns.contains(key)) {
            return Err(without_key(table));
        }
    }
    Ok(everywhere(text.is(here, "concurrently")))
}

/// ALTER.
pub(super) fn alter(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    match text.word(at.start + 1) {
        "table" if !text.is(at.start + 2, "all") => alter_table(text, at, catalog),
        "system" | "subscription" => Ok(everywhere(true)),
        "database" => Ok(everywhere(find_word(text, at, &["tablespace"]).is_some())),
        _ => Ok(everywhere(false)),
    }
}

fn alter_table(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    let mut here = at.start + 2;
    if text.are(here, &["if", "exists"]) {
        here += 2;
    }
    here += usize::from(text.is(here, "only"));
    let name = read_name(text, here)?;
    let named = name.find(catalog)?;
    if is_temporary(&name) {
        return unsharded::place(text, at, catalog, "alter");
    }
    let start = name.end + usize::from(text.raw(name.end) == b"*");
    let table = match named.kind {
        Kind::Sharded(table) => Some(table),
        _ => None,
    };
    for action in split(text, start..at.end) {
        alter_action(text, action, &name, table, catalog)?;
    }
    let concurrently = find_word(text, start..at.end, &["concurrently"]).is_some();
    Ok(everywhere(concurrently))
}

fn alter_action(
    text: &Text<'_>,
    action: Range<usize>,
    name: &TableName,
    table: Option<&Table>,
    catalog: Catalog<'_>,
) -> Refused<()> {
    let skip = |at: usize, words: &[&str]| at + usize::from(words.contains(&text.word(at)));
    let first = text.word(action.start);
    if matches!(first, "attach" | "detach" | "inherit")
        || text.are(action.start, &["no", "inherit"])
    {
        return inherit(text, action, table, catalog);
    }
    if first == "add" {
        let mut item = skip(action.start + 1, &["column"]);
        if text.are(item, &["if", "not", "exists"]) {
            item += 3;
        }
        return constraint(text, item..action.end, name, table, catalog);
    }
    let Some(table) = table else { return Ok(()) };
    let column = skip(action.start + 1, &["column"]);
    let column = if text.are(column, &["if", "exists"]) { column + 2 } else { column };
    let is_key =
        text.name(column).is_some_and(|name| table.key_columns.iter().any(|key| **key == *name));
    let changes = match first {
        "drop" => is_key,
        "alter" => is_key && find_word(text, column + 1..action.end, &["type"]).is_some(),
        "rename" => is_key || text.is(action.start + 1, "to"),
        "set" => text.is(action.start + 1, "schema"),
        _ => false,
    };
    match changes {
        false => Ok(()),
        true => Err(Box::new(
            Refusal::new("alter-sharded", format!("this change of {} is not possible", table.name))
                .detail("The shard map knows the table by its name and by the columns of its key.")
                .hint("Make a table of the new form, and move the rows."),
        )),
    }
}

/// Rows that come to a sharded table as a whole are not where their keys say.
fn inherit(
    text: &Text<'_>,
    action: Range<usize>,
    table: Option<&Table>,
    catalog: Catalog<'_>,
) -> Refused<()> {
    let other = touched(text, action, catalog).sharded;
    match table.is_none() && other.is_none() {
        true => Ok(()),
        false => Err(Box::new(
            Refusal::new("partition", "partitions of a sharded table cannot come and go with rows")
                .detail("The rows of the partition would not be where their keys say.")
                .hint("Use CREATE TABLE … PARTITION OF, and insert the rows."),
        )),
    }
}

/// DROP, GRANT, REVOKE, COMMENT and their like.
pub(super) fn other(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    let temporary = |at: usize| text.name(at).is_some_and(|name| name.starts_with("pg_temp"));
    if at.clone().any(|at| text.is_kind(at + 1, TokenKind::Dot) && temporary(at)) {
        return unsharded::place(text, at, catalog, "drop");
    }
    let outside = text.is(at.start, "drop")
        && (matches!(text.word(at.start + 1), "database" | "tablespace" | "subscription")
            || text.is(at.start + 2, "concurrently"));
    Ok(everywhere(outside))
}
