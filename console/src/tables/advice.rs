//! Owns the tables of advice from measured traffic.

use crate::schema::Table;

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[];
