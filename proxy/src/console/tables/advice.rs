//! Fills the tables of advice from measured traffic.

use super::{Fill, ProcessSource};
use crate::console::advice::{self, RunningKeys, Seen};
use crate::dry_run::Outcome;
use crate::server::Shared;
use pgmanifold_console::Value;
use pgmanifold_console::value::Row;
use std::sync::Arc;

pub(super) const FILLS: &[(&str, Fill)] = &[("advice", advice), ("observed", observed)];

fn advice(shared: &Arc<Shared>) -> Vec<Row> {
    let seen = Seen::read(&ProcessSource(Arc::clone(shared)));
    let running = shared.state().running();
    let by_name = running.into_iter().map(|one| (one.database.name.clone(), one));
    advice::rows(&seen, &RunningKeys(by_name.collect()))
}

fn observed(shared: &Arc<Shared>) -> Vec<Row> {
    let mut rows = Vec::new();
    for database in shared.state().running() {
        let Some(dry_run) = &database.dry_run else { continue };
        let counts = dry_run.counts();
        let all: u64 = counts.iter().map(|(_, count)| count.calls).sum();
        rows.extend(counts.into_iter().map(|(outcome, count)| {
            let (word, construct) = match outcome {
                Outcome::Single => ("single", None),
                Outcome::Scatter => ("scatter", None),
                Outcome::Refused(construct) => ("refused", Some(construct)),
            };
            let share_percent = 100.0 * count.calls as f64 / all.max(1) as f64;
            vec![
                database.database.name.as_str().into(),
                word.into(),
                construct.into(),
                count.calls.into(),
                ((share_percent * 100.0).round() / 100.0).into(),
                count.shapes.into(),
                count.example.map_or(Value::Null, |shape| (*shape.text).into()),
            ]
        }));
    }
    rows
}
