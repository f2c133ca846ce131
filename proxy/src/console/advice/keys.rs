//! Owns the search for a shard key that would send a statement to one shard: the planner is asked
//! with maps in which the statement's tables have another key. Nothing is changed.

use super::columns;
use crate::pool::manager::Running;
use crate::routing::is_single_shard;
use pgmanifold_router::facts::Facts;
use pgmanifold_router::key::KeyType;
use pgmanifold_router::shard_map::{DistributionKind, ShardMap};
use std::collections::HashMap;

/// Most maps tried for one statement.
const TRIES_MAX: usize = 16;

/// What is known of keys.
pub(in crate::console) trait Keys {
    /// A column that, as the key of the statement's tables, would make it single-shard; with the
    /// name of the distribution whose key it would be.
    fn better(&self, database: &str, sql: &str) -> Option<(String, String)>;

    /// The key the statement's tables have now: distribution and columns.
    fn present(&self, database: &str, sql: &str) -> Option<(String, String)>;
}

/// Keys of the running databases.
pub(in crate::console) struct RunningKeys(pub(in crate::console) HashMap<String, Running>);

impl Keys for RunningKeys {
    fn better(&self, database: &str, sql: &str) -> Option<(String, String)> {
        let running = self.0.get(database)?;
        let map = running.sharded.as_ref()?.map().ok()?;
        better(&map, &running.facts.facts(), sql)
    }

    fn present(&self, database: &str, sql: &str) -> Option<(String, String)> {
        let map = self.0.get(database)?.sharded.as_ref()?.map().ok()?;
        let (distribution, columns) = distribution_of(&map, sql)?;
        Some((map.distributions.get(distribution)?.name.to_string(), columns.join(", ")))
    }
}

/// The first keyed distribution whose table the text names, and that table's key.
fn distribution_of(map: &ShardMap, sql: &str) -> Option<(usize, Vec<String>)> {
    let names = columns::names(sql.as_bytes());
    let table = map.tables.iter().find(|table| {
        let kind = map.distribution(table).kind;
        let keyed = !matches!(kind, DistributionKind::Reference | DistributionKind::Single);
        keyed && names.iter().any(|name| **name == *table.name)
    })?;
    let columns = table.key_columns.iter().map(ToString::to_string).collect();
    Some((table.distribution, columns))
}

/// See [`Keys::better`].
pub(super) fn better(map: &ShardMap, facts: &Facts, sql: &str) -> Option<(String, String)> {
    let (distribution, key) = distribution_of(map, sql)?;
    let name = map.distributions.get(distribution)?.name.to_string();
    let compared = columns::compared(sql.as_bytes());
    let others = compared.into_iter().filter(|column| key != [column.as_str()]).take(TRIES_MAX);
    let found = others.into_iter().find(|column| {
        with_key(map, facts, distribution, column)
            .is_some_and(|map| is_single_shard(sql.as_bytes(), facts, &map))
    })?;
    Some((name, found))
}

/// The map in which the tables of a distribution have this column as their key, by hash; those
/// without such a column live on the home shard.
fn with_key(map: &ShardMap, facts: &Facts, distribution: usize, column: &str) -> Option<ShardMap> {
    let name = map.distributions.get(distribution)?.name.clone();
    let type_of = |schema: &str, table: &str| {
        let relation = facts.schema().relation(schema, table)?;
        KeyType::from_oid(relation.column(column)?.type_oid)
    };
    let mut parts = map.parts();
    let own = |table: &pgmanifold_router::shard_map::TableParts| table.distribution == name;
    let key_type = parts
        .tables
        .iter()
        .filter(|table| own(table))
        .find_map(|table| type_of(&table.schema, &table.name))?;
    parts.tables.retain(|table| {
        table.distribution != name || type_of(&table.schema, &table.name) == Some(key_type)
    });
    for table in parts.tables.iter_mut().filter(|table| table.distribution == name) {
        table.key_columns = vec![column.into()];
        table.unchecked_unique = true;
    }
    let shards = parts.shards.clone();
    let changed = parts.distributions.iter_mut().find(|known| known.name == name)?;
    changed.kind = DistributionKind::Hash;
    changed.key_types = vec![key_type];
    changed.values = Vec::new();
    changed.ranges = ShardMap::even_split(shards.len()).into_iter().zip(shards).collect();
    ShardMap::build(parts).ok()
}
