//! Owns progress as bars that are drawn again, one per move, at a terminal.

use super::rate::Rate;
use super::text::{bytes_text, count_text, rest_text};
use super::{Now, Shows};
use crate::state::State;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::time::Duration;

/// While it is known how many rows there are.
const BAR: &str = "{prefix} [{bar:30}] {percent:>3} % {msg}";
/// While it is not.
const SPINNER: &str = "{prefix} {spinner} {msg}";
/// How often what turns is drawn.
const TURN: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub(super) struct Bars {
    all: MultiProgress,
    bars: BTreeMap<i64, ProgressBar>,
}

impl Bars {
    fn bar(&mut self, id: i64) -> &ProgressBar {
        let all = &self.all;
        self.bars.entry(id).or_insert_with(|| all.add(ProgressBar::no_length()))
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are the two above.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Shows for Bars {
    fn state(&mut self, id: i64, what: &str, state: State, note: &str) {
        let bar = self.bar(id);
        bar.set_style(style(SPINNER));
        bar.set_prefix(format!("move {id} {what}: {state}"));
        bar.set_message(note.to_owned());
        if state.is_end() || state == State::Reversible {
            bar.disable_steady_tick();
            bar.abandon();
        } else {
            bar.enable_steady_tick(TURN);
        }
    }

    fn now(&mut self, id: i64, _state: Option<State>, now: &Now, rate: Rate) {
        let bar = self.bar(id);
        if let Some(total) = now.rows_total.filter(|total| *total > 0) {
            bar.set_style(style(BAR));
            bar.set_length(total);
            bar.set_position(now.rows.min(total));
        }
        let rest = rest_text(now, rate);
        bar.set_message(format!("{} rows, {}{rest}", count_text(now.rows), bytes_text(now.bytes)));
    }

    fn say(&mut self, id: i64, text: &str) {
        for line in text.lines() {
            // A terminal that is gone hears nothing.
            let _ = self.all.println(format!("move {id}: {line}"));
        }
    }

    fn finish(&mut self) {
        for bar in self.bars.values().filter(|bar| !bar.is_finished()) {
            bar.disable_steady_tick();
            bar.abandon();
        }
    }
}
