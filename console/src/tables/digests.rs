//! Owns the tables of statements, routes and latencies.

use crate::schema::Unit::{Bytes, Count, Microseconds, None};
use crate::schema::{Origin, Table, column};
use crate::value::Kind::{Float8, Int4, Int8, Text};

/// `SHOW STATEMENTS`
pub(super) static STATEMENTS: Table = Table {
    name: "statements",
    aliases: &["digests"],
    origin: Origin::Own,
    help: "What was asked, statement shape by statement shape, since the start or the last RESET \
           STATS. Texts that differ in nothing but their literals are one shape. How many shapes \
           are kept is bounded (`statement_digests_max`); what does not fit is in a row of its \
           database whose fingerprint is `other`, so that sums are those of all statements. With \
           the extended protocol an Execute is a call. Percentiles are within 3.2 % of the true \
           ones.",
    columns: &[
        column("fingerprint", Text, None, "Names the shape in hexadecimal, or `other`."),
        column("database", Text, None, "The database as clients name it."),
        column("text", Text, None, "The text of the shape, its literals as $n; long ones are cut."),
        column("route", Text, None, "The route it went by last; see ROUTES."),
        column("reason", Text, None, "Why it went by that route."),
        column("calls", Int8, Count, "Executions, those that failed included."),
        column("errors", Int8, Count, "Executions that ended with an error."),
        column("rows", Int8, Count, "Rows returned or changed, as CommandComplete tells them."),
        column("bytes", Int8, Bytes, "Bytes of its answers that came from servers."),
        column("total_us", Int8, Microseconds, "Time from the request to the end of its answer."),
        column("mean_us", Float8, Microseconds, "Mean of that time."),
        column("min_us", Int8, Microseconds, "The shortest."),
        column("max_us", Int8, Microseconds, "The longest."),
        column("p50_us", Int8, Microseconds, "Half of them took no longer."),
        column("p95_us", Int8, Microseconds, "95 % took no longer."),
        column("p99_us", Int8, Microseconds, "99 % took no longer."),
        column("server_us", Int8, Microseconds, "Of the total, with a server connection."),
        column("pool_wait_us", Int8, Microseconds, "Of the total, waiting for a server."),
        column("shards_max", Int4, Count, "The most shards one execution needed."),
        column("shards_mean", Float8, Count, "Shards per execution that reached any."),
        column("single", Int8, Count, "Executions on one server."),
        column("scatter", Int8, Count, "Executions over several shards."),
        column("local", Int8, Count, "Executions answered without a server."),
        column("refused", Int8, Count, "Executions refused before a server had them."),
    ],
};

/// `SHOW LATENCY`
pub(super) static LATENCY: Table = Table {
    name: "latency",
    aliases: &["latencies"],
    origin: Origin::Own,
    help: "How long requests took, by database, route and stage. A request is a simple query, or \
           an extended batch up to its Sync. `total` runs from its first message to the end of its \
           answer; `pool_wait` is the part of it that a request waited for a server connection, \
           counted for requests that had to wait; `server` is the rest of it, for requests that \
           had a server; `client_wait` is the time between the end of an answer and the client's \
           next request inside a transaction, in which the server is held. Percentiles are within \
           1 % of the true ones. Not affected by RESET STATS.",
    columns: &[
        column("database", Text, None, "The database as clients name it."),
        column("route", Text, None, "Where requests went; see ROUTES."),
        column("stage", Text, None, "`client_wait`, `pool_wait`, `server` or `total`."),
        column("count", Int8, Count, "How many were timed."),
        column("sum_us", Int8, Microseconds, "Their sum."),
        column("mean_us", Float8, Microseconds, "Their mean."),
        column("p50_us", Int8, Microseconds, "Half of them took no longer."),
        column("p90_us", Int8, Microseconds, "90 % took no longer."),
        column("p95_us", Int8, Microseconds, "95 % took no longer."),
        column("p99_us", Int8, Microseconds, "99 % took no longer."),
        column("p999_us", Int8, Microseconds, "99.9 % took no longer."),
        column("max_us", Int8, Microseconds, "The longest."),
    ],
};

/// `SHOW ROUTES`
pub(super) static ROUTES: Table = Table {
    name: "routes",
    aliases: &[],
    origin: Origin::Own,
    help: "Where statements went, and why, since the start.",
    columns: &[
        column("database", Text, None, "The database as clients name it."),
        column("route", Text, None, "The kind of route."),
        column("reason", Text, None, "Why, in the router's words."),
        column("count", Int8, Count, "Statements that went so."),
    ],
};

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[&STATEMENTS, &LATENCY, &ROUTES];
