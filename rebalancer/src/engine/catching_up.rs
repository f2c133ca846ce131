//! Owns the state `catching_up`: the target applies what has changed since the snapshot, and a way
//! back is prepared.

use super::copying::{COPIED_AT, again, is_same_history};
use super::patience::until_done;
use super::{Engine, Sides};
use crate::checkpoint::checkpoint;
use crate::error::Error;
use crate::journal::Move;
use crate::replicate::{self, Direction};
use crate::state::State;
use std::time::{Duration, Instant};

/// How long one wait for a marker is; afterwards it is shown how far the target is.
const LOOK: Duration = Duration::from_secs(1);
/// The target is near when a marker takes no longer.
const NEAR: Duration = Duration::from_millis(250);

pub(super) async fn step(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    let sides = Sides::open(&engine.journal, the_move).await?;
    if let Some(why) = broken(the_move, &sides).await? {
        return again(engine, the_move, &why).await;
    }
    let source = &sides.source_config()?.subscription;
    let from = remembered(the_move, COPIED_AT)?;
    replicate::subscribe(&sides.target, sides.id, Direction::Forward, source, from).await?;
    checkpoint("catching_up.subscribed").await;
    follow(engine, the_move, &sides).await?;
    checkpoint("catching_up.caught_up").await;
    prepare_back(engine, the_move, &sides).await?;
    checkpoint("catching_up.back_prepared").await;
    engine.journal.advance(the_move, State::Verifying, "the target follows").await
}

/// A text that the move's journal must have in this state.
pub(super) fn remembered<'a>(the_move: &'a Move, key: &str) -> Result<&'a str, Error> {
    let found = the_move.journal.get(key).and_then(|value| value.as_str());
    found
        .ok_or_else(|| Error::Stopped(format!("the journal of move {} lacks {key:?}", the_move.id)))
}

/// Why what was copied cannot be followed any more, if so.
pub(super) async fn broken(the_move: &Move, sides: &Sides) -> Result<Option<String>, Error> {
    let slot = replicate::standing(&sides.source, sides.id, Direction::Forward).await?;
    if !slot.exists || slot.lost {
        return Ok(Some(format!("{} has lost the slot", sides.source.place)));
    }
    if !is_same_history(the_move, sides).await? {
        return Ok(Some("another server has become a primary".to_owned()));
    }
    Ok(None)
}

/// Waits until the target is near.
pub(super) async fn follow(engine: &Engine, the_move: &Move, sides: &Sides) -> Result<(), Error> {
    let (source, target, id) = (&sides.source, &sides.target, sides.id);
    loop {
        let begun = Instant::now();
        let number = replicate::mark(source, id, Direction::Forward).await?;
        loop {
            if replicate::wait_marker(target, id, Direction::Forward, number, LOOK).await? {
                break;
            }
            show(engine, the_move, sides).await?;
            engine.go_on(the_move).await?;
        }
        if begun.elapsed() <= NEAR {
            return Ok(());
        }
    }
}

/// Shows how far the target is, and sees that it gets further at all.
async fn show(engine: &Engine, the_move: &Move, sides: &Sides) -> Result<(), Error> {
    let slot = replicate::standing(&sides.source, sides.id, Direction::Forward).await?;
    let limit = engine.limits().retained_wal_bytes;
    if slot.lost || slot.retained_bytes > limit {
        return Err(Error::Stopped(format!(
            "{} keeps {} bytes of WAL for the move, retained_wal_bytes allows {limit}; abort the \
             move, or allow more and resume it",
            sides.source.place, slot.retained_bytes
        )));
    }
    let trouble = replicate::trouble(&sides.target, sides.id, Direction::Forward).await?;
    let text = match trouble {
        Some(trouble) => format!("{} does not follow: {trouble}", sides.target.place),
        None => format!("{} applies changes", sides.target.place),
    };
    engine.waiting(the_move, &text);
    let lag = i64::try_from(slot.lag_bytes).ok();
    let (rows, bytes) = (the_move.rows_copied, the_move.bytes_copied);
    engine.journal.progress(the_move, rows, bytes, None, lag).await
}

/// The target keeps changes for the way back.
pub(super) async fn prepare_back(
    engine: &Engine,
    the_move: &Move,
    sides: &Sides,
) -> Result<(), Error> {
    let slot = replicate::standing(&sides.target, sides.id, Direction::Back).await?;
    if slot.exists && !slot.lost {
        return replicate::advance(&sides.target, sides.id, Direction::Back).await;
    }
    until_done(engine, the_move, "the slot for the way back", &sides.target, async || {
        replicate::prepare_back(&sides.target, sides.target_scope()).await
    })
    .await
}
