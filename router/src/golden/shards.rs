//! Owns the shard map of the golden files about shards, and the reading of those files.

use super::add_dump;
use crate::facts::{Facts, FactsBuilder, FactsError};
use crate::key::{KeyType, KeyValue};
use crate::shard_map::{MapParts, ShardMap};

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
pub fn shards_map() -> ShardMap {
    let shards = ["s0", "s1", "s2", "s3"];
    // Days since 2000-01-01: 2026-01-01 and 2026-07-01.
    let days = [(None, "s0"), (Some(9497), "s1"), (Some(9678), "s2")]
        .map(|(day, shard)| (day.map(KeyValue::Date), shard));
    let tenants = [("acme", "s1"), ("bolt", "s2"), ("coil", "s1")]
        .map(|(tenant, shard)| (KeyValue::Text(tenant.into()), shard));
    let mut parts = MapParts::new(&shards)
        .hash("customer", &[KeyType::Int8])
        .list("tenant", KeyType::Varchar, &tenants)
        .range("day", KeyType::Date, &days)
        .hash("pair", &[KeyType::Int4, KeyType::Int4])
        .reference("everywhere")
        .table("public", "customers", "customer", &["id"])
        .table("app", "items", "customer", &["customer_id"])
        .table("public", "docs", "tenant", &["tenant"])
        .table("public", "events", "day", &["day"])
        .table("public", "cells", "pair", &["x", "y"])
        .table("public", "countries", "everywhere", &[])
        .table("public", "rates", "everywhere", &[]);
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
        parts = parts.table("public", name, "customer", &["customer_id"]);
    }
    ShardMap::build(parts).expect("invariant: checked by a test")
}
