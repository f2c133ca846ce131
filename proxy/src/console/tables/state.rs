//! Fills the tables of what the console's commands have set.

use super::Fill;

pub(super) const FILLS: &[(&str, Fill)] = &[];
