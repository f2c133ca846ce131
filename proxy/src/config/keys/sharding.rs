//! Owns the part of the key table about sharded databases: which shards a database has, how keys
//! are spread over them, and which tables are spread.

use super::Absent::{Required, Value, Words};
use super::Kind::{Boolean, Choice, Integer, Literal, Literals, Names, Text};
use super::Reload::{Live, NewConnections};
use super::sections::{HOUR_MS, key};
use super::{Key, Section};

/// Part of `[[database]]`.
pub(super) const DATABASE_SHARD_KEYS: &[Key] = &[
    key(
        "shards",
        Names,
        Words("none: the database lives on `shard` alone"),
        NewConnections,
        "Names of the `[[shard]]`s the database is spread over, instead of `shard`. It has the \
         same `server_database` on each of them.",
    ),
    key(
        "home_shard",
        Text,
        Words("the first of `shards`"),
        NewConnections,
        "Which of `shards` has the tables that no `[[table]]` names. Functions, views and LISTEN \
         are its own too.",
    ),
    key(
        "observe_only",
        Boolean,
        Value("false"),
        NewConnections,
        "The database stays as it is, on `shard`; its `[[distribution]]`s and `[[table]]`s are \
         only tried: each statement is also put to the sharding planner, and the console's table \
         `observed` tells what it would have been (see sharding.md, Dry run).",
    ),
    key(
        "observe_shards",
        Names,
        Words("`s0`, `s1`, `s2`, `s3`"),
        NewConnections,
        "Names of the shards that `observe_only` thinks of; two at least. They need not exist.",
    ),
];

/// Of `[pool]` and `[[database]]`.
pub(super) const MOVE_KEYS: &[Key] = &[key(
    "move_wait_ms",
    Integer(0, HOUR_MS),
    Value("10000"),
    Live,
    "Longest time a statement waits for keys that are being handed over to another shard: new \
     writes to them wait until the new owner is known, and what a shard has refused because it had \
     to give them away is repeated. After it the statement fails with SQLSTATE 40001 and has done \
     nothing. 0 refuses it at once. Only used for databases with `shards`.",
)];

/// `[[distribution]]`
pub const DISTRIBUTION: Section = Section {
    name: "distribution",
    repeats: true,
    help: "How keys are spread over the shards of a database. Tables of one distribution have the \
           same key, and rows with equal keys live on the same shard.",
    groups: &[&[
        key("name", Text, Required, Live, "Name, as `[[table]]`s say it."),
        key(
            "database",
            Text,
            Words("the only database with `shards` or `observe_only`"),
            Live,
            "Name of the `[[database]]`.",
        ),
        key(
            "kind",
            Choice(&["hash", "range", "list", "reference", "single"]),
            Value("hash"),
            Live,
            "`hash`: by ranges of PostgreSQL's own hash of the key. `range`: by ranges of the \
             key's values. `list`: by single values. `reference`: a whole copy on every shard. \
             `single`: all on one shard.",
        ),
        key(
            "key_types",
            Names,
            Words("none"),
            Live,
            "Types of the key's columns: `smallint`, `integer`, `bigint`, `text`, `varchar`, \
             `uuid`, `bytea`, `date`, `timestamptz`. Given for `hash` (one or more), `range` and \
             `list` (exactly one).",
        ),
        key(
            "home",
            Text,
            Words("the database's `home_shard`"),
            Live,
            "For `single`: name of the shard.",
        ),
    ]],
    nested: &[&DISTRIBUTION_RANGES, &DISTRIBUTION_LISTS],
};

/// `[[distribution.ranges]]`
const DISTRIBUTION_RANGES: Section = Section {
    name: "distribution.ranges",
    repeats: true,
    help: "A range of the `hash` or `range` distribution above it, up to the `from` of the next \
           one. Without any, a `hash` distribution has ranges of equal size, one per shard. May be \
           written as `ranges = [{ shard = \"s0\" }, { from = 1000, shard = \"s1\" }]`.",
    groups: &[&[
        key(
            "from",
            Literal,
            Words("the very beginning"),
            Live,
            "Smallest hash (a signed 64-bit number) or key of the range. Exactly one range, the \
             first, is without.",
        ),
        key("shard", Text, Required, Live, "Name of the shard that has it."),
    ]],
    nested: &[],
};

/// `[[distribution.lists]]`
const DISTRIBUTION_LISTS: Section = Section {
    name: "distribution.lists",
    repeats: true,
    help: "Keys of the `list` distribution above it that one shard has. A key in no list can be \
           looked for, but not inserted.",
    groups: &[&[
        key("values", Literals, Required, Live, "The keys."),
        key("shard", Text, Required, Live, "Name of the shard that has them."),
    ]],
    nested: &[],
};

/// `[[table]]`
pub const TABLE: Section = Section {
    name: "table",
    repeats: true,
    help: "A table that belongs to a distribution. It must exist, with the same columns, on every \
           shard.",
    groups: &[&[
        key("name", Text, Required, Live, "`schema.table`, or `table` in the schema `public`."),
        key(
            "database",
            Text,
            Words("the only database with `shards` or `observe_only`"),
            Live,
            "Name of the `[[database]]`.",
        ),
        key("distribution", Text, Required, Live, "Name of its `[[distribution]]`."),
        key(
            "key",
            Names,
            Words("none"),
            Live,
            "Columns that hold the key, in the order of the distribution's `key_types`.",
        ),
        key(
            "unchecked_unique",
            Boolean,
            Value("false"),
            Live,
            "Accept unique constraints that do not contain the whole key. Each shard then checks \
             its own rows only, so two shards may hold rows with equal values.",
        ),
    ]],
    nested: &[],
};
