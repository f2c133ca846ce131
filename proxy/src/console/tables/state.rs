//! Fills the tables of what the console's commands have set.

use super::Fill;
use crate::server::Shared;
use pgmanifold_console::value::Row;
use std::sync::Arc;

pub(super) const FILLS: &[(&str, Fill)] = &[("state", state)];

fn state(shared: &Arc<Shared>) -> Vec<Row> {
    let paused = shared.state().levers().is_all_paused();
    let word = |is: bool| if is { "yes" } else { "no" };
    [("active", !paused), ("paused", paused), ("suspended", false)]
        .map(|(key, is)| vec![key.into(), word(is).into()])
        .into()
}
