//! Fills the tables of client and server connections.

use super::Fill;

pub(super) const FILLS: &[(&str, Fill)] = &[];
