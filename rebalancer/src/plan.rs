//! Owns what a move is: which range of which distribution goes from where to where, and the states
//! it passes. Pure values; it must not touch a database.

use std::fmt;

/// A half-open range of hashed shard keys: `start <= hash(key) < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashRange {
    start: i64,
    /// `None` reaches to the end of the hash space.
    end: Option<i64>,
}

impl HashRange {
    /// The range from `start` up to but without `end`; `None` when it would be empty.
    pub fn new(start: i64, end: Option<i64>) -> Option<Self> {
        end.is_none_or(|end| start < end).then_some(Self { start, end })
    }

    /// Whether a key with this hash belongs to the range.
    pub fn contains(&self, hash: i64) -> bool {
        self.start <= hash && self.end.is_none_or(|end| hash < end)
    }
}

impl fmt::Display for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            Some(end) => write!(f, "[{}, {end})", self.start),
            None => write!(f, "[{}, end]", self.start),
        }
    }
}

/// One move: a range of a distribution (a group of tables with the same key) changes its shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The distribution.
    pub distribution: String,
    /// The range that moves.
    pub range: HashRange,
    /// The shard it leaves.
    pub source: String,
    /// The shard it goes to.
    pub target: String,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { distribution, range, source, target } = self;
        write!(f, "{distribution} {range}: {source} -> {target}")
    }
}

/// Where a move stands. Every state is kept in the catalog, so that a mover that was killed can be
/// resumed or aborted by the next one.
///
/// ```text
/// Prechecked -> SchemaMade -> Copied -> CaughtUp -> Verified -> Fenced -> Flipped -> CleanedUp
///      \____________\____________\__________\___________\__________\-> Aborted
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Both shards can take part.
    Prechecked,
    /// The tables stand on the target.
    SchemaMade,
    /// The rows of one snapshot stand on the target.
    Copied,
    /// The target follows the source closely.
    CaughtUp,
    /// Source and target hold the same rows.
    Verified,
    /// The source refuses writes to the range.
    Fenced,
    /// The catalog names the target.
    Flipped,
    /// The source's rows are gone; there is no way back.
    CleanedUp,
    /// Given up; the source serves the range as before.
    Aborted,
}

impl State {
    /// Whether a move may go from this state to `next`.
    pub fn may_become(self, next: State) -> bool {
        match self {
            State::Prechecked => matches!(next, State::SchemaMade | State::Aborted),
            State::SchemaMade => matches!(next, State::Copied | State::Aborted),
            State::Copied => matches!(next, State::CaughtUp | State::Aborted),
            State::CaughtUp => matches!(next, State::Verified | State::Aborted),
            State::Verified => matches!(next, State::Fenced | State::Aborted),
            State::Fenced => matches!(next, State::Flipped | State::Aborted),
            // After the flip clients write to the target: only forward from here.
            State::Flipped => matches!(next, State::CleanedUp),
            State::CleanedUp | State::Aborted => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_half_open() {
        let range = HashRange::new(-5, Some(5)).unwrap();
        assert!(range.contains(-5) && range.contains(4) && !range.contains(5));
        assert_eq!(range.to_string(), "[-5, 5)");
        assert!(HashRange::new(3, Some(3)).is_none());
        assert!(HashRange::new(i64::MIN, None).unwrap().contains(i64::MAX));
    }

    #[test]
    fn a_flipped_move_cannot_be_aborted() {
        assert!(State::Fenced.may_become(State::Aborted));
        assert!(!State::Flipped.may_become(State::Aborted));
        assert!(!State::Verified.may_become(State::Flipped), "never without the fence");
    }
}
