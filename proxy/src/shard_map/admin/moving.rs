//! Owns what `pgmanifold map` leaves alone while keys are on their way to another shard: the mover
//! has laid down what is where, and goes on by that.

use super::AdminError;
use pgmanifold_router::shard_map::{
    Distribution, DistributionParts, MapParts, Moving, ShardMap, Table, TableParts,
};
use std::fmt::Display;

/// Refuses a change of what moves go by: the ranges, values and tables of a distribution with
/// moving keys, and the shards between which they move.
pub(super) fn protect(before: &MapParts, after: &MapParts) -> Result<(), AdminError> {
    for old in before.distributions.iter().filter(|old| !old.moving.is_empty()) {
        let new = after.distributions.iter().find(|new| new.name == old.name);
        let tables = |parts: &MapParts| -> Vec<TableParts> {
            let own = parts.tables.iter().filter(|table| table.distribution == old.name);
            let mut own: Vec<TableParts> = own.cloned().collect();
            own.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
            own
        };
        let gone = old.moving.iter().flat_map(|one| [&one.source, &one.target]);
        let what = match new {
            None => "it cannot be taken out of the map",
            Some(new) if new != old => "its ranges cannot be changed",
            Some(_) if tables(before) != tables(after) => "its tables cannot be changed",
            Some(_) if gone.into_iter().any(|shard| !after.shards.contains(shard)) => {
                "their shards cannot be taken out of the map"
            }
            Some(_) => continue,
        };
        return Err(refused(&old.name, &old.moving, what));
    }
    Ok(())
}

/// The moves of a distribution are the catalog's, never the file's. Where the file says nothing
/// else of the keys than the catalog, the ranges are the catalog's too: they begin and end where
/// moves do.
pub(super) fn keep(before: &DistributionParts, wanted: &mut DistributionParts, same_owners: bool) {
    wanted.moving.clone_from(&before.moving);
    if same_owners && !before.moving.is_empty() {
        wanted.ranges.clone_from(&before.ranges);
    }
}

/// Refuses changes of the ranges of a distribution with moving keys.
pub(super) fn at_rest(map: &ShardMap, distribution: &str) -> Result<(), AdminError> {
    let found = map.distributions.iter().find(|one| *one.name == *distribution);
    found.map_or(Ok(()), |one| refuse(map, one, "its ranges cannot be changed"))
}

/// Refuses changes of the sequences of a distribution's tables while keys of it move.
pub(super) fn sequences_at_rest(map: &ShardMap, table: &Table) -> Result<(), AdminError> {
    refuse(map, map.distribution(table), "sequences of its tables cannot be set")
}

fn refuse(map: &ShardMap, one: &Distribution, what: &str) -> Result<(), AdminError> {
    if one.moving.is_empty() {
        return Ok(());
    }
    let name = |shard: &_| map.name(*shard).to_owned();
    let moving: Vec<Moving<String>> = one.moving.iter().map(|one| one.with_shards(name)).collect();
    Err(refused(&one.name, &moving, what))
}

fn refused<S: Display>(distribution: &str, moving: &[Moving<S>], what: &str) -> AdminError {
    let moves: Vec<String> = moving.iter().map(describe).collect();
    AdminError(format!(
        "keys of distribution {distribution:?} are being moved: {what} meanwhile\n{}\n\
         wait until `pgmanifold-rebalancer status` shows the end of it, or give it up with \
         `pgmanifold-rebalancer abort`",
        moves.join("\n")
    ))
}

/// A move, as people are shown it.
pub fn describe<S: Display>(one: &Moving<S>) -> String {
    let Moving { id, keys, source, target, paused } = one;
    let paused = if *paused { " (paused)" } else { "" };
    format!("move {id}: {keys} from {source} to {target}{paused}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgmanifold_router::key::KeyType;
    use pgmanifold_router::shard_map::{Bound, Keys};

    fn moving() -> MapParts {
        let map = ShardMap::build(
            MapParts::new(&["s0", "s1", "s2"])
                .hash("customer", &[KeyType::Int8])
                .hash("other", &[KeyType::Int8])
                .table("public", "orders", "customer", &["id"]),
        );
        let keys = Keys::Between(None, Some(Bound::Hash(i64::MIN / 2)));
        map.unwrap().announce(0, 7, &keys, "s1").unwrap().parts()
    }

    #[test]
    fn what_moves_go_by_stays() {
        let before = moving();
        protect(&before, &before).unwrap();
        let refused = |change: &dyn Fn(&mut MapParts)| {
            let mut after = before.clone();
            change(&mut after);
            protect(&before, &after).unwrap_err().0
        };
        let error = refused(&|parts| parts.distributions[0].moving.clear());
        assert!(error.contains("its ranges cannot be changed"), "{error}");
        assert!(
            error.contains("move 7: [beginning, -4611686018427387904) from s0 to s1"),
            "{error}"
        );
        let error = refused(&|parts| {
            parts.distributions[0].ranges.push((Some(Bound::Hash(5)), "s2".into()));
        });
        assert!(error.contains("its ranges"), "{error}");
        assert!(refused(&|parts| parts.tables.clear()).contains("its tables"));
        assert!(refused(&|parts| drop(parts.distributions.remove(0))).contains("taken out"));
        assert!(refused(&|parts| parts.shards.retain(|name| **name != *"s1")).contains("shards"));
        // What is not theirs may change.
        let mut after = before.clone();
        after.distributions[1].ranges.push((Some(Bound::Hash(5)), "s2".into()));
        after.shards.push("s3".into());
        let after = after.table("public", "others", "other", &["id"]);
        protect(&before, &after).unwrap();
    }

    #[test]
    fn the_catalogs_moves_are_kept() {
        let before = moving();
        let mut wanted = before.distributions[0].clone();
        wanted.moving.clear();
        wanted.ranges.pop();
        keep(&before.distributions[0], &mut wanted, true);
        assert_eq!(wanted, before.distributions[0]);
        wanted.ranges.pop();
        keep(&before.distributions[0], &mut wanted, false);
        assert_ne!(wanted.ranges, before.distributions[0].ranges);
    }
}
