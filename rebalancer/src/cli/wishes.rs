//! Owns the commands that change the course of moves that there are already. Where another
//! rebalancer works on the database, it is asked; else the command does it itself.

use super::Given;
use crate::engine::{Engine, Options};
use crate::error::Error;
use crate::journal::{Move, Wish};
use crate::state::State;
use clap::Args;

/// What to go on with.
#[derive(Debug, Args)]
pub(super) struct Resume {
    /// Only this move.
    #[arg(value_name = "MOVE")]
    id: Option<i64>,
    /// End the moves too: there is no way back afterwards.
    #[arg(long)]
    cleanup: bool,
}

/// What to end.
#[derive(Debug, Args)]
pub(super) struct Cleanup {
    /// Only this move; without it all whose keys have changed hands.
    #[arg(value_name = "MOVE")]
    id: Option<i64>,
    /// Do not compare both sides again; for moves whose way back is lost.
    #[arg(long)]
    without_comparing: bool,
}

const PLAIN: Options = Options { cleanup: false, compare: true };

/// Asks the rebalancer that works to stop.
pub(super) async fn pause(given: Given, id: Option<i64>) -> Result<u8, Error> {
    let journal = given.look().await?;
    let moves = journal.moves().await?;
    let open = moves.iter().filter(|one| is_open(one) && id.is_none_or(|id| id == one.id));
    let mut asked = 0;
    for one in open {
        journal.ask(one.id, Some(Wish::Pause)).await?;
        given.say(one, "is to pause; `resume` goes on");
        asked += 1;
    }
    match (asked, id) {
        (0, Some(id)) => Err(Error::Refused(format!("move {id} is not under way"))),
        (0, None) => Err(Error::Refused("no move is under way".to_owned())),
        _ => Ok(0),
    }
}

/// Goes on.
pub(super) async fn resume(given: Given, arguments: Resume) -> Result<u8, Error> {
    let engine = given.lead(Options { cleanup: arguments.cleanup, compare: true }).await?;
    let journal = engine.journal();
    let mut ids = Vec::new();
    for one in journal.moves().await? {
        let is_meant = arguments.id.is_none_or(|id| id == one.id);
        if !is_meant || one.state.is_end() {
            continue;
        }
        if one.wish == Some(Wish::Pause) {
            journal.ask(one.id, None).await?;
        }
        let more = arguments.cleanup || matches!(one.wish, Some(Wish::Cleanup | Wish::Rollback));
        if is_open(&one) || more {
            ids.push(one.id);
        }
    }
    if ids.is_empty() {
        println!("there is nothing to go on with");
    }
    given.run(&engine, &ids).await
}

/// Something is still to be done without being asked for.
fn is_open(one: &Move) -> bool {
    !one.state.is_end() && one.state != State::Reversible
}

/// Gives a move up.
pub(super) async fn abort(given: Given, id: i64) -> Result<u8, Error> {
    wish(given, id, Wish::Abort, |one| match one.state {
        state if state.can_abort() => Ok(()),
        State::Aborting | State::RollingBack => Ok(()),
        State::Flipped | State::Reversible => Err(format!(
            "move {id} cannot be aborted: the keys are {}'s already; `rollback {id}` gives them \
             back",
            one.target
        )),
        state => Err(format!("move {id} cannot be aborted: it is {state}")),
    })
    .await
}

/// Gives the keys back.
pub(super) async fn rollback(given: Given, id: i64) -> Result<u8, Error> {
    wish(given, id, Wish::Rollback, |one| match one.state {
        state if gives_back(state) => Ok(()),
        state if state.can_abort() => {
            Err(format!("move {id} cannot be rolled back: it is {state}; `abort {id}` gives it up"))
        }
        state => Err(format!("move {id} cannot be rolled back: it is {state}")),
    })
    .await
}

fn gives_back(state: State) -> bool {
    matches!(state, State::Flipped | State::Reversible | State::RollingBack | State::Returning)
}

async fn wish(
    given: Given,
    id: i64,
    wish: Wish,
    allowed: impl Fn(&Move) -> Result<(), String>,
) -> Result<u8, Error> {
    let looking = given.look().await?;
    let one = looking.one(id).await?;
    allowed(&one).map_err(Error::Refused)?;
    let Some(engine) = lead_or_ask(&given, PLAIN).await? else {
        looking.ask(id, Some(wish)).await?;
        given.say(&one, &format!("the rebalancer that works was asked to {}", wish.as_str()));
        return Ok(0);
    };
    drop(looking);
    // It may have gone on until the lease was free.
    let one = engine.journal().one(id).await?;
    allowed(&one).map_err(Error::Refused)?;
    let is_at_it = matches!(one.state, State::Aborting | State::Returning)
        || (one.state == State::RollingBack && wish == Wish::Rollback);
    engine.journal().ask(id, (!is_at_it).then_some(wish)).await?;
    given.run(&engine, &[id]).await
}

/// The engine, or nothing where another rebalancer has the lease.
async fn lead_or_ask(given: &Given, options: Options) -> Result<Option<Engine>, Error> {
    match given.lead(options).await {
        Ok(engine) => Ok(Some(engine)),
        Err(Error::Conflict(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Ends moves.
pub(super) async fn cleanup(given: Given, arguments: Cleanup) -> Result<u8, Error> {
    let ends = |one: &Move| match arguments.id {
        Some(id) => id == one.id,
        None => one.state == State::Reversible,
    };
    let looking = given.look().await?;
    let moves: Vec<Move> = looking.moves().await?.into_iter().filter(|one| ends(one)).collect();
    if let Some(id) = arguments.id {
        let one = looking.one(id).await?;
        let is_late = matches!(one.state, State::Flipped | State::Reversible | State::Cleaning);
        if !is_late {
            let text = format!("move {id} cannot be ended yet, or any more: it is {}", one.state);
            return Err(Error::Refused(text));
        }
    }
    let compare = !arguments.without_comparing;
    let Some(engine) = lead_or_ask(&given, Options { cleanup: true, compare }).await? else {
        for one in &moves {
            looking.ask(one.id, Some(Wish::Cleanup)).await?;
            given.say(one, "the rebalancer that works was asked to end it");
        }
        return Ok(0);
    };
    if moves.is_empty() {
        println!("there is nothing to end");
    }
    let ids: Vec<i64> = moves.iter().map(|one| one.id).collect();
    given.run(&engine, &ids).await
}
