//! Owns the tables of the process itself.

use crate::schema::Unit::None;
use crate::schema::{Origin, Table, column};
use crate::value::Kind::Text;

/// `SHOW VERSION`
pub(super) static VERSION: Table = Table {
    name: "version",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "The version of this process.",
    columns: &[column("version", Text, None, "Name and version, as `pgmanifold 0.1.0`.")],
};

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[&VERSION];
