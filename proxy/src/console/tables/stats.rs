//! Fills the tables of PgBouncer's statistics.

use super::Fill;

pub(super) const FILLS: &[(&str, Fill)] = &[];
