//! Owns plans that somebody has already: split here, merge there, this key alone, these keys to
//! that shard.

use super::document::{Border, Plan};
use super::finish::Making;
use super::parts::{By, Parts};
use super::text;
use crate::error::Error;
use pgmanifold_router::hash::hash_key;
use pgmanifold_router::key::KeyValue;
use pgmanifold_router::shard_map::{Bound, Distribution, DistributionKind, Keys, ShardMap};

/// Splits the range that the border is in.
///
/// # Errors
/// There is no such distribution or border, or a range begins there.
pub fn split(database: &str, map: &ShardMap, name: &str, at: &str) -> Result<Plan, Error> {
    let place = text::distribution(map, name)?;
    let bound = text::bound(&map.distributions[place], at)?;
    map.split(place, bound.clone()).map_err(refused)?;
    let mut plan = empty(database, map, format!("split {name} at {bound}"));
    plan.splits.push(border(map, place, &bound));
    Ok(plan)
}

/// Makes one range of the one that begins at the border and the one before it.
///
/// # Errors
/// No range begins there, or the two are on different shards, or on their way.
pub fn merge(database: &str, map: &ShardMap, name: &str, at: &str) -> Result<Plan, Error> {
    let place = text::distribution(map, name)?;
    let bound = text::bound(&map.distributions[place], at)?;
    map.merge(place, &bound).map_err(refused)?;
    let mut plan = empty(database, map, format!("merge {name} at {bound}"));
    plan.merges.push(border(map, place, &bound));
    Ok(plan)
}

/// All borders between neighbours on one shard.
///
/// # Errors
/// There is no such distribution, or it has no ranges.
pub fn merge_all(database: &str, map: &ShardMap, name: &str) -> Result<Plan, Error> {
    let place = text::distribution(map, name)?;
    let found = &map.distributions[place];
    let mut plan = empty(database, map, format!("merge {name}"));
    for pair in found.ranges.windows(2) {
        if let [before, after] = pair
            && before.shard == after.shard
            && let Some(bound) = &after.from
            && map.merge(place, bound).is_ok()
        {
            plan.merges.push(border(map, place, bound));
        }
    }
    Ok(plan)
}

/// The keys that are one key's, and the borders there are around them. Other keys with the same
/// hash stay with it.
///
/// # Errors
/// The key is none of the distribution's, or has no place of its own between borders.
pub fn key_alone(found: &Distribution, key: &[KeyValue]) -> Result<Keys, Error> {
    let first = key.first().ok_or_else(|| Error::Usage("no key is given".to_owned()))?;
    Ok(match found.kind {
        DistributionKind::Hash => {
            let hash = hash_key(key);
            let from = (hash != i64::MIN).then_some(Bound::Hash(hash));
            Keys::Between(from, hash.checked_add(1).map(Bound::Hash))
        }
        DistributionKind::Range => {
            let next = next_value(first).map(Bound::Value);
            Keys::Between(Some(Bound::Value(first.clone())), next)
        }
        DistributionKind::List if found.values.iter().any(|(value, _)| value == first) => {
            Keys::Values(vec![first.clone()])
        }
        DistributionKind::List => {
            return Err(Error::Usage(format!("{first} is none of the listed values")));
        }
        kind => {
            return Err(Error::Usage(format!("distribution {:?} is by {kind}", found.name)));
        }
    })
}

/// The value after this one, in the order of the map; `None` when there is none.
fn next_value(value: &KeyValue) -> Option<KeyValue> {
    match value {
        KeyValue::Int(number) => number.checked_add(1).map(KeyValue::Int),
        // Nothing lies between a text and the same with the smallest character after it.
        KeyValue::Text(text) => Some(KeyValue::Text(format!("{text}\u{1}").into())),
        KeyValue::Bytea(bytes) => Some(KeyValue::Bytea([bytes, &[0][..]].concat().into())),
        KeyValue::Uuid(bytes) => {
            let next = u128::from_be_bytes(*bytes).checked_add(1)?;
            Some(KeyValue::Uuid(next.to_be_bytes()))
        }
        KeyValue::Date(days) => days.checked_add(1).map(KeyValue::Date),
        KeyValue::Timestamptz(moment) => moment.checked_add(1).map(KeyValue::Timestamptz),
    }
}

/// Makes a key a range of its own, and gives it to a shard when one is named. `weigh` has the parts
/// with borders at the key.
///
/// # Errors
/// The key or the shard is none, or the keys are on their way.
pub fn isolate(
    database: &str,
    map: &ShardMap,
    parts: &Parts,
    keys: &Keys,
    key: &[KeyValue],
    to: Option<&str>,
    by: By,
) -> Result<Plan, Error> {
    let found = map
        .distributions
        .get(parts.distribution)
        .ok_or_else(|| Error::Usage("there is no such distribution".to_owned()))?;
    let texts: Vec<String> = key.iter().map(ToString::to_string).collect();
    let purpose = format!("isolate key {} of {}", texts.join(", "), found.name);
    let mut plan = match to {
        Some(shard) => give(database, map, parts, keys, shard, by, purpose)?,
        None => empty(database, map, purpose),
    };
    if plan.moves.is_empty()
        && let Keys::Between(from, to) = keys
    {
        for bound in [from, to].into_iter().flatten() {
            if map.split(parts.distribution, bound.clone()).is_ok() {
                plan.splits.push(border(map, parts.distribution, bound));
            }
        }
    }
    // What was asked for is not undone.
    plan.merges.clear();
    Ok(plan)
}

/// Gives keys to a shard. `parts` has borders where the keys have theirs.
///
/// # Errors
/// The shard is none, or keys are on their way.
pub fn give(
    database: &str,
    map: &ShardMap,
    parts: &Parts,
    keys: &Keys,
    to: &str,
    by: By,
    purpose: String,
) -> Result<Plan, Error> {
    let target = text::shard(map, to)?;
    let before: Vec<usize> = parts.parts.iter().map(|part| usize::from(part.owner.0)).collect();
    let mut after = before.clone();
    for (at, owner) in after.iter_mut().enumerate() {
        if parts.keys(&[at]).is_some_and(|part| part.meet(keys)) {
            if parts.parts[at].fixed {
                return Err(Error::Refused(format!("keys of {keys} are on their way already")));
            }
            *owner = target;
        }
    }
    let mut making = Making::new(database, map, by, vec![false; map.shards.len()], purpose);
    making.change(parts, &before, &after, 0.0, |_, _| "asked for".to_owned());
    let mut plan = making.finish();
    for figures in &mut plan.distributions {
        figures.bytes_bound = figures.bytes_moved;
    }
    if plan.moves.is_empty() {
        plan.notes.push(format!("shard {to:?} has these keys already"));
    }
    Ok(plan)
}

fn empty(database: &str, map: &ShardMap, purpose: String) -> Plan {
    let shards = vec![false; map.shards.len()];
    Making::new(database, map, By::Bytes, shards, purpose).finish()
}

fn border(map: &ShardMap, place: usize, at: &Bound) -> Border {
    let found = map.distributions.get(place);
    let owner = found.and_then(|one| {
        let after = one.ranges.partition_point(|range| range.from.as_ref() <= Some(at));
        after.checked_sub(1).and_then(|at| one.ranges.get(at)).map(|range| range.shard)
    });
    Border {
        distribution: found.map(|one| one.name.to_string()).unwrap_or_default(),
        at: at.to_string(),
        shard: owner.map(|shard| map.name(shard).to_owned()).unwrap_or_default(),
        with_move: false,
    }
}

fn refused(errors: Vec<pgmanifold_router::shard_map::MapError>) -> Error {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Error::Refused(lines.join("\n"))
}
