//! Owns the shard map: which shard has which keys of which tables, under one epoch. A map is a
//! checked, immutable value; it must not know servers, sessions or where it was read from.

use crate::key::{KeyType, KeyValue};
use std::fmt;

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
}

/// A shard map.
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
}

impl ShardMap {
    /// The table of this name; without a schema, the only one of that name.
    pub fn table(&self, schema: Option<&str>, name: &str) -> Option<&Table> {
        let is_it =
            |table: &&Table| *table.name == *name && schema.is_none_or(|s| *table.schema == *s);
        self.tables.iter().find(is_it)
    }

    /// The distribution of a table of this map.
    pub fn distribution(&self, table: &Table) -> &Distribution {
        &self.distributions[table.distribution]
    }

    /// All shards.
    pub fn all(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards.len() as u16).map(ShardId)
    }

    /// Who has the row with this key; `None` when nobody does.
    pub fn shard_of(&self, distribution: usize, key: &[KeyValue]) -> Option<ShardId> {
        let _ = (distribution, key);
        None
    }

    /// Who may have rows with keys between these, both included; `None` is without bound. Only
    /// distributions by range answer with less than all of their shards.
    pub fn shards_between(
        &self,
        distribution: usize,
        from: Option<&KeyValue>,
        to: Option<&KeyValue>,
    ) -> Vec<ShardId> {
        let _ = (distribution, from, to);
        self.all().collect()
    }

    /// Everybody who has any row of this distribution.
    pub fn shards_with(&self, distribution: usize) -> Vec<ShardId> {
        let _ = distribution;
        self.all().collect()
    }

    /// The name of a shard.
    pub fn name(&self, shard: ShardId) -> &str {
        self.shards.get(usize::from(shard.0)).map_or("?", |name| name)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
