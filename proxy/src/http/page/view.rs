//! Owns what one rendering shows: copies of the console's tables, the last hour and the readiness,
//! taken at one moment.

use super::grid::Grid;
use crate::history::Recent;
use crate::http::Ready;
use pgmanifold_console::Source;
use std::time::SystemTime;

/// Everything that is shown.
pub(super) struct View {
    pub(super) now: SystemTime,
    pub(super) ready: Ready,
    pub(super) recent: Recent,
    pub(super) hosts: Grid,
    pub(super) shards: Grid,
    pub(super) pools: Grid,
    pub(super) statements: Grid,
    pub(super) transactions: Grid,
    pub(super) moves: Grid,
}

impl View {
    pub(super) fn take(source: &dyn Source, recent: Recent, ready: Ready) -> Self {
        Self {
            now: SystemTime::now(),
            ready,
            recent,
            hosts: Grid::of(source, "hosts"),
            shards: Grid::of(source, "shards"),
            pools: Grid::of(source, "pools"),
            statements: Grid::of(source, "statements"),
            transactions: Grid::of(source, "transactions"),
            moves: Grid::of(source, "moves"),
        }
    }
}
