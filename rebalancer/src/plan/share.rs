//! Owns what each shard is to have: equal shares, unless one part alone is more than that.

use super::parts::Parts;

/// The part of a share by which a move may miss what it is to bring.
pub(super) const TOLERANCE: f64 = 0.01;
/// The part of a share by which a shard may differ from it when it is done: another move would cost
/// more than it is worth.
const DONE: f64 = 0.03;

/// A distribution while it is balanced: what parts weigh, and who has them.
#[derive(Debug, Clone)]
pub(super) struct Scale<'a> {
    /// The parts; their owners are those of before.
    pub(super) parts: &'a Parts,
    /// Who has each part now.
    pub(super) owner: Vec<usize>,
    /// What is to be alike, of each part.
    pub(super) weight: Vec<f64>,
    /// What it costs to move each part.
    pub(super) cost: Vec<f64>,
    /// Shards that are to have nothing.
    pub(super) drained: Vec<bool>,
    /// What each shard is to have beyond an equal share, for what others have had to leave uneven.
    pub(super) beyond: Vec<f64>,
}

/// What shards are to have.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    /// Of each shard.
    pub(super) target: Vec<f64>,
    /// What each shard has.
    pub(super) has: Vec<f64>,
    /// An equal share of everything.
    pub(super) even: f64,
    /// An equal share of what is left beside parts that are more than that alone.
    pub(super) share: f64,
}

impl Scale<'_> {
    /// Shards that are to have something.
    pub(super) fn receivers(&self) -> impl Iterator<Item = usize> {
        self.drained.iter().enumerate().filter(|(_, drained)| !**drained).map(|(at, _)| at)
    }

    /// What each shard has, and is to have. A part that is more than an equal share makes a whole
    /// share for the shard it is on, and the others share what is left. It depends on who has what
    /// now and on nothing else: planning again after a plan comes to the same.
    pub(super) fn shares(&self) -> Shares {
        let mut has = vec![0.0; self.drained.len()];
        for (weight, owner) in self.weight.iter().zip(&self.owner) {
            has[*owner] += weight;
        }
        let total: f64 = self.weight.iter().sum();
        let mut free: Vec<usize> = self.receivers().collect();
        let even = total / (free.len().max(1) as f64);
        let mut target = vec![0.0; has.len()];
        let mut left = total;
        let mut heaviest: Vec<usize> = (0..self.weight.len()).collect();
        heaviest.retain(|part| self.weight[*part] > even * (1.0 + TOLERANCE));
        heaviest.sort_by(|a, b| self.weight[*b].total_cmp(&self.weight[*a]).then(a.cmp(b)));
        for part in heaviest {
            let share = left / (free.len().max(1) as f64);
            if free.len() <= 1 || self.weight[part] <= share * (1.0 + TOLERANCE) {
                break;
            }
            let owner = free.iter().position(|shard| *shard == self.owner[part]);
            let least = || {
                let places = 0..free.len();
                places.min_by(|a, b| has[free[*a]].total_cmp(&has[free[*b]]))
            };
            let Some(at) = owner.or_else(least) else { break };
            target[free.swap_remove(at)] = self.weight[part];
            left -= self.weight[part];
        }
        let share = left / (free.len().max(1) as f64);
        for shard in &free {
            target[*shard] = (share + self.beyond[*shard]).max(0.0);
        }
        Shares { target, has, even, share }
    }
}

impl Shares {
    /// What a shard has too much; negative: has room for.
    pub(super) fn excess(&self, shard: usize) -> f64 {
        self.has[shard] - self.target[shard]
    }

    /// By how much a shard may differ from what it is to have, when it is done.
    pub(super) fn done(&self) -> f64 {
        self.share * DONE
    }

    /// By how much a move may miss what it is to bring.
    pub(super) fn slack(&self) -> f64 {
        self.share * TOLERANCE
    }
}
