//! Owns what a change of the map gives to whom.

use super::{Bound, Distribution, DistributionKind, KeyRange, ShardId, ShardMap, sorted};

impl ShardMap {
    /// The shards that have keys by this map which they did not have by another one, ascending.
    /// Shards are told by their names, and given by their places in this map.
    pub fn gaining(&self, before: &Self) -> Vec<ShardId> {
        let mut gaining = Vec::new();
        for now in &self.distributions {
            let then = before.distributions.iter().find(|then| then.name == now.name);
            match then.filter(|then| then.kind == now.kind && then.key_types == now.key_types) {
                Some(then) => gaining.extend(self.gaining_of(now, before, then)),
                // Its tables were elsewhere, or spread in another way.
                None => gaining.extend(self.all()),
            }
        }
        sorted(gaining)
    }

    fn gaining_of(&self, now: &Distribution, before: &Self, then: &Distribution) -> Vec<ShardId> {
        let differs = |old: Option<ShardId>, new: ShardId| {
            old.is_none_or(|old| before.name(old) != self.name(new))
        };
        match now.kind {
            DistributionKind::Reference => {
                let has = |shard: &ShardId| before.shards.iter().any(|s| **s == *self.name(*shard));
                self.all().filter(|shard| !has(shard)).collect()
            }
            DistributionKind::Single => {
                Some(now.home).filter(|home| differs(Some(then.home), *home)).into_iter().collect()
            }
            DistributionKind::List => {
                let old = |value| {
                    let at = then.values.binary_search_by(|(known, _)| known.cmp(value)).ok()?;
                    then.values.get(at).map(|(_, shard)| *shard)
                };
                let values = now.values.iter().filter(|(value, new)| differs(old(value), *new));
                values.map(|(_, shard)| *shard).collect()
            }
            DistributionKind::Hash | DistributionKind::Range => {
                // Between two borders of either map, both have one owner.
                let borders = now.ranges.iter().chain(&then.ranges).map(|range| &range.from);
                let owners = borders.filter_map(|border| {
                    let new = owner_at(&now.ranges, border.as_ref())?;
                    differs(owner_at(&then.ranges, border.as_ref()), new).then_some(new)
                });
                owners.collect()
            }
        }
    }
}

/// Who has what begins at a border.
fn owner_at(ranges: &[KeyRange], border: Option<&Bound>) -> Option<ShardId> {
    let after = ranges.partition_point(|range| range.from.as_ref() <= border);
    Some(ranges.get(after.checked_sub(1)?)?.shard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyType, KeyValue};
    use crate::shard_map::{Keys, MapParts};

    fn parts() -> MapParts {
        let int = KeyValue::Int;
        MapParts::new(&["s0", "s1", "s2"])
            .hash("orders", &[KeyType::Int8])
            .range("days", KeyType::Int8, &[(None, "s0"), (Some(int(10)), "s1")])
            .list("codes", KeyType::Int8, &[(int(1), "s1"), (int(2), "s2")])
            .single("one", "s2")
            .reference("copies")
    }

    fn ids(shards: &[u16]) -> Vec<ShardId> {
        shards.iter().copied().map(ShardId).collect()
    }

    #[test]
    fn only_who_has_more_keys_than_before_gains() {
        let map = ShardMap::build(parts()).unwrap();
        assert_eq!(map.gaining(&map), ids(&[]));
        let keys = Keys::Between(None, Some(Bound::Hash(-7_000_000_000_000_000_000)));
        let announced = map.announce(0, 1, &keys, "s2").unwrap();
        let paused = announced.pause(1, true).unwrap();
        assert_eq!((announced.gaining(&map), paused.gaining(&announced)), (ids(&[]), ids(&[])));
        let handed_over = paused.hand_over(1, "s2").unwrap();
        assert_eq!(handed_over.gaining(&paused), ids(&[2]));
        assert_eq!(handed_over.gaining(&map), ids(&[2]), "also when epochs were left out");
        assert_eq!(handed_over.retire(1).unwrap().gaining(&handed_over), ids(&[]));
        assert_eq!(handed_over.hand_over(1, "s0").unwrap().gaining(&handed_over), ids(&[0]));
        let values = Keys::Values(vec![KeyValue::Int(2)]);
        let listed = map.announce(2, 1, &values, "s0").unwrap().hand_over(1, "s0").unwrap();
        assert_eq!(listed.gaining(&map), ids(&[0]));
        let from = Bound::Value(KeyValue::Int(10));
        assert_eq!(map.assign(1, Some(&from), "s2").unwrap().gaining(&map), ids(&[2]));
        let merged = map.assign(1, Some(&from), "s0").unwrap().merge(1, &from).unwrap();
        assert_eq!((merged.gaining(&map), map.gaining(&merged)), (ids(&[0]), ids(&[1])));
    }

    #[test]
    fn what_was_not_there_before_is_gained() {
        let map = ShardMap::build(parts()).unwrap();
        let shard = ShardMap::build(MapParts::new(&["s0", "s1", "s2", "s3"])).unwrap();
        assert_eq!(shard.gaining(&map), ids(&[]), "without tables there is nothing to gain");
        let more = map.next(|parts| *parts = parts.clone().single("other", "s1")).unwrap();
        assert_eq!(more.gaining(&map), ids(&[0, 1, 2]));
    }
}
