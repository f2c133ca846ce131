//! Owns progress as plain lines, for logs: a line when something changes, else one every ten
//! seconds.

use super::rate::Rate;
use super::text::now_text;
use super::{Now, Shows};
use crate::state::State;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

/// Between two lines that only say how far it is.
const INTERVAL: Duration = Duration::from_secs(10);

/// What was last said of a move's progress: when, and what it waited for.
type Said = (Instant, Option<String>);

pub(super) struct Lines {
    output: Box<dyn Write + Send>,
    said: BTreeMap<i64, Said>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

impl Lines {
    pub(super) fn new(output: Box<dyn Write + Send>) -> Self {
        Self { output, said: BTreeMap::new() }
    }

    fn line(&mut self, id: i64, text: &str) {
        for line in text.lines() {
            let _ = writeln!(self.output, "move {id}: {line}");
        }
        let _ = self.output.flush();
    }
}

impl Shows for Lines {
    fn state(&mut self, id: i64, what: &str, state: State, note: &str) {
        self.said.remove(&id);
        let note = if note.is_empty() { String::new() } else { format!(": {note}") };
        self.line(id, &format!("{state}: {what}{note}"));
    }

    fn now(&mut self, id: i64, state: Option<State>, now: &Now, rate: Rate) {
        let is_news = self.said.get(&id).is_none_or(|(at, waiting)| {
            // How much is waited for may stand in the reason: only another kind is news.
            waiting.is_some() != now.waiting.is_some() || at.elapsed() >= INTERVAL
        });
        if is_news {
            self.said.insert(id, (Instant::now(), now.waiting.clone()));
            let state = state.map(|state| format!("{state}: ")).unwrap_or_default();
            self.line(id, &format!("{state}{}", now_text(now, rate)));
        }
    }

    fn say(&mut self, id: i64, text: &str) {
        self.line(id, text);
    }
}
