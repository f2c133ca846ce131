//! Owns the making of maps: parts as configuration and catalog have them, by name, are checked
//! and become a map, or all that is wrong with them is told.

use super::{
    Bound, Distribution, DistributionKind, KeyRange, Moving, ShardId, ShardMap, Table, TableIndex,
    moving,
};
use crate::key::{KeyType, KeyValue};
use hashbrown::HashMap;
use std::fmt;

/// Most shards of a map.
pub const MAX_SHARDS: usize = 65_535;
/// Most ranges, or values of a list, of all distributions together.
pub const MAX_RANGES: usize = 1_000_000;
/// Most tables of a map.
pub const MAX_TABLES: usize = 100_000;
/// Most distributions of a map.
const MAX_DISTRIBUTIONS: usize = 10_000;
/// Most columns of a key.
pub const MAX_KEY_COLUMNS: usize = 32;
/// Longest name of a shard, distribution, schema, table or column, as in PostgreSQL.
pub const MAX_NAME_BYTES: usize = 63;
/// Longest border or listed value, as text.
const MAX_VALUE_BYTES: usize = 1_024;
/// Most errors that are told.
const MAX_ERRORS: usize = 100;

/// What a map is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MapParts {
    /// Grows with every change; from 1.
    pub epoch: u64,
    /// Names of the shards.
    pub shards: Vec<Box<str>>,
    /// The shard where unsharded tables live.
    pub home: Box<str>,
    /// All distributions.
    pub distributions: Vec<DistributionParts>,
    /// All tables.
    pub tables: Vec<TableParts>,
}

/// A distribution of [`MapParts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistributionParts {
    /// Its name.
    pub name: Box<str>,
    /// How its keys are spread.
    pub kind: DistributionKind,
    /// Types of the key's columns.
    pub key_types: Vec<KeyType>,
    /// `Hash` and `Range`: where each range begins, and who has it.
    pub ranges: Vec<(Option<Bound>, Box<str>)>,
    /// `List`: who has which value.
    pub values: Vec<(KeyValue, Box<str>)>,
    /// `Single`: who has it all.
    pub home: Option<Box<str>>,
    /// Keys on their way to another shard.
    pub moving: Vec<Moving<Box<str>>>,
}

/// A table of [`MapParts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableParts {
    /// Its schema.
    pub schema: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Name of its distribution.
    pub distribution: Box<str>,
    /// The columns that hold the key.
    pub key_columns: Vec<Box<str>>,
    /// Its unique indexes that lack the key are checked on each shard only, and that is accepted.
    pub unchecked_unique: bool,
}

/// Something wrong with the parts of a map, or with a change of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapError {
    /// What it is in, as in `distribution "orders"`.
    pub place: String,
    /// Lowercase, without a full stop.
    pub message: String,
}

impl MapError {
    pub(super) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for MapError {}

impl MapParts {
    /// A map of these shards, the first of which is home, with epoch 1 and nothing in it.
    pub fn new(shards: &[&str]) -> Self {
        let shards: Vec<Box<str>> = shards.iter().map(|name| Box::from(*name)).collect();
        let home = shards.first().cloned().unwrap_or_default();
        Self { epoch: 1, shards, home, ..Self::default() }
    }

    /// With a distribution by hash, evenly over all shards.
    #[must_use]
    pub fn hash(self, name: &str, key_types: &[KeyType]) -> Self {
        let borders = ShardMap::even_split(self.shards.len());
        let ranges = borders.into_iter().zip(self.shards.iter().cloned()).collect();
        self.distribution(name, DistributionKind::Hash, key_types, |parts| parts.ranges = ranges)
    }

    /// With a distribution by values: borders and shards in ascending order, `None` first.
    #[must_use]
    pub fn range(self, name: &str, key_type: KeyType, ranges: &[(Option<KeyValue>, &str)]) -> Self {
        let ranges = ranges.iter().map(|(from, s)| (from.clone().map(Bound::Value), (*s).into()));
        let ranges = ranges.collect();
        self.distribution(name, DistributionKind::Range, &[key_type], |parts| parts.ranges = ranges)
    }

    /// With a distribution by single values.
    #[must_use]
    pub fn list(self, name: &str, key_type: KeyType, values: &[(KeyValue, &str)]) -> Self {
        let values = values.iter().map(|(value, shard)| (value.clone(), (*shard).into())).collect();
        self.distribution(name, DistributionKind::List, &[key_type], |parts| parts.values = values)
    }

    /// With a distribution of tables that every shard has a copy of.
    #[must_use]
    pub fn reference(self, name: &str) -> Self {
        self.distribution(name, DistributionKind::Reference, &[], |_| {})
    }

    /// With a distribution of tables that live on one shard.
    #[must_use]
    pub fn single(self, name: &str, shard: &str) -> Self {
        let home = Some(shard.into());
        self.distribution(name, DistributionKind::Single, &[], |parts| parts.home = home)
    }

    /// The last table's unique indexes that lack its key are checked on each shard only.
    #[must_use]
    pub fn unchecked_unique(mut self) -> Self {
        if let Some(table) = self.tables.last_mut() {
            table.unchecked_unique = true;
        }
        self
    }

    /// With a table of a distribution.
    #[must_use]
    pub fn table(mut self, schema: &str, name: &str, distribution: &str, key: &[&str]) -> Self {
        self.tables.push(TableParts {
            schema: schema.into(),
            name: name.into(),
            distribution: distribution.into(),
            key_columns: key.iter().map(|column| Box::from(*column)).collect(),
            unchecked_unique: false,
        });
        self
    }

    fn distribution(
        mut self,
        name: &str,
        kind: DistributionKind,
        key_types: &[KeyType],
        fill: impl FnOnce(&mut DistributionParts),
    ) -> Self {
        let mut parts = DistributionParts {
            name: name.into(),
            kind,
            key_types: key_types.to_vec(),
            ranges: Vec::new(),
            values: Vec::new(),
            home: None,
            moving: Vec::new(),
        };
        fill(&mut parts);
        self.distributions.push(parts);
        self
    }
}

impl ShardMap {
    /// Checks the parts and makes a map of them. Ranges and values may come in any order.
    ///
    /// # Errors
    /// All that is wrong: no shards, unknown or repeated names, ranges that do not begin at the
    /// very beginning or begin twice, keys that do not fit their tables, limits exceeded.
    pub fn build(parts: MapParts) -> Result<Self, Vec<MapError>> {
        let (home, distributions, tables) = checked(&parts)?;
        let index = TableIndex::of(&tables);
        let (epoch, shards) = (parts.epoch, parts.shards);
        let moves = moving::Moves::of(&distributions);
        Ok(Self { epoch, shards, home, distributions, tables, index, moves })
    }

    /// A map of parts that know their places already, checked as by [`ShardMap::build`].
    ///
    /// # Errors
    /// As [`ShardMap::build`].
    pub fn assemble(
        epoch: u64,
        shards: Vec<Box<str>>,
        home: ShardId,
        distributions: Vec<Distribution>,
        tables: Vec<Table>,
    ) -> Result<Self, Vec<MapError>> {
        let index = TableIndex::default();
        let moves = moving::Moves::default();
        let loose = Self { epoch, shards, home, distributions, tables, index, moves };
        Self::build(loose.parts())
    }

    /// The parts this map would be built from again.
    pub fn parts(&self) -> MapParts {
        let name = |shard: ShardId| Box::from(self.name(shard));
        let distribution = |d: &Distribution| DistributionParts {
            name: d.name.clone(),
            kind: d.kind,
            key_types: d.key_types.clone(),
            ranges: d.ranges.iter().map(|r| (r.from.clone(), name(r.shard))).collect(),
            values: d.values.iter().map(|(value, s)| (value.clone(), name(*s))).collect(),
            home: (d.kind == DistributionKind::Single).then(|| name(d.home)),
            moving: d.moving.iter().map(|m| m.with_shards(|shard| name(*shard))).collect(),
        };
        let name_of = |at: usize| {
            self.distributions.get(at).map_or_else(Box::default, |found| found.name.clone())
        };
        let table = |t: &Table| TableParts {
            schema: t.schema.clone(),
            name: t.name.clone(),
            distribution: name_of(t.distribution),
            key_columns: t.key_columns.clone(),
            unchecked_unique: t.unchecked_unique,
        };
        MapParts {
            epoch: self.epoch,
            shards: self.shards.clone(),
            home: name(self.home),
            distributions: self.distributions.iter().map(distribution).collect(),
            tables: self.tables.iter().map(table).collect(),
        }
    }
}

/// The parts with places for names, or all that is wrong with them.
fn checked(parts: &MapParts) -> Result<(ShardId, Vec<Distribution>, Vec<Table>), Vec<MapError>> {
    let mut check = Check { shards: places(&parts.shards, |name| name), errors: Vec::new() };
    if !(1..=i64::MAX.cast_unsigned()).contains(&parts.epoch) {
        check.error("map", format!("the epoch {} is not from 1 to 2^63 - 1", parts.epoch));
    }
    check.names("shard", parts.shards.iter().map(|name| &**name), MAX_SHARDS);
    if parts.shards.is_empty() {
        check.error("map", "there are no shards");
    }
    let home = check.shard("map", &parts.home);
    let names = parts.distributions.iter().map(|d| &*d.name);
    check.names("distribution", names, MAX_DISTRIBUTIONS);
    let rows = parts.distributions.iter().map(|d| d.ranges.len() + d.values.len());
    if rows.sum::<usize>() > MAX_RANGES {
        check.error("map", format!("there are more than {MAX_RANGES} ranges and values"));
    }
    let distributions = check.distributions(&parts.distributions, home);
    let tables = check.tables(&parts.tables, &parts.distributions);
    if check.errors.is_empty() {
        moving::check(&distributions, &mut check.errors);
    }
    if check.errors.is_empty() {
        return Ok((home, distributions, tables));
    }
    check.errors.truncate(MAX_ERRORS);
    Err(check.errors)
}

/// Where each name stands.
fn places<T>(named: &[T], name: impl Fn(&T) -> &str) -> HashMap<&str, usize> {
    named.iter().enumerate().map(|(at, item)| (name(item), at)).collect()
}

struct Check<'a> {
    shards: HashMap<&'a str, usize>,
    errors: Vec<MapError>,
}

impl Check<'_> {
    fn error(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.errors.push(MapError::new(place, message));
    }

    /// Names that must differ, and be such as PostgreSQL has.
    fn names<'n>(&mut self, what: &str, names: impl Iterator<Item = &'n str>, most: usize) {
        let mut names: Vec<&str> = names.collect();
        if names.len() > most {
            self.error("map", format!("there are more than {most} {what}s"));
        }
        names.sort_unstable();
        for name in &names {
            self.name(&format!("{what} {name:?}"), name);
        }
        for pair in names.windows(2).filter(|pair| pair.first() == pair.last()) {
            let name = pair.first().copied().unwrap_or_default();
            self.error(format!("{what} {name:?}"), "it is there twice");
        }
    }

    fn name(&mut self, place: &str, name: &str) {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
            self.error(place, format!("a name is not of 1 to {MAX_NAME_BYTES} bytes"));
        }
    }

    fn shard(&mut self, place: &str, name: &str) -> ShardId {
        let id = self.shards.get(name).and_then(|at| u16::try_from(*at).ok()).map(ShardId);
        id.unwrap_or_else(|| {
            self.error(place, format!("there is no shard {name:?}"));
            ShardId(0)
        })
    }

    fn distributions(&mut self, parts: &[DistributionParts], home: ShardId) -> Vec<Distribution> {
        let built = parts.iter().map(|parts| {
            let place = format!("distribution {:?}", parts.name);
            self.shape(&place, parts);
            let home = match &parts.home {
                Some(name) => self.shard(&place, name),
                None => home,
            };
            Distribution {
                name: parts.name.clone(),
                kind: parts.kind,
                key_types: parts.key_types.clone(),
                ranges: self.ranges(&place, parts),
                values: self.values(&place, parts),
                home,
                moving: self.moving(&place, parts),
            }
        });
        built.collect()
    }

    /// What a distribution of each kind has and has not.
    fn shape(&mut self, place: &str, parts: &DistributionParts) {
        use DistributionKind::{Hash, List, Range, Reference, Single};
        let columns = match parts.kind {
            Hash => 1..=MAX_KEY_COLUMNS,
            Range | List => 1..=1,
            Reference | Single => 0..=0,
        };
        if !columns.contains(&parts.key_types.len()) {
            let (least, most) = (columns.start(), columns.end());
            let kind = parts.kind;
            self.error(place, format!("the key of kind {kind} has {least} to {most} columns"));
        }
        if matches!(parts.kind, Hash | Range) == parts.ranges.is_empty() {
            let some = if parts.ranges.is_empty() { "no" } else { "superfluous" };
            self.error(place, format!("there are {some} ranges"));
        }
        if (parts.kind == List) == parts.values.is_empty() {
            let some = if parts.values.is_empty() { "no" } else { "superfluous" };
            self.error(place, format!("there are {some} listed values"));
        }
        if (parts.kind == Single) != parts.home.is_some() {
            let some = if parts.home.is_none() { "no" } else { "a superfluous" };
            self.error(place, format!("there is {some} shard for all of it"));
        }
    }

    fn ranges(&mut self, place: &str, parts: &DistributionParts) -> Vec<KeyRange> {
        let mut ranges: Vec<KeyRange> = Vec::with_capacity(parts.ranges.len());
        for (from, shard) in &parts.ranges {
            let fits = match (from, parts.kind) {
                (None, _) | (Some(Bound::Hash(_)), DistributionKind::Hash) => true,
                (Some(Bound::Value(value)), DistributionKind::Range) => fits(value, parts),
                _ => false,
            };
            if !fits {
                let from = from.as_ref().map_or_else(String::new, ToString::to_string);
                self.error(place, format!("a range cannot begin at {from:?}"));
            }
            ranges.push(KeyRange { from: from.clone(), shard: self.shard(place, shard) });
        }
        ranges.sort_by(|a, b| a.from.cmp(&b.from));
        if ranges.first().is_some_and(|first| first.from.is_some()) {
            self.error(place, "the first range does not begin at the very beginning");
        }
        for pair in ranges.windows(2) {
            if let [a, b] = pair
                && a.from == b.from
            {
                let from = a.from.as_ref().map_or_else(|| "the beginning".into(), Bound::to_string);
                self.error(place, format!("two ranges begin at {from}"));
            }
        }
        ranges
    }

    fn values(&mut self, place: &str, parts: &DistributionParts) -> Vec<(KeyValue, ShardId)> {
        let mut values = Vec::with_capacity(parts.values.len());
        for (value, shard) in &parts.values {
            if !fits(value, parts) {
                self.error(place, format!("the value {value} is not one of its key"));
            }
            values.push((value.clone(), self.shard(place, shard)));
        }
        values.sort();
        for pair in values.windows(2) {
            if let [(a, _), (b, _)] = pair
                && a == b
            {
                self.error(place, format!("the value {a} is listed twice"));
            }
        }
        values
    }

    /// Whether the keys can be on their way is looked at when all else is right.
    fn moving(&mut self, place: &str, parts: &DistributionParts) -> Vec<Moving> {
        let moves = parts.moving.iter();
        let mut moves: Vec<Moving> =
            moves.map(|moving| moving.with_shards(|name| self.shard(place, name))).collect();
        moves.sort_by_key(|moving| moving.id);
        moves
    }

    fn tables(&mut self, parts: &[TableParts], distributions: &[DistributionParts]) -> Vec<Table> {
        if parts.len() > MAX_TABLES {
            self.error("map", format!("there are more than {MAX_TABLES} tables"));
        }
        let mut tables = Vec::with_capacity(parts.len());
        let places = places(distributions, |d| &d.name);
        for parts in parts {
            let place = format!("table {:?}.{:?}", parts.schema, parts.name);
            let names = [&parts.schema, &parts.name].into_iter().chain(&parts.key_columns);
            names.for_each(|name| self.name(&place, name));
            let at = places.get(&*parts.distribution).copied();
            let Some((at, distribution)) = at.and_then(|at| Some((at, distributions.get(at)?)))
            else {
                self.error(&place, format!("there is no distribution {:?}", parts.distribution));
                continue;
            };
            let (columns, wanted) = (&parts.key_columns, distribution.key_types.len());
            if columns.len() != wanted {
                let given = columns.len();
                self.error(&place, format!("it names {given} key columns, not {wanted}"));
            }
            let twice = |(at, column)| columns.iter().take(at).any(|other| other == column);
            if columns.iter().enumerate().any(twice) {
                self.error(&place, "it names a key column twice");
            }
            tables.push(Table {
                schema: parts.schema.clone(),
                name: parts.name.clone(),
                distribution: at,
                key_columns: columns.clone(),
                unchecked_unique: parts.unchecked_unique,
            });
        }
        let mut names: Vec<_> = tables.iter().map(|table| (&table.name, &table.schema)).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            if let [first, second] = pair
                && first == second
            {
                let (name, schema) = first;
                self.error(format!("table {schema:?}.{name:?}"), "it is there twice");
            }
        }
        tables
    }
}

/// Whether a border or listed value is one of the key's type that can be written and read again.
fn fits(value: &KeyValue, parts: &DistributionParts) -> bool {
    let ([ty], Some(text)) = (parts.key_types.as_slice(), value.to_text()) else { return false };
    text.len() <= MAX_VALUE_BYTES && KeyValue::from_text(*ty, &text).as_ref() == Some(value)
}
