//! Owns the reading of what belongs to sharded databases: the shards of a `[[database]]`, and the
//! `[[distribution]]`s and `[[table]]`s that make up its map.

mod observed;

pub(super) use observed::observed;

use super::document::{Span, Table, Value, closest, full_name};
use super::model::{Database, DeclaredMap, Shard, Sharding};
use super::resolve::{Context, MAX_NAME_BYTES, Reader};
use super::servers;
use pgmanifold_router::key::{KeyType, KeyValue};
use pgmanifold_router::shard_map::{
    Bound, DistributionKind, DistributionParts, MAX_KEY_COLUMNS, MapParts, ShardId, ShardMap,
    TableParts,
};
use std::sync::Arc;

/// Most shards of one database.
const MAX_SHARDS: usize = 1024;
/// Words of `key_types`.
const KEY_TYPES: [KeyType; 9] = [
    KeyType::Int2,
    KeyType::Int4,
    KeyType::Int8,
    KeyType::Text,
    KeyType::Varchar,
    KeyType::Uuid,
    KeyType::Bytea,
    KeyType::Date,
    KeyType::Timestamptz,
];

/// Where a `[[database]]` lives: its shard, or its home shard and all of them.
pub(super) fn place(
    reader: &Reader<'_>,
    shards: &[Arc<Shard>],
) -> Option<(Arc<Shard>, Option<Arc<Sharding>>)> {
    let Some(names) = list(reader, "shards") else {
        if reader.table.mention("home_shard").is_some() {
            reader.error("home_shard", "a home without shards", "add `shards`, or give `shard`");
        }
        return Some((servers::find_shard(reader, shards)?, None));
    };
    if reader.table.mention("shard").is_some() {
        reader.error("shard", "`shard` and `shards` are both given", "give exactly one of them");
    }
    if names.is_empty() || names.len() > MAX_SHARDS {
        let help = format!("from 1 to {MAX_SHARDS} names");
        reader.error("shards", format!("{} shards", names.len()), help);
    }
    let mut found: Vec<Arc<Shard>> = Vec::with_capacity(names.len());
    for (name, span) in names {
        let twice = found.iter().any(|shard| shard.name == *name);
        if twice {
            let message = format!("shard {name:?} is named twice");
            error_at(reader, "shards", span, message, "name every shard once");
        } else if let Some(shard) = shards.iter().find(|shard| shard.name == *name) {
            found.push(Arc::clone(shard));
        } else {
            let known = shards.iter().map(|shard| shard.name.as_str());
            error_at(reader, "shards", span, no_shard(name), one_of(name, known, "a `[[shard]]`"));
        }
    }
    let home = match reader.text("home_shard") {
        None => 0,
        Some(name) => {
            let home = found.iter().position(|shard| shard.name == name);
            if home.is_none() {
                let known = found.iter().map(|shard| shard.name.as_str());
                let help = one_of(&name, known, "it to `shards`");
                reader.error("home_shard", format!("{name:?} is not one of `shards`"), help);
            }
            home?
        }
    };
    let shard = Arc::clone(found.get(home)?);
    let home = ShardId(u16::try_from(home).ok()?);
    Some((shard, Some(Arc::new(Sharding { shards: found, home }))))
}

/// The map of each sharded database, and of those whose rules are tried.
pub(super) fn maps(
    tables: &[Table],
    databases: &[Arc<Database>],
    context: &Context<'_>,
) -> Vec<DeclaredMap> {
    let of = |name: &'static str| tables.iter().filter(move |table| table.section.name == name);
    let mut maps: Vec<Map<'_>> =
        databases.iter().filter_map(|database| Map::new(database)).collect();
    // A database that could not be read was complained about already.
    let complete = of("database").count() == databases.len();
    for table in of("distribution") {
        let reader = Reader::new(table, context);
        let Some(map) = find_map(&reader, &mut maps, complete) else { continue };
        if let Some(distribution) = distribution(&reader, map.sharding) {
            if map.distribution(&distribution.name).is_some() {
                let message = format!("a second distribution {:?}", distribution.name);
                reader.error("name", message, "each may stand once per database");
            }
            if distribution.kind == DistributionKind::Hash && !has_ranges(&reader) {
                map.even.push(distribution.name.to_string());
            }
            map.parts.distributions.push(distribution);
        } else {
            map.broken.extend(reader.text("name"));
        }
    }
    for table in of("table") {
        let reader = Reader::new(table, context);
        let Some(map) = find_map(&reader, &mut maps, complete) else { continue };
        let Some(table) = map_table(&reader, map) else { continue };
        let is_it =
            |known: &TableParts| (&known.schema, &known.name) == (&table.schema, &table.name);
        if map.parts.tables.iter().any(is_it) {
            let message = format!("a second table {}.{}", table.schema, table.name);
            reader.error("name", message, "each may stand once per database");
        }
        map.parts.tables.push(table);
    }
    maps.into_iter().filter_map(|map| map.finish(context)).collect()
}

/// A map in the making.
struct Map<'a> {
    database: &'a str,
    sharding: &'a Sharding,
    parts: MapParts,
    even: Vec<String>,
    /// Names of distributions that were refused.
    broken: Vec<String>,
}

impl<'a> Map<'a> {
    fn new(database: &'a Database) -> Option<Self> {
        let sharding = database.sharding.as_deref().or(database.observed.as_deref())?;
        let shards: Vec<&str> = sharding.shards.iter().map(|shard| shard.name.as_str()).collect();
        let home = sharding.shards.get(usize::from(sharding.home.0))?.name.as_str().into();
        let parts = MapParts { home, ..MapParts::new(&shards) };
        let (even, broken) = (Vec::new(), Vec::new());
        let database = &database.name;
        Some(Self { database, sharding, parts, even, broken })
    }

    fn distribution(&self, name: &str) -> Option<&DistributionParts> {
        self.parts.distributions.iter().find(|known| *known.name == *name)
    }

    fn finish(self, context: &Context<'_>) -> Option<DeclaredMap> {
        let map = match ShardMap::build(self.parts) {
            Ok(map) => Arc::new(map),
            Err(errors) => {
                // What was complained about at its own line is not said again.
                let news = errors.iter().filter(|_| !context.problems.has_errors());
                let news: Vec<String> = news.map(ToString::to_string).collect();
                for message in news {
                    context.problems.error(&(0..0), "distribution", message, "");
                }
                return None;
            }
        };
        Some(DeclaredMap { database: self.database.to_owned(), map, even: self.even })
    }
}

/// The map a `[[distribution]]` or `[[table]]` belongs to.
fn find_map<'m, 'a>(
    reader: &Reader<'_>,
    maps: &'m mut [Map<'a>],
    complete: bool,
) -> Option<&'m mut Map<'a>> {
    let name = reader.text("database");
    let position = match &name {
        Some(name) => maps.iter().position(|map| map.database == *name),
        None => (maps.len() == 1).then_some(0),
    };
    if position.is_none() && complete {
        let message = match &name {
            Some(name) => format!("there is no database {name:?} with `shards`"),
            None if maps.is_empty() => "there is no database with `shards`".to_owned(),
            None => "`database` is missing and several have `shards`".to_owned(),
        };
        let known = maps.iter().map(|map| map.database);
        let help = one_of(name.as_deref().unwrap_or(""), known, "`shards` to a `[[database]]`");
        reader.error("database", message, help);
    }
    maps.get_mut(position?)
}

/// One `[[distribution]]`; `None` when it cannot be used.
fn distribution(reader: &Reader<'_>, sharding: &Sharding) -> Option<DistributionParts> {
    let name = reader.name("name")?;
    let kind = match reader.text("kind").as_deref() {
        Some("range") => DistributionKind::Range,
        Some("list") => DistributionKind::List,
        Some("reference") => DistributionKind::Reference,
        Some("single") => DistributionKind::Single,
        _ => DistributionKind::Hash,
    };
    let key_types = key_types(reader, kind)?;
    let nested = |name: &'static str| {
        reader.table.tables.iter().filter(move |table| table.section.name == name)
    };
    let by_ranges = matches!(kind, DistributionKind::Hash | DistributionKind::Range);
    for (section, wanted) in
        [("distribution.ranges", by_ranges), ("distribution.lists", kind == DistributionKind::List)]
    {
        if let Some(table) = nested(section).next().filter(|_| !wanted) {
            let key = section.to_owned();
            let message = format!("a distribution of this kind has no `{section}`");
            let help = "leave it out, or take another `kind`";
            reader.context.problems.error(&table.span, key, message, help);
        }
    }
    if kind != DistributionKind::Single && reader.table.mention("home").is_some() {
        reader.error("home", "only `kind = \"single\"` has a `home`", "leave it out");
    }
    let home = match (kind, reader.text("home")) {
        (DistributionKind::Single, Some(_)) => Some(shard_name(reader, "home", sharding)?),
        (DistributionKind::Single, None) => {
            let home = sharding.shards.get(usize::from(sharding.home.0));
            home.map(|shard| shard.name.as_str().into())
        }
        _ => None,
    };
    let ranges: Vec<Reader<'_>> =
        nested("distribution.ranges").map(|table| Reader::new(table, reader.context)).collect();
    let ranges = match (kind, key_types.first()) {
        (DistributionKind::Hash, _) if ranges.is_empty() => {
            let names = sharding.shards.iter().map(|shard| Box::from(shard.name.as_str()));
            ShardMap::even_split(sharding.shards.len()).into_iter().zip(names).collect()
        }
        (DistributionKind::Hash | DistributionKind::Range, Some(first)) => {
            key_ranges(reader, kind, *first, &ranges, sharding)?
        }
        _ => Vec::new(),
    };
    let values = match (kind, key_types.first()) {
        (DistributionKind::List, Some(first)) => {
            let lists = nested("distribution.lists");
            let lists: Vec<_> = lists.map(|table| Reader::new(table, reader.context)).collect();
            list_values(reader, *first, &lists, sharding)?
        }
        _ => Vec::new(),
    };
    Some(DistributionParts {
        name: name.into(),
        kind,
        key_types,
        ranges,
        values,
        home,
        moving: Vec::new(),
    })
}

fn has_ranges(reader: &Reader<'_>) -> bool {
    reader.table.tables.iter().any(|table| table.section.name == "distribution.ranges")
}

fn key_types(reader: &Reader<'_>, kind: DistributionKind) -> Option<Vec<KeyType>> {
    let (least, most) = match kind {
        DistributionKind::Hash => (1, MAX_KEY_COLUMNS),
        DistributionKind::Range | DistributionKind::List => (1, 1),
        DistributionKind::Reference | DistributionKind::Single => (0, 0),
    };
    let names = list(reader, "key_types").unwrap_or_default();
    if names.len() < least || names.len() > most {
        if names.is_empty() && reader.table.mention("key_types").is_some() {
            return None;
        }
        let (message, help) = match (names.len(), most) {
            (_, 0) => ("a distribution of this kind has no key", "leave `key_types` out".into()),
            (0, _) => ("`key_types` is missing", "for example `key_types = [\"bigint\"]`".into()),
            (_, 1) => ("the key has several columns", "only `hash` takes several".into()),
            _ => ("the key has too many columns", format!("at most {MAX_KEY_COLUMNS}")),
        };
        reader.error("key_types", message, help);
        return None;
    }
    let mut types = Vec::with_capacity(names.len());
    for (name, span) in names {
        match KeyType::from_name(name) {
            Some(key_type) => types.push(key_type),
            None => {
                let known: Vec<String> = KEY_TYPES.iter().map(KeyType::to_string).collect();
                let help = one_of(name, known.iter().map(String::as_str), "");
                let message = format!("{name:?} is not a type of keys");
                error_at(reader, "key_types", span, message, help);
            }
        }
    }
    (types.len() == names.len()).then_some(types)
}

fn key_ranges(
    reader: &Reader<'_>,
    kind: DistributionKind,
    key_type: KeyType,
    ranges: &[Reader<'_>],
    sharding: &Sharding,
) -> Option<Vec<(Option<Bound>, Box<str>)>> {
    if ranges.is_empty() {
        let help = "for example `ranges = [{ shard = \"s0\" }, { from = 1000, shard = \"s1\" }]`";
        reader.error("ranges", "a `range` distribution without ranges", help);
        return None;
    }
    let mut read: Vec<(Option<Bound>, Box<str>)> = Vec::with_capacity(ranges.len());
    for range in ranges {
        let from = match range.text("from") {
            None if range.table.mention("from").is_some() => return None,
            None => None,
            Some(text) if kind == DistributionKind::Hash => {
                let hash = text.parse().ok();
                if hash.is_none() {
                    let help = "a whole number from -2^63 to 2^63 - 1";
                    range.error("from", format!("{text:?} is not a hash"), help);
                }
                Some(Bound::Hash(hash?))
            }
            Some(text) => Some(Bound::Value(key_value(range, "from", key_type, &text)?)),
        };
        let shard = shard_name(range, "shard", sharding)?;
        match read.last() {
            None if from.is_some() => {
                let help = "the first range begins at the very beginning";
                range.error("from", "nobody has the keys before this", help);
            }
            Some(_) if from.is_none() => {
                range.error("from", "`from` is missing", "only the first range is without");
            }
            Some((before, _)) if *before >= from => {
                let help = "ranges stand in ascending order, each once";
                range.error("from", "not larger than the `from` before", help);
            }
            _ => {}
        }
        read.push((from, shard));
    }
    Some(read)
}

fn list_values(
    reader: &Reader<'_>,
    key_type: KeyType,
    lists: &[Reader<'_>],
    sharding: &Sharding,
) -> Option<Vec<(KeyValue, Box<str>)>> {
    if lists.is_empty() {
        let help = "for example `lists = [{ values = [\"de\", \"fr\"], shard = \"s0\" }]`";
        reader.error("lists", "a `list` distribution without values", help);
        return None;
    }
    let mut read: Vec<(KeyValue, Box<str>)> = Vec::new();
    for one in lists {
        let shard = shard_name(one, "shard", sharding)?;
        for (text, span) in list(one, "values").unwrap_or_default() {
            let value = key_value(one, "values", key_type, text)?;
            if read.iter().any(|(known, _)| *known == value) {
                let message = format!("{text:?} is named twice");
                error_at(one, "values", span, message, "each key has one shard");
            }
            read.push((value, shard.clone()));
        }
    }
    Some(read)
}

/// A key as it stands in the file.
fn key_value(reader: &Reader<'_>, key: &str, key_type: KeyType, text: &str) -> Option<KeyValue> {
    let read = KeyValue::from_text(key_type, text).filter(|value| fits(value, key_type));
    if read.is_none() {
        let message = format!("{text:?} is not a key of type {key_type}");
        reader.error(key, message, "a value as PostgreSQL shows it");
    }
    read
}

/// Whether a number is one that a column of the type can hold.
fn fits(value: &KeyValue, key_type: KeyType) -> bool {
    match (value, key_type) {
        (KeyValue::Int(number), KeyType::Int2) => i16::try_from(*number).is_ok(),
        (KeyValue::Int(number), KeyType::Int4) => i32::try_from(*number).is_ok(),
        _ => true,
    }
}

/// One `[[table]]`; `None` when it cannot be used.
fn map_table(reader: &Reader<'_>, map: &Map<'_>) -> Option<TableParts> {
    let name = reader.text("name")?;
    let (schema, name) = name.split_once('.').unwrap_or(("public", &name));
    let usable = |part: &str| !part.is_empty() && part.len() <= MAX_NAME_BYTES;
    if !usable(schema) || !usable(name) {
        let help = format!("`schema.table`, each at most {MAX_NAME_BYTES} bytes");
        reader.error("name", "not the name of a table", help);
    }
    let wanted = reader.text("distribution")?;
    let Some(distribution) = map.distribution(&wanted) else {
        if !map.broken.contains(&wanted) {
            let known = map.parts.distributions.iter().map(|known| &*known.name);
            let message = format!("there is no distribution {wanted:?} in {:?}", map.database);
            let help = one_of(&wanted, known, "a `[[distribution]]`");
            reader.error("distribution", message, help);
        }
        return None;
    };
    let columns = list(reader, "key").unwrap_or_default();
    let types = &distribution.key_types;
    if columns.len() != types.len() {
        let (given, needed) = (columns.len(), types.len());
        let message = format!("{given} columns, but the key of {wanted:?} has {needed}");
        let types: Vec<String> = types.iter().map(KeyType::to_string).collect();
        let help = match types.is_empty() {
            true => "leave `key` out".to_owned(),
            false => format!("one column each of {}", types.join(", ")),
        };
        reader.error("key", message, help);
    }
    for (at, (column, span)) in columns.iter().enumerate() {
        if !usable(column) || columns.iter().take(at).any(|(other, _)| other == column) {
            let message = format!("{column:?} cannot be here");
            error_at(reader, "key", span, message, "different names of columns");
        }
    }
    Some(TableParts {
        schema: schema.into(),
        name: name.into(),
        distribution: wanted.into(),
        unchecked_unique: reader.boolean("unchecked_unique"),
        key_columns: columns.iter().map(|(column, _)| column.as_str().into()).collect(),
    })
}

/// The shard named under `key`.
fn shard_name(reader: &Reader<'_>, key: &str, sharding: &Sharding) -> Option<Box<str>> {
    let name = reader.text(key)?;
    let found = sharding.shards.iter().any(|shard| shard.name == name);
    if !found {
        let known = sharding.shards.iter().map(|shard| shard.name.as_str());
        let message = format!("{name:?} is not a shard of the database");
        reader.error(key, message, one_of(&name, known, "it to `shards`"));
    }
    found.then(|| name.into())
}

fn list<'a>(reader: &Reader<'a>, key: &str) -> Option<&'a [(String, Span)]> {
    match reader.given(key) {
        Some(Value::List(list)) => Some(list),
        _ => None,
    }
}

fn error_at(
    reader: &Reader<'_>,
    key: &str,
    span: &Span,
    message: impl Into<String>,
    help: impl Into<String>,
) {
    let key = full_name(reader.table.section, key);
    reader.context.problems.error(span, key, message, help);
}

fn no_shard(name: &str) -> String {
    format!("there is no shard {name:?}")
}

/// What somebody meant who wrote `name`; `add` says what is missing when nothing is known.
fn one_of<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone, add: &str) -> String {
    if let Some(close) = closest(name, known.clone()) {
        return format!("did you mean {close:?}?");
    }
    let known: Vec<String> = known.map(|name| format!("{name:?}")).collect();
    match known.is_empty() {
        true => format!("add {add}"),
        false => format!("one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests;
