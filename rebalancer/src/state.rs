//! Owns where a move stands: its states, and which follows which. It must not do anything.

use std::fmt;

/// Where a move stands. The state is written into the catalog before its step begins, and every
/// step can be begun again: a mover that was killed is followed by another one that reads the
/// state and goes on.
///
/// ```text
/// planned ─► announced ─► copying ─► catching_up ─► verifying ─► ready ─► flipped
///    │           │           │            │             │          │        │
///    └───────────┴───────────┴──────┬─────┴─────────────┴──────────┘        ▼
///                                   ▼                                   reversible
///                        aborting ─► aborted                             │      │
///                                      done ◄─ cleaning ◄────────────────┘      ▼
///                              rolled_back ◄─ returning ◄─────────────── rolling_back
/// ```
///
/// An offline move has no `catching_up`, and no way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing was done. Step: look whether the move is possible.
    Planned,
    /// The map tells of it. Step: every proxy has heard of it or is cut off; nobody can truncate
    /// or alter the tables; online: the source keeps changes for the target.
    Announced,
    /// Step: what is left over on the target is deleted, and the rows of one snapshot are copied.
    /// Offline: the source refuses writes to the keys from here on.
    Copying,
    /// Step: the target applies what has changed since, and a way back is prepared.
    CatchingUp,
    /// Step: both sides are compared at one moment.
    Verifying,
    /// Both sides are the same. Step: the keys change hands.
    Ready,
    /// The map names the target, and there is no abort any more. Step: changes flow back.
    Flipped,
    /// Step: none, until somebody asks for the end or for the way back.
    Reversible,
    /// Both sides were compared again, and no proxy works by an older map. Step: the rows are
    /// deleted on the source. There is no way back any more.
    Cleaning,
    /// The end.
    Done,
    /// Given up. Step: everything is removed, the rows on the target last.
    Aborting,
    /// The end: the source serves the keys as before.
    Aborted,
    /// Step: the keys change hands again.
    RollingBack,
    /// The map names the source again. Step: no proxy works by an older map; the rows are deleted
    /// on the target.
    Returning,
    /// The end: the source serves the keys again, with everything written meanwhile.
    RolledBack,
}

impl State {
    /// All of them.
    pub const ALL: [State; 15] = [
        State::Planned,
        State::Announced,
        State::Copying,
        State::CatchingUp,
        State::Verifying,
        State::Ready,
        State::Flipped,
        State::Reversible,
        State::Cleaning,
        State::Done,
        State::Aborting,
        State::Aborted,
        State::RollingBack,
        State::Returning,
        State::RolledBack,
    ];

    /// Whether a move may go from this state to `next`.
    pub fn may_become(self, next: State) -> bool {
        match self {
            State::Planned => matches!(next, State::Announced | State::Aborting),
            State::Announced => matches!(next, State::Copying | State::Aborting),
            State::Copying => {
                matches!(next, State::CatchingUp | State::Verifying | State::Aborting)
            }
            State::CatchingUp => {
                matches!(next, State::Verifying | State::Copying | State::Aborting)
            }
            State::Verifying | State::Ready => {
                matches!(next, State::Ready | State::Copying | State::Flipped | State::Aborting)
            }
            // Clients write to the target: the source's rows are the old ones.
            State::Flipped => matches!(next, State::Reversible),
            State::Reversible => matches!(next, State::Cleaning | State::RollingBack),
            State::Cleaning => matches!(next, State::Done),
            State::Aborting => matches!(next, State::Aborted),
            State::RollingBack => matches!(next, State::Returning | State::Reversible),
            State::Returning => matches!(next, State::RolledBack),
            State::Done | State::Aborted | State::RolledBack => false,
        }
    }

    /// The move has come to an end, one or another.
    pub fn is_end(self) -> bool {
        matches!(self, State::Done | State::Aborted | State::RolledBack)
    }

    /// It can be given up, with nothing changed.
    pub fn can_abort(self) -> bool {
        self.may_become(State::Aborting)
    }

    /// The word in the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Planned => "planned",
            State::Announced => "announced",
            State::Copying => "copying",
            State::CatchingUp => "catching_up",
            State::Verifying => "verifying",
            State::Ready => "ready",
            State::Flipped => "flipped",
            State::Reversible => "reversible",
            State::Cleaning => "cleaning",
            State::Done => "done",
            State::Aborting => "aborting",
            State::Aborted => "aborted",
            State::RollingBack => "rolling_back",
            State::Returning => "returning",
            State::RolledBack => "rolled_back",
        }
    }

    /// Reads the word of [`State::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_flip_there_is_only_the_way_back() {
        for state in State::ALL {
            assert_eq!(State::from_name(state.as_str()), Some(state));
        }
        assert!(State::Ready.may_become(State::Aborting));
        assert!(!State::Flipped.can_abort() && !State::Cleaning.can_abort());
        assert!(State::Reversible.may_become(State::RollingBack));
        assert!(!State::Cleaning.may_become(State::RollingBack));
        assert!(!State::Copying.may_become(State::Flipped), "never without comparing");
        assert!(!State::CatchingUp.may_become(State::Ready), "never without comparing");
    }
}
