//! Owns the shard map of the golden files about shards, and the reading of those files.

use super::add_dump;
use crate::facts::{Facts, FactsBuilder, FactsError};
use crate::key::{KeyType, KeyValue};
use crate::shard_map::{Bound, Distribution, DistributionKind, KeyRange, ShardId, ShardMap, Table};

/// The schema of the cases, as SQL for psql.
pub const SHARDS_SCHEMA: &str = include_str!("../../golden/shards.sql");
/// What a server with that schema says of itself, without PostgreSQL's own functions.
pub const SHARDS_FACTS: &str = include_str!("../../golden/shards_facts.txt");

/// The facts of the schema, on top of PostgreSQL's own functions.
///
/// # Errors
/// The dump holds a row that is none.
pub fn shards_facts() -> Result<Facts, FactsError> {
    let mut builder = FactsBuilder::with_builtin(1);
    add_dump(&mut builder, SHARDS_FACTS)?;
    Ok(builder.build())
}

/// Four shards; the first is home. `customer`: hash of a bigint, a quarter each; `tenant`: list;
/// `day`: ranges of dates; `pair`: hash of two integers; `everywhere`: reference tables.
///
/// # Panics
/// Never: the parts are constants that make a map.
pub fn shards_map() -> ShardMap {
    let of = |name: &str, kind, key_types| Distribution {
        name: name.into(),
        kind,
        key_types,
        ranges: Vec::new(),
        values: Vec::new(),
        home: ShardId(0),
    };
    let mut customer = of("customer", DistributionKind::Hash, vec![KeyType::Int8]);
    customer.ranges = quarters();
    let mut tenant = of("tenant", DistributionKind::List, vec![KeyType::Varchar]);
    tenant.values = [("acme", 1), ("bolt", 2), ("coil", 1)]
        .map(|(value, shard)| (KeyValue::Text(value.into()), ShardId(shard)))
        .into();
    let mut day = of("day", DistributionKind::Range, vec![KeyType::Date]);
    // Days since 2000-01-01: 2026-01-01 and 2026-07-01.
    day.ranges = [(None, 0), (Some(9497), 1), (Some(9678), 2)]
        .map(|(from, shard)| KeyRange {
            from: from.map(|day| Bound::Value(KeyValue::Date(day))),
            shard: ShardId(shard),
        })
        .into();
    let mut pair = of("pair", DistributionKind::Hash, vec![KeyType::Int4, KeyType::Int4]);
    pair.ranges = quarters();
    let everywhere = of("everywhere", DistributionKind::Reference, Vec::new());
    let table = |schema: &str, name: &str, distribution, key: &[&str]| Table {
        schema: schema.into(),
        name: name.into(),
        distribution,
        key_columns: key.iter().map(|column| (*column).into()).collect(),
    };
    let mut tables = vec![
        table("public", "customers", 0, &["id"]),
        table("app", "items", 0, &["customer_id"]),
        table("public", "docs", 1, &["tenant"]),
        table("public", "events", 2, &["day"]),
        table("public", "cells", 3, &["x", "y"]),
        table("public", "countries", 4, &[]),
        table("public", "rates", 4, &[]),
    ];
    for name in [
        "orders",
        "lines",
        "parts",
        "tickets",
        "notes",
        "mails",
        "serials",
        "identities",
        "watched",
        "stamped",
        "moved",
        "ruled",
    ] {
        tables.push(table("public", name, 0, &["customer_id"]));
    }
    let shards = ["s0", "s1", "s2", "s3"].map(Into::into).into();
    let distributions = vec![customer, tenant, day, pair, everywhere];
    ShardMap::assemble(1, shards, ShardId(0), distributions, tables)
        .expect("invariant: the map of the golden files is one")
}

fn quarters() -> Vec<KeyRange> {
    [(None, 0), (Some(-(1_i64 << 62)), 1), (Some(0), 2), (Some(1_i64 << 62), 3)]
        .map(|(from, shard)| KeyRange { from: from.map(Bound::Hash), shard: ShardId(shard) })
        .into()
}
