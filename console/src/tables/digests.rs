//! Owns the tables of statements, routes and latencies.

use crate::schema::Table;

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[];
