//! Owns the tables of client and server connections.

use crate::schema::Table;

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[];
