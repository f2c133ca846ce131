//! Owns the table of sessions that keep a server, or the primary.

use crate::schema::Unit::{None, Time};
use crate::schema::{Origin, Table, column};
use crate::value::Kind::{Int4, Text};

/// `SHOW PINS`
pub(super) static PINS: Table = Table {
    name: "pins",
    aliases: &[],
    origin: Origin::Own,
    help: "What ties sessions to a server, or to the primary; one row for each reason. Sessions of \
           databases with `pool_mode = \"session\"` keep their server by configuration, and are \
           here for other reasons only.",
    columns: &[
        column("client", Int4, None, "Number of the client, as in CLIENTS."),
        column("database", Text, None, "The database it logged in to."),
        column("user", Text, None, "Its user."),
        column(
            "kind",
            Text,
            None,
            "`server`: it keeps its server between transactions. `primary`: its reads go to the \
             primary, because no replica has replayed its own last write.",
        ),
        column(
            "reason",
            Text,
            None,
            "For `server` a word of `pgmanifold_pins_total`; for `primary`, `own write`.",
        ),
        column("shard", Text, None, "For `primary`: where it wrote."),
        column(
            "since",
            Text,
            Time,
            "For `server`: when the session began to keep one. For `primary`: the first sample \
             of the primary's position after the write; NULL until there is one.",
        ),
        column(
            "lsn",
            Text,
            None,
            "For `primary`: the position a replica must have replayed to be read from.",
        ),
    ],
};

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[&PINS];
