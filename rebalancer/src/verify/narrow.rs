//! Owns the way from a sub-range that differs to the keys that do.

/// Keys that a report names of one sub-range.
pub const MAX_KEYS_NAMED: usize = 10;
