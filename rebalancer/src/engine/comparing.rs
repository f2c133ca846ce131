//! Owns the state `verifying`, and comparisons in other states: what both sides have of the keys
//! must be the same at one moment.

use super::catching_up::broken;
use super::copying::again;
use super::work::watched;
use super::{Engine, Sides};
use crate::checkpoint::checkpoint;
use crate::connect::Session;
use crate::error::Error;
use crate::fence;
use crate::journal::{Mode, Move};
use crate::replicate::Direction;
use crate::state::State;
use crate::verify::{self, Ends, Pair, PairLimits, Report};
use serde_json::json;

/// Where the journal keeps what was compared.
const COMPARED: &str = "compared";

pub(super) async fn step(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    let sides = Sides::open(&engine.journal, the_move).await?;
    let pair = match the_move.mode {
        Mode::Online => {
            if let Some(why) = broken(the_move, &sides).await? {
                return again(engine, the_move, &why).await;
            }
            following(engine, the_move, &sides, Direction::Forward).await?
        }
        Mode::Offline => {
            if !fence::is_fenced(&sides.source, sides.scope()).await? {
                let why = format!("{} takes writes to the keys", sides.source.place);
                return again(engine, the_move, &why).await;
            }
            verify::at_rest(sides.more_source().await?, sides.more_target().await?).await?
        }
    };
    checkpoint("verifying.pair").await;
    let report = compare(engine, the_move, &sides, &pair).await?;
    checkpoint("verifying.compared").await;
    let note = format!("both sides are the same: {} rows", report.rows());
    engine.journal.advance(the_move, State::Ready, &note).await
}

/// Two snapshots of the same moment, of the shard that is written to and of the one that follows.
pub(super) async fn following(
    engine: &Engine,
    the_move: &Move,
    sides: &Sides,
    way: Direction,
) -> Result<Pair, Error> {
    let (source, target): (Session, Session) =
        (sides.more_source().await?, sides.more_target().await?);
    let ends = match way {
        Direction::Forward => {
            Ends { locker: sides.more_source().await?, leader: source, follower: target }
        }
        Direction::Back => {
            Ends { locker: sides.more_target().await?, leader: target, follower: source }
        }
    };
    let limits = PairLimits { lock_timeout: engine.limits().lock_timeout, ..PairLimits::default() };
    let compared = sides.compared();
    let pair = verify::pair(ends, &compared, (sides.id, way), &limits);
    watched(engine, the_move, pair).await
}

/// Compares, and notes what was found.
///
/// # Errors
/// Where both sides differ, and what the servers say.
pub(super) async fn compare(
    engine: &Engine,
    the_move: &mut Move,
    sides: &Sides,
    pair: &Pair,
) -> Result<Report, Error> {
    engine.waiting(the_move, "comparing both sides");
    let compared = sides.compared();
    let report = watched(engine, the_move, verify::compare(pair, &compared)).await?;
    let found = serde_json::to_value(&report).unwrap_or_else(|error| json!(error.to_string()));
    engine.journal.remember(the_move, COMPARED, found).await?;
    engine.note(the_move, &report.to_string()).await?;
    report.verdict()?;
    Ok(report)
}
