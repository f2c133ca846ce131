//! Owns the part of the key table about the console: who may use it.

use super::Absent::{Value, Words};
use super::Kind::{Boolean, Integer, Names};
use super::Reload::Live;
use super::Section;
use super::sections::{MONTH_MS, key};

/// `[console]`
pub const CONSOLE: Section = Section {
    name: "console",
    repeats: false,
    help: "Who may use the console: the database `pgmanifold`, also called `pgbouncer`. Users log \
           in to it as to any database; who is in neither list is refused. A change of the lists \
           holds for each command that follows.",
    groups: &[&[
        key(
            "admin_users",
            Names,
            Words("none"),
            Live,
            "Users who may give every command of the console.",
        ),
        key(
            "stats_users",
            Names,
            Words("none"),
            Live,
            "Users who may only read: SHOW, SELECT and EXPLAIN ROUTE.",
        ),
        key(
            "max_clients",
            Integer(1, 10_000),
            Value("100"),
            Live,
            "Most connections to the console. They do not count as clients elsewhere, so that an \
             administrator comes in when `general.max_clients` is reached.",
        ),
        key(
            "legacy_columns",
            Boolean,
            Value("false"),
            Live,
            "SHOW STATS and SHOW DATABASES end with columns under the names they had in PgBouncer \
             1.7, such as `total_requests`. For agents that know no other, such as Debian's \
             prometheus-pgbouncer-exporter 1.7.",
        ),
        key(
            "client_idle_timeout_ms",
            Integer(0, MONTH_MS),
            Value("0"),
            Live,
            "A connection to the console that does nothing for longer is closed with SQLSTATE \
             57P05. 0: no limit.",
        ),
    ]],
    nested: &[],
};
