//! Owns the way of a move from state to state. Each state's step is in a file of its own; every
//! step begins by making its world clean, so it can be begun again after any crash.

mod aborting;
mod announced;
mod asked;
mod catching_up;
mod checkpoints;
mod cleaning;
mod comparing;
mod copying;
mod cut_over;
mod flipped;
mod leftovers;
mod patience;
mod pause;
mod planned;
mod ready;
mod returning;
mod reversible;
mod rolling_back;
mod sides;
mod work;

pub use asked::Asked;
pub use checkpoints::CHECKPOINTS;
pub use leftovers::nothing_left;
pub use sides::Sides;

use crate::config::Limits;
use crate::error::Error;
use crate::journal::{Journal, Move, Wish};
use crate::progress::{Now, Progress};
use crate::state::State;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is asked of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Ends moves instead of leaving the way back open.
    pub cleanup: bool,
    /// Compares both sides before the source's rows are deleted.
    pub compare: bool,
}

/// How far a run has brought a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// To its end, one or another.
    Ended,
    /// The keys are the target's; the way back is open.
    Reversible,
    /// Somebody has asked for a pause.
    Paused,
    /// The process was asked to end.
    Interrupted,
}

/// How a step came out.
enum Flow {
    /// The move is in another state, or the same step is to be begun again.
    On,
    /// There is nothing to do now.
    Rest(Outcome),
}

/// Brings moves from state to state. It holds the lease.
#[derive(Debug)]
pub struct Engine {
    journal: Journal,
    asked: Asked,
    options: Options,
    progress: Mutex<Progress>,
}

impl Engine {
    /// Works over a journal that holds the lease.
    pub fn new(journal: Journal, asked: Asked, options: Options, progress: Progress) -> Self {
        Self { journal, asked, options, progress: Mutex::new(progress) }
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Brings a move as far as it goes.
    ///
    /// # Errors
    /// What stopped it. The move's row says so too, and the next run goes on from there.
    pub async fn run(&self, the_move: &mut Move) -> Result<Outcome, Error> {
        loop {
            if let Some(outcome) = self.look_around(the_move).await? {
                return Ok(outcome);
            }
            match self.step(the_move).await {
                Ok(Flow::On) => {}
                Ok(Flow::Rest(outcome)) => return Ok(outcome),
                // What was asked for is looked at above.
                Err(_) if self.asked.take_interrupted() => {}
                Err(error) => {
                    // A catalog that is away cannot note it; the caller is told in any case.
                    let _ = self.journal.fail(the_move, &error).await;
                    return Err(error);
                }
            }
        }
    }

    async fn step(&self, the_move: &mut Move) -> Result<Flow, Error> {
        self.progress().state(the_move.id, &describe(the_move), the_move.state, "");
        match the_move.state {
            State::Planned => planned::step(self, the_move).await?,
            State::Announced => announced::step(self, the_move).await?,
            State::Copying => copying::step(self, the_move).await?,
            State::CatchingUp => catching_up::step(self, the_move).await?,
            State::Verifying => comparing::step(self, the_move).await?,
            State::Ready => ready::step(self, the_move).await?,
            State::Flipped => flipped::step(self, the_move).await?,
            State::Reversible => {
                let wanted = self.options.cleanup || the_move.wish == Some(Wish::Cleanup);
                if !wanted {
                    return Ok(Flow::Rest(Outcome::Reversible));
                }
                reversible::step(self, the_move).await?;
            }
            State::Cleaning => cleaning::step(self, the_move).await?,
            State::Aborting => aborting::step(self, the_move).await?,
            State::RollingBack => rolling_back::step(self, the_move).await?,
            State::Returning => returning::step(self, the_move).await?,
            State::Done | State::Aborted | State::RolledBack => {
                return Ok(Flow::Rest(Outcome::Ended));
            }
        }
        Ok(Flow::On)
    }

    /// What is asked for, between two steps.
    async fn look_around(&self, the_move: &mut Move) -> Result<Option<Outcome>, Error> {
        the_move.wish = self.journal.wish(the_move.id).await?;
        self.asked.heard(the_move.wish);
        if the_move.state.is_end() {
            self.progress().state(the_move.id, &describe(the_move), the_move.state, "");
            return Ok(Some(Outcome::Ended));
        }
        if self.asked.is_signalled() {
            return Ok(Some(Outcome::Interrupted));
        }
        match the_move.wish {
            Some(Wish::Pause) => return Ok(Some(Outcome::Paused)),
            Some(Wish::Abort) if the_move.state.can_abort() => {
                self.journal.advance(the_move, State::Aborting, "abort was asked for").await?;
            }
            Some(Wish::Abort) if the_move.state == State::RollingBack => {
                rolling_back::stay(self, the_move).await?;
            }
            Some(Wish::Rollback) if the_move.state == State::Reversible => {
                rolling_back::begin(self, the_move).await?;
            }
            Some(Wish::Rollback) if the_move.state == State::Flipped => {}
            Some(wish @ (Wish::Abort | Wish::Rollback)) => {
                let done = [State::Aborting, State::RollingBack, State::Returning];
                if !done.contains(&the_move.state) {
                    let note = format!(
                        "{} was asked for, which is not possible while it is {}",
                        wish.as_str(),
                        the_move.state
                    );
                    self.note(the_move, &note).await?;
                }
                self.journal.ask(the_move.id, None).await?;
                the_move.wish = None;
            }
            Some(Wish::Cleanup) | None => {}
        }
        self.asked.heard(the_move.wish.filter(|wish| *wish == Wish::Cleanup));
        Ok(None)
    }

    /// Looks, within a step, whether it is to be ended.
    ///
    /// # Errors
    /// It is; or the catalog, and so the lease, is gone.
    async fn go_on(&self, the_move: &Move) -> Result<(), Error> {
        self.asked.heard(self.journal.wish(the_move.id).await?);
        self.asked.go_on()
    }

    /// Notes something for people: in the catalog, and at the terminal.
    async fn note(&self, the_move: &Move, text: &str) -> Result<(), Error> {
        self.progress().say(the_move.id, text);
        self.journal.event(the_move, text).await
    }

    /// Shows what is waited for.
    fn waiting(&self, the_move: &Move, text: &str) {
        let now = Now {
            rows: u64::try_from(the_move.rows_copied).unwrap_or_default(),
            rows_total: the_move.rows_total.and_then(|rows| u64::try_from(rows).ok()),
            bytes: u64::try_from(the_move.bytes_copied).unwrap_or_default(),
            lag_bytes: None,
            waiting: Some(text.to_owned()),
        };
        self.progress().now(the_move.id, &now);
    }

    fn limits(&self) -> &Limits {
        &self.journal.config().limits
    }

    /// What is shown; never kept over an await.
    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A move for people: `customer [0, 100) north -> south`.
pub fn describe(the_move: &Move) -> String {
    format!(
        "{} {} {} -> {}",
        the_move.distribution, the_move.keys, the_move.source, the_move.target
    )
}
