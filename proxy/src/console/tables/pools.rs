//! Fills the tables of pools, databases and users.

use super::Fill;

pub(super) const FILLS: &[(&str, Fill)] = &[
    ("databases", |_| Vec::new()),
    ("lists", |_| Vec::new()),
    ("pools", |_| Vec::new()),
    ("users", |_| Vec::new()),
];
