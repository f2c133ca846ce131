//! Owns waiting: for what can only be tried, and for what must not take long.

use super::Engine;
use crate::blockers::{self, Attempt, Blocker};
use crate::connect::Session;
use crate::error::Error;
use crate::journal::Move;
use std::time::{Duration, Instant};

/// Longest wait for transactions that stand in the way, outside of a pause.
const PATIENCE: Duration = Duration::from_secs(1800);
/// First and longest rest between two tries.
const REST_MIN: Duration = Duration::from_millis(50);
const REST_MAX: Duration = Duration::from_secs(1);

/// Tries until it is done. Meanwhile others go on: each try gives up by itself.
///
/// # Errors
/// What a try says; that it is to be ended; that it took too long.
pub(super) async fn until_done<T>(
    engine: &Engine,
    the_move: &Move,
    what: &str,
    on: &Session,
    attempt: impl AsyncFnMut() -> Result<Attempt<T>, Error>,
) -> Result<T, Error> {
    repeat(engine, the_move, (what, true), on, attempt).await
}

/// The same for what cleans up: nobody's wish ends it.
///
/// # Errors
/// What a try says; that it took too long.
pub(super) async fn insist<T>(
    engine: &Engine,
    the_move: &Move,
    what: &str,
    on: &Session,
    attempt: impl AsyncFnMut() -> Result<Attempt<T>, Error>,
) -> Result<T, Error> {
    repeat(engine, the_move, (what, false), on, attempt).await
}

async fn repeat<T>(
    engine: &Engine,
    the_move: &Move,
    (what, can_end): (&str, bool),
    on: &Session,
    mut attempt: impl AsyncFnMut() -> Result<Attempt<T>, Error>,
) -> Result<T, Error> {
    let begun = Instant::now();
    let mut rest = REST_MIN;
    loop {
        let who = match attempt().await? {
            Attempt::Done(done) => return Ok(done),
            Attempt::Blocked(who) => who,
        };
        if can_end {
            engine.go_on(the_move).await?;
        }
        end_old(engine, the_move, on, &who).await?;
        let text = format!("{what} waits on {}{}", on.place, named(&who));
        engine.waiting(the_move, &text);
        if begun.elapsed() > PATIENCE {
            return Err(Error::Stopped(format!(
                "{text}; for longer than {} s. End what stands in the way, and resume",
                PATIENCE.as_secs()
            )));
        }
        tokio::time::sleep(rest).await;
        rest = (rest * 2).min(REST_MAX);
    }
}

/// Ends transactions that have stood in the way for longer than somebody allows.
///
/// # Errors
/// What the server says.
pub(super) async fn end_old(
    engine: &Engine,
    the_move: &Move,
    on: &Session,
    who: &[Blocker],
) -> Result<(), Error> {
    let Some(after) = engine.limits().end_blockers_after else { return Ok(()) };
    let ended = blockers::end(on, who, after).await?;
    if ended > 0 {
        let text = format!("{ended} transactions on {} were ended{}", on.place, named(who));
        engine.progress().say(the_move.id, &text);
    }
    Ok(())
}

/// Who stands in the way, for the end of a sentence.
pub(super) fn named(who: &[Blocker]) -> String {
    if who.is_empty() { String::new() } else { format!(" ({})", blockers::describe(who)) }
}

/// What must not take longer.
///
/// # Errors
/// What it says itself; that the time is over.
pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Error::Stopped(format!("{what} took longer than {} ms", limit.as_millis())))
    })
}
