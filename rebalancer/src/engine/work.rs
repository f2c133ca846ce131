//! Owns long work: copying, deleting, comparing. It counts, is throttled, is shown, and can be
//! ended.

use super::Engine;
use crate::checkpoint::checkpoint;
use crate::copy::Pace;
use crate::error::Error;
use crate::journal::Move;
use crate::progress::{Meter, Now};
use crate::throttle::Throttle;
use std::pin::{Pin, pin};
use std::time::Duration;

/// How often what is done is noted.
const TICK: Duration = Duration::from_secs(1);

/// Counts chunks and says when the next one may begin.
#[derive(Debug)]
pub(super) struct Pacer {
    meter: Meter,
    throttle: Throttle,
    /// Passed after each chunk.
    checkpoint: &'static str,
    /// Bytes count for the rate.
    counts_bytes: bool,
}

impl Pacer {
    pub(super) fn new(throttle: Throttle, checkpoint: &'static str, counts_bytes: bool) -> Self {
        Self { meter: Meter::default(), throttle, checkpoint, counts_bytes }
    }
}

impl Pace for Pacer {
    fn passed(
        &self,
        rows: u64,
        bytes: u64,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> {
        self.meter.add(rows, bytes);
        Box::pin(async move {
            checkpoint(self.checkpoint).await;
            self.throttle.pass(if self.counts_bytes { bytes } else { 0 }).await
        })
    }
}

/// Runs `work`, which paces itself by `pacer`, and notes each second how far it is.
///
/// # Errors
/// What the work says; that it is to be ended; that the catalog, and so the lease, is gone.
pub(super) async fn paced<T>(
    engine: &Engine,
    the_move: &Move,
    pacer: &Pacer,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut work = pin!(work);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                if done.is_ok() {
                    tick(engine, the_move, pacer).await?;
                    engine.journal.waits(the_move.id, None).await?;
                }
                return done;
            }
            _ = ticks.tick() => {
                tick(engine, the_move, pacer).await?;
                engine.go_on(the_move).await?;
            }
        }
    }
}

/// Runs work that counts nothing.
///
/// # Errors
/// As [`paced`].
pub(super) async fn watched<T>(
    engine: &Engine,
    the_move: &Move,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut work = pin!(work);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = ticks.tick() => engine.go_on(the_move).await?,
        }
    }
}

async fn tick(engine: &Engine, the_move: &Move, pacer: &Pacer) -> Result<(), Error> {
    let (rows, bytes) = pacer.meter.done();
    let now = Now {
        rows,
        rows_total: the_move.rows_total.and_then(|rows| u64::try_from(rows).ok()),
        bytes,
        lag_bytes: None,
        waiting: pacer.throttle.reason(),
    };
    engine.journal.waits(the_move.id, now.waiting.as_deref()).await?;
    let rate = engine.progress().now(the_move.id, &now);
    if !pacer.counts_bytes {
        // What is deleted is shown, but it is not what was copied.
        return Ok(());
    }
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    engine.journal.progress(the_move, number(rows), number(bytes), Some(rate), None).await
}
