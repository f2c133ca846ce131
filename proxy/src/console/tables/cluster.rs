//! Fills the tables of hosts and shards.

use super::Fill;

pub(super) const FILLS: &[(&str, Fill)] = &[];
