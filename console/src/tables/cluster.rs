//! Owns the tables of hosts and shards.

use crate::schema::Table;

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[];
