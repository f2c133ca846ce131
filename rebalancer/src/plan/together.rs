//! Owns the balancing of several distributions: each is balanced for itself, the largest one first,
//! and what one has had to leave uneven is made up for by the next ones, as far as these stay
//! within the threshold themselves.

use super::balance::{Balanced, Rules, balance};
use super::document::Plan;
use super::finish::Making;
use super::parts::{By, Parts};
use pgmanifold_router::shard_map::ShardMap;

/// Distributions with less than this part of everything are left as they are.
const TOO_SMALL: f64 = 0.01;

/// Balances these distributions of a map; `named` says that they were asked for by name, and none
/// is too small.
pub fn together(
    database: &str,
    map: &ShardMap,
    spaces: &[Parts],
    rules: &Rules,
    named: bool,
    purpose: &str,
) -> Plan {
    let purpose = purpose.to_owned();
    let mut making = Making::new(database, map, rules.by, rules.drained.clone(), purpose);
    let weight = |parts: &Parts| parts.total().by(rules.by) as f64;
    let all: f64 = spaces.iter().map(weight).sum();
    let mut spaces: Vec<&Parts> = spaces.iter().collect();
    spaces
        .sort_by(|a, b| weight(b).total_cmp(&weight(a)).then(a.distribution.cmp(&b.distribution)));
    let mut carried = vec![0.0; map.shards.len()];
    for parts in spaces {
        let is_drained = |shard: usize| rules.drained.get(shard).copied().unwrap_or(false);
        let must_leave = parts.parts.iter().any(|part| is_drained(usize::from(part.owner.0)));
        let name = map.distributions.get(parts.distribution).map_or("?", |found| &found.name);
        if weight(parts) < all * TOO_SMALL && !must_leave && !named {
            making.note(format!(
                "distribution {name:?} is left as it is: less than {:.0} % of everything; \
                 `--distribution {name}` balances it",
                TOO_SMALL * 100.0
            ));
            continue;
        }
        if parts.parts.iter().any(|part| part.fixed) {
            making.note(format!(
                "keys of distribution {name:?} are on their way; they count for the shard that \
                 they go to"
            ));
        }
        let even = weight(parts)
            / (rules.drained.iter().filter(|drained| !**drained).count()).max(1) as f64;
        let beyond = limited(&carried, even * rules.threshold, rules);
        if weight(parts) > 0.0 {
            let balanced = balance(parts, rules, &beyond);
            carry(&mut carried, &balanced, &beyond, rules);
            making.add(parts, &balanced);
            continue;
        }
        let by_bytes = Rules { by: By::Bytes, ..rules.clone() };
        if rules.by == By::Load && !must_leave {
            making.note(format!(
                "distribution {name:?} is left as it is: nobody has counted its executions"
            ));
        } else {
            let instead = if parts.total().bytes == 0 {
                "keys are counted as alike"
            } else {
                "bytes are balanced"
            };
            making.note(format!(
                "distribution {name:?}: nothing is known of {} in it, its {instead}",
                rules.by.as_str()
            ));
            making.add(parts, &balance(parts, &by_bytes, &vec![0.0; map.shards.len()]));
        }
    }
    making.finish()
}

/// What is carried over, no more than `most` for any shard, nothing in sum.
fn limited(carried: &[f64], most: f64, rules: &Rules) -> Vec<f64> {
    let drained = |at: usize| rules.drained.get(at).copied().unwrap_or(false);
    let mut beyond: Vec<f64> = carried.iter().map(|one| one.clamp(-most, most)).collect();
    let receivers = (0..beyond.len()).filter(|at| !drained(*at)).count().max(1) as f64;
    let sum: f64 = (0..beyond.len()).filter(|at| !drained(*at)).map(|at| beyond[at]).sum();
    for (at, one) in beyond.iter_mut().enumerate() {
        *one = if drained(at) { 0.0 } else { *one - sum / receivers };
    }
    beyond
}

/// What shards lack of an equal share of all so far, where it is worth noticing.
fn carry(carried: &mut [f64], balanced: &Balanced, beyond: &[f64], rules: &Rules) {
    let shares = &balanced.shares;
    for (at, one) in carried.iter_mut().enumerate() {
        let lacks = shares.even + beyond[at] - shares.has[at];
        let drained = rules.drained.get(at).copied().unwrap_or(false);
        // What was made up for is not carried on.
        *one -= beyond[at];
        if !drained && lacks.abs() > shares.slack() {
            *one += lacks;
        }
    }
}
