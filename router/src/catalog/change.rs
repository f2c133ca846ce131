//! Owns the commands that write a map into the catalog. All of them are one transaction; the first
//! decides whether it may go on.

use crate::shard_map::{Bound, DistributionKind, Keys, MapParts};

/// A statement with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The text.
    pub sql: &'static str,
    /// `$1`, `$2`, …
    pub parameters: Vec<Parameter>,
    /// It must give a row; when it gives none, somebody else has changed the map (or made one),
    /// and the transaction is to be rolled back.
    pub decides: bool,
}

/// A value of a [`Command`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parameter {
    /// `text`
    Text(String),
    /// `int8`
    Integer(i64),
    /// `text[]`
    Texts(Vec<Option<String>>),
}

const CREATE: &str = "insert into pgm.cluster (database, epoch, home) values ($1, $2, $3) \
     on conflict do nothing returning epoch";
const CHANGE: &str = "update pgm.cluster set epoch = epoch + 1, home = $3 \
     where database = $1 and epoch = $2 returning epoch";
const CLEAR: [&str; 2] = [
    "delete from pgm.distribution where database = $1",
    "delete from pgm.shard where database = $1",
];
const SHARDS: &str = "insert into pgm.shard (database, place, name) \
     select $1, place - 1, name from unnest($2::text[]) with ordinality s (name, place)";
const DISTRIBUTIONS: &str = "insert into pgm.distribution \
     (database, place, name, kind, key_types, home) \
     select $1, place - 1, name, kind, key_types::text[], home \
     from unnest($2::text[], $3::text[], $4::text[], $5::text[]) with ordinality \
     d (name, kind, key_types, home, place)";
const RANGES: &str = "insert into pgm.key_range (distribution, database, shard, hashes, starts) \
     select d.id, d.database, r.shard, case when d.kind = 'hash' then \
     pg_catalog.int8range(r.from_hash::int8, r.to_hash::int8) end, r.starts \
     from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) \
     r (name, shard, from_hash, to_hash, starts) \
     join pgm.distribution d on d.database = $1 and d.name = r.name";
const VALUES: &str = "insert into pgm.list_value (distribution, database, shard, value) \
     select d.id, d.database, v.shard, v.value \
     from unnest($2::text[], $3::text[], $4::text[]) v (name, shard, value) \
     join pgm.distribution d on d.database = $1 and d.name = v.name";
const MOVING: &str = "insert into pgm.moving \
     (distribution, database, move, source, target, paused, starts, ends, list_values) \
     select d.id, d.database, m.move::int8, m.source, m.target, m.paused::boolean, m.starts, \
     m.ends, m.list_values::text[] from unnest($2::text[], $3::text[], $4::text[], $5::text[], \
     $6::text[], $7::text[], $8::text[], $9::text[]) \
     m (name, move, source, target, paused, starts, ends, list_values) \
     join pgm.distribution d on d.database = $1 and d.name = m.name";
const TABLES: &str = "insert into pgm.sharded_table \
     (database, place, schema_name, table_name, distribution, key_columns, unchecked_unique) \
     select $1, place - 1, schema_name, table_name, distribution, key_columns::text[], \
     unchecked_unique::boolean from unnest($2::text[], $3::text[], $4::text[], \
     $5::text[], $6::text[]) with ordinality \
     t (schema_name, table_name, distribution, key_columns, unchecked_unique, place)";
const HISTORY: &str = "insert into pgm.history (database, epoch, note) \
     select database, epoch, $2 from pgm.cluster where database = $1";
const NOTIFY: &str = "select pg_catalog.pg_notify('pgm_map', database || ' ' || epoch) \
     from pgm.cluster where database = $1";

/// Writes the first map of a database, under the epoch of the parts. The note is for the history.
pub fn create_map(database: &str, parts: &MapParts, note: &str) -> Vec<Command> {
    commands(CREATE, parts.epoch, database, parts, note)
}

/// Writes the next map of a database in place of the one with the epoch `expected`; its own epoch
/// is the next one whatever the parts say.
pub fn change_map(database: &str, expected: u64, parts: &MapParts, note: &str) -> Vec<Command> {
    let mut commands = commands(CHANGE, expected, database, parts, note);
    let clear = CLEAR.iter().map(|sql| command(sql, vec![Parameter::Text(database.into())]));
    commands.splice(1..1, clear);
    commands
}

fn commands(
    first: &'static str,
    epoch: u64,
    database: &str,
    parts: &MapParts,
    note: &str,
) -> Vec<Command> {
    let text = |text: &str| Parameter::Text(text.into());
    // No map has a larger epoch; one that has is refused by the catalog.
    let epoch = Parameter::Integer(i64::try_from(epoch).unwrap_or(i64::MAX));
    let mut first = command(first, vec![text(database), epoch, text(&parts.home)]);
    first.decides = true;
    let with = |sql, columns: Vec<Vec<Option<String>>>| {
        let columns = columns.into_iter().map(Parameter::Texts);
        command(sql, std::iter::once(text(database)).chain(columns).collect())
    };
    vec![
        first,
        with(SHARDS, vec![parts.shards.iter().map(some).collect()]),
        with(DISTRIBUTIONS, distributions(parts)),
        with(RANGES, ranges(parts)),
        with(VALUES, values(parts)),
        with(MOVING, moving(parts)),
        with(TABLES, tables(parts)),
        command(HISTORY, vec![text(database), text(note)]),
        command(NOTIFY, vec![text(database)]),
    ]
}

fn command(sql: &'static str, parameters: Vec<Parameter>) -> Command {
    Command { sql, parameters, decides: false }
}

fn some(text: impl ToString) -> Option<String> {
    Some(text.to_string())
}

fn distributions(parts: &MapParts) -> Vec<Vec<Option<String>>> {
    let all = &parts.distributions;
    let types = all.iter().map(|d| some(array(d.key_types.iter().map(ToString::to_string))));
    vec![
        all.iter().map(|d| some(&d.name)).collect(),
        all.iter().map(|d| some(d.kind)).collect(),
        types.collect(),
        all.iter().map(|d| d.home.as_ref().map(ToString::to_string)).collect(),
    ]
}

/// Name, shard, first hash, hash after the last one, first value.
fn ranges(parts: &MapParts) -> Vec<Vec<Option<String>>> {
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); 5];
    for distribution in &parts.distributions {
        let mut ranges: Vec<_> = distribution.ranges.iter().collect();
        ranges.sort_by(|a, b| a.0.cmp(&b.0));
        for (at, (from, shard)) in ranges.iter().enumerate() {
            let next = ranges.get(at + 1).and_then(|(from, _)| from.as_ref());
            let is_hash = distribution.kind == DistributionKind::Hash;
            let hash = |bound: Option<&Bound>| bound.filter(|_| is_hash).map(Bound::to_string);
            let row = [
                some(&distribution.name),
                some(shard),
                hash(from.as_ref()),
                hash(next),
                from.as_ref().filter(|_| !is_hash).map(Bound::to_string),
            ];
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
    }
    columns
}

fn values(parts: &MapParts) -> Vec<Vec<Option<String>>> {
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); 3];
    for distribution in &parts.distributions {
        for (value, shard) in &distribution.values {
            let row = [some(&distribution.name), some(shard), some(value)];
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
    }
    columns
}

/// Name, move, source, target, whether it is paused, both borders, listed values.
fn moving(parts: &MapParts) -> Vec<Vec<Option<String>>> {
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); 8];
    for distribution in &parts.distributions {
        for moving in &distribution.moving {
            let (from, to, values) = match &moving.keys {
                Keys::Between(from, to) => {
                    (from.as_ref().map(Bound::to_string), to.as_ref().map(Bound::to_string), None)
                }
                Keys::Values(values) => {
                    (None, None, some(array(values.iter().map(ToString::to_string))))
                }
            };
            let row = [
                some(&distribution.name),
                some(moving.id),
                some(&moving.source),
                some(&moving.target),
                some(moving.paused),
                from,
                to,
                values,
            ];
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
    }
    columns
}

fn tables(parts: &MapParts) -> Vec<Vec<Option<String>>> {
    let all = &parts.tables;
    let keys = all.iter().map(|t| some(array(t.key_columns.iter().map(ToString::to_string))));
    vec![
        all.iter().map(|t| some(&t.schema)).collect(),
        all.iter().map(|t| some(&t.name)).collect(),
        all.iter().map(|t| some(&t.distribution)).collect(),
        keys.collect(),
        all.iter().map(|t| some(t.unchecked_unique)).collect(),
    ]
}

/// An array as PostgreSQL reads it.
fn array(items: impl Iterator<Item = String>) -> String {
    let quoted =
        items.map(|item| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}
