//! Owns keys that are on their way from one shard to another, as the map tells of them.
//!
//! While keys move, rows of them lie on two shards. Who has them is what the ranges of the map say,
//! as ever; what the other shard holds of them is *hidden*: it is not to be seen or changed by a
//! statement that is sent to several shards. One epoch announces the move before the first row is
//! copied, and one retires it when the rows that are left over have been deleted.

use super::{Bound, Distribution, DistributionKind, MapError, MapParts, ShardId, ShardMap};
use crate::key::KeyValue;
use std::cmp::Ordering;
use std::fmt;

/// A part of the keys of a distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// Of kind `Hash` or `Range`: from the first border (included; `None` is the very beginning)
    /// up to the second one (excluded; `None` is the very end).
    Between(Option<Bound>, Option<Bound>),
    /// Of kind `List`: these values, at least one.
    Values(Vec<KeyValue>),
}

/// Keys that are on their way. `S` is a shard, by its place or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving<S = ShardId> {
    /// Number of the move, from 1.
    pub id: u64,
    /// Which keys.
    pub keys: Keys,
    /// Who had them when the move began.
    pub source: S,
    /// Who is to have them.
    pub target: S,
    /// The keys are about to change hands: new writes to them wait for the next map.
    pub paused: bool,
}

/// How far the moves of a map have come, the one that has come farthest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Moves {
    /// There are none.
    #[default]
    None,
    /// There are, and none is paused.
    Open,
    /// One at least is paused.
    Paused,
}

impl Moves {
    /// Of these distributions.
    pub(super) fn of(distributions: &[Distribution]) -> Self {
        let mut moves = distributions.iter().flat_map(|one| &one.moving).peekable();
        match (moves.peek().is_some(), moves.any(|moving| moving.paused)) {
            (false, _) => Self::None,
            (true, false) => Self::Open,
            (true, true) => Self::Paused,
        }
    }
}

impl<S> Moving<S> {
    /// The same, with shards given in another way.
    pub fn with_shards<T>(&self, mut shard: impl FnMut(&S) -> T) -> Moving<T> {
        let (source, target) = (shard(&self.source), shard(&self.target));
        Moving { id: self.id, keys: self.keys.clone(), source, target, paused: self.paused }
    }
}

impl Keys {
    /// Whether the hash is that of one of these keys; false where borders or values say that they
    /// are not by hash.
    pub fn have_hash(&self, hash: i64) -> bool {
        self.have_bound(&Bound::Hash(hash))
    }

    /// Whether the key, which must be one of the distribution's, is one of these; false where a
    /// border says that they are by hash.
    pub fn have_value(&self, value: &KeyValue) -> bool {
        match self {
            Self::Between(..) => self.have_bound(&Bound::Value(value.clone())),
            Self::Values(values) => values.contains(value),
        }
    }

    /// Whether the range that begins there, at a border of the map, is of these keys; false for
    /// listed values.
    pub fn have_start(&self, start: Option<&Bound>) -> bool {
        match self {
            Self::Between(from, to) => {
                from.as_ref() <= start && to.as_ref().is_none_or(|to| start < Some(to))
            }
            Self::Values(_) => false,
        }
    }

    fn have_bound(&self, bound: &Bound) -> bool {
        let Self::Between(from, to) = self else { return false };
        let is_other =
            |border: &Bound| matches!(border, Bound::Hash(_)) != matches!(bound, Bound::Hash(_));
        if from.iter().chain(to).any(is_other) {
            return false;
        }
        from.as_ref().is_none_or(|from| from <= bound) && to.as_ref().is_none_or(|to| bound < to)
    }

    /// Whether a key may be in both.
    pub fn meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Between(from, to), Self::Between(other_from, other_to)) => {
                begins_before(from.as_ref(), other_to.as_ref())
                    && begins_before(other_from.as_ref(), to.as_ref())
            }
            (Self::Values(values), Self::Values(others)) => {
                values.iter().any(|value| others.contains(value))
            }
            _ => true,
        }
    }
}

/// Whether what begins at `from` has keys before `to`.
fn begins_before(from: Option<&Bound>, to: Option<&Bound>) -> bool {
    match (from, to) {
        (Some(from), Some(to)) => from.cmp(to) == Ordering::Less,
        _ => true,
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between(from, to) => {
                match from {
                    Some(from) => write!(f, "[{from}, ")?,
                    None => f.write_str("[beginning, ")?,
                }
                match to {
                    Some(to) => write!(f, "{to})"),
                    None => f.write_str("end]"),
                }
            }
            Self::Values(values) => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "{{{}}}", values.join(", "))
            }
        }
    }
}

impl Distribution {
    /// Who has all of these keys; `None` when they are of several shards, or of none.
    pub fn owner_of(&self, keys: &Keys) -> Option<ShardId> {
        let owners: Vec<ShardId> = match keys {
            Keys::Between(from, to) => {
                let ends = |at: usize| self.ranges.get(at + 1).and_then(|next| next.from.as_ref());
                let meets = self.ranges.iter().enumerate().filter(|(at, range)| {
                    let end = ends(*at);
                    // The last range has no end.
                    (end.is_none() || begins_before(from.as_ref(), end))
                        && begins_before(range.from.as_ref(), to.as_ref())
                });
                meets.map(|(_, range)| range.shard).collect()
            }
            Keys::Values(values) => {
                let owner = |value: &KeyValue| {
                    let at = self.values.binary_search_by(|(known, _)| known.cmp(value)).ok()?;
                    Some(self.values.get(at)?.1)
                };
                values.iter().map(owner).collect::<Option<_>>()?
            }
        };
        let first = owners.first()?;
        owners.iter().all(|owner| owner == first).then_some(*first)
    }

    /// Moves whose rows on this shard are to be hidden.
    pub fn hidden_on(&self, shard: ShardId) -> impl Iterator<Item = &Moving> {
        self.moving.iter().filter(move |moving| {
            (moving.source == shard || moving.target == shard)
                && self.owner_of(&moving.keys) != Some(shard)
        })
    }

    /// Moves whose keys are about to change hands.
    pub fn paused(&self) -> impl Iterator<Item = &Moving> {
        self.moving.iter().filter(|moving| moving.paused)
    }
}

impl ShardMap {
    /// Something of this map is on its way.
    #[inline]
    pub fn is_moving(&self) -> bool {
        self.moves != Moves::None
    }

    /// Keys of this map are about to change hands.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.moves == Moves::Paused
    }

    /// A shard has keys that are about to change hands.
    pub fn has_paused(&self, shard: ShardId) -> bool {
        let owner = |one: &Distribution, moving: &Moving| one.owner_of(&moving.keys);
        let owns = |one: &Distribution, moving| owner(one, moving).is_none_or(|has| has == shard);
        self.distributions.iter().any(|one| one.paused().any(|moving| owns(one, moving)))
    }

    /// The move of this number: index of its distribution, and what it is.
    pub fn moving(&self, id: u64) -> Option<(usize, &Moving)> {
        self.distributions.iter().enumerate().find_map(|(at, one)| {
            one.moving.iter().find(|moving| moving.id == id).map(|moving| (at, moving))
        })
    }

    /// Announces that keys are to go to a shard. Where a border of theirs is inside of a range,
    /// the range becomes two.
    ///
    /// # Errors
    /// The keys are not all of one shard, or of the target; the number is taken; they meet keys
    /// that are on their way already.
    pub fn announce(
        &self,
        distribution: usize,
        id: u64,
        keys: &Keys,
        target: &str,
    ) -> Result<Self, Vec<MapError>> {
        let source = self.distributions.get(distribution).and_then(|one| one.owner_of(keys));
        let source = source.map(|shard| Box::from(self.name(shard)));
        self.change(distribution, |parts| {
            let source: Box<str> = source.ok_or("the keys are not all of one shard")?;
            if let Keys::Between(from, to) = keys {
                for border in [from, to].into_iter().flatten() {
                    let known = parts.ranges.iter().any(|(from, _)| from.as_ref() == Some(border));
                    if !known {
                        parts.ranges.push((Some(border.clone()), source.clone()));
                    }
                }
            }
            let (keys, target) = (keys.clone(), target.into());
            parts.moving.push(Moving { id, keys, source, target, paused: false });
            Ok(())
        })
    }

    /// Says whether new writes to the keys of a move wait.
    ///
    /// # Errors
    /// There is no such move.
    pub fn pause(&self, id: u64, paused: bool) -> Result<Self, Vec<MapError>> {
        self.change_moving(id, |parts, at| parts.moving[at].paused = paused)
    }

    /// Gives the keys of a move to a shard, its source or target, and lets writes go on.
    ///
    /// # Errors
    /// There is no such move, or the shard is neither.
    pub fn hand_over(&self, id: u64, shard: &str) -> Result<Self, Vec<MapError>> {
        self.change_moving(id, |parts, at| {
            let moving = &mut parts.moving[at];
            moving.paused = false;
            match moving.keys.clone() {
                Keys::Between(from, to) => {
                    for (start, owner) in &mut parts.ranges {
                        let inside = from.as_ref().is_none_or(|f| start.as_ref() >= Some(f))
                            && begins_before(start.as_ref(), to.as_ref());
                        if inside {
                            *owner = shard.into();
                        }
                    }
                }
                Keys::Values(keys) => {
                    for (value, owner) in &mut parts.values {
                        if keys.contains(value) {
                            *owner = shard.into();
                        }
                    }
                }
            }
        })
    }

    /// The move has ended: nothing is left of its keys but what their owner has.
    ///
    /// # Errors
    /// There is no such move.
    pub fn retire(&self, id: u64) -> Result<Self, Vec<MapError>> {
        self.change_moving(id, |parts, at| {
            parts.moving.remove(at);
        })
    }

    /// `change` is told the place of the move among those of its distribution.
    fn change_moving(
        &self,
        id: u64,
        change: impl FnOnce(&mut super::DistributionParts, usize),
    ) -> Result<Self, Vec<MapError>> {
        let distribution = self.moving(id).map(|(at, _)| at);
        let unknown = || vec![MapError::new(format!("move {id}"), "there is no such move")];
        self.change(distribution.ok_or_else(unknown)?, |parts| {
            let at = parts.moving.iter().position(|moving| moving.id == id);
            change(parts, at.ok_or("there is no such move")?);
            Ok(())
        })
    }
}

/// What is wrong with the moves of a map whose distributions are built.
pub(super) fn check(distributions: &[Distribution], errors: &mut Vec<MapError>) {
    let mut ids = Vec::new();
    for one in distributions {
        for (at, moving) in one.moving.iter().enumerate() {
            let place = format!("distribution {:?}, move {}", one.name, moving.id);
            let mut error = |message: &str| errors.push(MapError::new(&*place, message));
            if moving.id == 0 || i64::try_from(moving.id).is_err() || ids.contains(&moving.id) {
                error("its number is not one of its own from 1 to 2^63 - 1");
            }
            ids.push(moving.id);
            if moving.source == moving.target {
                error("it has one shard for source and target");
            }
            let others = one.moving.iter().take(at);
            if others.into_iter().any(|other| other.keys.meet(&moving.keys)) {
                error("its keys meet those of another move");
            }
            if !fits(one, &moving.keys) {
                error("its keys are not keys of the distribution");
                continue;
            }
            match one.owner_of(&moving.keys) {
                Some(owner) if owner == moving.source || owner == moving.target => {}
                _ => error("its keys are not all of its source, or all of its target"),
            }
        }
    }
}

/// Whether keys are such as the distribution has, with ranges that begin at their borders.
fn fits(distribution: &Distribution, keys: &Keys) -> bool {
    let begins = |bound: &Bound| distribution.ranges.iter().any(|r| r.from.as_ref() == Some(bound));
    match (keys, distribution.kind) {
        (Keys::Between(from, to), DistributionKind::Hash | DistributionKind::Range) => {
            from.iter().chain(to).all(begins)
                && from.as_ref().zip(to.as_ref()).is_none_or(|(from, to)| from < to)
        }
        (Keys::Values(values), DistributionKind::List) => !values.is_empty(),
        _ => false,
    }
}

impl MapParts {
    /// Of all distributions.
    pub fn has_moves(&self) -> bool {
        self.distributions.iter().any(|one| !one.moving.is_empty())
    }
}

#[cfg(test)]
mod tests;
