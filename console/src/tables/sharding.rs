//! Owns the tables of the shard map, moves and transactions.

use crate::schema::Table;

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[];
