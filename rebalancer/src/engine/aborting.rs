//! Owns the state `aborting`: everything that the move has made is removed, the rows on the target
//! last. Where a shard is away, what can be done is done, and the rest is told.

use super::copying::{Side, purge_everywhere};
use super::patience::until_done;
use super::planned::id;
use super::{Engine, Sides, nothing_left, pause, sides};
use crate::checkpoint::checkpoint;
use crate::error::Error;
use crate::fence;
use crate::journal::Move;
use crate::replicate;
use crate::state::State;
use pgmanifold_router::shard_map::ShardMap;

pub(super) async fn step(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    checkpoint("aborting.begin").await;
    let config = engine.journal.config();
    let source = sides::shard(config, &the_move.source).await;
    let target = sides::shard(config, &the_move.target).await;
    // Writes to the keys come first: whatever else is wrong, they go on.
    if let Ok(source) = &source {
        let wait = engine.limits().lock_timeout;
        until_done(engine, the_move, "the fence", source, async || {
            fence::let_down(source, the_move.id, wait).await
        })
        .await?;
    }
    pause::end(engine, the_move).await?;
    checkpoint("aborting.unpaused").await;
    let both = (source.as_ref().ok(), target.as_ref().ok());
    let removed = replicate::remove_all(the_move.id, both.0, both.1).await;
    let away: Vec<String> =
        [&source, &target].into_iter().filter_map(|side| side.as_ref().err()).map(text).collect();
    if !away.is_empty() {
        let left = removed.err().map(|error| format!("; {error}")).unwrap_or_default();
        return Err(Error::Stopped(format!(
            "the move is given up, but not everything of it is removed yet: {}{left}. Resume when \
             the server is back",
            away.join("; ")
        )));
    }
    removed?;
    checkpoint("aborting.removed").await;
    drop((source, target));
    let id = id(the_move)?;
    if engine.journal.map().await?.moving(id).is_none() {
        return engine.journal.advance(the_move, State::Aborted, "nothing was touched").await;
    }
    let sides = Sides::open(&engine.journal, the_move).await?;
    let rows = purge_everywhere(engine, the_move, &sides, Side::Target, "aborting.batch").await?;
    nothing_left(&[&sides.source, &sides.target], the_move.id).await?;
    checkpoint("aborting.purged").await;
    let retire = |map: &ShardMap| map.retire(id);
    let note = format!("{rows} rows deleted on {}", the_move.target);
    engine.journal.advance_with_map(the_move, State::Aborted, retire, &note).await.map(drop)
}

fn text(error: &Error) -> String {
    error.to_string()
}
