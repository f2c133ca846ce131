//! Owns what a shard cannot keep by itself when it writes a sharded table: uniqueness over shards,
//! foreign keys, numbers from sequences, triggers that look beyond their row.

use super::named::{Kind, Refused, SEQUENCE_HINT, kind_of, reaches_nothing};
use super::{Catalog, Refusal};
use crate::facts::schema::{
    Column, ForeignKey, Lookup, Origin, Relation, RelationKind, Trigger, TriggerTime, Unique,
};
use crate::shard_map::Table;

/// How a foreign key is kept by one shard.
pub(super) const KEYS_HINT: &str =
    "Let it contain the shard keys of both tables, or make the other a reference table.";
const TRIGGER_HINT: &str = "Triggers of sharded tables may use their row and reference tables.";

/// Most partitions of a sharded table.
const MAX_PARTITIONS: usize = 10_000;

/// What a statement does to the rows of a table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    /// It adds rows.
    Insert,
    /// It changes these columns.
    Update(&'a [Box<str>]),
    /// It takes rows away.
    Delete,
}

/// Refuses a write whose rules one shard alone cannot keep.
pub(super) fn check(
    catalog: Catalog<'_>,
    table: &Table,
    relation: &Relation,
    change: Change<'_>,
) -> Refused<()> {
    if catalog.map.shards.len() < 2 {
        return Ok(());
    }
    let mut family = vec![relation];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        next += 1;
        let is_child = |child: &&Relation| {
            let known = child.parent.as_ref();
            known.is_some_and(|known| known.0 == parent.schema && known.1 == parent.name)
        };
        if catalog.facts.schema().is_parent(parent) {
            family.extend(catalog.facts.schema().all().filter(is_child));
        }
        if family.len() > MAX_PARTITIONS {
            return refuse("partition", &relation.name, "has too many partitions", "Use fewer.");
        }
        check_one(catalog, table, parent, change)?;
    }
    Ok(())
}

/// The rules of one table, which may be a partition.
fn check_one(
    catalog: Catalog<'_>,
    table: &Table,
    relation: &Relation,
    change: Change<'_>,
) -> Refused<()> {
    if relation.has_rules {
        return refuse("rule", &relation.name, "has a rule", "Drop the rule, or use a trigger.");
    }
    if !table.unchecked_unique {
        let found = relation.unique.iter().find(|unique| collides(unique, table, change));
        if let Some(unique) = found {
            return Err(unique_over_shards(relation, table, unique));
        }
    }
    for key in &relation.foreign_keys {
        if changes_any(change, &key.columns) && !matches!(change, Change::Delete) {
            foreign_key(catalog, table, relation, key)?;
        }
    }
    if !matches!(change, Change::Insert) {
        referenced(catalog, table, relation, change)?;
    }
    for trigger in &relation.triggers {
        check_trigger(catalog, table, relation, trigger)?;
    }
    reaches_nothing(&relation.name, catalog)
}

fn changes_any(change: Change<'_>, columns: &[Box<str>]) -> bool {
    match change {
        Change::Insert | Change::Delete => true,
        Change::Update(changed) => changed.iter().any(|column| columns.contains(column)),
    }
}

/// Whether rows of two shards could collide because of the change.
fn collides(unique: &Unique, table: &Table, change: Change<'_>) -> bool {
    if unique.covers(&table.key_columns) {
        return false;
    }
    match change {
        Change::Insert => true,
        Change::Delete => false,
        Change::Update(_) => unique.partial || unique.more || changes_any(change, &unique.columns),
    }
}

fn unique_over_shards(relation: &Relation, table: &Table, unique: &Unique) -> Box<Refusal> {
    let (name, key) = (&relation.name, table.key_columns.join(", "));
    let what = if unique.primary { "primary key" } else { "unique index" };
    Box::new(
        Refusal::new("unique-over-shards", format!("{what} of {name} cannot be kept over shards"))
            .detail(format!(
                "The {what} \"{}\" does not contain the shard key ({key}): a row on another shard \
                 may have the same value.",
                unique.name
            ))
            .hint(format!(
                "Add the shard key to it, as in PRIMARY KEY ({key}, …); or, where the values are \
                 unique by themselves (uuid, pgm.next_id()), set unchecked_unique for the table."
            )),
    )
}

/// A foreign key is kept by a shard when it has the other row too.
fn foreign_key(
    catalog: Catalog<'_>,
    table: &Table,
    relation: &Relation,
    key: &ForeignKey,
) -> Refused<()> {
    let (schema, name) = (&key.to.0, &key.to.1);
    let other = catalog.facts.schema().relation(schema, name);
    let kept = match other.map(|other| kind_of(catalog, other)) {
        Some(Kind::Reference(_)) => true,
        Some(Kind::Sharded(other)) => same_shard(table, &key.columns, other, &key.to_columns),
        _ => false,
    };
    match kept {
        true => Ok(()),
        false => Err(not_kept(&relation.name, key)),
    }
}

/// Whether rows that agree in these columns are on one shard.
pub(super) fn same_shard(
    table: &Table,
    columns: &[Box<str>],
    other: &Table,
    other_columns: &[Box<str>],
) -> bool {
    let pairs = || columns.iter().zip(other_columns);
    table.distribution == other.distribution
        && table
            .key_columns
            .iter()
            .zip(&other.key_columns)
            .all(|key| pairs().any(|pair| pair == key))
}

fn not_kept(name: &str, key: &ForeignKey) -> Box<Refusal> {
    Box::new(
        Refusal::new("foreign-key", format!("a foreign key of {name} cannot be kept over shards"))
            .detail(format!(
                "\"{}\" refers to \"{}\", whose row may be on another shard.",
                key.name, key.to.1
            ))
            .hint(KEYS_HINT),
    )
}

/// Rows that refer to the ones that change must be on the same shard.
fn referenced(
    catalog: Catalog<'_>,
    table: &Table,
    relation: &Relation,
    change: Change<'_>,
) -> Refused<()> {
    let is_this = |key: &ForeignKey| key.to.0 == relation.schema && key.to.1 == relation.name;
    for other in catalog.facts.schema().all() {
        for key in other.foreign_keys.iter().filter(|key| is_this(key)) {
            if !changes_any(change, &key.to_columns) {
                continue;
            }
            let kept = match kind_of(catalog, other) {
                Kind::Sharded(sharded) => same_shard(sharded, &key.columns, table, &key.to_columns),
                _ => false,
            };
            if !kept {
                return Err(not_kept(&other.name, key));
            }
        }
    }
    Ok(())
}

fn check_trigger(
    catalog: Catalog<'_>,
    table: &Table,
    relation: &Relation,
    trigger: &Trigger,
) -> Refused<()> {
    if matches!(&*trigger.schema, "pgm" | "pg_catalog") {
        return Ok(());
    }
    let name = &relation.name;
    let Some(body) = catalog.facts.schema().mentions(&trigger.function) else {
        let what = "has a trigger whose function cannot be read";
        return refuse("trigger", name, what, "Write its function in PL/pgSQL.");
    };
    if let Err(refusal) = reaches_nothing(&trigger.function, catalog) {
        let mut refusal = *refusal;
        refusal.construct = "trigger";
        refusal.message = format!("{name} has a trigger that looks beyond its row").into();
        refusal.hint = Some(TRIGGER_HINT.into());
        return Err(Box::new(refusal));
    }
    let mut changed = body.new_columns.iter();
    let changes_key = changed.any(|column| **column == *"*" || table.key_columns.contains(column));
    if trigger.time == TriggerTime::BeforeRow && changes_key {
        let what = "has a trigger that may change its shard key";
        return refuse("trigger", name, what, "Let it leave the columns of the shard key alone.");
    }
    Ok(())
}

fn refuse<T>(
    construct: &'static str,
    table: &str,
    what: &'static str,
    hint: &'static str,
) -> Refused<T> {
    let detail = format!("Table \"{table}\" {what}, and every shard would act for itself.");
    let message = format!("{table} {what}");
    Err(Box::new(Refusal::new(construct, message).detail(detail).hint(hint)))
}

/// Refuses a column whose values come from sequences that collide over shards.
pub(super) fn check_sequence(
    catalog: Catalog<'_>,
    relation: &Relation,
    column: &Column,
) -> Refused<()> {
    let takes = column.default.as_deref().is_some_and(|text| text.contains("nextval("));
    let identity = matches!(column.origin, Origin::IdentityAlways | Origin::IdentityByDefault);
    if !takes && !identity {
        return Ok(());
    }
    let facts = catalog.facts.schema();
    let shards = i64::try_from(catalog.map.shards.len()).unwrap_or(i64::MAX);
    let owned = facts.all().find(|one| {
        one.kind == RelationKind::Sequence
            && one.owned_by.as_ref().is_some_and(|(schema, table, name)| {
                *schema == relation.schema && *table == relation.name && *name == column.name
            })
    });
    let named = || {
        let name = sequence_name(column.default.as_deref().unwrap_or_default())?;
        match facts.lookup(None, &name) {
            Lookup::One(one) if one.kind == RelationKind::Sequence => Some(one),
            _ => None,
        }
    };
    let sequence = if identity { owned } else { named() };
    if sequence.is_some_and(|sequence| sequence.increment.saturating_abs() >= shards) {
        return Ok(());
    }
    Err(Box::new(
        Refusal::new(
            "sequence",
            format!("column {} takes its value from a sequence of the shard", column.name),
        )
        .detail("Every shard has a sequence of its own, and their numbers are the same.")
        .hint(SEQUENCE_HINT),
    ))
}

/// The sequence in `nextval('schema.name'::regclass)`, without its schema.
fn sequence_name(default: &str) -> Option<String> {
    let inside = default.strip_prefix("nextval('")?.strip_suffix("'::regclass)")?;
    let name = match inside.strip_suffix('"') {
        Some(quoted) => quoted.rsplit_once('"')?.1,
        None => inside.rsplit_once('.').map_or(inside, |(_, name)| name),
    };
    (!name.contains('"')).then(|| name.into())
}
