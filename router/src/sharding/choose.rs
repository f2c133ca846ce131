//! Owns the step from a placing to shards with the values of one execution. It runs on every
//! query: for a single key it allocates nothing.

use super::array;
use super::named::Refused;
use super::row;
use super::{Choice, Condition, KeyFilter, KeyHash, Operand, Placing, Values};
use crate::key::{KeyType, KeyValue, Reading};
use crate::shard_map::{DistributionKind, ShardId, ShardMap};

/// Most keys made of the values of several columns that are looked up one by one.
const MAX_COMBINATIONS: usize = 4_096;

/// The shards an execution needs. `decides` becomes the hash of its key when one known key
/// decides alone.
pub(super) fn choose(
    placing: &Placing,
    map: &ShardMap,
    values: &Values<'_>,
    decides: &mut Option<KeyHash>,
) -> Refused<Choice> {
    match placing {
        Placing::On(shard) => Ok(Choice::One(*shard)),
        Placing::Anywhere => Ok(Choice::Any),
        Placing::Keyed { filters, also, .. } => Ok(keyed(filters, also, map, values, decides)),
        Placing::Rows { distribution, keys } => rows(*distribution, keys, map, values, decides),
        Placing::Everywhere { .. } => {
            let mut shards = Shards::default();
            map.all().for_each(|shard| shards.add(shard));
            Ok(shards.choice())
        }
        // Who splits the data, or keeps the session's servers, asks for shards by other means.
        Placing::CopyIn | Placing::Session | Placing::Transaction | Placing::Cursor => {
            Ok(Choice::One(map.home))
        }
        Placing::Refused(refusal) => Err(refusal.clone()),
    }
}

fn rows(
    distribution: usize,
    keys: &[Vec<Operand>],
    map: &ShardMap,
    values: &Values<'_>,
    decides: &mut Option<KeyHash>,
) -> Refused<Choice> {
    if let [key] = keys {
        let (shard, hash) = row::shard_and_hash(map, distribution, key, values)?;
        *decides = hash.map(|hash| KeyHash { distribution, hash });
        return Ok(Choice::One(shard));
    }
    let mut shards = Shards::default();
    for key in keys {
        shards.add(row::shard_of(map, distribution, key, values)?);
    }
    Ok(shards.choice())
}

fn keyed(
    filters: &[KeyFilter],
    also: &[ShardId],
    map: &ShardMap,
    values: &Values<'_>,
    decides: &mut Option<KeyHash>,
) -> Choice {
    if let ([filter], []) = (filters, also)
        && let Some(choice) = single(filter, map, values, decides)
    {
        return choice;
    }
    let mut shards = Shards::default();
    for filter in filters {
        shards_of(filter, map, values).into_iter().for_each(|shard| shards.add(shard));
    }
    also.iter().for_each(|shard| shards.add(*shard));
    shards.choice()
}

/// The usual case: one column, one value.
fn single(
    filter: &KeyFilter,
    map: &ShardMap,
    values: &Values<'_>,
    decides: &mut Option<KeyHash>,
) -> Option<Choice> {
    let [(_, Condition::OneOf(operands))] = filter.conditions.as_slice() else { return None };
    let [operand] = operands.as_slice() else { return None };
    let distribution = filter.distribution;
    let [ty] = map.distributions.get(distribution)?.key_types.as_slice() else {
        return None;
    };
    match row::read(*operand, *ty, values) {
        Reading::Value(value) => {
            let (shard, hash) = map.shard_and_hash(distribution, &[value]);
            *decides = hash.map(|hash| KeyHash { distribution, hash });
            Some(shard.map_or(Choice::None, Choice::One))
        }
        Reading::Null => Some(Choice::None),
        Reading::Unknown => None,
    }
}

/// The shards with rows that meet all conditions.
pub(super) fn shards_of(filter: &KeyFilter, map: &ShardMap, values: &Values<'_>) -> Vec<ShardId> {
    let Some(distribution) = map.distributions.get(filter.distribution) else {
        return map.all().collect();
    };
    if matches!(distribution.kind, DistributionKind::Single | DistributionKind::Reference) {
        return vec![distribution.home];
    }
    let types = distribution.key_types.as_slice();
    let mut shards: Option<Vec<ShardId>> = None;
    if let [ty] = types {
        for (_, condition) in &filter.conditions {
            let found = match condition {
                Condition::Between(from, to) => {
                    between(filter.distribution, (*from, *to), *ty, map, values)
                }
                _ => candidates(condition, *ty, values).map(|keys| {
                    let keys = keys.iter().map(std::slice::from_ref);
                    keys.filter_map(|key| map.shard_of(filter.distribution, key)).collect()
                }),
            };
            shards = both(shards, found);
        }
    } else {
        shards = combined(filter, types, map, values);
    }
    shards.unwrap_or_else(|| map.shards_with(filter.distribution))
}

fn both(known: Option<Vec<ShardId>>, found: Option<Vec<ShardId>>) -> Option<Vec<ShardId>> {
    match (known, found) {
        (Some(known), Some(found)) => {
            Some(known.into_iter().filter(|shard| found.contains(shard)).collect())
        }
        (known, found) => known.or(found),
    }
}

/// The values one column can have; `None` when they are not known.
fn candidates(condition: &Condition, ty: KeyType, values: &Values<'_>) -> Option<Vec<KeyValue>> {
    let operands = match condition {
        Condition::OneOf(operands) => operands,
        Condition::InArray(operand) => return array::read(*operand, ty, values),
        Condition::Between(..) => return None,
    };
    let mut keys = Vec::with_capacity(operands.len());
    for operand in operands {
        match row::read(*operand, ty, values) {
            Reading::Value(value) => keys.push(value),
            // Nothing is equal to NULL.
            Reading::Null => {}
            Reading::Unknown => return None,
        }
    }
    Some(keys)
}

fn between(
    distribution: usize,
    (from, to): (Option<Operand>, Option<Operand>),
    ty: KeyType,
    map: &ShardMap,
    values: &Values<'_>,
) -> Option<Vec<ShardId>> {
    let bound = |operand: Option<Operand>| match operand.map(|o| row::read(o, ty, values)) {
        Some(Reading::Value(value)) => Ok(Some(value)),
        Some(Reading::Null) => Err(()),
        Some(Reading::Unknown) | None => Ok(None),
    };
    match (bound(from), bound(to)) {
        (Ok(from), Ok(to)) => Some(map.shards_between(distribution, from.as_ref(), to.as_ref())),
        // Nothing is less or more than NULL.
        _ => Some(Vec::new()),
    }
}

/// Keys of several columns: every column must have known values.
fn combined(
    filter: &KeyFilter,
    types: &[KeyType],
    map: &ShardMap,
    values: &Values<'_>,
) -> Option<Vec<ShardId>> {
    let keys = keys_of(filter, types, values)?;
    Some(keys.iter().filter_map(|key| map.shard_of(filter.distribution, key)).collect())
}

/// Keys among which all are that rows can have which meet all conditions; `None` when they are not
/// known, or too many.
pub(super) fn keys_of(
    filter: &KeyFilter,
    types: &[KeyType],
    values: &Values<'_>,
) -> Option<Vec<Vec<KeyValue>>> {
    let mut keys: Vec<Vec<KeyValue>> = vec![Vec::new()];
    for (column, ty) in types.iter().enumerate() {
        let of_column = filter.conditions.iter().filter(|(at, _)| usize::from(*at) == column);
        let known = of_column
            .filter_map(|(_, condition)| candidates(condition, *ty, values))
            .min_by_key(Vec::len)?;
        if keys.len().saturating_mul(known.len()) > MAX_COMBINATIONS {
            return None;
        }
        let with = |key: &Vec<KeyValue>| {
            let key = key.clone();
            known
                .iter()
                .map(move |value| {
                    let mut longer = key.clone();
                    longer.push(value.clone());
                    longer
                })
                .collect::<Vec<_>>()
        };
        keys = keys.iter().flat_map(with).collect();
    }
    Some(keys)
}

/// Shards in ascending order, without repetition.
#[derive(Debug, Default)]
struct Shards(Vec<ShardId>);

impl Shards {
    fn add(&mut self, shard: ShardId) {
        if let Err(at) = self.0.binary_search(&shard) {
            self.0.insert(at, shard);
        }
    }

    fn choice(self) -> Choice {
        match self.0.as_slice() {
            [] => Choice::None,
            [one] => Choice::One(*one),
            _ => Choice::Several(self.0),
        }
    }
}
