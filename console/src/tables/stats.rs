//! Owns the tables of PgBouncer's statistics.

use crate::schema::Table;

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[];
