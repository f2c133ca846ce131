//! Fills the tables of advice from measured traffic.

use super::Fill;

pub(super) const FILLS: &[(&str, Fill)] = &[];
