//! Tests of the planner: simulations whose figures are printed, and properties of any plan.

mod properties;
mod simulations;

use super::balance::Rules;
use super::parts::{By, HASH_PARTS, Parts, Weight};
use super::together::together;
use super::*;
use pgmanifold_router::key::KeyType;
use pgmanifold_router::shard_map::{Bound, MapParts, ShardMap};

/// A map of so many shards, of which the first `own` have equal parts of one distribution.
fn hash_map(shards: usize, own: usize) -> ShardMap {
    let names: Vec<String> = (0..shards).map(|at| format!("s{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut parts = MapParts::new(&names).hash("orders", &[KeyType::Int8]);
    let starts = ShardMap::even_split(own);
    let owners = names.iter().map(|name| Box::from(*name));
    parts.distributions[0].ranges = starts.into_iter().zip(owners).collect();
    ShardMap::build(parts).unwrap()
}

fn rules(map: &ShardMap, by: By, drained: &[usize]) -> Rules {
    let drained = (0..map.shards.len()).map(|at| drained.contains(&at)).collect();
    Rules { by, threshold: 0.1, improvement: 0.5, drained }
}

/// The map after all moves of a plan, one after another, and its merges.
fn carried_out(map: &ShardMap, plan: &Plan) -> ShardMap {
    let mut map = map.clone();
    let moves = plan.moves_left("db", &map).unwrap();
    for (at, planned) in moves.iter().enumerate() {
        let place = text::distribution(&map, &planned.distribution).unwrap();
        let id = at as u64 + 1;
        map = map.announce(place, id, &planned.keys, &planned.target).unwrap();
        map = map.hand_over(id, &planned.target).unwrap();
        map = map.retire(id).unwrap();
    }
    assert_eq!(plan.moves_left("db", &map).unwrap(), []);
    plan.merge_left(&map).unwrap().unwrap_or(map)
}
