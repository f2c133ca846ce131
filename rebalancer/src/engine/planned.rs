//! Owns the state `planned`: the look whether the move is possible, and the announcement in the
//! map. Nothing is touched before.

use super::{Engine, Sides};
use crate::checkpoint::checkpoint;
use crate::error::Error;
use crate::journal::{Mode, Move};
use crate::precheck::{self, Question, Report};
use crate::state::State;

pub(super) async fn step(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    let journal = &engine.journal;
    let sides = Sides::open(journal, the_move).await?;
    let report = look(engine, the_move, &sides).await?;
    for note in &report.notes {
        engine.note(the_move, note).await?;
    }
    journal.expect_rows(the_move, report.rows).await?;
    checkpoint("planned.checked").await;
    let id = id(the_move)?;
    let (keys, target) = (the_move.keys.clone(), the_move.target.clone());
    let distribution = the_move.distribution.clone();
    let announce = |map: &pgmanifold_router::shard_map::ShardMap| {
        let at = map.distributions.iter().position(|one| *one.name == *distribution);
        map.announce(at.unwrap_or(usize::MAX), id, &keys, &target)
    };
    journal.advance_with_map(the_move, State::Announced, announce, "announced").await?;
    checkpoint("planned.announced").await;
    Ok(())
}

impl Engine {
    /// Looks whether the move is possible; touches nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with all reasons.
    pub async fn check(&self, the_move: &Move) -> Result<Report, Error> {
        let sides = Sides::open(&self.journal, the_move).await?;
        look(self, the_move, &sides).await
    }
}

async fn look(engine: &Engine, the_move: &Move, sides: &Sides) -> Result<Report, Error> {
    if sides.owner() != Some(the_move.source.as_str()) {
        return Err(Error::Refused(format!(
            "the keys {} of {} are not all {}'s, by the map",
            the_move.keys, the_move.distribution, the_move.source
        )));
    }
    let question = Question {
        scope: sides.scope(),
        online: the_move.mode == Mode::Online,
        source: &sides.source,
        target: &sides.target,
        source_config: sides.source_config()?,
        target_config: sides.target_config()?,
        limits: engine.limits(),
    };
    let report = precheck::check(question).await?;
    if report.reasons.is_empty() {
        return Ok(report);
    }
    let reasons = report.reasons.iter().map(|reason| match reason.remedy.is_empty() {
        true => reason.what.clone(),
        false => format!("{}: {}", reason.what, reason.remedy),
    });
    Err(Error::Refused(reasons.collect::<Vec<_>>().join("\n")))
}

/// The number of a move, as the map has it.
pub(super) fn id(the_move: &Move) -> Result<u64, Error> {
    let wrong = || Error::Stopped(format!("{} is not the number of a move", the_move.id));
    u64::try_from(the_move.id).map_err(|_| wrong())
}
