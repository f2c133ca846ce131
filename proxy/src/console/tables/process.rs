//! Fills the tables of the process itself.

use super::Fill;
use crate::server::Shared;
use pgmanifold_console::value::Row;
use std::sync::Arc;

pub(super) const FILLS: &[(&str, Fill)] = &[("version", version)];

fn version(_: &Arc<Shared>) -> Vec<Row> {
    vec![vec![concat!("pgmanifold ", env!("CARGO_PKG_VERSION")).into()]]
}
