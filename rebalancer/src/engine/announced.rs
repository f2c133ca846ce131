//! Owns the state `announced`: every proxy has heard of the move or is cut off, nobody can truncate
//! or alter the tables, and the source keeps changes for the target.

use super::patience::until_done;
use super::work::watched;
use super::{Engine, Sides};
use crate::barrier::{self, barrier};
use crate::checkpoint::checkpoint;
use crate::error::Error;
use crate::fence;
use crate::journal::{Mode, Move};
use crate::replicate::{self, Direction};
use crate::state::State;

pub(super) async fn step(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    let sides = Sides::open(&engine.journal, the_move).await?;
    let report = everybody_knows(engine, the_move, sides.map.epoch).await?;
    engine.note(the_move, &report.to_string()).await?;
    checkpoint("announced.barrier").await;
    guard(engine, the_move, &sides).await?;
    if the_move.mode == Mode::Online {
        keep_changes(engine, the_move, &sides).await?;
    }
    engine.journal.advance(the_move, State::Copying, "guarded").await
}

/// Nobody can truncate or alter the tables from now on, on neither side.
pub(super) async fn guard(engine: &Engine, the_move: &Move, sides: &Sides) -> Result<(), Error> {
    let wait = engine.limits().lock_timeout;
    until_done(engine, the_move, "guarding the tables", &sides.source, async || {
        fence::set_guards(&sides.source, sides.scope(), wait).await
    })
    .await?;
    checkpoint("announced.guarded_source").await;
    until_done(engine, the_move, "guarding the tables", &sides.target, async || {
        fence::set_guards(&sides.target, sides.target_scope(), wait).await
    })
    .await?;
    checkpoint("announced.guarded_target").await;
    Ok(())
}

/// Waits until nothing runs by an older map.
pub(super) async fn everybody_knows(
    engine: &Engine,
    the_move: &Move,
    epoch: u64,
) -> Result<barrier::Report, Error> {
    let mut tell = |text: &str| engine.waiting(the_move, text);
    let config = engine.journal.config();
    let all = barrier(&engine.journal.session, config, epoch, &mut tell);
    watched(engine, the_move, all).await
}

/// The source keeps changes from now on; what it kept before is given up.
pub(super) async fn keep_changes(
    engine: &Engine,
    the_move: &Move,
    sides: &Sides,
) -> Result<(), Error> {
    replicate::withdraw(&sides.source, sides.id, Direction::Forward).await?;
    replicate::publish(&sides.source, sides.scope(), Direction::Forward).await?;
    checkpoint("announced.published").await;
    until_done(engine, the_move, "the slot", &sides.source, async || {
        replicate::slot(&sides.source, sides.id, Direction::Forward).await
    })
    .await?;
    checkpoint("announced.slot").await;
    Ok(())
}
