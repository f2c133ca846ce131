//! Owns the tables of pools, databases and users.

use crate::schema::Table;

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[];
