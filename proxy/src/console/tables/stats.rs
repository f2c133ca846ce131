//! Fills the tables of PgBouncer's statistics.

use super::Fill;

pub(super) const FILLS: &[(&str, Fill)] = &[
    ("stats", |_| Vec::new()),
    ("stats_averages", |_| Vec::new()),
    ("stats_totals", |_| Vec::new()),
    ("totals", |_| Vec::new()),
];
