//! Owns the question whether a statement may meet keys that are about to change hands. Values are
//! read as they are for the choice of shards.

use super::choose::{keys_of, shards_of};
use super::row::read;
use super::{KeyFilter, Operand, Placing, Values};
use crate::hash::hash_key;
use crate::key::{KeyValue, Reading};
use crate::shard_map::{Distribution, DistributionKind, Keys, ShardMap};

/// Whether a statement may meet them: one whose keys are known, only when they are among them; any
/// other, when it goes to their owner.
pub(super) fn meets_paused(placing: &Placing, map: &ShardMap, values: &Values<'_>) -> bool {
    if !map.is_paused() {
        return false;
    }
    match placing {
        Placing::Keyed { filters, .. } => {
            filters.iter().any(|filter| filter_meets(filter, map, values))
        }
        Placing::Rows { distribution, keys } => {
            let found = map.distributions.get(*distribution);
            found.is_none_or(|found| keys.iter().any(|key| row_meets(key, found, values)))
        }
        // Whoever knows which table it fills knows better.
        Placing::CopyIn => true,
        // None of them names keys of a distribution that can move.
        Placing::On(_)
        | Placing::Anywhere
        | Placing::Everywhere { .. }
        | Placing::Session
        | Placing::Transaction
        | Placing::Cursor
        | Placing::Refused(_) => false,
    }
}

fn filter_meets(filter: &KeyFilter, map: &ShardMap, values: &Values<'_>) -> bool {
    let Some(found) = map.distributions.get(filter.distribution) else { return true };
    if found.paused().next().is_none() {
        return false;
    }
    if let Some(keys) = keys_of(filter, &found.key_types, values) {
        return keys.iter().any(|key| is_paused(found, key));
    }
    let shards = shards_of(filter, map, values);
    let mut owners = found.paused().map(|moving| found.owner_of(&moving.keys));
    owners.any(|owner| owner.is_none_or(|owner| shards.contains(&owner)))
}

/// A row whose key cannot be read is refused when its shard is chosen.
fn row_meets(operands: &[Operand], found: &Distribution, values: &Values<'_>) -> bool {
    let pairs = operands.iter().zip(&found.key_types);
    let key: Option<Vec<KeyValue>> = pairs
        .map(|(operand, ty)| match read(*operand, *ty, values) {
            Reading::Value(value) => Some(value),
            Reading::Null | Reading::Unknown => None,
        })
        .collect();
    key.is_some_and(|key| is_paused(found, &key))
}

fn is_paused(found: &Distribution, key: &[KeyValue]) -> bool {
    let has = |keys: &Keys| match found.kind {
        DistributionKind::Hash => keys.have_hash(hash_key(key)),
        _ => key.first().is_none_or(|value| keys.have_value(value)),
    };
    found.paused().any(|moving| has(&moving.keys))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyType;
    use crate::lexer::Dialect;
    use crate::shard_map::{Bound, MapParts, ShardId};
    use crate::sharding::{self, Condition};

    /// Two shards; the keys of s0 with a hash below -2^62 are paused, and day 7 of s1.
    fn map() -> ShardMap {
        let map = MapParts::new(&["s0", "s1"])
            .hash("customer", &[KeyType::Int8])
            .hash("pair", &[KeyType::Int8, KeyType::Int8])
            .list("day", KeyType::Int8, &[(KeyValue::Int(7), "s1"), (KeyValue::Int(8), "s1")]);
        let low = Keys::Between(None, Some(Bound::Hash(-(1 << 62))));
        let map = ShardMap::build(map).unwrap().announce(0, 1, &low, "s1").unwrap();
        assert!(map.is_moving() && !map.is_paused());
        let map = map.announce(2, 2, &Keys::Values(vec![KeyValue::Int(7)]), "s0").unwrap();
        let map = map.pause(1, true).unwrap().pause(2, true).unwrap();
        assert!(map.is_paused() && map.has_paused(ShardId(0)) && map.has_paused(ShardId(1)));
        map
    }

    fn meets(placing: &Placing, bound: &[Option<&[u8]>]) -> bool {
        let types = vec![20; bound.len()];
        let bound = sharding::Bound { types: &types, formats: &[], values: bound };
        let (dialect, sql) = (Dialect::default(), &b""[..]);
        let values = Values { sql, literals: &[], dialect, bound: Some(&bound) };
        sharding::meets_paused(placing, &map(), &values)
    }

    fn keyed(distribution: usize, conditions: Vec<(u8, Condition)>) -> Placing {
        let filters = vec![KeyFilter { distribution, conditions }];
        Placing::Keyed { distribution, filters, also: Vec::new(), writes: true }
    }

    fn equals(number: u16) -> Condition {
        Condition::OneOf(vec![Operand::Parameter(number)])
    }

    /// A key of s0 whose hash is in the range, and others on s0 and s1.
    fn keys() -> [String; 3] {
        let find = |wanted: fn(i64) -> bool| {
            let found = (1_i64..).find(|key| wanted(hash_key(&[KeyValue::Int(*key)])));
            found.unwrap().to_string()
        };
        [find(|h| h < -(1 << 62)), find(|h| (-(1 << 62)..0).contains(&h)), find(|h| h >= 0)]
    }

    #[test]
    fn known_keys_decide_alone() {
        let [paused, here, there] = keys();
        let text = |key: &'static str| Some(key.as_bytes());
        let key = |key: &String| Some(Box::leak(key.clone().into_boxed_str()).as_bytes());
        let one = keyed(0, vec![(0, equals(1))]);
        assert!(meets(&one, &[key(&paused)]));
        assert!(!meets(&one, &[key(&here)]) && !meets(&one, &[key(&there)]));
        assert!(!meets(&one, &[None]), "nothing is equal to NULL");
        assert!(meets(&one, &[]), "what is not known may be any");
        let two = Condition::OneOf(vec![Operand::Parameter(1), Operand::Parameter(2)]);
        let two = keyed(0, vec![(0, two)]);
        assert!(meets(&two, &[key(&here), key(&paused)]));
        assert!(!meets(&two, &[key(&here), key(&there)]));
        let day = keyed(2, vec![(0, equals(1))]);
        assert!(meets(&day, &[text("7")]) && !meets(&day, &[text("8")]));
        let rows = |numbers: &[u16]| Placing::Rows {
            distribution: 0,
            keys: numbers.iter().map(|n| vec![Operand::Parameter(*n)]).collect(),
        };
        assert!(meets(&rows(&[1, 2]), &[key(&here), key(&paused)]));
        assert!(!meets(&rows(&[1]), &[key(&here)]));
    }

    #[test]
    fn unknown_keys_are_those_of_the_owner() {
        assert!(meets(&keyed(0, Vec::new()), &[]));
        assert!(!meets(&keyed(1, Vec::new()), &[]), "nothing of it is paused");
        let between = Condition::Between(Some(Operand::Parameter(1)), None);
        let days = keyed(2, vec![(0, between)]);
        assert!(meets(&days, &[Some(b"8")]), "s1 has it, and day 7 too");
        assert!(!meets(&days, &[Some(b"9")]), "nobody has it");
        assert!(meets(&Placing::CopyIn, &[]));
        assert!(!meets(&Placing::On(ShardId(0)), &[]));
    }
}
