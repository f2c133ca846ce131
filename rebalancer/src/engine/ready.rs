//! Owns the state `ready`: the keys change hands.

use super::catching_up::{broken, follow, prepare_back};
use super::copying::again;
use super::cut_over::{Turn, cut_over};
use super::planned::id;
use super::{Engine, Sides, pause};
use crate::checkpoint::checkpoint;
use crate::error::Error;
use crate::journal::{Mode, Move};
use crate::replicate::{self, Direction};
use crate::state::State;
use crate::{fence, sequences};
use pgmanifold_router::shard_map::ShardMap;

pub(super) async fn step(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    let sides = Sides::open(&engine.journal, the_move).await?;
    match the_move.mode {
        Mode::Online => online(engine, the_move, &sides).await,
        Mode::Offline => offline(engine, the_move, &sides).await,
    }
}

async fn online(engine: &Engine, the_move: &mut Move, sides: &Sides) -> Result<(), Error> {
    let turn = Turn::new(sides, Direction::Forward);
    turn.reset(engine, the_move).await?;
    if let Some(why) = broken(the_move, sides).await? {
        return again(engine, the_move, &why).await;
    }
    turn.follow_on().await?;
    checkpoint("ready.begin").await;
    follow(engine, the_move, sides).await?;
    prepare_back(engine, the_move, sides).await?;
    cut_over(engine, the_move, turn).await
}

/// The source has refused writes to the keys since before the copy, and both were compared.
async fn offline(engine: &Engine, the_move: &mut Move, sides: &Sides) -> Result<(), Error> {
    if !fence::is_fenced(&sides.source, sides.scope()).await? {
        let why = format!("{} takes writes to the keys", sides.source.place);
        return again(engine, the_move, &why).await;
    }
    checkpoint("ready.begin").await;
    sequences::carry(&sides.source, &sides.target, sides.scope()).await?;
    replicate::settle(&sides.target).await?;
    let (id, target) = (id(the_move)?, the_move.target.clone());
    let hand_over = |map: &ShardMap| map.hand_over(id, &target);
    let note = format!("the keys are {target}'s");
    engine.journal.advance_with_map(the_move, State::Flipped, hand_over, &note).await?;
    let waited = pause::since(engine, the_move).await?;
    engine.journal.paused_for(the_move, waited).await?;
    engine.note(the_move, &format!("writes to the keys waited, or failed, for {waited} ms")).await
}
