//! Fills the tables of the shard map, moves and transactions.

use super::Fill;

pub(super) const FILLS: &[(&str, Fill)] = &[];
