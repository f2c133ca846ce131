//! Owns the table of moves, and what stands below it.

use super::{MoveStatus, Status};
use crate::progress::{bytes_text, count_text, duration_text};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::fmt;
use std::time::Duration;

const COLUMNS: [&str; 12] = [
    "move", "keys", "from", "to", "state", "rows", "%", "bytes", "rows/s", "behind", "pause", "age",
];
/// Columns of numbers.
const NUMBERS: [usize; 8] = [0, 5, 6, 7, 8, 9, 10, 11];

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.moves.is_empty() {
            return write!(f, "{}: no keys are moved", self.database);
        }
        let mut table = Table::new();
        table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED).set_header(COLUMNS);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        for one in &self.moves {
            table.add_row(cells(one));
        }
        for at in NUMBERS {
            if let Some(column) = table.column_mut(at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{table}")?;
        for one in &self.moves {
            let lines = [
                ("waits", one.waiting.as_deref()),
                ("stopped", one.last_error.as_deref()),
                ("next", Some(one.next.as_str()).filter(|next| !next.is_empty())),
            ];
            for (what, text) in lines {
                for line in text.into_iter().flat_map(str::lines) {
                    write!(f, "\nmove {} {what}: {line}", one.id)?;
                }
            }
            for event in one.events.iter().flatten() {
                let (at, state, note) = (&event.at, &event.state, &event.note);
                write!(f, "\nmove {} {at} {state}: {note}", one.id)?;
            }
        }
        Ok(())
    }
}

fn cells(one: &MoveStatus) -> [String; COLUMNS.len()] {
    let some = |text: Option<String>| text.unwrap_or_default();
    let rows = match one.rows_total {
        Some(total) => format!("{} of {}", count_text(one.rows), count_text(total)),
        None => count_text(one.rows),
    };
    let state = match (&one.wish, one.mode.as_str()) {
        (Some(wish), _) => format!("{} ({wish})", one.state),
        (None, "offline") => format!("{} (offline)", one.state),
        (None, _) => one.state.clone(),
    };
    let left = one.seconds_left.and_then(|left| Duration::try_from_secs_f64(left).ok());
    let rate = one.rows_per_s.filter(|rate| *rate >= 1.0).map(|rate| count_text(rate as u64));
    let rate = match (rate, left) {
        (Some(rate), Some(left)) => format!("{rate}, {} left", duration_text(left)),
        (rate, _) => some(rate),
    };
    [
        one.id.to_string(),
        format!("{} {}", one.distribution, one.keys),
        one.source.clone(),
        one.target.clone(),
        state,
        rows,
        some(one.percent.map(|percent| format!("{percent:.1}"))),
        bytes_text(one.bytes),
        rate,
        some(one.lag_bytes.map(bytes_text)),
        some(one.write_pause_ms.map(|ms| format!("{ms:.1} ms"))),
        duration_text(Duration::from_secs(one.age_s)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::EventStatus;
    use super::*;

    #[test]
    fn a_table_and_what_is_to_be_said_of_each() {
        let mut status = Status { database: "app".into(), working: false, moves: Vec::new() };
        assert_eq!(status.to_string(), "app: no keys are moved");
        status.moves.push(MoveStatus {
            id: 3,
            distribution: "orders".into(),
            keys: "[0, 9)".into(),
            state: "copying".into(),
            rows: 1500,
            rows_total: Some(3000),
            percent: Some(50.0),
            rows_per_s: Some(100.4),
            seconds_left: Some(15.0),
            bytes: 12_000,
            age_s: 61,
            waiting: Some("r lags".into()),
            last_error: Some("one\ntwo".into()),
            next: "do".into(),
            events: Some(vec![EventStatus {
                at: "now".into(),
                state: "planned".into(),
                note: "by hand".into(),
            }]),
            ..MoveStatus::default()
        });
        let text = status.to_string();
        for cell in ["orders [0, 9)", "1,500 of 3,000", "50.0", "100, 15 s left", "12.0 kB"] {
            assert!(text.contains(cell), "{cell}: {text}");
        }
        let below = "\nmove 3 waits: r lags\nmove 3 stopped: one\nmove 3 stopped: two\n\
                     move 3 next: do\nmove 3 now planned: by hand";
        assert!(text.ends_with(below), "{text}");
    }
}
