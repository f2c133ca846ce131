//! Owns what becomes of balanced distributions: moves, borders, figures, and what is indivisible.

use super::balance::Balanced;
use super::document::{
    Border, DistributionFigures, Indivisible, Plan, Proposal, ShardFigures, VERSION,
};
use super::parts::{By, Parts, Place, Weight};
use super::share::{Shares, TOLERANCE};
use super::text::KeysText;
use pgmanifold_router::shard_map::{Bound, DistributionKind, Keys, ShardMap};

/// A shard that has so much more than its share is said to be so for what cannot be divided.
const TOLD_IMBALANCE: f64 = 0.05;
/// Most indivisible parts that are told of each shard.
const MAX_TOLD: usize = 3;

/// A plan in the making.
pub(super) struct Making<'a> {
    map: &'a ShardMap,
    drained: Vec<bool>,
    plan: Plan,
}

impl<'a> Making<'a> {
    pub(super) fn new(
        database: &str,
        map: &'a ShardMap,
        by: By,
        drained: Vec<bool>,
        purpose: String,
    ) -> Self {
        let plan = Plan {
            version: VERSION,
            database: database.to_owned(),
            epoch: map.epoch,
            purpose,
            by,
            moves: Vec::new(),
            splits: Vec::new(),
            merges: Vec::new(),
            shards: Vec::new(),
            distributions: Vec::new(),
            indivisible: Vec::new(),
            notes: Vec::new(),
        };
        Self { map, drained, plan }
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.plan.notes.push(note.into());
    }

    /// Adds what a distribution becomes.
    pub(super) fn add(&mut self, parts: &Parts, balanced: &Balanced) {
        let before: Vec<usize> = parts.parts.iter().map(|p| usize::from(p.owner.0)).collect();
        let reason = |making: &Self, source: usize| making.too_much(source, &balanced.before);
        self.change(parts, &before, &balanced.owner, balanced.bytes_bound, reason);
        self.indivisible(parts, balanced);
    }

    /// Adds moves from what was before to what is after; `reason` gives the reason of the moves of
    /// a shard.
    pub(super) fn change(
        &mut self,
        parts: &Parts,
        before: &[usize],
        after: &[usize],
        bytes_bound: f64,
        reason: impl Fn(&Self, usize) -> String,
    ) {
        let map = self.map;
        let Some(found) = map.distributions.get(parts.distribution) else { return };
        let (was, is) = (self.weights(parts, before), self.weights(parts, after));
        let first = self.plan.moves.len();
        for (indexes, source, target) in moved(parts, before, after) {
            let Some(keys) = parts.keys(&indexes) else { continue };
            let proposal = Proposal {
                distribution: found.name.to_string(),
                keys: KeysText::of(&keys),
                source: self.name(source),
                target: self.name(target),
                weight: indexes.iter().map(|part| parts.parts[*part].weight).sum(),
                reason: reason(self, source),
            };
            self.plan.moves.push(proposal);
            self.borders(parts, &indexes, &keys, after);
        }
        let all: Vec<usize> = (0..map.shards.len()).collect();
        let receivers: Vec<usize> = self.receivers().collect();
        let moved: Weight = self.plan.moves[first..].iter().map(|one| one.weight).sum();
        self.plan.distributions.push(DistributionFigures {
            name: found.name.to_string(),
            weight: parts.total(),
            imbalance_before: self.imbalance(&was, &all),
            imbalance_after: self.imbalance(&is, &receivers),
            bytes_moved: moved.bytes,
            bytes_bound: bytes_bound.round() as u64,
        });
        self.shards(&was, &is);
    }

    /// Figures of shards, distribution by distribution.
    fn shards(&mut self, was: &[Weight], is: &[Weight]) {
        for (at, (was, is)) in was.iter().zip(is).enumerate() {
            match self.plan.shards.get_mut(at) {
                Some(shard) => {
                    shard.before += *was;
                    shard.after += *is;
                }
                None => self.plan.shards.push(ShardFigures {
                    name: self.map.shards.get(at).map(ToString::to_string).unwrap_or_default(),
                    drained: self.drained.get(at).copied().unwrap_or(false),
                    before: *was,
                    after: *is,
                    share_before: 0.0,
                    share_after: 0.0,
                }),
            }
        }
    }

    /// The plan, when all distributions are in it.
    pub(super) fn finish(mut self) -> Plan {
        let by = self.plan.by;
        let shares = |of: fn(&ShardFigures) -> Weight, shards: &[ShardFigures]| {
            let each = |shard: &ShardFigures| of(shard).by(by) as f64;
            let total: f64 = shards.iter().map(each).sum();
            let share = |shard| if total > 0.0 { each(shard) / total } else { 0.0 };
            shards.iter().map(share).collect::<Vec<f64>>()
        };
        let before = shares(|shard| shard.before, &self.plan.shards);
        let after = shares(|shard| shard.after, &self.plan.shards);
        for (shard, (before, after)) in self.plan.shards.iter_mut().zip(before.iter().zip(after)) {
            (shard.share_before, shard.share_after) = (rounded(*before), rounded(after));
        }
        self.plan
    }

    fn name(&self, shard: usize) -> String {
        self.map.shards.get(shard).map(ToString::to_string).unwrap_or_default()
    }

    fn weights(&self, parts: &Parts, owner: &[usize]) -> Vec<Weight> {
        let mut weights = vec![Weight::default(); self.map.shards.len()];
        for (part, owner) in parts.parts.iter().zip(owner) {
            if let Some(weight) = weights.get_mut(*owner) {
                *weight += part.weight;
            }
        }
        weights
    }

    fn receivers(&self) -> impl Iterator<Item = usize> {
        (0..self.map.shards.len()).filter(|at| !self.drained.get(*at).copied().unwrap_or(false))
    }

    /// How much more than the average the fullest of these shards has.
    fn imbalance(&self, weights: &[Weight], shards: &[usize]) -> f64 {
        let of = |at: &usize| weights.get(*at).map_or(0.0, |one| one.by(self.plan.by) as f64);
        let total: f64 = shards.iter().map(of).sum();
        let average = total / (shards.len().max(1) as f64);
        let most = shards.iter().map(of).fold(0.0, f64::max);
        if average > 0.0 { rounded(most / average - 1.0) } else { 0.0 }
    }

    fn too_much(&self, source: usize, shares: &Shares) -> String {
        let (name, by) = (self.name(source), self.plan.by.as_str());
        let (has, target) = (shares.has[source], shares.target[source]);
        if self.drained.get(source) == Some(&true) {
            format!("{name} is to have nothing")
        } else if has > target * (1.0 + TOLERANCE) && target > 0.0 {
            format!("{name}: {by} {:.0} % above its share", (has / target - 1.0) * 100.0)
        } else {
            format!("{name}: makes room for what others cannot keep")
        }
    }

    /// Borders that a move makes, and those that it makes superfluous.
    fn borders(&mut self, parts: &Parts, indexes: &[usize], keys: &Keys, after: &[usize]) {
        let (Keys::Between(from, to), Some(first), Some(last)) =
            (keys, indexes.first(), indexes.last())
        else {
            return;
        };
        let map = self.map;
        let Some(found) = map.distributions.get(parts.distribution) else { return };
        let sides = [(from, first.checked_sub(1), *first), (to, Some(*last), last + 1)];
        for (bound, left, right) in sides {
            let (Some(bound), Some(left)) = (bound, left) else { continue };
            let known = found.ranges.iter().any(|range| range.from.as_ref() == Some(bound));
            let shard = usize::from(parts.parts[*first].owner.0);
            let border = |shard| Border {
                distribution: found.name.to_string(),
                at: bound.to_string(),
                shard,
                with_move: true,
            };
            let is_new = |borders: &[Border]| {
                !borders.iter().any(|b| *b.distribution == *found.name && b.at == bound.to_string())
            };
            if !known && is_new(&self.plan.splits) {
                self.plan.splits.push(border(self.name(shard)));
            }
            let fixed = |at: usize| parts.parts.get(at).is_some_and(|part| part.fixed);
            let one = after.get(left) == after.get(right) && !fixed(left) && !fixed(right);
            if one && is_new(&self.plan.merges) {
                let target = after.get(left).copied().unwrap_or_default();
                let merge = Border { with_move: false, ..border(self.name(target)) };
                self.plan.merges.push(merge);
            }
        }
    }

    /// Parts that are more than an equal share, and those that keep a shard above its own.
    fn indivisible(&mut self, parts: &Parts, balanced: &Balanced) {
        let (by, shares) = (self.plan.by, &balanced.shares);
        if shares.even <= 0.0 || parts.total().by(by) == 0 {
            return;
        }
        let weight = |part: usize| parts.parts[part].weight.by(by) as f64;
        let mut told = Vec::new();
        for shard in self.receivers() {
            let excess = shares.has[shard] - shares.even;
            let mut own: Vec<usize> =
                (0..parts.parts.len()).filter(|part| balanced.owner[*part] == shard).collect();
            own.sort_by(|a, b| weight(*b).total_cmp(&weight(*a)).then(a.cmp(b)));
            let too_heavy = |part: &usize| {
                let alone = weight(*part) > shares.even * (1.0 + TOLERANCE);
                alone || (excess > shares.even * TOLD_IMBALANCE && weight(*part) > excess)
            };
            told.extend(own.into_iter().filter(too_heavy).take(MAX_TOLD).map(|part| (part, shard)));
        }
        for (part, shard) in told {
            if let Some(found) = self.one_indivisible(parts, part, shard, shares.even) {
                self.plan.indivisible.push(found);
            }
        }
    }

    fn one_indivisible(
        &self,
        parts: &Parts,
        at: usize,
        shard: usize,
        even: f64,
    ) -> Option<Indivisible> {
        let found = self.map.distributions.get(parts.distribution)?;
        let part = parts.parts.get(at)?;
        let keys = parts.keys(&[at])?;
        let shares = rounded(part.weight.by(self.plan.by) as f64 / even);
        let is_range = match (&part.place, &keys) {
            (Place::Value(_), _) => true,
            (_, Keys::Between(from, to)) => {
                let begins =
                    |bound: &Option<Bound>| found.ranges.iter().any(|range| range.from == *bound);
                begins(from) && (to.is_none() || begins(to))
            }
            _ => false,
        };
        let advice = match (&part.key, is_range) {
            (Some(_), true) => "one key: it cannot be split further".to_owned(),
            (Some(key), false) => format!(
                "one key: it cannot be split further; `plan isolate --distribution {} --key {key}` \
                 makes it a range of its own",
                found.name
            ),
            (None, _) if found.kind == DistributionKind::Hash => {
                "not split further: no single key of it is known to be heavy; look again with \
                 `--exact`"
                    .to_owned()
            }
            (None, _) => "not split further: no border inside of it is known; `plan split` makes \
                          one"
            .to_owned(),
        };
        Some(Indivisible {
            distribution: found.name.to_string(),
            shard: self.name(shard),
            keys: KeysText::of(&keys),
            key: part.key.clone(),
            weight: part.weight,
            shares,
            advice,
        })
    }
}

/// As a document has it: a millionth is exact enough.
fn rounded(figure: f64) -> f64 {
    (figure * 1e6).round() / 1e6
}

/// Parts whose owner changes, in pieces that are one move each: who has them, who gets them.
fn moved(parts: &Parts, before: &[usize], after: &[usize]) -> Vec<(Vec<usize>, usize, usize)> {
    let mut pieces: Vec<(Vec<usize>, usize, usize)> = Vec::new();
    let owners = before.iter().zip(after).enumerate();
    for (part, (source, target)) in owners.filter(|(_, (source, target))| source != target) {
        let same = |piece: &&mut (Vec<usize>, usize, usize)| {
            let follows = !parts.ordered || piece.0.last() == part.checked_sub(1).as_ref();
            follows && piece.1 == *source && piece.2 == *target
        };
        match pieces.iter_mut().rev().find(same) {
            Some(piece) => piece.0.push(part),
            None => pieces.push((vec![part], *source, *target)),
        }
    }
    pieces
}
