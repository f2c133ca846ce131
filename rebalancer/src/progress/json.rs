//! Owns progress as JSON, an object per line.

use super::rate::Rate;
use super::{Now, Shows, percent};
use crate::state::State;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) struct Json {
    output: Box<dyn Write + Send>,
    /// What was last said of each move's progress.
    said: BTreeMap<i64, Now>,
}

impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Json")
    }
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'a str,
    at_ms: u64,
    #[serde(rename = "move")]
    id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(flatten)]
    far: Option<Far<'a>>,
}

#[derive(Serialize)]
struct Far<'a> {
    rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<f64>,
    bytes: u64,
    rows_per_s: f64,
    bytes_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<&'a str>,
}

impl Json {
    pub(super) fn new(output: Box<dyn Write + Send>) -> Self {
        Self { output, said: BTreeMap::new() }
    }

    fn line(&mut self, line: &Line<'_>) {
        // Nothing in it cannot be written as JSON.
        if let Ok(text) = serde_json::to_string(line) {
            let _ = writeln!(self.output, "{text}");
            let _ = self.output.flush();
        }
    }
}

fn empty(event: &str, id: i64) -> Line<'_> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Line { event, at_ms, id, what: None, state: None, note: None, text: None, far: None }
}

impl Shows for Json {
    fn state(&mut self, id: i64, what: &str, state: State, note: &str) {
        self.said.remove(&id);
        let note = Some(note).filter(|note| !note.is_empty());
        let state = Some(state.as_str());
        self.line(&Line { what: Some(what), state, note, ..empty("state", id) });
    }

    fn now(&mut self, id: i64, state: Option<State>, now: &Now, rate: Rate) {
        if self.said.get(&id) == Some(now) {
            return;
        }
        self.said.insert(id, now.clone());
        let far = Far {
            rows: now.rows,
            rows_total: now.rows_total,
            percent: percent(now),
            bytes: now.bytes,
            rows_per_s: rate.rows_per_s,
            bytes_per_s: rate.bytes_per_s,
            seconds_left: rate.left.map(|left| left.as_secs_f64()),
            lag_bytes: now.lag_bytes,
            waiting: now.waiting.as_deref(),
        };
        let state = state.map(State::as_str);
        self.line(&Line { state, far: Some(far), ..empty("progress", id) });
    }

    fn say(&mut self, id: i64, text: &str) {
        self.line(&Line { text: Some(text), ..empty("note", id) });
    }
}
