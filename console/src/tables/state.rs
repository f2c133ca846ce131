//! Owns the tables of what the console's commands have set.

use crate::schema::Table;

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[];
