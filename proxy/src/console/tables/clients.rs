//! Fills the tables of client and server connections.

use super::Fill;

pub(super) const FILLS: &[(&str, Fill)] = &[
    ("active_sockets", |_| Vec::new()),
    ("clients", |_| Vec::new()),
    ("servers", |_| Vec::new()),
    ("sockets", |_| Vec::new()),
];
