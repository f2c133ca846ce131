//! Owns what the names in a statement mean to the shard map: which table a name is, and whether
//! words of a text name a sharded table or reach one through a view, a function or a trigger.
//!
//! Names are matched without `search_path`, so the worst table of a name counts.

use super::{Catalog, Refusal};
use crate::facts::runs_text;
use crate::facts::schema::{Lookup, Relation};
use crate::lexer::TokenKind;
use crate::planner::{Text, argument_count, is_call, is_local_function, is_syntax, schema_of};
use crate::shard_map::{DistributionKind, ShardId, Table};
use std::ops::Range;

/// Longest chain of partitions of partitions that is followed.
const MAX_PARENTS: usize = 64;

pub(super) type Refused<T> = Result<T, Box<Refusal>>;

/// A table as a statement names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) relation: Option<&'a Relation>,
}

/// Where the rows of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// Spread by key.
    Sharded(&'a Table),
    /// All of them on every shard.
    Reference(&'a Table),
    /// All of them on this shard.
    On(ShardId),
    /// Some by key, some on the home shard: it is a parent of sharded tables.
    Mixed,
    /// No relation of this name is known.
    Unknown,
}

/// What the words of a text touch.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched {
    /// A sharded table, and the word that names it or leads to it.
    pub(super) sharded: Option<(Box<str>, Box<str>)>,
    /// A reference table.
    pub(super) reference: Option<Box<str>>,
    /// Shards that are not home and have a table of their own here.
    pub(super) elsewhere: Vec<ShardId>,
    /// A table of the home shard.
    pub(super) home: bool,
    /// A word that runs SQL nobody sees.
    pub(super) unseen: Option<Box<str>>,
}

/// Looks up a table.
pub(super) fn find<'a>(
    catalog: Catalog<'a>,
    schema: Option<&str>,
    name: &str,
) -> Refused<Named<'a>> {
    let facts = catalog.facts.schema();
    if !facts.is_known() {
        return Err(not_loaded());
    }
    let candidates = match facts.lookup(schema, name) {
        Lookup::Unknown => &[],
        Lookup::One(relation) => std::slice::from_ref(relation),
        Lookup::Several(relations) => relations,
    };
    let kinds: Vec<Kind<'_>> =
        candidates.iter().map(|relation| kind_of(catalog, relation)).collect();
    let home = Kind::On(catalog.map.home);
    match (candidates, &*kinds) {
        ([], _) => match catalog.map.table(schema, name) {
            Some(table) => Err(missing(table)),
            None => Ok(Named { kind: Kind::Unknown, relation: None }),
        },
        ([relation], [kind]) => Ok(Named { kind: *kind, relation: Some(relation) }),
        ([relation, ..], all) if all.iter().all(|kind| *kind == home) => {
            Ok(Named { kind: home, relation: Some(relation) })
        }
        _ => Err(ambiguous(name)),
    }
}

/// Where the rows of a relation are.
pub(super) fn kind_of<'a>(catalog: Catalog<'a>, relation: &Relation) -> Kind<'a> {
    let facts = catalog.facts.schema();
    let mut at = Some((&relation.schema, &relation.name));
    for _ in 0..MAX_PARENTS {
        let Some((schema, name)) = at else { break };
        if let Some(table) = catalog.map.table(Some(schema), name) {
            return of_table(catalog, table);
        }
        let known = facts.relation(schema, name).and_then(|known| known.parent.as_ref());
        at = known.map(|(schema, name)| (schema, name));
    }
    let is_parent = |table: &&Table| {
        let mut child = facts.relation(&table.schema, &table.name);
        for _ in 0..MAX_PARENTS {
            let Some((schema, name)) = child.and_then(|child| child.parent.as_ref()) else { break };
            if *schema == relation.schema && *name == relation.name {
                return true;
            }
            child = facts.relation(schema, name);
        }
        false
    };
    let mixed = facts.is_parent(relation) && catalog.map.tables.iter().any(|t| is_parent(&t));
    if mixed { Kind::Mixed } else { Kind::On(catalog.map.home) }
}

fn of_table<'a>(catalog: Catalog<'a>, table: &'a Table) -> Kind<'a> {
    let distribution = catalog.map.distribution(table);
    match distribution.kind {
        DistributionKind::Hash | DistributionKind::Range | DistributionKind::List => {
            Kind::Sharded(table)
        }
        DistributionKind::Reference => Kind::Reference(table),
        DistributionKind::Single => Kind::On(distribution.home),
    }
}

/// Whether any relation of this name has rows by key.
pub(super) fn is_sharded_name(catalog: Catalog<'_>, name: &str) -> bool {
    any_of(catalog, name, |kind| matches!(kind, Kind::Sharded(_) | Kind::Mixed))
}

fn any_of(catalog: Catalog<'_>, name: &str, wanted: impl Fn(Kind<'_>) -> bool) -> bool {
    let known = match catalog.facts.schema().lookup(None, name) {
        Lookup::Unknown => &[],
        Lookup::One(relation) => std::slice::from_ref(relation),
        Lookup::Several(relations) => relations,
    };
    mapped(catalog, name).any(|table| wanted(of_table(catalog, table)))
        || known.iter().any(|relation| wanted(kind_of(catalog, relation)))
}

/// The map's tables of this name.
fn mapped<'a>(catalog: Catalog<'a>, name: &'a str) -> impl Iterator<Item = &'a Table> {
    let tables = &catalog.map.tables;
    let first = tables.partition_point(|table| *table.name < *name);
    tables.iter().skip(first).take_while(move |table| *table.name == *name)
}

/// Whether all relations of this name are reference tables, and there is one.
fn is_reference_name(catalog: Catalog<'_>, name: &str) -> bool {
    any_of(catalog, name, |kind| matches!(kind, Kind::Reference(_)))
        && !any_of(catalog, name, |kind| !matches!(kind, Kind::Reference(_)))
}

/// Looks at every word between two tokens as if it were the name of a table or a function.
pub(super) fn touched(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Touched {
    let mut found = Touched::default();
    for at in at {
        if text.is_kind(at, TokenKind::UnicodeIdentifier) {
            found.unseen.get_or_insert_with(|| "a U& identifier".into());
        }
        let Some(name) = text.name(at).filter(|_| text.is_identifier(at)) else { continue };
        let schema = match text.kind_before(at) {
            Some(TokenKind::Dot) => at.checked_sub(2).and_then(|at| text.name(at)),
            _ => None,
        };
        note(&mut found, catalog, schema.as_deref(), &name);
        if is_call_at(text, at) && runs_text(&name) {
            found.unseen.get_or_insert_with(|| name.as_ref().into());
        }
    }
    found
}

fn note(found: &mut Touched, catalog: Catalog<'_>, schema: Option<&str>, name: &str) {
    let facts = catalog.facts.schema();
    let exact = schema.and_then(|schema| facts.relation(schema, name));
    let is = |wanted: &dyn Fn(Kind<'_>) -> bool| match exact {
        Some(relation) => wanted(kind_of(catalog, relation)),
        None => any_of(catalog, name, wanted),
    };
    if is(&|kind| matches!(kind, Kind::Sharded(_) | Kind::Mixed)) {
        found.sharded.get_or_insert_with(|| (name.into(), name.into()));
    } else if is(&|kind| matches!(kind, Kind::Reference(_))) {
        found.reference.get_or_insert_with(|| name.into());
    }
    let home = catalog.map.home;
    found.home |= is(&|kind| kind == Kind::On(home));
    let elsewhere = catalog.map.all().filter(|shard| *shard != home);
    for shard in elsewhere.filter(|shard| is(&|kind| kind == Kind::On(*shard))) {
        if !found.elsewhere.contains(&shard) {
            found.elsewhere.push(shard);
        }
    }
    if found.sharded.is_none() {
        match facts.reaches(name, |inner| is_sharded_name(catalog, inner)) {
            Some("EXECUTE") => {
                found.unseen.get_or_insert_with(|| name.into());
            }
            Some(table) => found.sharded = Some((table.into(), name.into())),
            None => {}
        }
    }
}

/// Whether the text, read as loosely as possible, has the name of a sharded table in it. For texts
/// that cannot be read as SQL.
pub(super) fn has_sharded_word(catalog: Catalog<'_>, sql: &[u8]) -> bool {
    let lower = sql.to_ascii_lowercase();
    let known = catalog.facts.schema();
    let children = known
        .all()
        .filter(|relation| matches!(kind_of(catalog, relation), Kind::Sharded(_) | Kind::Mixed));
    let names = catalog.map.tables.iter().map(|table| &table.name);
    let reaching = known
        .mentioning()
        .filter(|name| known.reaches(name, |inner| is_sharded_name(catalog, inner)).is_some());
    names
        .map(|name| &**name)
        .chain(children.map(|relation| &*relation.name))
        .chain(reaching)
        .any(|name| memchr::memmem::find(&lower, name.to_ascii_lowercase().as_bytes()).is_some())
}

fn is_call_at(text: &Text<'_>, at: usize) -> bool {
    text.is_kind(at + 1, TokenKind::OpenParen) && is_call(text, at)
}

/// Whether the tables that sub-selects name have been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tables {
    /// They have.
    Read,
    /// Only reference tables may be named.
    References,
}

/// Checks expressions that every shard computes for itself: they may use nothing but their row,
/// constants and reference tables.
pub(super) fn expressions(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<()> {
    expressions_of(text, at, catalog, Tables::References)
}

/// The same, when the tables in it are looked at elsewhere.
pub(super) fn expressions_of(
    text: &Text<'_>,
    at: Range<usize>,
    catalog: Catalog<'_>,
    tables: Tables,
) -> Refused<()> {
    let is_query = |at: usize| matches!(text.word(at), "select" | "table") && !is_column(text, at);
    let has_query = tables == Tables::References && at.clone().any(is_query);
    for at in at {
        match text.kind(at) {
            Some(TokenKind::UnicodeIdentifier | TokenKind::Other) => {
                return Err(Box::new(
                    Refusal::new("unreadable-name", "a name cannot be read")
                        .detail("U& identifiers are not understood over shards."),
                ));
            }
            Some(TokenKind::Operator) => operator(text, at, catalog)?,
            Some(TokenKind::Word | TokenKind::QuotedIdentifier) => {
                if text.is_foreign_name(at) {
                    return Err(Box::new(Refusal::new("unreadable-name", "a name cannot be read")));
                }
                let Some(name) = text.name(at) else { continue };
                let is_type = text.raw_before(at) == b"::"
                    || text.word_before(at) == "as"
                    || text.is_kind(at + 1, TokenKind::String);
                if text.is(at, "insert") && text.word_before(at) == "then" {
                    // MERGE … THEN INSERT (columns)
                } else if is_call_at(text, at) {
                    call(text, at, &name, catalog)?;
                } else if is_column(text, at) || is_type {
                    // `row.name` may be a call, and a domain may have a check.
                    if !catalog.facts.schema().is_relation(&name) {
                        reaches_nothing(&name, catalog)?;
                    }
                } else if has_query {
                    table_in_query(&name, catalog)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_column(text: &Text<'_>, at: usize) -> bool {
    text.kind_before(at) == Some(TokenKind::Dot)
}

fn operator(text: &Text<'_>, at: usize, catalog: Catalog<'_>) -> Refused<()> {
    let symbol = std::str::from_utf8(text.raw(at)).unwrap_or_default();
    match catalog.facts.operator(symbol) {
        Some(reason) => Err(Box::new(
            Refusal::new("volatile-operator", "an operator may write")
                .detail(format!("The {reason}.")),
        )),
        None => Ok(()),
    }
}

/// A word in an expression that holds a sub-select: it may be a table.
fn table_in_query(name: &str, catalog: Catalog<'_>) -> Refused<()> {
    match catalog.facts.schema().is_relation(name) && !is_reference_name(catalog, name) {
        true => Err(Box::new(
            Refusal::new("sub-select", "a sub-select reads a table that is not on every shard")
                .detail(format!("It names \"{name}\"; every shard would read its own part."))
                .hint("Read it first, or make it a reference table."),
        )),
        false => Ok(()),
    }
}

fn call(text: &Text<'_>, at: usize, name: &str, catalog: Catalog<'_>) -> Refused<()> {
    let facts = catalog.facts.schema();
    match name {
        "nextval" if sequences_are_apart(catalog) => return Ok(()),
        "nextval" => return Err(sequence("nextval")),
        "setval" | "currval" | "lastval" => return Err(sequence(name)),
        "pg_notify" => {
            return Err(Box::new(
                Refusal::new("notify", "pg_notify cannot run over shards")
                    .detail("Notifications are heard from the home shard only.")
                    .hint("Send it in a statement of its own."),
            ));
        }
        _ => {}
    }
    let of_one_server = is_local_function(name)
        || name.starts_with("pg_advisory")
        || name.starts_with("pg_try_advisory");
    if of_one_server || runs_text(name) {
        return Err(Box::new(
            Refusal::new("function-of-one-server", format!("{name}() cannot run over shards"))
                .detail("Its answer is about one server, or it runs SQL that is not seen."),
        ));
    }
    let schema = schema_of(text, at);
    let known = catalog.facts.call(schema.as_deref(), name, argument_count(text, at + 1));
    let is_pgm = schema.as_deref() == Some("pgm");
    if known == crate::facts::Call::Unknown
        && !(schema.is_none() && is_syntax(text, at))
        && !facts.is_relation(name)
    {
        return Err(Box::new(
            Refusal::new("unknown-function", format!("function {name} is not known"))
                .detail("What it reads or writes cannot be told."),
        ));
    }
    if is_pgm { Ok(()) } else { reaches_nothing(name, catalog) }
}

/// A function, domain or table's trigger that every shard runs for itself.
pub(super) fn reaches_nothing(name: &str, catalog: Catalog<'_>) -> Refused<()> {
    let facts = catalog.facts.schema();
    if facts.mentions(name).is_none() {
        return Ok(());
    }
    let refuse = |why: String| {
        Err(Box::new(
            Refusal::new("function-reads-tables", format!("{name} cannot run on every shard"))
                .detail(why)
                .hint(
                    "Functions over sharded tables may use their arguments and reference tables.",
                ),
        ))
    };
    let Some(reached) = facts.reached(name) else {
        return refuse("It reaches too many other functions.".into());
    };
    for mentions in reached {
        let wrong = |inner: &str| {
            let is_table = facts.is_relation(inner) || is_sharded_name(catalog, inner);
            is_table && (mentions.writes || !is_reference_name(catalog, inner))
        };
        if let Some(table) = mentions.names.iter().find(|inner| wrong(inner)) {
            return refuse(format!("It names \"{table}\", which is not the same on every shard."));
        }
        if mentions.runs_text {
            return refuse("It runs SQL that is not seen.".into());
        }
        if mentions.uses_sequences && !sequences_are_apart(catalog) {
            return refuse("It uses sequences, of which every shard has its own.".into());
        }
        if mentions.notifies {
            return refuse("It sends notifications, heard from the home shard only.".into());
        }
    }
    Ok(())
}

/// Whether every sequence leaves room for those of the other shards.
pub(super) fn sequences_are_apart(catalog: Catalog<'_>) -> bool {
    use crate::facts::schema::RelationKind::Sequence;
    let shards = i64::try_from(catalog.map.shards.len()).unwrap_or(i64::MAX);
    let mut sequences = catalog.facts.schema().all().filter(|one| one.kind == Sequence);
    sequences.all(|sequence| sequence.increment.saturating_abs() >= shards)
}

fn sequence(function: &str) -> Box<Refusal> {
    let mut refusal = Refusal::new("sequence", format!("{function}() cannot be used over shards"));
    refusal.detail = Some("Every shard has a sequence of its own.".into());
    refusal.hint = Some(SEQUENCE_HINT.into());
    Box::new(refusal)
}

/// How numbers of several shards are kept apart.
pub(super) const SEQUENCE_HINT: &str = "Take the number first (SELECT nextval(…)) and give it as a \
     value, use pgm.next_id(), or run \
     \"pgmanifold map sequences\", which keeps the sequences of the shards apart.";

fn not_loaded() -> Box<Refusal> {
    let mut refusal = Refusal::new("facts", "the catalog of the database is not loaded yet");
    refusal.sqlstate = "57P03";
    Box::new(refusal.hint("Try again in a moment."))
}

fn missing(table: &Table) -> Box<Refusal> {
    let name = format!("{}.{}", table.schema, table.name);
    let mut refusal = Refusal::new("missing-table", format!("table {name} is not known"));
    refusal.sqlstate = "42P01";
    Box::new(
        refusal
            .detail("The shard map has it, the home shard's catalog has not.")
            .hint("If it was created just now, try again in a moment."),
    )
}

fn ambiguous(name: &str) -> Box<Refusal> {
    Box::new(
        Refusal::new("ambiguous-table", format!("table name \"{name}\" is ambiguous"))
            .detail(
                "Several schemas have a table of this name, and they are not on the same shards.",
            )
            .hint("Write its schema before it."),
    )
}
