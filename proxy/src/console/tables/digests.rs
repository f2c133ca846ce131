//! Fills the tables of statements, routes and latencies.

use super::Fill;

pub(super) const FILLS: &[(&str, Fill)] = &[];
