//! Owns the balancing of one distribution: steps from one state to a better one, until there is
//! none. A step depends on who has what now and on nothing else, so that a plan that was carried
//! out is not followed by another one.

use super::dense;
use super::parts::{By, Parts};
use super::share::{Scale, Shares};
use super::window::{MOVE_RANGES, Runs, Wanted, Window, move_cost};
use std::cmp::Ordering;

/// Most steps for one distribution.
const MAX_STEPS: usize = 10_000;
/// Most turns of dense parts and steps.
const MAX_TURNS: usize = 5;

/// Parts that are too much for their receiver, which has to give something else for them, come
/// first when they are so much heavier by the byte: a few hot keys, say.
const DENSER: f64 = 4.0;

/// How a distribution is to be balanced.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What is to be alike.
    pub by: By,
    /// Shards within this part of their share are left as they are.
    pub threshold: f64,
    /// A move is worth it when it brings shards closer to their shares by at least this part of
    /// what it moves.
    pub improvement: f64,
    /// Shards, by their places, that are to have nothing.
    pub drained: Vec<bool>,
}

/// A distribution after balancing.
#[derive(Debug, Clone)]
pub(super) struct Balanced {
    /// Who has each part.
    pub(super) owner: Vec<usize>,
    /// What shards had, and were to have, before.
    pub(super) before: Shares,
    /// The same after.
    pub(super) shares: Shares,
    /// Fewest bytes with which shards get what they are to have, were all parts divisible.
    pub(super) bytes_bound: f64,
}

/// Balances; `beyond` is what each shard is to have more or less than an equal share.
pub(super) fn balance(parts: &Parts, rules: &Rules, beyond: &[f64]) -> Balanced {
    let mut scale = weighed(parts, rules, beyond);
    let before = scale.shares();
    let bytes_bound = bytes_bound(&scale, &before);
    let is_off = |shard: usize| {
        let allowed = match scale.drained.get(shard) {
            Some(true) => 0.0,
            _ => rules.threshold * before.share,
        };
        before.excess(shard).abs() > allowed
    };
    let must_leave = scale.owner.iter().any(|owner| scale.drained[*owner]);
    if must_leave || (0..scale.drained.len()).any(is_off) {
        let plain = walked(scale.clone(), rules);
        scale = match with_dense(&scale, rules) {
            Some(other) => cheaper(&scale, plain, other),
            None => plain,
        };
    }
    let shares = scale.shares();
    let bytes_bound = if scale.owner == owners(parts) { 0.0 } else { bytes_bound };
    Balanced { owner: scale.owner, before, shares, bytes_bound }
}

/// Step by step, until there is none.
fn walked<'a>(mut scale: Scale<'a>, rules: &Rules) -> Scale<'a> {
    for _ in 0..MAX_STEPS {
        let Some(window) = step(&scale, rules) else { break };
        for part in window.parts {
            scale.owner[part] = window.receiver;
        }
    }
    scale
}

/// The same with dense parts first, if any of them is to go, and again when the steps leave
/// something to do for them.
fn with_dense<'a>(scale: &Scale<'a>, rules: &Rules) -> Option<Scale<'a>> {
    let mut found = None;
    for _ in 0..MAX_TURNS {
        let mut next = found.as_ref().unwrap_or(scale).clone();
        if !dense::spread(&mut next) {
            break;
        }
        found = Some(walked(next, rules));
    }
    found
}

/// Of two ways from `before`: the one that leaves fewer shards uneven, then the cheaper one.
fn cheaper<'a>(before: &Scale<'_>, one: Scale<'a>, other: Scale<'a>) -> Scale<'a> {
    let uneven = |scale: &Scale<'_>| {
        let shares = scale.shares();
        scale.receivers().filter(|shard| shares.excess(*shard).abs() > shares.done()).count()
    };
    let price = |scale: &Scale<'_>| {
        let is_moved = |part: &usize| scale.owner[*part] != before.owner[*part];
        let moved: Vec<usize> = (0..scale.owner.len()).filter(is_moved).collect();
        let bytes: f64 = moved.iter().map(|part| scale.cost[*part]).sum();
        let goes = |part: usize| (before.owner[part], scale.owner[part]);
        let follows = |pair: &&[usize]| pair[0] + 1 == pair[1] && goes(pair[0]) == goes(pair[1]);
        let moves = moved.len() - moved.windows(2).filter(follows).count();
        bytes + move_cost(scale) * MOVE_RANGES * moves as f64
    };
    let (first, second) = (uneven(&one), uneven(&other));
    match first.cmp(&second).then(price(&one).total_cmp(&price(&other))) {
        Ordering::Greater => other,
        _ => one,
    }
}

fn owners(parts: &Parts) -> Vec<usize> {
    parts.parts.iter().map(|part| usize::from(part.owner.0)).collect()
}

fn weighed<'a>(parts: &'a Parts, rules: &Rules, beyond: &[f64]) -> Scale<'a> {
    let all = &parts.parts;
    let mut weight: Vec<f64> = all.iter().map(|part| part.weight.by(rules.by) as f64).collect();
    if weight.iter().sum::<f64>() == 0.0 {
        // Nobody knows what will be there: every part as much as another.
        weight.fill(1.0);
    }
    let mut cost: Vec<f64> = all.iter().map(|part| part.weight.bytes as f64).collect();
    if cost.iter().sum::<f64>() == 0.0 {
        cost.clone_from(&weight);
    }
    let (drained, beyond) = (rules.drained.clone(), beyond.to_vec());
    Scale { parts, owner: owners(parts), weight, cost, drained, beyond }
}

/// The next move, if one is worth it.
fn step(scale: &Scale<'_>, rules: &Rules) -> Option<Window> {
    let shares = scale.shares();
    let mut receivers: Vec<usize> = scale.receivers().collect();
    receivers.sort_by(|a, b| shares.excess(*a).total_cmp(&shares.excess(*b)).then(a.cmp(b)));
    let mut donors: Vec<usize> = (0..scale.drained.len()).collect();
    donors.sort_by(|a, b| shares.excess(*b).total_cmp(&shares.excess(*a)).then(a.cmp(b)));
    let (leaves, stays): (Vec<usize>, Vec<usize>) =
        donors.into_iter().partition(|donor| scale.drained[*donor]);
    let left = leaves.into_iter().find_map(|donor| leaving(scale, &shares, donor, &receivers));
    if left.is_some() {
        return left;
    }
    let mut best = None;
    for donor in &stays {
        best = better(best, giving(scale, &shares, *donor, &receivers));
    }
    let mut level = None;
    for donor in stays.iter().filter(|donor| shares.excess(**donor) > shares.done()) {
        let runs = Runs::of(scale, *donor);
        for receiver in receivers.iter().filter(|receiver| *receiver != donor) {
            level = better(level, runs.levelling(*receiver, &shares, rules.improvement));
        }
    }
    if let (Some((level, _)), Some((given, _))) = (&level, &best)
        && *level < given * DENSER
    {
        return best.map(|(_, window)| window);
    }
    level.or(best).map(|(_, window)| window)
}

/// What a shard that is to have nothing gives next.
fn leaving(
    scale: &Scale<'_>,
    shares: &Shares,
    donor: usize,
    receivers: &[usize],
) -> Option<Window> {
    let runs = Runs::of(scale, donor);
    let mut best = None;
    for receiver in receivers {
        let room = (-shares.excess(*receiver)).max(0.0);
        if room > shares.slack() {
            let most = room + shares.slack();
            let wanted = Wanted { most, enough: room - shares.slack(), all_goes: true };
            best = better(best, runs.best(*receiver, wanted));
        }
    }
    // Everybody is full: the rest goes to who has least, in pieces as small as may be noticed.
    let least = || {
        let receiver = *receivers.first()?;
        let most = (-shares.excess(receiver)).max(0.0) + 2.0 * shares.slack();
        let found = runs.best(receiver, Wanted { most, enough: 0.0, all_goes: true });
        found.map(|(_, window)| window).or_else(|| runs.heaviest(receiver))
    };
    best.map(|(_, window)| window).or_else(least)
}

/// What a shard with too much gives next to one that has room for it. One of both must be far off:
/// many shards with a little too much fill an empty one.
fn giving(
    scale: &Scale<'_>,
    shares: &Shares,
    donor: usize,
    receivers: &[usize],
) -> Option<(f64, Window)> {
    let (excess, slack) = (shares.excess(donor), shares.slack());
    if excess <= 0.0 {
        return None;
    }
    let mut runs = None;
    let mut best = None;
    for receiver in receivers {
        let room = -shares.excess(*receiver);
        if room <= 0.0 || excess.max(room) <= shares.done() {
            continue;
        }
        let both = excess.min(room);
        let wanted = Wanted { most: both + slack, enough: both - slack, all_goes: false };
        let found = runs.get_or_insert_with(|| Runs::of(scale, donor)).best(*receiver, wanted);
        // Dust is not worth a move.
        best = better(best, found.filter(|(_, window)| window.weight > slack / 4.0));
    }
    best
}

/// The better one, the first of equals.
fn better(known: Option<(f64, Window)>, found: Option<(f64, Window)>) -> Option<(f64, Window)> {
    match (known, found) {
        (Some(known), Some(found)) if found.0 > known.0 => Some(found),
        (None, found) => found,
        (known, _) => known,
    }
}

/// What each donor has too much, by the fewest bytes: parts with the most weight per byte first,
/// the last one of them in part.
fn bytes_bound(scale: &Scale<'_>, shares: &Shares) -> f64 {
    let mut bound = 0.0;
    for donor in 0..scale.drained.len() {
        let mut left = shares.excess(donor);
        let own = (0..scale.owner.len()).filter(|part| scale.owner[*part] == donor);
        let mut own: Vec<usize> = own.filter(|part| scale.weight[*part] > 0.0).collect();
        let price = |part: usize| scale.cost[part] / scale.weight[part];
        own.sort_by(|a, b| price(*a).total_cmp(&price(*b)));
        for part in own {
            if left <= 0.0 {
                break;
            }
            let taken = (left / scale.weight[part]).min(1.0);
            bound += taken * scale.cost[part];
            left -= scale.weight[part];
        }
    }
    bound
}
