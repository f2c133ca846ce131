//! Owns the tables of hosts and shards.

use crate::schema::Unit::{Bytes, Count, Microseconds, Milliseconds, None, Time};
use crate::schema::{Origin, Table, column};
use crate::value::Kind::{Bool, Int4, Int8, Text};

/// `SHOW HOSTS`
pub(super) static HOSTS: Table = Table {
    name: "hosts",
    aliases: &[],
    origin: Origin::Own,
    help: "Every server of every shard, as health checks and pools see it. Counts of connections \
           are those of this process, over all databases and users.",
    columns: &[
        column("shard", Text, None, "Name of the shard."),
        column("host", Text, None, "Its address, as configured."),
        column("role", Text, None, "`primary`, `replica`, or `unknown` before the first check."),
        column(
            "state",
            Text,
            None,
            "The worst of what holds: `fenced` (claims to be the primary and is not), `down` (the \
             last check failed), `drained` (by DRAIN), `banned` (not read from for a while), `not following` (a replica \
             of another timeline or cluster), or `up`.",
        ),
        column(
            "circuit",
            Text,
            None,
            "Whether connecting is tried: `closed` (yes), `open` (no), `half_open` (once).",
        ),
        column("banned_until", Text, Time, "End of the ban; NULL without one."),
        column("fenced", Bool, None, "Nothing is written to it."),
        column("timeline", Int8, None, "Timeline by the last check; NULL when it never told."),
        column(
            "lsn",
            Text,
            None,
            "Last known WAL position: flushed on the primary, replayed on a replica.",
        ),
        column("lag_bytes", Int8, Bytes, "WAL that a replica has not replayed."),
        column(
            "lag_ms",
            Int8,
            Milliseconds,
            "Age of a replica's data: 0 when it has replayed all that is known.",
        ),
        column("probe_us", Int8, Microseconds, "Smoothed time of a health check."),
        column("connecting", Int4, Count, "Server connections being opened."),
        column("idle", Int4, Count, "Open ones that nobody uses."),
        column("active", Int4, Count, "Open ones that sessions have."),
        column(
            "size",
            Int4,
            Count,
            "Most connections that the pools made so far may have here, reserves included.",
        ),
        column("waiting", Int4, Count, "Sessions that wait for a connection to it."),
        column("oldest_wait_us", Int8, Microseconds, "How long the first of them has waited."),
        column("queries", Int8, Count, "Requests it has answered."),
        column("errors", Int8, Count, "Errors it has answered with."),
        column(
            "served_us",
            Int8,
            Microseconds,
            "Time of those requests, from their lease to the end of the answer.",
        ),
        column("p50_us", Int8, Microseconds, "Half of them took no longer."),
        column("p99_us", Int8, Microseconds, "99 % took no longer."),
        column(
            "pool_wait_us",
            Int8,
            Microseconds,
            "Time that requests waited for a connection to it.",
        ),
        column("failures", Int8, Count, "Failed checks, and failures that pools reported."),
        column("losses", Int4, Count, "Times it was given up, and what ran there was cut off."),
        column("last_error", Text, None, "What the last failure said; NULL after a success."),
    ],
};

/// `SHOW SHARDS`
pub(super) static SHARDS: Table = Table {
    name: "shards",
    aliases: &[],
    origin: Origin::Own,
    help: "Every shard: a primary and its replicas.",
    columns: &[
        column("shard", Text, None, "Its name."),
        column("primary_host", Text, None, "Address of the primary; NULL without one."),
        column(
            "primary_state",
            Text,
            None,
            "`up`, or why there is none: the words of `pgmanifold_primary_state`.",
        ),
        column(
            "generation",
            Int8,
            Count,
            "Grows when the primary's host or timeline changes; 0 before the first was seen.",
        ),
        column("hosts", Int4, Count, "Its servers."),
        column("hosts_up", Int4, Count, "Those whose last check was well."),
        column(
            "replicas_usable",
            Int4,
            Count,
            "Replicas that may be read from: up, not banned, on the primary's timeline. Whether \
             one is fresh enough is decided for each read.",
        ),
        column("databases", Text, None, "Databases that live on it, with commas between."),
        column(
            "waiting",
            Int4,
            Count,
            "Statements that wait for a primary, or for any server, to be there.",
        ),
        column(
            "in_doubt",
            Int8,
            Count,
            "Prepared parts of transactions over several shards that no commit of this process \
             is about to end.",
        ),
        column(
            "two_phase",
            Text,
            None,
            "`ready` when it can take part in transactions over several shards, else why not; \
             NULL when no sharded database lives on it or it was not asked yet.",
        ),
    ],
};

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[&HOSTS, &SHARDS];
