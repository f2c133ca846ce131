//! Owns the state `flipped`: the map names the target. What has changed since flows back, so that
//! the source could have the keys again.

use super::catching_up::remembered;
use super::cut_over::BACK_FROM;
use super::{Engine, Sides};
use crate::checkpoint::checkpoint;
use crate::error::Error;
use crate::journal::{Mode, Move};
use crate::replicate;
use crate::state::State;

pub(super) async fn step(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    checkpoint("flipped.begin").await;
    let note = match the_move.mode {
        Mode::Online => {
            let sides = Sides::open(&engine.journal, the_move).await?;
            let target = &sides.target_config()?.subscription;
            let from = remembered(the_move, BACK_FROM)?;
            let (source, id) = (&sides.source, sides.id);
            replicate::follow_back(source, &sides.target, id, target, from).await?;
            "the source follows"
        }
        Mode::Offline => "there is no way back but another move",
    };
    checkpoint("flipped.following").await;
    engine.journal.advance(the_move, State::Reversible, note).await
}
