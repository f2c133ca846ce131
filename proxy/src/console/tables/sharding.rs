//! Fills the tables of the shard map, moves and transactions.

use super::Fill;
use crate::console::time::utc_of_ms;
use crate::pool::manager::Running;
use crate::server::Shared;
use crate::shard_map::ShardedDatabase;
use crate::two_phase::{Known, TwoPhase, home_and_time};
use pgmanifold_console::Value;
use pgmanifold_console::value::Row;
use pgmanifold_router::catalog::MoveSeen;
use pgmanifold_router::shard_map::{
    Bound, Distribution, DistributionKind, Moving, ShardId, ShardMap, Table,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const FILLS: &[(&str, Fill)] =
    &[("ranges", ranges), ("tables", tables), ("transactions", transactions), ("moves", moves)];

fn ranges(shared: &Arc<Shared>) -> Vec<Row> {
    let mut rows = Vec::new();
    for database in shared.state().running() {
        let Some(sharded) = &database.sharded else { continue };
        let map = sharded.guard();
        let Some(map) = map.as_ref() else { continue };
        for (index, distribution) in map.distributions.iter().enumerate() {
            for range in pieces(map, distribution) {
                let hashes = range.hashes;
                let executions = hashes.and_then(|(from, to)| sharded.executions(index, from, to));
                let mut row = range_row(sharded, map, distribution, range);
                row.push(executions.into());
                rows.push(row);
            }
        }
    }
    rows
}

/// A piece of a distribution, and who has it.
#[derive(Debug, Default, PartialEq)]
struct Piece {
    hashes: Option<(i64, i64)>,
    values: (Option<String>, Option<String>),
    shard: String,
    state: String,
}

fn pieces(map: &ShardMap, distribution: &Distribution) -> Vec<Piece> {
    let one = |shard: &str| {
        let (shard, state) = (shard.to_owned(), ACTIVE.to_owned());
        vec![Piece { shard, state, ..Piece::default() }]
    };
    match distribution.kind {
        DistributionKind::Reference => one("all"),
        DistributionKind::Single => one(map.name(distribution.home)),
        DistributionKind::List => {
            let values = distribution.values.iter().map(|(value, shard)| {
                let mut moving = distribution.moving.iter();
                let moving = moving.find(|one| one.keys.have_value(value));
                let value = Some(value.to_string());
                Piece {
                    hashes: None,
                    values: (value.clone(), value),
                    shard: map.name(*shard).to_owned(),
                    state: state(map, moving, *shard),
                }
            });
            values.collect()
        }
        DistributionKind::Hash | DistributionKind::Range => {
            let ranges = &distribution.ranges;
            let nexts = ranges.iter().skip(1).map(|next| next.from.as_ref()).chain([None]);
            let pair = ranges.iter().zip(nexts);
            let piece = pair.map(|(range, next)| {
                // Ranges begin and end where moves do.
                let mut moving = distribution.moving.iter();
                let moving = moving.find(|one| one.keys.have_start(range.from.as_ref()));
                Piece {
                    shard: map.name(range.shard).to_owned(),
                    state: state(map, moving, range.shard),
                    ..between(distribution.kind, range.from.as_ref(), next)
                }
            });
            piece.collect()
        }
    }
}

/// Of keys that nothing happens to.
const ACTIVE: &str = "active";

fn state(map: &ShardMap, moving: Option<&Moving>, owner: ShardId) -> String {
    match moving {
        None => ACTIVE.to_owned(),
        Some(moving) if moving.paused => "paused".to_owned(),
        Some(moving) if owner == moving.source => format!("moving to {}", map.name(moving.target)),
        Some(moving) => format!("moved from {}", map.name(moving.source)),
    }
}

fn between(kind: DistributionKind, from: Option<&Bound>, next: Option<&Bound>) -> Piece {
    let hash = |bound: Option<&Bound>| match bound {
        Some(Bound::Hash(hash)) => Some(*hash),
        Some(Bound::Value(_)) | None => None,
    };
    let value = |bound: Option<&Bound>| bound.map(ToString::to_string);
    match kind {
        DistributionKind::Hash => {
            let last = hash(next).map_or(i64::MAX, |next| next.saturating_sub(1));
            Piece { hashes: Some((hash(from).unwrap_or(i64::MIN), last)), ..Piece::default() }
        }
        _ => Piece { values: (value(from), value(next)), ..Piece::default() },
    }
}

fn range_row(
    sharded: &ShardedDatabase,
    map: &ShardMap,
    distribution: &Distribution,
    piece: Piece,
) -> Row {
    let types: Vec<String> = distribution.key_types.iter().map(ToString::to_string).collect();
    let (hash_from, hash_to) = piece.hashes.unzip();
    let (value_from, value_to) = piece.values;
    vec![
        sharded.name().into(),
        (&*distribution.name).into(),
        distribution.kind.to_string().into(),
        types.join(",").into(),
        hash_from.into(),
        hash_to.into(),
        value_from.into(),
        value_to.into(),
        piece.shard.into(),
        map.epoch.into(),
        sharded.acknowledged_epoch().into(),
        piece.state.into(),
        Value::Null,
        Value::Null,
    ]
}

fn tables(shared: &Arc<Shared>) -> Vec<Row> {
    let mut rows = Vec::new();
    for database in shared.state().running() {
        tables_of(&database, &mut rows);
    }
    rows
}

fn tables_of(database: &Running, rows: &mut Vec<Row>) {
    let Some(sharded) = &database.sharded else { return };
    let map = sharded.guard();
    let Some(map) = map.as_ref() else { return };
    let facts = database.facts.facts();
    let schema = facts.schema();
    let is_there = |schema_name: &str, name: &str| {
        schema.is_known().then(|| schema.relation(schema_name, name).is_some())
    };
    let own = |schema_name: &str, name: &str| -> Row {
        vec![sharded.name().into(), schema_name.into(), name.into()]
    };
    let mut named: BTreeSet<(&str, &str)> = BTreeSet::new();
    for table in &map.tables {
        named.insert((&table.schema, &table.name));
        let mut row = own(&table.schema, &table.name);
        row.extend(placed(map, table));
        row.push(is_there(&table.schema, &table.name).into());
        rows.push(row);
    }
    let mut others: Vec<(&str, &str)> = schema
        .all()
        .filter(|relation| relation.is_table() && relation.parent.is_none())
        .map(|relation| (&*relation.schema, &*relation.name))
        .filter(|name| !named.contains(name) && !is_ours(name.0))
        .collect();
    others.sort_unstable();
    for (schema_name, name) in others {
        let mut row = own(schema_name, name);
        row.extend(["unsharded".into(), Value::Null, Value::Null]);
        row.extend([map.name(map.home).into(), false.into(), true.into()]);
        rows.push(row);
    }
}

/// Schemas that are no application's.
fn is_ours(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema" | "pg_toast" | "pgm")
}

/// Kind, distribution, key, shard, and whether unique constraints are checked.
fn placed(map: &ShardMap, table: &Table) -> [Value; 5] {
    let distribution = map.distribution(table);
    let (kind, shard) = match distribution.kind {
        DistributionKind::Hash | DistributionKind::Range | DistributionKind::List => {
            ("sharded", None)
        }
        DistributionKind::Reference => ("reference", None),
        DistributionKind::Single => ("single", Some(map.name(distribution.home))),
    };
    let key = table.key_columns.join(",");
    let key = Some(key).filter(|key| !key.is_empty());
    [
        kind.into(),
        (&*distribution.name).into(),
        key.into(),
        shard.into(),
        table.unchecked_unique.into(),
    ]
}

fn transactions(shared: &Arc<Shared>) -> Vec<Row> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let state = shared.state();
    let mut all: Vec<_> = state.two_phases().collect();
    all.sort_by(|one, other| one.database().cmp(other.database()));
    let of = |two_phase: &Arc<TwoPhase>| -> Vec<Row> {
        let known = two_phase.known();
        known
            .iter()
            .filter_map(|(name, known)| transaction_row(two_phase.database(), name, known, now_ms))
            .collect()
    };
    all.into_iter().flat_map(of).collect()
}

fn transaction_row(database: &str, name: &str, known: &Known, now_ms: u64) -> Option<Row> {
    let (home, started_ms) = home_and_time(name)?;
    let shards: Vec<&str> = known.shards.iter().map(String::as_str).collect();
    let state = match (known.committing, known.left) {
        (true, _) => "committing",
        (false, true) => "finishing",
        (false, false) => "in_doubt",
    };
    Some(vec![
        database.into(),
        name.into(),
        home.into(),
        shards.join(",").into(),
        utc_of_ms(started_ms).into(),
        now_ms.saturating_sub(started_ms).into(),
        state.into(),
        if known.committed { "committed" } else { "undecided" }.into(),
    ])
}

fn moves(shared: &Arc<Shared>) -> Vec<Row> {
    let mut rows = Vec::new();
    for database in shared.state().running() {
        let Some(sharded) = &database.sharded else { continue };
        rows.extend(sharded.moves().iter().map(|one| move_row(sharded.name(), one)));
    }
    rows
}

fn move_row(database: &str, one: &MoveSeen) -> Row {
    let time = |ms: Option<i64>| ms.and_then(|ms| u64::try_from(ms).ok()).map(utc_of_ms);
    vec![
        one.id.into(),
        database.into(),
        one.distribution.clone().into(),
        one.range.clone().into(),
        one.source.clone().into(),
        one.target.clone().into(),
        one.state.clone().into(),
        one.rows_copied.into(),
        one.bytes_copied.into(),
        one.done_percent().into(),
        one.rows_per_s.into(),
        one.left_s().into(),
        one.lag_bytes.into(),
        time(one.started_ms).into(),
        one.last_error.clone().into(),
        one.attempts.into(),
        one.mode.clone().into(),
        one.wish.clone().into(),
        one.write_pause_ms.into(),
        time(one.ended_ms).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgmanifold_router::golden;

    #[test]
    fn ranges_say_what_they_hold_from_end_to_end() {
        let map = golden::shards_map().unwrap();
        let of = |name: &str| {
            let found = map.distributions.iter().find(|known| *known.name == *name).unwrap();
            pieces(&map, found)
        };
        let customers = of("customer");
        assert_eq!(customers.len(), 4);
        assert_eq!(customers[0].hashes, Some((i64::MIN, -(1 << 62) - 1)));
        assert_eq!(customers[3].hashes, Some((1 << 62, i64::MAX)));
        for pair in customers.windows(2) {
            assert_eq!(pair[0].hashes.unwrap().1 + 1, pair[1].hashes.unwrap().0);
        }
        let text = |text: &str| Some(text.to_owned());
        let days: Vec<_> = of("day").into_iter().map(|piece| (piece.values, piece.shard)).collect();
        let wanted = [
            ((None, text("2026-01-01")), "s0".to_owned()),
            ((text("2026-01-01"), text("2026-07-01")), "s1".to_owned()),
            ((text("2026-07-01"), None), "s2".to_owned()),
        ];
        assert_eq!(days, wanted);
        let tenants = of("tenant");
        assert_eq!((&tenants[0].values.0, &*tenants[0].shard), (&text("acme"), "s1"));
        assert_eq!(of("everywhere")[0].shard, "all");
        assert_eq!(of("aside")[0].shard, "s3");
    }

    #[test]
    fn ranges_say_what_happens_to_their_keys() {
        use pgmanifold_router::shard_map::Keys;
        let map = golden::shards_map().unwrap();
        let at = map.distributions.iter().position(|known| &*known.name == "customer").unwrap();
        let keys = Keys::Between(None, Some(Bound::Hash(-(1 << 62))));
        let source = pieces(&map, &map.distributions[at])[0].shard.clone();
        let target = if source == "s3" { "s2" } else { "s3" };
        let states = |map: &ShardMap| -> Vec<String> {
            pieces(map, &map.distributions[at]).into_iter().map(|piece| piece.state).collect()
        };
        let map = map.announce(at, 7, &keys, target).unwrap();
        let moving = format!("moving to {target}");
        assert_eq!(states(&map), [&*moving, "active", "active", "active"]);
        let map = map.pause(7, true).unwrap();
        assert_eq!(states(&map)[0], "paused");
        let map = map.hand_over(7, target).unwrap();
        assert_eq!(states(&map)[0], format!("moved from {source}"));
        assert_eq!(states(&map.retire(7).unwrap())[0], "active");
    }
}
