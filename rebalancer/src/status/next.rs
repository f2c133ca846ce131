//! Owns the hint that stands with each move: what can be done next.

use super::MoveStatus;
use crate::state::State;

pub(super) fn next(one: &MoveStatus, working: bool) -> String {
    let id = one.id;
    let Some(state) = State::from_name(&one.state) else {
        return "this program does not know its state; use a newer one".to_owned();
    };
    let goes_on = match working {
        true => "a rebalancer is at work",
        false => "no rebalancer is at work: `resume` goes on",
    };
    match state {
        State::Done | State::Aborted | State::RolledBack => String::new(),
        State::Reversible => match one.wish.as_deref() {
            Some(wish @ ("rollback" | "cleanup")) => format!("{wish} was asked for; {goes_on}"),
            _ => format!(
                "`cleanup {id}` deletes the rows on {}; `rollback {id}` gives the keys back",
                one.source
            ),
        },
        _ if one.wish.as_deref() == Some("pause") => match working {
            true => "it will be paused at the next safe place".to_owned(),
            false => format!("it is paused: `resume {id}` goes on{}", or_abort(state, id)),
        },
        State::Planned
        | State::Announced
        | State::Copying
        | State::CatchingUp
        | State::Verifying
        | State::Ready => format!("{goes_on}{}", or_abort(state, id)),
        State::Flipped => format!("{goes_on}; the way back opens when changes flow back"),
        State::Cleaning | State::Aborting | State::RollingBack | State::Returning => {
            goes_on.to_owned()
        }
    }
}

fn or_abort(state: State, id: i64) -> String {
    match state.can_abort() {
        true => format!("; `abort {id}` gives it up"),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_hint() {
        let of = |state: State, wish: Option<&str>, working| {
            let (state, wish) = (state.as_str().to_owned(), wish.map(str::to_owned));
            let source = "north".to_owned();
            next(&MoveStatus { id: 3, state, wish, source, ..MoveStatus::default() }, working)
        };
        for state in State::ALL {
            assert_eq!(of(state, None, true).is_empty(), state.is_end(), "{state}");
            let gives_up = of(state, None, false).contains("`abort 3`");
            assert_eq!(gives_up, state.can_abort(), "{state}");
        }
        assert!(of(State::Copying, None, false).starts_with("no rebalancer is at work: `resume`"));
        assert!(of(State::Copying, Some("pause"), false).starts_with("it is paused: `resume 3`"));
        let both = of(State::Reversible, None, false);
        assert!(both.contains("`cleanup 3` deletes the rows on north; `rollback 3`"), "{both}");
        assert!(of(State::Reversible, Some("cleanup"), true).starts_with("cleanup was asked for"));
    }
}
