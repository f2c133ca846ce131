//! Properties of any plan: carried out, it leaves no gap and no overlap, keys are their source's
//! until they move and nobody's twice, who is to have nothing has nothing, and there is no second
//! plan after it.

use super::*;
use pgmanifold_router::key::KeyValue;
use pgmanifold_router::shard_map::{DistributionKind, ShardId};
use proptest::prelude::*;

/// Parts of a distribution by hash in these simulations: few, so that many maps are tried.
const FEW_PARTS: usize = 64;

#[derive(Debug, Clone)]
struct World {
    shards: usize,
    kind: DistributionKind,
    /// Borders within the key space, and owners of the ranges.
    ranges: Vec<(u16, usize)>,
    weights: Vec<u64>,
    density: Vec<u64>,
    drained: usize,
    by: By,
}

fn worlds() -> impl Strategy<Value = World> {
    let kinds = [DistributionKind::Hash, DistributionKind::Range, DistributionKind::List];
    let weight = prop_oneof![5 => 0..100_u64, 2 => Just(0), 1 => 0..10_000_u64];
    (2..7_usize, prop::sample::select(kinds.to_vec())).prop_flat_map(move |(shards, kind)| {
        (
            prop::collection::vec((any::<u16>(), 0..shards), 1..12),
            prop::collection::vec(weight.clone(), 100),
            prop::collection::vec(1..5_u64, 100),
            0..shards.min(3),
            prop::sample::select(vec![By::Rows, By::Bytes, By::Load]),
        )
            .prop_map(move |(ranges, weights, density, drained, by)| World {
                shards,
                kind,
                ranges,
                weights,
                density,
                drained,
                by,
            })
    })
}

impl World {
    fn map(&self) -> ShardMap {
        let names: Vec<String> = (0..self.shards).map(|at| format!("s{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut parts = MapParts::new(&names);
        let key = |at: u16| KeyValue::Int(i64::from(at));
        match self.kind {
            DistributionKind::List => {
                let values: Vec<_> =
                    self.ranges.iter().map(|(at, shard)| (key(*at), names[*shard])).collect();
                parts = parts.list("orders", KeyType::Int8, &values);
                parts.distributions[0].values.sort();
                parts.distributions[0].values.dedup_by(|a, b| a.0 == b.0);
            }
            _ => {
                let hash = self.kind == DistributionKind::Hash;
                parts = match hash {
                    true => parts.hash("orders", &[KeyType::Int8]),
                    false => parts.range("orders", KeyType::Int8, &[(None, names[0])]),
                };
                let border = |at: u16| match hash {
                    true => Bound::Hash((i64::from(at) << 48) + 1),
                    false => Bound::Value(key(at)),
                };
                let ranges = self.ranges.iter().skip(1);
                let mut ranges: Vec<_> = ranges
                    .map(|(at, shard)| (Some(border(*at)), Box::from(names[*shard])))
                    .collect();
                ranges.push((None, Box::from(names[self.ranges[0].1])));
                ranges.sort();
                ranges.dedup_by(|a, b| a.0 == b.0);
                parts.distributions[0].ranges = ranges;
            }
        }
        ShardMap::build(parts).unwrap()
    }

    /// The parts of a map, at these borders; what lies in a part does not depend on who has it.
    fn parts(&self, map: &ShardMap, borders: &[Bound]) -> Parts {
        let mut parts = Parts::of(map, 0, borders).unwrap();
        for (at, part) in parts.parts.iter_mut().enumerate() {
            let rows = self.weights[at % self.weights.len()];
            let density = self.density[at % self.density.len()];
            part.weight = Weight { rows, bytes: rows * density * 10, executions: rows * density };
        }
        parts
    }

    fn borders(&self) -> Vec<Bound> {
        match self.kind {
            DistributionKind::Hash => Parts::hash_borders(FEW_PARTS),
            _ => (0..FEW_PARTS as i64).map(|at| Bound::Value(KeyValue::Int(at << 10))).collect(),
        }
    }
}

/// All borders there are, so that the parts are the same before and after.
fn all_borders(map: &ShardMap, mut borders: Vec<Bound>) -> Vec<Bound> {
    borders.extend(map.distributions[0].ranges.iter().filter_map(|range| range.from.clone()));
    borders
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn plans_keep_the_map_whole(world in worlds()) {
        let map = world.map();
        let borders = all_borders(&map, world.borders());
        let parts = world.parts(&map, &borders);
        let drained: Vec<usize> = (0..world.drained).collect();
        let rules = rules(&map, world.by, &drained);
        let space = std::slice::from_ref(&parts);
        let plan = together("db", &map, space, &rules, false, "property");

        for proposal in &plan.moves {
            let keys = proposal.keys.keys(&map.distributions[0]).unwrap();
            let owner = map.distributions[0].owner_of(&keys).map(|shard| map.name(shard));
            prop_assert_eq!(owner, Some(&*proposal.source), "all keys are the source's");
            prop_assert_ne!(&proposal.source, &proposal.target);
        }
        // Whoever builds a map refuses gaps and overlaps.
        let after = carried_out(&map, &plan);
        let again = world.parts(&after, &borders);
        prop_assert_eq!(again.total(), parts.total());
        let had = parts.per_shard(map.shards.len());
        let has = again.per_shard(map.shards.len());
        for (at, shard) in plan.shards.iter().enumerate() {
            prop_assert_eq!(shard.before, had[at]);
            prop_assert_eq!(shard.after, has[at]);
        }
        let owners = after.shards_with(0);
        prop_assert!(owners.iter().all(|ShardId(at)| !drained.contains(&usize::from(*at))));

        let space = std::slice::from_ref(&again);
        let second = together("db", &after, space, &rules, false, "property");
        prop_assert_eq!(&second.moves, &[], "{}", second);

        let read = Plan::from_json(&plan.to_json()).unwrap();
        prop_assert_eq!(&read, &plan);
    }
}
