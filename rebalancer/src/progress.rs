//! Owns what a running command shows of its progress: bars at a terminal, plain lines or JSON
//! elsewhere. It must not decide anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what workers have done; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    /// A worker has done this much more.
    pub fn add(&self, rows: u64, bytes: u64) {
        self.counts.rows.fetch_add(rows, Ordering::Relaxed);
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Rows and bytes so far.
    pub fn done(&self) -> (u64, u64) {
        (self.counts.rows.load(Ordering::Relaxed), self.counts.bytes.load(Ordering::Relaxed))
    }
}

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
            false if std::io::IsTerminal::is_terminal(&std::io::stderr()) => Self::Bars,
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

/// Shows the moves of a running command.
#[derive(Debug)]
pub struct Progress {
    form: Form,
}

impl Progress {
    /// Shows nothing yet.
    pub fn new(form: Form) -> Self {
        Self { form }
    }

    /// A move has come to a state: its number, what it is (`orders [0, 100) north -> south`), the
    /// state, and a note for people.
    pub fn state(&mut self, _id: i64, _what: &str, _state: crate::state::State, _note: &str) {
        let _ = self.form;
    }

    /// About once a second: how far it is. The rate and the time left are reckoned from the last
    /// ten seconds; the rate is returned for the journal, in rows per second.
    pub fn now(&mut self, _id: i64, _now: &Now) -> f64 {
        0.0
    }

    /// Something worth a line that is no state: a barrier's report, a verification's.
    pub fn say(&mut self, _id: i64, _text: &str) {}

    /// The command is at its end; bars are left as they are.
    pub fn finish(&mut self) {}
}
