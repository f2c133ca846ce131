//! Owns the state `cleaning`: the rows are deleted on the source, and everything else that the move
//! has made is removed.

use super::copying::{Side, purge_everywhere};
use super::planned::id;
use super::{Engine, Sides, nothing_left};
use crate::checkpoint::checkpoint;
use crate::error::Error;
use crate::journal::Move;
use crate::replicate::{self, Direction};
use crate::state::State;
use pgmanifold_router::shard_map::ShardMap;

pub(super) async fn step(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    let sides = Sides::open(&engine.journal, the_move).await?;
    checkpoint("cleaning.begin").await;
    // Deletions must not flow anywhere: the way back goes first.
    replicate::unsubscribe(&sides.source, sides.id, Direction::Back).await?;
    replicate::withdraw(&sides.target, sides.id, Direction::Back).await?;
    checkpoint("cleaning.back_removed").await;
    let rows = purge_everywhere(engine, the_move, &sides, Side::Source, "cleaning.batch").await?;
    checkpoint("cleaning.purged").await;
    replicate::remove_all(sides.id, Some(&sides.source), Some(&sides.target)).await?;
    nothing_left(&[&sides.source, &sides.target], sides.id).await?;
    checkpoint("cleaning.removed").await;
    let id = id(the_move)?;
    let retire = |map: &ShardMap| map.retire(id);
    let note = format!("{rows} rows deleted on {}", the_move.source);
    engine.journal.advance_with_map(the_move, State::Done, retire, &note).await.map(drop)
}
