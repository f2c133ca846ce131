//! Owns the state `copying`: what is left over on the target is deleted, and the rows of one
//! snapshot are copied.

use super::announced::{guard, keep_changes};
use super::patience::until_done;
use super::work::{Pacer, paced, watched};
use super::{Engine, Sides, pause};
use crate::checkpoint::checkpoint;
use crate::error::Error;
use crate::journal::{Mode, Move};
use crate::replicate::{self, Direction};
use crate::snapshot::{self, Snapshot};
use crate::state::State;
use crate::throttle::{Throttle, Watched};
use crate::{cleanup, copy, fence, replicas};
use serde_json::json;
use std::sync::Arc;

/// Where the journal keeps in which histories the servers were when rows were copied.
const HISTORIES: &str = "histories";
/// Where the journal keeps the source's position of the snapshot: changes follow from there on.
pub(super) const COPIED_AT: &str = "copied_at";

pub(super) async fn step(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    let sides = Sides::open(&engine.journal, the_move).await?;
    make_clean(engine, the_move, &sides).await?;
    checkpoint("copying.cleaned").await;
    let snapshot = match the_move.mode {
        Mode::Online => exact(engine, the_move, &sides).await?,
        Mode::Offline => fenced(engine, the_move, &sides).await?,
    };
    let histories = sides.histories().await?;
    engine.journal.remember(the_move, HISTORIES, json!(histories)).await?;
    engine.journal.remember(the_move, COPIED_AT, json!(snapshot.lsn)).await?;
    checkpoint("copying.snapshot").await;
    let slot = (the_move.mode == Mode::Online).then(|| Direction::Forward.name(sides.id));
    let throttle = throttle(engine, &sides, slot).await?;
    let pacer = Arc::new(Pacer::new(throttle, "copying.chunk", true));
    let work = copy::copy(
        sides.source_config()?,
        sides.target_config()?,
        sides.scope(),
        &snapshot,
        engine.limits().copy_workers,
        pacer.clone(),
    );
    let copied = paced(engine, the_move, &pacer, work).await?;
    checkpoint("copying.copied").await;
    let note = format!("{} rows copied, {} bytes", copied.rows, copied.bytes);
    engine.journal.expect_rows(the_move, i64::try_from(copied.rows).unwrap_or(i64::MAX)).await?;
    let next = match the_move.mode {
        Mode::Online => State::CatchingUp,
        Mode::Offline => State::Verifying,
    };
    engine.journal.advance(the_move, next, &note).await
}

/// Nothing of the keys is on the target afterwards, and nothing brings anything.
async fn make_clean(engine: &Engine, the_move: &Move, sides: &Sides) -> Result<(), Error> {
    let id = sides.id;
    // Usually they are there; a replica that has become primary may lack them.
    guard(engine, the_move, sides).await?;
    replicate::unsubscribe(&sides.target, id, Direction::Forward).await?;
    replicate::withdraw(&sides.target, id, Direction::Back).await?;
    if the_move.mode == Mode::Online {
        let slot = replicate::standing(&sides.source, id, Direction::Forward).await?;
        if !slot.exists || slot.lost {
            engine.note(the_move, "the source has lost the slot: another one is made").await?;
            keep_changes(engine, the_move, sides).await?;
        }
    }
    purge(engine, the_move, sides, Side::Target, "copying.chunk").await.map(drop)
}

/// Which shard's rows of the keys are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The source's.
    Source,
    /// The target's.
    Target,
}

/// Deletes the rows of the keys on a shard that the map does not give them to.
async fn purge(
    engine: &Engine,
    the_move: &Move,
    sides: &Sides,
    side: Side,
    checkpoint: &'static str,
) -> Result<u64, Error> {
    let (on, scope, name, other) = match side {
        Side::Source => (&sides.source, sides.scope(), &the_move.source, &the_move.target),
        Side::Target => (&sides.target, sides.target_scope(), &the_move.target, &the_move.source),
    };
    let map = engine.journal.map().await?;
    let owner = map.distributions.get(sides.distribution).and_then(|d| d.owner_of(&sides.keys));
    let owner = owner.map(|owner| map.name(owner));
    if owner != Some(other.as_str()) {
        return Err(Error::Stopped(format!(
            "rows of {} are not deleted on {name}: the map gives them to {}",
            the_move.keys,
            owner.unwrap_or("several shards")
        )));
    }
    let throttle = throttle(engine, sides, None).await?;
    let pacer = Pacer::new(throttle, checkpoint, false);
    let work = cleanup::purge(on, scope, engine.limits().cleanup_batch_rows, &pacer);
    paced(engine, the_move, &pacer, work).await
}

/// The same before the end of a move. Afterwards nothing hides those rows, and nothing says that
/// others were handed over: replicas of both shards must have replayed it all.
pub(super) async fn purge_everywhere(
    engine: &Engine,
    the_move: &Move,
    sides: &Sides,
    side: Side,
    checkpoint: &'static str,
) -> Result<u64, Error> {
    let rows = purge(engine, the_move, sides, side, checkpoint).await?;
    let both = [(&sides.source, sides.source_config()?), (&sides.target, sides.target_config()?)];
    watched(engine, the_move, async {
        for (primary, shard) in both {
            let question = replicas::has_replayed(&replicas::position(primary).await?);
            for replica in replicas::of(shard).await? {
                engine.waiting(the_move, &format!("{} is to replay it all", replica.place));
                let otherwise = "rows would be seen twice, or missed, there";
                replicas::wait(&replica, &question, otherwise).await?;
            }
        }
        Ok(())
    })
    .await?;
    Ok(rows)
}

async fn throttle(engine: &Engine, sides: &Sides, slot: Option<String>) -> Result<Throttle, Error> {
    let source = Watched { session: sides.more_source().await?, slot };
    let target = Watched { session: sides.more_target().await?, slot: None };
    Ok(Throttle::start(engine.limits(), vec![source, target]))
}

/// A snapshot after which the slot streams everything.
async fn exact(engine: &Engine, the_move: &Move, sides: &Sides) -> Result<Snapshot, Error> {
    let (source, wait) = (sides.source_config()?, engine.limits().lock_timeout);
    until_done(engine, the_move, "the snapshot", &sides.source, async || {
        snapshot::exact(source, sides.scope(), wait).await
    })
    .await
}

/// A snapshot of a source that refuses writes to the keys, for the rest of the move.
async fn fenced(engine: &Engine, the_move: &mut Move, sides: &Sides) -> Result<Snapshot, Error> {
    pause::begin(engine, the_move, sides).await?;
    checkpoint("copying.paused").await;
    let wait = engine.limits().lock_timeout;
    until_done(engine, the_move, "the fence", &sides.source, async || {
        fence::fence(&sides.source, sides.scope(), wait).await
    })
    .await?;
    checkpoint("copying.fenced").await;
    snapshot::plain(sides.source_config()?).await
}

/// Whether both servers are still in the histories in which the rows were copied. Where one was
/// replaced by a replica of it, what follows may lack something.
pub(super) async fn is_same_history(the_move: &Move, sides: &Sides) -> Result<bool, Error> {
    let then = the_move.journal.get(HISTORIES).and_then(|value| value.as_str());
    let now = sides.histories().await?;
    Ok(then == Some(now.as_str()))
}

/// Begins the copy again.
pub(super) async fn again(engine: &Engine, the_move: &mut Move, why: &str) -> Result<(), Error> {
    let note = format!("{why}: the rows are copied again");
    engine.progress().say(the_move.id, &note);
    engine.journal.advance(the_move, State::Copying, &note).await
}
