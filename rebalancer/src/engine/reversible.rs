//! Owns the way from `reversible` to `cleaning`: both sides are compared once more, and no proxy
//! works by an older map any more.

use super::announced::everybody_knows;
use super::comparing::{compare, following};
use super::{Engine, Sides};
use crate::checkpoint::checkpoint;
use crate::error::Error;
use crate::journal::{Mode, Move};
use crate::replicate::{self, Direction};
use crate::state::State;
use std::time::{Duration, Instant};

/// Longest wait for the worker of the way back, which begins anew after a restart of either
/// server, and pause between two looks.
const WORKER_TIMEOUT: Duration = Duration::from_secs(15);
const WORKER_POLL: Duration = Duration::from_millis(200);

pub(super) async fn step(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    let sides = Sides::open(&engine.journal, the_move).await?;
    if engine.options.compare && the_move.mode == Mode::Online {
        if let Some(lost) = lost(&sides).await? {
            return Err(Error::Stopped(format!(
                "{lost}, so both sides cannot be compared again; when the target was seen to be \
                 right, end the move with `cleanup --without-comparing`"
            )));
        }
        let pair = following(engine, the_move, &sides, Direction::Back).await?;
        compare(engine, the_move, &sides, &pair).await?;
    }
    checkpoint("reversible.compared").await;
    let report = everybody_knows(engine, the_move, sides.map.epoch).await?;
    engine.note(the_move, &report.to_string()).await?;
    checkpoint("reversible.barrier").await;
    engine.journal.advance(the_move, State::Cleaning, "no proxy works by an older map").await
}

/// Why there is no way back any more, if so.
pub(super) async fn lost(sides: &Sides) -> Result<Option<String>, Error> {
    let slot = replicate::standing(&sides.target, sides.id, Direction::Back).await?;
    if !slot.exists {
        let text = "has lost the slot of the way back (as when a replica becomes the primary)";
        return Ok(Some(format!("{} {text}", sides.target.place)));
    }
    if slot.lost {
        let text = "has removed WAL that the way back needs";
        return Ok(Some(format!("{} {text}", sides.target.place)));
    }
    let began = Instant::now();
    loop {
        let trouble = replicate::trouble(&sides.source, sides.id, Direction::Back).await?;
        let Some(trouble) = trouble else { return Ok(None) };
        if began.elapsed() > WORKER_TIMEOUT {
            return Ok(Some(format!("{} does not follow: {trouble}", sides.source.place)));
        }
        tokio::time::sleep(WORKER_POLL).await;
    }
}
