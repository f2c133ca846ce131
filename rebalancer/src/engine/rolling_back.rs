//! Owns the state `rolling_back`: both sides are compared, and the keys change hands again.

use super::announced::everybody_knows;
use super::comparing::{compare, following};
use super::cut_over::{Turn, cut_over};
use super::reversible::lost;
use super::{Engine, Sides};
use crate::checkpoint::checkpoint;
use crate::error::Error;
use crate::journal::{Mode, Move};
use crate::replicate::Direction;
use crate::state::State;

/// Goes from `reversible` to `rolling_back`, where there is a way back.
pub(super) async fn begin(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    let no_way = match the_move.mode {
        Mode::Offline => Some("moves with --mode offline have no way back".to_owned()),
        Mode::Online => lost(&Sides::open(&engine.journal, the_move).await?).await?,
    };
    let Some(no_way) = no_way else {
        return engine
            .journal
            .advance(the_move, State::RollingBack, "rollback was asked for")
            .await;
    };
    engine.journal.ask(the_move.id, None).await?;
    Err(Error::Refused(format!(
        "move {} cannot be rolled back: {no_way}. End it with `cleanup{}`, and move the keys back: \
         {}",
        the_move.id,
        if the_move.mode == Mode::Online { " --without-comparing" } else { "" },
        command_back(the_move)
    )))
}

/// The command that moves the keys back.
fn command_back(the_move: &Move) -> String {
    use pgmanifold_router::shard_map::Keys;
    let keys = match &the_move.keys {
        Keys::Between(from, to) => {
            let from = from.as_ref().map(|from| format!(" --from={from}")).unwrap_or_default();
            let to = to.as_ref().map(|to| format!(" --to={to}")).unwrap_or_default();
            format!("{from}{to}")
        }
        Keys::Values(values) => values.iter().map(|value| format!(" --value={value}")).collect(),
    };
    format!("apply --distribution {}{keys} --target {}", the_move.distribution, the_move.source)
}

/// Goes back to `reversible`: somebody does not want it any more.
pub(super) async fn stay(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    // The wish is fulfilled by this; what it cleans up waits without being interrupted by it.
    engine.journal.ask(the_move.id, None).await?;
    engine.asked.heard(None);
    let sides = Sides::open(&engine.journal, the_move).await?;
    let turn = Turn::new(&sides, Direction::Back);
    turn.reset(engine, the_move).await?;
    turn.follow_on().await?;
    engine.journal.advance(the_move, State::Reversible, "the target keeps the keys").await
}

pub(super) async fn step(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    let sides = Sides::open(&engine.journal, the_move).await?;
    let turn = Turn::new(&sides, Direction::Back);
    turn.reset(engine, the_move).await?;
    checkpoint("rolling_back.begin").await;
    // A mover that died in its pause has left it disabled.
    turn.follow_on().await?;
    if let Some(lost) = lost(&sides).await? {
        engine.journal.advance(the_move, State::Reversible, &lost).await?;
        return Err(Error::Stopped(format!("{lost}: the target keeps the keys")));
    }
    // Nobody may write to the source by the map from before the move when its fence is opened.
    let report = everybody_knows(engine, the_move, sides.map.epoch).await?;
    engine.note(the_move, &report.to_string()).await?;
    let pair = following(engine, the_move, &sides, Direction::Back).await?;
    if let Err(error) = compare(engine, the_move, &sides, &pair).await {
        if matches!(error, Error::Stopped(_)) && !engine.asked.is_interrupted() {
            let note = "both sides differ: the target keeps the keys";
            engine.journal.advance(the_move, State::Reversible, note).await?;
        }
        return Err(error);
    }
    drop(pair);
    checkpoint("rolling_back.compared").await;
    cut_over(engine, the_move, turn).await
}
