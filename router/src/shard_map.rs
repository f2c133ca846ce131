//! Owns the shard map: which shard has which keys of which tables, under one epoch. A map is a
//! checked, immutable value; it must not know servers, sessions or where it was read from.

use crate::hash::hash_key;
use crate::key::{KeyType, KeyValue};
use std::fmt;

mod build;
mod change;
mod gained;
mod index;
mod moving;
mod text;

pub use build::{
    DistributionParts, MAX_KEY_COLUMNS, MAX_NAME_BYTES, MAX_RANGES, MAX_SHARDS, MAX_TABLES,
    MapError, MapParts, TableParts,
};
use index::TableIndex;
use moving::Moves;
pub use moving::{Keys, Moving};
pub use text::{StoredMapError, from_stored, to_stored};

/// A shard's place in [`ShardMap::shards`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// How the keys of a distribution are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DistributionKind {
    /// By ranges of PostgreSQL's own extended hash of the key, a signed 64-bit number.
    Hash,
    /// By ranges of the key's own values.
    Range,
    /// By single values.
    List,
    /// A whole copy on every shard.
    Reference,
    /// All of it on one shard.
    Single,
}

/// A group of tables with the same key, whose rows of one key live on one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Its name.
    pub name: Box<str>,
    /// How its keys are spread.
    pub kind: DistributionKind,
    /// Types of the key's columns; none for `Reference` and `Single`.
    pub key_types: Vec<KeyType>,
    /// `Hash` and `Range`: sorted, without gap or overlap.
    pub ranges: Vec<KeyRange>,
    /// `List`: which shard has which value, sorted by value.
    pub values: Vec<(KeyValue, ShardId)>,
    /// `Single`: where it lives.
    pub home: ShardId,
    /// Keys on their way to another shard, by the number of their move.
    pub moving: Vec<Moving>,
}

/// Keys from `from` (included) up to the `from` of the next range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The smallest hash or key; `None` is the very beginning.
    pub from: Option<Bound>,
    /// Who has them.
    pub shard: ShardId,
}

/// A border between two ranges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// Of a `Hash` distribution.
    Hash(i64),
    /// Of a `Range` distribution.
    Value(KeyValue),
}

/// A table's place in the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its schema.
    pub schema: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Index of its distribution.
    pub distribution: usize,
    /// Names of the columns that hold the key, in the order of the distribution's types.
    pub key_columns: Vec<Box<str>>,
    /// Its unique indexes that lack the key are checked on each shard only, and that is accepted.
    pub unchecked_unique: bool,
}

/// A shard map, made by [`ShardMap::build`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMap {
    /// Grows with every change.
    pub epoch: u64,
    /// Names of the shards.
    pub shards: Vec<Box<str>>,
    /// Where tables live that no distribution has.
    pub home: ShardId,
    /// All distributions.
    pub distributions: Vec<Distribution>,
    /// All tables that belong to one.
    pub tables: Vec<Table>,
    index: TableIndex,
    /// What its distributions say, looked up once: it is asked for with every statement.
    moves: Moves,
}

/// What a name without certainty about its schema finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// No table of the map has this name.
    No,
    /// This one.
    One(&'a Table),
    /// More than one has it, in different schemas: which is meant depends on the search path.
    Several,
}

impl ShardMap {
    /// The table of this name, in the schema when there is one. Allocates nothing.
    pub fn find(&self, schema: Option<&str>, name: &str) -> Found<'_> {
        let named = self.index.get(name).iter().filter_map(|at| self.tables.get(*at));
        let mut found = named.filter(|table| schema.is_none_or(|schema| *table.schema == *schema));
        match (found.next(), found.next()) {
            (None, _) => Found::No,
            (Some(table), None) => Found::One(table),
            (Some(_), Some(_)) => Found::Several,
        }
    }

    /// The table of this name; without a schema, the only one of that name. Where a name may be
    /// that of several tables, [`ShardMap::find`] tells them from none.
    pub fn table(&self, schema: Option<&str>, name: &str) -> Option<&Table> {
        match self.find(schema, name) {
            Found::One(table) => Some(table),
            Found::No | Found::Several => None,
        }
    }

    /// The distribution of a table of this map.
    pub fn distribution(&self, table: &Table) -> &Distribution {
        &self.distributions[table.distribution]
    }

    /// All shards.
    pub fn all(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards.len() as u16).map(ShardId)
    }

    /// Who has the row with this key; `None` when nobody does, when the values are not of the
    /// key's types, and for reference tables, whose rows are everywhere.
    pub fn shard_of(&self, distribution: usize, key: &[KeyValue]) -> Option<ShardId> {
        self.shard_and_hash(distribution, key).0
    }

    /// The same, with the key's hash where that decides.
    pub fn shard_and_hash(
        &self,
        distribution: usize,
        key: &[KeyValue],
    ) -> (Option<ShardId>, Option<i64>) {
        let Some(distribution) = self.distributions.get(distribution) else { return (None, None) };
        let shard = match distribution.kind {
            DistributionKind::Reference => None,
            DistributionKind::Single => Some(distribution.home),
            _ if !distribution.has_key_of(key) => None,
            DistributionKind::Hash => {
                let hash = hash_key(key);
                return (distribution.range_of_hash(hash), Some(hash));
            }
            DistributionKind::Range => key.first().and_then(|value| {
                distribution.range_from(|bound| matches!(bound, Bound::Value(v) if v <= value))
            }),
            DistributionKind::List => {
                let at = distribution.values.binary_search_by(|(v, _)| Some(v).cmp(&key.first()));
                at.ok().and_then(|at| distribution.values.get(at)).map(|(_, shard)| *shard)
            }
        };
        (shard, None)
    }

    /// Who may have rows with keys between these, both included; `None` is without bound.
    /// Ascending, without repetition. Only distributions by range or list answer with less than
    /// all of their shards, and only for types with one order: that of text is its collation's.
    pub fn shards_between(
        &self,
        distribution: usize,
        from: Option<&KeyValue>,
        to: Option<&KeyValue>,
    ) -> Vec<ShardId> {
        let Some(found) = self.distributions.get(distribution) else { return Vec::new() };
        let ordered = match found.key_types.as_slice() {
            [ty] => !ty.is_text() && from.into_iter().chain(to).all(|value| value.is_of(*ty)),
            _ => false,
        };
        if !ordered || !matches!(found.kind, DistributionKind::Range | DistributionKind::List) {
            return self.shards_with(distribution);
        }
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Vec::new();
        }
        let starts_by = |range: &KeyRange, value: &KeyValue| match &range.from {
            None => true,
            Some(Bound::Value(start)) => start <= value,
            Some(Bound::Hash(_)) => false,
        };
        let ranges = &found.ranges;
        let first = from.map_or(0, |from| ranges.partition_point(|r| starts_by(r, from)));
        let last = to.map_or(ranges.len(), |to| ranges.partition_point(|r| starts_by(r, to)));
        // The range before the first one that starts later has the value itself.
        let ranges = ranges.get(first.saturating_sub(1)..last).unwrap_or_default();
        let inside = |value: &KeyValue| {
            from.is_none_or(|from| from <= value) && to.is_none_or(|to| value <= to)
        };
        let listed = found.values.iter().filter(|(value, _)| inside(value));
        sorted(ranges.iter().map(|r| r.shard).chain(listed.map(|(_, shard)| *shard)).collect())
    }

    /// Everybody who has any row of this distribution, ascending.
    pub fn shards_with(&self, distribution: usize) -> Vec<ShardId> {
        let Some(found) = self.distributions.get(distribution) else { return Vec::new() };
        match found.kind {
            DistributionKind::Hash | DistributionKind::Range => {
                sorted(found.ranges.iter().map(|range| range.shard).collect())
            }
            DistributionKind::List => {
                sorted(found.values.iter().map(|(_, shard)| *shard).collect())
            }
            DistributionKind::Reference => self.all().collect(),
            DistributionKind::Single => vec![found.home],
        }
    }

    /// The name of a shard.
    pub fn name(&self, shard: ShardId) -> &str {
        self.shards.get(usize::from(shard.0)).map_or("?", |name| name)
    }
}

impl Distribution {
    /// Who has the keys with this hash.
    pub fn range_of_hash(&self, hash: i64) -> Option<ShardId> {
        self.range_from(|bound| matches!(bound, Bound::Hash(from) if *from <= hash))
    }

    /// Who has the last range whose border is not beyond a key.
    fn range_from(&self, not_beyond: impl Fn(&Bound) -> bool) -> Option<ShardId> {
        let after =
            self.ranges.partition_point(|range| range.from.as_ref().is_none_or(&not_beyond));
        Some(self.ranges.get(after.checked_sub(1)?)?.shard)
    }

    fn has_key_of(&self, key: &[KeyValue]) -> bool {
        key.len() == self.key_types.len()
            && key.iter().zip(&self.key_types).all(|(value, ty)| value.is_of(*ty))
    }
}

fn sorted(mut shards: Vec<ShardId>) -> Vec<ShardId> {
    shards.sort_unstable();
    shards.dedup();
    shards
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests;
