//! Owns the state `returning`: the map names the source again. When no proxy works by an older map,
//! the rows are deleted on the target, and everything else that the move has made is removed.

use super::announced::everybody_knows;
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
    checkpoint("returning.begin").await;
    let sides = Sides::open(&engine.journal, the_move).await?;
    let report = everybody_knows(engine, the_move, sides.map.epoch).await?;
    engine.note(the_move, &report.to_string()).await?;
    checkpoint("returning.barrier").await;
    replicate::unsubscribe(&sides.source, sides.id, Direction::Back).await?;
    replicate::withdraw(&sides.target, sides.id, Direction::Back).await?;
    let rows = purge_everywhere(engine, the_move, &sides, Side::Target, "returning.batch").await?;
    checkpoint("returning.purged").await;
    replicate::remove_all(sides.id, Some(&sides.source), Some(&sides.target)).await?;
    nothing_left(&[&sides.source, &sides.target], sides.id).await?;
    checkpoint("returning.removed").await;
    let id = id(the_move)?;
    let retire = |map: &ShardMap| map.retire(id);
    let note = format!("{rows} rows deleted on {}", the_move.target);
    engine.journal.advance_with_map(the_move, State::RolledBack, retire, &note).await.map(drop)
}
