//! Fills the tables of pools, databases and users.

use super::Fill;

pub(super) const FILLS: &[(&str, Fill)] = &[];
