//! Owns the choice of neighbouring parts that one shard gives to another: enough weight, few bytes,
//! few ranges.

use super::share::{Scale, Shares};

/// What a move costs besides its bytes, as a part of the bytes of an average shard: below this,
/// fewer moves and fewer ranges are worth more than fewer bytes.
const MOVE_COST: f64 = 0.001;
/// As how many ranges a move counts.
pub(super) const MOVE_RANGES: f64 = 3.0;

/// What a range, or the third of a move, costs besides bytes.
pub(super) fn move_cost(scale: &Scale<'_>) -> f64 {
    let shards = scale.receivers().count().max(1) as f64;
    scale.cost.iter().sum::<f64>() / shards * MOVE_COST
}

/// Parts that go from one shard to another.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    /// Who gives.
    pub(super) donor: usize,
    /// Who gets.
    pub(super) receiver: usize,
    /// Which parts, neighbours where parts are ordered.
    pub(super) parts: Vec<usize>,
    /// What they weigh.
    pub(super) weight: f64,
}

/// Parts in a row that one shard has and may give, with sums from the left.
struct Run {
    parts: Vec<usize>,
    weight: Vec<f64>,
    cost: Vec<f64>,
}

/// How much of a donor's a receiver is to get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// At most.
    pub(super) most: f64,
    /// At least, so that no other move is needed.
    pub(super) enough: f64,
    /// All of it goes some time: bytes are no reason for one part or another.
    pub(super) all_goes: bool,
}

/// All runs of a donor's.
pub(super) struct Runs<'a> {
    scale: &'a Scale<'a>,
    donor: usize,
    move_cost: f64,
    runs: Vec<Run>,
}

impl<'a> Runs<'a> {
    pub(super) fn of(scale: &'a Scale<'a>, donor: usize) -> Self {
        let may = |part: &usize| scale.owner[*part] == donor && !scale.parts.parts[*part].fixed;
        let own = (0..scale.owner.len()).filter(may);
        let mut runs: Vec<Vec<usize>> = Vec::new();
        for part in own {
            match runs.last_mut() {
                Some(run) if !scale.parts.ordered || run.last() == Some(&(part - 1)) => {
                    run.push(part);
                }
                _ => runs.push(vec![part]),
            }
        }
        if !scale.parts.ordered {
            // Any values may go together: by weight, so that sums come in all sizes.
            for run in &mut runs {
                run.sort_by(|a, b| scale.weight[*b].total_cmp(&scale.weight[*a]).then(a.cmp(b)));
            }
        }
        let sums = |run: &[usize], of: &[f64]| {
            let mut sum = 0.0;
            let next = run.iter().map(|part| {
                sum += of[*part];
                sum
            });
            std::iter::once(0.0).chain(next).collect()
        };
        let runs = runs.into_iter().map(|parts| Run {
            weight: sums(&parts, &scale.weight),
            cost: sums(&parts, &scale.cost),
            parts,
        });
        Self { scale, donor, move_cost: move_cost(scale), runs: runs.collect() }
    }

    /// The window with the most weight for what it costs, and how good it is.
    pub(super) fn best(&self, receiver: usize, wanted: Wanted) -> Option<(f64, Window)> {
        let mut best: Option<(f64, (usize, usize, usize))> = None;
        for (at, run) in self.runs.iter().enumerate() {
            for (from, to) in run.windows(wanted.most) {
                let score = self.score(run, (from, to), receiver, wanted);
                if best.is_none_or(|(known, _)| score > known) {
                    best = Some((score, (at, from, to)));
                }
            }
        }
        let (score, (at, from, to)) = best?;
        Some((score, self.window(at, from..to, receiver)?))
    }

    /// The window that makes the worse off of both better off by the most for what it costs, even
    /// if the receiver has too much then. No improvement that is less than `least` of what is moved
    /// for it counts.
    pub(super) fn levelling(
        &self,
        receiver: usize,
        shares: &Shares,
        least: f64,
    ) -> Option<(f64, Window)> {
        let (excess, room) = (shares.excess(self.donor), -shares.excess(receiver));
        let mut best: Option<(f64, (usize, usize, usize))> = None;
        for (at, run) in self.runs.iter().enumerate() {
            for (from, to) in run.windows(excess + room) {
                let weight = run.weight[to] - run.weight[from];
                let better = excess - (excess - weight).max(weight - room);
                let counts = better >= weight * least && better > shares.slack() / 2.0;
                let price = self.price(run, (from, to), receiver);
                if counts && best.is_none_or(|(known, _)| better / price > known) {
                    best = Some((better / price, (at, from, to)));
                }
            }
        }
        let (better, (at, from, to)) = best?;
        Some((better, self.window(at, from..to, receiver)?))
    }

    /// The heaviest single part, or all when nothing weighs anything.
    pub(super) fn heaviest(&self, receiver: usize) -> Option<Window> {
        let mut heaviest: Option<(f64, usize, usize)> = None;
        for (at, run) in self.runs.iter().enumerate() {
            for place in 0..run.parts.len() {
                let weight = run.weight[place + 1] - run.weight[place];
                if heaviest.is_none_or(|(known, _, _)| weight > known) {
                    heaviest = Some((weight, at, place));
                }
            }
        }
        let (_, at, place) = heaviest?;
        self.window(at, place..place + 1, receiver)
    }

    fn window(&self, run: usize, at: std::ops::Range<usize>, receiver: usize) -> Option<Window> {
        let run = self.runs.get(run)?;
        let weight = run.weight[at.end] - run.weight[at.start];
        let mut parts = run.parts.get(at)?.to_vec();
        parts.sort_unstable();
        Some(Window { donor: self.donor, receiver, parts, weight })
    }

    fn score(&self, run: &Run, (from, to): (usize, usize), receiver: usize, w: Wanted) -> f64 {
        let weight = run.weight[to] - run.weight[from];
        let bytes = if w.all_goes { run.cost[to] - run.cost[from] } else { 0.0 };
        let another = if weight < w.enough { self.move_cost * MOVE_RANGES } else { 0.0 };
        // Windows without weight are for those who are to have nothing; more is better there too.
        let weight = weight + f64::EPSILON * (to - from) as f64;
        weight / (self.price(run, (from, to), receiver) - bytes + another)
    }

    /// What a move of these parts costs: bytes, and what a move and ranges count for.
    fn price(&self, run: &Run, (from, to): (usize, usize), receiver: usize) -> f64 {
        let mut ranges = MOVE_RANGES;
        if self.scale.parts.ordered {
            let owner = |at: Option<usize>| at.and_then(|at| self.scale.owner.get(at)).copied();
            let before = owner(run.parts[from].checked_sub(1));
            let after = owner(run.parts[to - 1].checked_add(1));
            // A border inside of the donor's keys, less one for each that is the receiver's.
            for neighbour in [before, after] {
                ranges += f64::from(u8::from(neighbour == Some(self.donor)));
                ranges -= f64::from(u8::from(neighbour == Some(receiver)));
            }
        }
        run.cost[to] - run.cost[from] + self.move_cost.max(f64::MIN_POSITIVE) * ranges
    }
}

impl Run {
    /// Windows of at most so much weight: from each place the longest one, and some shorter ones.
    fn windows(&self, most: f64) -> impl Iterator<Item = (usize, usize)> {
        (0..self.parts.len()).flat_map(move |from| {
            let most = self.weight[from] + most;
            let longest = self.weight.partition_point(|sum| *sum <= most).saturating_sub(1);
            let length = longest.saturating_sub(from);
            let shorter = std::iter::successors(Some(1_usize), |length| length.checked_mul(2));
            let shorter = shorter.take_while(move |shorter| *shorter < length);
            let longest = (length > 0).then_some((from, longest));
            shorter.map(move |length| (from, from + length)).chain(longest)
        })
    }
}
