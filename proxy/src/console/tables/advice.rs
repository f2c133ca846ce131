//! Fills the tables of advice from measured traffic.

use super::{Fill, ProcessSource};
use crate::console::advice::{self, RunningKeys, Seen};
use crate::server::Shared;
use pgmanifold_console::value::Row;
use std::sync::Arc;

pub(super) const FILLS: &[(&str, Fill)] = &[("advice", advice)];

fn advice(shared: &Arc<Shared>) -> Vec<Row> {
    let seen = Seen::read(&ProcessSource(Arc::clone(shared)));
    let running = shared.state().running();
    let by_name = running.into_iter().map(|one| (one.database.name.clone(), one));
    advice::rows(&seen, &RunningKeys(by_name.collect()))
}
