//! Owns what a running command shows of its progress: bars at a terminal, plain lines or JSON
//! elsewhere. It must not decide anything.
//!
//! As JSON, each line of standard output is one object. All have `event`, `at_ms` (milliseconds
//! since 1970) and `move` (its number). Members without a value are left out.
//!
//! - `state`: `what` (the move as text), `state`, `note`.
//! - `progress`, once a second at most: `state`, `rows`, `rows_total`, `percent`, `bytes`,
//!   `rows_per_s`, `bytes_per_s`, `seconds_left`, `lag_bytes`, `waiting` (why).
//! - `note`: `text`.

mod bars;
mod json;
mod lines;
mod meter;
mod rate;
mod text;

pub use meter::Meter;
pub use text::{bytes_text, count_text, duration_text};

use crate::state::State;
use bars::Bars;
use json::Json;
use lines::Lines;
use rate::{Rate, Window};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Bars that are drawn again, for a terminal.
    Bars,
    /// A line per change.
    Lines,
    /// A JSON object per line and change.
    Json,
}

impl Form {
    /// JSON when asked for; bars when standard error is a terminal; lines else.
    pub fn choose(json: bool) -> Self {
        match json {
            true => Self::Json,
            false if std::io::stderr().is_terminal() => Self::Bars,
            false => Self::Lines,
        }
    }
}

/// What is known of a move now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Now {
    /// Rows copied, or deleted.
    pub rows: u64,
    /// Rows there are, as far as is known.
    pub rows_total: Option<u64>,
    /// Bytes.
    pub bytes: u64,
    /// Bytes that the target is behind.
    pub lag_bytes: Option<u64>,
    /// What is waited for.
    pub waiting: Option<String>,
}

/// A form. What cannot be written is lost: a closed pipe does not end a move.
trait Shows: std::fmt::Debug + Send {
    fn state(&mut self, id: i64, what: &str, state: State, note: &str);
    fn now(&mut self, id: i64, state: Option<State>, now: &Now, rate: Rate);
    fn say(&mut self, id: i64, text: &str);
    fn finish(&mut self) {}
}

/// Shows the moves of a running command.
#[derive(Debug)]
pub struct Progress {
    shows: Box<dyn Shows>,
    moves: BTreeMap<i64, Known>,
}

/// What is remembered of a move.
#[derive(Debug)]
struct Known {
    state: State,
    window: Window,
}

impl Progress {
    /// Shows nothing yet. Bars are drawn on standard error, all else goes to standard output.
    pub fn new(form: Form) -> Self {
        Self::with(form, std::io::stdout())
    }

    fn with(form: Form, output: impl Write + Send + 'static) -> Self {
        let shows: Box<dyn Shows> = match form {
            Form::Bars => Box::new(Bars::default()),
            Form::Lines => Box::new(Lines::new(Box::new(output))),
            Form::Json => Box::new(Json::new(Box::new(output))),
        };
        Self { shows, moves: BTreeMap::new() }
    }

    /// A move has come to a state: its number, what it is (`orders [0, 100) north -> south`), the
    /// state, and a note for people.
    pub fn state(&mut self, id: i64, what: &str, state: State, note: &str) {
        self.moves.insert(id, Known { state, window: Window::default() });
        self.shows.state(id, what, state, note);
    }

    /// About once a second: how far it is. The rate and the time left are reckoned from the last
    /// ten seconds; the rate is returned for the journal, in rows per second.
    pub fn now(&mut self, id: i64, now: &Now) -> f64 {
        let known = self.moves.get_mut(&id);
        let state = known.as_ref().map(|known| known.state);
        let rate = known.map(|known| known.window.rate(Instant::now(), now)).unwrap_or_default();
        self.shows.now(id, state, now, rate);
        rate.rows_per_s
    }

    /// Something worth a line that is no state: a barrier's report, a verification's.
    pub fn say(&mut self, id: i64, text: &str) {
        self.shows.say(id, text);
    }

    /// The command is at its end; bars are left as they are.
    pub fn finish(&mut self) {
        self.shows.finish();
    }
}

/// How much of it is done, in percent; nothing is known where the number of rows is not.
fn percent(now: &Now) -> Option<f64> {
    let total = now.rows_total.filter(|total| *total > 0)?;
    Some((now.rows as f64 * 100.0 / total as f64).min(100.0))
}

#[cfg(test)]
mod tests;
