//! Owns the shard map of the golden files about shards, and the reading of those files.

use super::add_dump;
use crate::facts::{Facts, FactsBuilder, FactsError};
use crate::key::{KeyType, KeyValue};
use crate::shard_map::{Bound, Keys, MapError, MapParts, ShardMap};

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
/// # Errors
/// The parts do not make a map.
pub fn shards_map() -> Result<ShardMap, Vec<MapError>> {
    let text = |value: &str| KeyValue::Text(value.into());
    let day = |day: &str| KeyValue::from_text(KeyType::Date, day);
    let mut parts = MapParts::new(&["s0", "s1", "s2", "s3"])
        .hash("customer", &[KeyType::Int8])
        .list(
            "tenant",
            KeyType::Varchar,
            &[(text("acme"), "s1"), (text("bolt"), "s2"), (text("coil"), "s1")],
        )
        .range(
            "day",
            KeyType::Date,
            &[(None, "s0"), (day("2026-01-01"), "s1"), (day("2026-07-01"), "s2")],
        )
        .hash("pair", &[KeyType::Int4, KeyType::Int4])
        .reference("everywhere")
        .single("aside", "s3")
        .table("public", "customers", "customer", &["id"])
        .table("app", "items", "customer", &["customer_id"])
        .table("public", "docs", "tenant", &["tenant"])
        .table("public", "events", "day", &["day"])
        .table("public", "cells", "pair", &["x", "y"])
        .table("public", "countries", "everywhere", &[])
        .table("public", "rates", "everywhere", &[])
        .table("public", "archive", "aside", &[]);
    for name in [
        "orders",
        "lines",
        "parts",
        "tickets",
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
    ShardMap::build(parts.table("public", "notes", "customer", &["customer_id"]).unchecked_unique())
}

/// The same with keys on their way: hashes from -2^62 to -2^61 of `customer`, all of them of s1,
/// to s2; of `tenant`, `coil`, which was of s1 and is of s2; of `day`, March and April 2026, which
/// were of s1 and are of s0; of `pair`, all of s3, to s2.
///
/// # Errors
/// The parts do not make a map.
pub fn shards_moving_map() -> Result<ShardMap, Vec<MapError>> {
    let hash = |at: i64| Some(Bound::Hash(at));
    let day = |day: &str| KeyValue::from_text(KeyType::Date, day).map(Bound::Value);
    let coil = Keys::Values(vec![KeyValue::Text("coil".into())]);
    let spring = Keys::Between(day("2026-03-01"), day("2026-05-01"));
    shards_map()?
        .announce(0, 1, &Keys::Between(hash(-(1 << 62)), hash(-(1 << 61))), "s2")?
        .announce(1, 2, &coil, "s2")?
        .hand_over(2, "s2")?
        .announce(2, 3, &spring, "s0")?
        .hand_over(3, "s0")?
        .announce(3, 4, &Keys::Between(hash(1 << 62), None), "s2")
}
