//! Owns UPDATE, DELETE and MERGE.

use super::named::Refused;
use super::{Catalog, Placing, unsharded};
use crate::planner::Text;
use std::ops::Range;

/// Where the rows are that a statement changes.
pub(super) fn place(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<Placing> {
    unsharded::place(text, at, catalog, "update")
}

/// Refuses what is right on one shard only.
pub(super) fn check_spread(text: &Text<'_>, at: Range<usize>, catalog: Catalog<'_>) -> Refused<()> {
    let _ = (text, at, catalog);
    Ok(())
}
