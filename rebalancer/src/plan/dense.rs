//! Owns parts that weigh much for their bytes: a few hot keys, say. They go wherever they make
//! shards alike, for next to nothing, before anything is moved that costs bytes.

use super::share::{Scale, Shares};

/// A part is dense when it has so many times the weight that its bytes would have on average.
const DENSE: f64 = 8.0;
/// Most parts that are looked at, the heaviest ones: each is tried against each.
const MAX_PARTS: usize = 200;
/// Most changes.
const MAX_CHANGES: usize = 1000;

/// Dense parts change hands one by one, or two for each other, as long as shards get more alike.
/// What they lack or have too much counts by its square: a large difference is worse than several
/// small ones. This is local search by best improvement. Says whether anything has changed.
pub(super) fn spread(scale: &mut Scale<'_>) -> bool {
    let dense = dense(scale);
    for number in 0..MAX_CHANGES {
        let shares = scale.shares();
        let Some(change) = best(scale, &shares, &dense) else { return number > 0 };
        for (part, shard) in change {
            scale.owner[part] = shard;
        }
    }
    true
}

/// The heaviest of the dense parts.
fn dense(scale: &Scale<'_>) -> Vec<usize> {
    let average = scale.cost.iter().sum::<f64>() / scale.weight.iter().sum::<f64>();
    let is_dense = |part: &usize| {
        let (weight, cost) = (scale.weight[*part], scale.cost[*part]);
        weight * average > cost * DENSE && !scale.parts.parts[*part].fixed
    };
    let mut dense: Vec<usize> = (0..scale.owner.len()).filter(is_dense).collect();
    dense.sort_by(|a, b| scale.weight[*b].total_cmp(&scale.weight[*a]).then(a.cmp(b)));
    dense.truncate(MAX_PARTS);
    dense
}

/// The change that makes shards more alike than any other, if one is worth noticing.
fn best(scale: &Scale<'_>, shares: &Shares, dense: &[usize]) -> Option<Vec<(usize, usize)>> {
    let mut best = (shares.slack() * shares.slack(), None);
    // What is gained when so much goes from one shard to another.
    let gain = |weight: f64, from: usize, to: usize| {
        2.0 * weight * (shares.excess(from) - shares.excess(to) - weight)
    };
    for (at, part) in dense.iter().copied().enumerate() {
        let (weight, from) = (scale.weight[part], scale.owner[part]);
        for to in scale.receivers().filter(|to| *to != from) {
            let gained = gain(weight, from, to);
            if gained > best.0 {
                best = (gained, Some(vec![(part, to)]));
            }
        }
        // The lighter one comes back for it; not to a shard that is to have nothing.
        let others = dense.iter().skip(at + 1).copied();
        for other in others.filter(|_| !scale.drained[from]) {
            let to = scale.owner[other];
            if to == from || scale.drained[to] {
                continue;
            }
            let gained = gain(weight - scale.weight[other], from, to);
            if gained > best.0 {
                best = (gained, Some(vec![(part, to), (other, from)]));
            }
        }
    }
    best.1
}
