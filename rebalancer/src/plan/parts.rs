//! Owns the key space of a distribution as the planner sees it: parts that it never divides, each
//! with what lies in it and who has it.

use pgmanifold_router::hash::hash_key;
use pgmanifold_router::key::KeyValue;
use pgmanifold_router::shard_map::{
    Bound, Distribution, DistributionKind, Keys, ShardId, ShardMap,
};
use serde::{Deserialize, Serialize};
use std::ops::{Add, AddAssign};

/// Equal parts that a space of hashes is divided into, before borders of ranges are added.
pub const HASH_PARTS: usize = 4096;

/// What lies in some keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Weight {
    /// Rows, of all tables together.
    pub rows: u64,
    /// Bytes of these rows and of their part of the indexes.
    pub bytes: u64,
    /// Statements that proxies have sent to one shard because of such a key.
    pub executions: u64,
}

/// Which of the weights is to be alike on all shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Rows.
    Rows,
    /// Bytes.
    Bytes,
    /// Executions that proxies have counted.
    Load,
}

/// Where a part is in its distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// From here (`None`: the very beginning) to the next part.
    From(Option<Bound>),
    /// This value of a list.
    Value(KeyValue),
}

/// Keys that stay together whatever is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub place: Place,
    /// Who has them; for keys on their way: who is to have them.
    pub owner: ShardId,
    /// They are on their way already: nothing else is planned for them.
    pub fixed: bool,
    /// What lies in them.
    pub weight: Weight,
    /// The part is this one key, as text.
    pub key: Option<String>,
}

/// The parts of a distribution, in the order of their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Index of the distribution.
    pub distribution: usize,
    /// Neighbouring parts can be one range: the distribution is not by list.
    pub ordered: bool,
    /// All of them.
    pub parts: Vec<Part>,
}

impl Weight {
    /// The weight that is to be alike, as a number.
    pub fn by(self, by: By) -> u64 {
        match by {
            By::Rows => self.rows,
            By::Bytes => self.bytes,
            By::Load => self.executions,
        }
    }
}

impl Add for Weight {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(other.rows),
            bytes: self.bytes.saturating_add(other.bytes),
            executions: self.executions.saturating_add(other.executions),
        }
    }
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Self>>(weights: I) -> Self {
        weights.fold(Self::default(), Add::add)
    }
}

impl By {
    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Load => "load",
        }
    }
}

impl Parts {
    /// The parts of a distribution of the map, without weights: its ranges or values, divided at
    /// these borders too. `None` for kinds whose keys cannot be moved.
    pub fn of(map: &ShardMap, distribution: usize, borders: &[Bound]) -> Option<Self> {
        let found = map.distributions.get(distribution)?;
        let ordered = match found.kind {
            DistributionKind::Hash | DistributionKind::Range => true,
            DistributionKind::List => false,
            DistributionKind::Reference | DistributionKind::Single => return None,
        };
        let parts = if ordered {
            between(found, borders)
        } else {
            let values = found.values.iter();
            values.map(|(value, shard)| part(found, Place::Value(value.clone()), *shard)).collect()
        };
        Some(Self { distribution, ordered, parts })
    }

    /// The first and the last but one border of equal parts of a hash space.
    pub fn hash_borders(parts: usize) -> Vec<Bound> {
        ShardMap::even_split(parts).into_iter().flatten().collect()
    }

    /// The part that a key is in, given by its hash or by itself.
    pub fn find(&self, bound: &Bound) -> Option<usize> {
        let not_beyond = |part: &Part| match &part.place {
            Place::From(from) => from.as_ref().is_none_or(|from| from <= bound),
            Place::Value(_) => false,
        };
        self.parts.partition_point(not_beyond).checked_sub(1)
    }

    /// The part that a key of the distribution is in.
    pub fn find_key(&self, found: &Distribution, key: &[KeyValue]) -> Option<usize> {
        match found.kind {
            DistributionKind::Hash => self.find(&Bound::Hash(hash_key(key))),
            DistributionKind::Range => self.find(&Bound::Value(key.first()?.clone())),
            _ => {
                let value = Place::Value(key.first()?.clone());
                self.parts.iter().position(|part| part.place == value)
            }
        }
    }

    /// Where the part ends: the beginning of the next one, `None` at the very end.
    pub fn end(&self, part: usize) -> Option<&Bound> {
        match &self.parts.get(part + 1)?.place {
            Place::From(from) => from.as_ref(),
            Place::Value(_) => None,
        }
    }

    /// The keys of these parts, which are neighbours where parts are ordered.
    pub fn keys(&self, parts: &[usize]) -> Option<Keys> {
        let (first, last) = (*parts.first()?, *parts.last()?);
        if let Place::From(from) = &self.parts.get(first)?.place {
            return Some(Keys::Between(from.clone(), self.end(last).cloned()));
        }
        let value = |at: &usize| match &self.parts.get(*at)?.place {
            Place::Value(value) => Some(value.clone()),
            Place::From(_) => None,
        };
        Some(Keys::Values(parts.iter().map(value).collect::<Option<_>>()?))
    }

    /// What all of it weighs.
    pub fn total(&self) -> Weight {
        self.parts.iter().map(|part| part.weight).sum()
    }

    /// What each of so many shards has.
    pub fn per_shard(&self, shards: usize) -> Vec<Weight> {
        let mut weights = vec![Weight::default(); shards];
        for part in &self.parts {
            if let Some(weight) = weights.get_mut(usize::from(part.owner.0)) {
                *weight += part.weight;
            }
        }
        weights
    }
}

/// Ranges, divided at the borders.
fn between(found: &Distribution, borders: &[Bound]) -> Vec<Part> {
    let fits = |bound: &Bound| match (bound, found.kind) {
        (Bound::Hash(_), DistributionKind::Hash) => true,
        (Bound::Value(value), DistributionKind::Range) => {
            found.key_types.first().is_some_and(|ty| value.is_of(*ty))
        }
        _ => false,
    };
    let starts = found.ranges.iter().map(|range| range.from.clone());
    let mut starts: Vec<Option<Bound>> = starts.collect();
    starts.extend(borders.iter().filter(|bound| fits(bound)).cloned().map(Some));
    starts.sort();
    starts.dedup();
    // The beginning has a name of its own, and is no border.
    starts.retain(|from| *from != Some(Bound::Hash(i64::MIN)));
    let owner = |from: &Option<Bound>| {
        let after = found.ranges.partition_point(|range| range.from <= *from);
        after.checked_sub(1).and_then(|at| found.ranges.get(at)).map(|range| range.shard)
    };
    let parts = starts.into_iter().filter_map(|from| {
        let shard = owner(&from)?;
        Some(part(found, Place::From(from), shard))
    });
    parts.collect()
}

fn part(found: &Distribution, place: Place, owner: ShardId) -> Part {
    let is_in = |keys: &Keys| match &place {
        Place::From(Some(Bound::Hash(hash))) => keys.have_hash(*hash),
        Place::From(Some(Bound::Value(value))) => keys.have_value(value),
        Place::From(None) => matches!(keys, Keys::Between(None, _)),
        Place::Value(value) => keys.have_value(value),
    };
    let moving = found.moving.iter().find(|moving| is_in(&moving.keys));
    let key = match &place {
        Place::Value(value) => Some(value.to_string()),
        Place::From(_) => None,
    };
    let owner = moving.map_or(owner, |moving| moving.target);
    Part { place, owner, fixed: moving.is_some(), weight: Weight::default(), key }
}
