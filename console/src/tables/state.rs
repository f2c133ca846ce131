//! Owns the tables of what the console's commands have set.

use crate::schema::{Origin, Table, Unit, column};
use crate::value::Kind;

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[&STATE];

static STATE: Table = Table {
    name: "state",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "What the whole process does: one of three is `yes`. A database that was paused by its \
           name shows in `databases`, not here. `suspended` is always `no`: SUSPEND is refused.",
    columns: &[
        column("key", Kind::Text, Unit::None, "`active`, `paused` or `suspended`."),
        column("value", Kind::Text, Unit::None, "`yes` or `no`."),
    ],
};
