//! Owns the tables of the shard map, moves and transactions.

use crate::schema::Unit::{Bytes, Count, Milliseconds, None, PerSecond, Percent, Seconds, Time};
use crate::schema::{Origin, Table, column};
use crate::value::Kind::{Bool, Float8, Int4, Int8, Text};

/// `SHOW RANGES`
pub(super) static RANGES: Table = Table {
    name: "ranges",
    aliases: &["map"],
    origin: Origin::Own,
    help: "The shard maps in use: which shard has which keys. One row for each range of a \
           distribution by `hash` or `range`, for each value of one by `list`, and one for each \
           other distribution.",
    columns: &[
        column("database", Text, None, "The sharded database."),
        column("distribution", Text, None, "The distribution."),
        column("kind", Text, None, "`hash`, `range`, `list`, `reference` or `single`."),
        column("key_types", Text, None, "Types of the key's columns, with commas between."),
        column("hash_from", Int8, None, "For `hash`: the smallest hash of the range."),
        column("hash_to", Int8, None, "For `hash`: the largest hash of the range."),
        column(
            "value_from",
            Text,
            None,
            "For `range`: the smallest key, NULL for the very beginning. For `list`: the value.",
        ),
        column(
            "value_to",
            Text,
            None,
            "For `range`: the first key that is beyond, NULL for none. For `list`: the value.",
        ),
        column("shard", Text, None, "Who has it; `all` for `reference`."),
        column("epoch", Int8, None, "Epoch of the map; it grows with every change."),
        column(
            "acknowledged_epoch",
            Int8,
            None,
            "Every statement under an older map has ended in this process.",
        ),
        column(
            "state",
            Text,
            None,
            "`active`, or while keys of it move: `moving to` a shard, `paused` (new writes to them \
             wait for the next map), `moved from` a shard (which still has copies of the rows).",
        ),
        column("rows", Int8, Count, "Estimate of its rows; NULL while nobody has counted."),
        column("size_bytes", Int8, Bytes, "Estimate of its size; NULL while nobody has counted."),
        column(
            "executions",
            Int8,
            Count,
            "For `hash`: statements that this process has sent to one shard because of a key of \
             the range, since it began. They are counted by 1024 equal parts of the hash space: \
             where a border is inside of one, both sides have as much of it as they are wide.",
        ),
    ],
};

/// `SHOW TABLES`
pub(super) static TABLES_TABLE: Table = Table {
    name: "tables",
    aliases: &[],
    origin: Origin::Own,
    help: "Tables of sharded databases: those that the map names, and the others that the home \
           shard has.",
    columns: &[
        column("database", Text, None, "The sharded database."),
        column("schema_name", Text, None, "Its schema."),
        column("table_name", Text, None, "Its name."),
        column(
            "kind",
            Text,
            None,
            "`sharded`, `reference` (a whole copy on every shard), `single` (all on one shard by \
             its distribution) or `unsharded` (named by no distribution: on the home shard).",
        ),
        column("distribution", Text, None, "Its distribution; NULL for `unsharded`."),
        column("key_columns", Text, None, "Columns of its shard key, with commas between."),
        column("shard", Text, None, "Where it lives when that is one shard."),
        column(
            "unchecked_unique",
            Bool,
            None,
            "Unique constraints without the key are accepted; see `unchecked_unique`.",
        ),
        column(
            "is_there",
            Bool,
            None,
            "The home shard has it; NULL while its catalog is not loaded.",
        ),
    ],
};

/// `SHOW TRANSACTIONS`
pub(super) static TRANSACTIONS: Table = Table {
    name: "transactions",
    aliases: &[],
    origin: Origin::Own,
    help: "Transactions over several shards that are prepared on one at least: those whose commit \
           runs in this process, and those that recovery saw in its last round \
           (`two_phase_recovery_interval_ms`), of any process.",
    columns: &[
        column("database", Text, None, "The sharded database."),
        column(
            "name",
            Text,
            None,
            "Its name; in `pg_prepared_xacts` the name of the shard follows, after a colon.",
        ),
        column("home", Text, None, "The shard that keeps the decision."),
        column(
            "shards",
            Text,
            None,
            "Shards with a prepared part of it, as far as was seen, with commas between.",
        ),
        column("started", Text, Time, "When its commit began, by the clock of its home."),
        column("age_ms", Int8, Milliseconds, "The time since then, by the clock of this process."),
        column(
            "state",
            Text,
            None,
            "`committing` (in this process), `finishing` (left to recovery by a commit of this \
             process), or `in_doubt` (found by recovery: another process may be at work on it).",
        ),
        column(
            "outcome",
            Text,
            None,
            "`committed` when that is decided, `undecided` when this process does not know.",
        ),
    ],
};

/// `SHOW MOVES`
pub(super) static MOVES: Table = Table {
    name: "moves",
    aliases: &[],
    origin: Origin::Own,
    help: "Moves of keys to another shard, as the catalog tells of them: those that have not \
           ended, and those that ended within the last hour. Read with the map, and every second \
           while there is one.",
    columns: &[
        column("id", Int8, None, "Number of the move."),
        column("database", Text, None, "The sharded database."),
        column("distribution", Text, None, "The distribution."),
        column(
            "range",
            Text,
            None,
            "The keys: hashes or values from (included) and to (excluded), or the listed values.",
        ),
        column("from_shard", Text, None, "Who had them when it began."),
        column("to_shard", Text, None, "Who is to have them."),
        column("state", Text, None, "The step it is at; see docs/moving-ranges.md."),
        column("rows", Int8, Count, "Rows copied."),
        column("copied_bytes", Int8, Bytes, "Bytes copied."),
        column("done_percent", Float8, Percent, "Part of the estimated rows."),
        column("rows_per_s", Float8, PerSecond, "Rows copied in the last seconds."),
        column("left_s", Int8, Seconds, "Estimate of the time left."),
        column("lag_bytes", Int8, Bytes, "Changes that are not applied yet."),
        column("started", Text, Time, "When it began."),
        column("last_error", Text, None, "What went wrong last."),
        column("attempts", Int4, Count, "How often it was begun."),
        column("mode", Text, None, "`online` or `offline`."),
        column(
            "wish",
            Text,
            None,
            "What somebody has asked for: `pause`, `abort`, `rollback` or `cleanup`; NULL for \
             nothing.",
        ),
        column(
            "write_pause_ms",
            Float8,
            Milliseconds,
            "How long writes to the keys waited when they changed hands.",
        ),
        column("ended", Text, Time, "When it ended."),
    ],
};

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[&RANGES, &TABLES_TABLE, &TRANSACTIONS, &MOVES];
