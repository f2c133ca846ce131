//! Owns the tables of PgBouncer's statistics.

use crate::schema::Unit::{Bytes, Count, Microseconds, None, PerSecond};
use crate::schema::{Origin, Table, column};
use crate::value::Kind::{Numeric, Text};

const DATABASE: &str = "Name of the database; all its shards are in one row.";
const ASSIGNMENTS: &str =
    "Times a client was given a server; a statement over several shards is given several.";
const XACTS: &str = "Transactions that have ended, of one statement or of many.";
const QUERIES: &str = "Requests that were answered: query strings, or batches of messages up \
     to Sync. One over several shards counts once.";
const RECEIVED: &str = "Bytes received from clients after login.";
const SENT: &str = "Bytes sent to clients after login.";
const XACT_TIME: &str =
    "Time in transactions, from the first request to the last answer: running or idle.";
const QUERY_TIME: &str =
    "Time from requests to the end of their answers, without the wait for a server.";
const WAIT_TIME: &str = "Time clients have waited for a server.";
const CLIENT_PARSES: &str = "Statements that clients have prepared by protocol.";
const SERVER_PARSES: &str = "Statements that were prepared on servers.";
const BINDS: &str = "Bind messages of clients that went to servers.";
const LOGINS: &str = "Clients that have logged in.";

const EACH: &str = "Average of one, in the last period.";
const RATE: &str = "Average per second, in the last period.";

/// `SHOW STATS`
pub(super) static STATS: Table = Table {
    name: "stats",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "What each database has done since the start, and averages of the last full \
           `stats_period_s`. RESET STATS does not begin these counters anew. The console's own \
           row, `pgbouncer`, has only zeros: what is asked there is no traffic.",
    columns: &[
        column("database", Text, None, DATABASE),
        column("total_server_assignment_count", Numeric, Count, ASSIGNMENTS),
        column("total_xact_count", Numeric, Count, XACTS),
        column("total_query_count", Numeric, Count, QUERIES),
        column("total_received", Numeric, Bytes, RECEIVED),
        column("total_sent", Numeric, Bytes, SENT),
        column("total_xact_time", Numeric, Microseconds, XACT_TIME),
        column("total_query_time", Numeric, Microseconds, QUERY_TIME),
        column("total_wait_time", Numeric, Microseconds, WAIT_TIME),
        column("total_client_parse_count", Numeric, Count, CLIENT_PARSES),
        column("total_server_parse_count", Numeric, Count, SERVER_PARSES),
        column("total_bind_count", Numeric, Count, BINDS),
        column("total_client_login_count", Numeric, Count, LOGINS),
        column("avg_server_assignment_count", Numeric, PerSecond, RATE),
        column("avg_xact_count", Numeric, PerSecond, RATE),
        column("avg_query_count", Numeric, PerSecond, RATE),
        column("avg_recv", Numeric, PerSecond, RATE),
        column("avg_sent", Numeric, PerSecond, RATE),
        column("avg_xact_time", Numeric, Microseconds, EACH),
        column("avg_query_time", Numeric, Microseconds, EACH),
        column(
            "avg_wait_time",
            Numeric,
            Microseconds,
            "Average of one assignment of a server, in the last period.",
        ),
        column("avg_client_parse_count", Numeric, PerSecond, RATE),
        column("avg_server_parse_count", Numeric, PerSecond, RATE),
        column("avg_bind_count", Numeric, PerSecond, RATE),
        column("avg_client_login_count", Numeric, PerSecond, RATE),
    ],
};

/// `SHOW STATS_TOTALS`
pub(super) static STATS_TOTALS: Table = Table {
    name: "stats_totals",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "The totals of STATS.",
    columns: &[
        column("database", Text, None, DATABASE),
        column("server_assignment_count", Numeric, Count, ASSIGNMENTS),
        column("xact_count", Numeric, Count, XACTS),
        column("query_count", Numeric, Count, QUERIES),
        column("bytes_received", Numeric, Bytes, RECEIVED),
        column("bytes_sent", Numeric, Bytes, SENT),
        column("xact_time", Numeric, Microseconds, XACT_TIME),
        column("query_time", Numeric, Microseconds, QUERY_TIME),
        column("wait_time", Numeric, Microseconds, WAIT_TIME),
        column("client_parse_count", Numeric, Count, CLIENT_PARSES),
        column("server_parse_count", Numeric, Count, SERVER_PARSES),
        column("bind_count", Numeric, Count, BINDS),
        column("client_login_count", Numeric, Count, LOGINS),
    ],
};

/// `SHOW STATS_AVERAGES`
pub(super) static STATS_AVERAGES: Table = Table {
    name: "stats_averages",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "The averages of STATS.",
    columns: &[
        column("database", Text, None, DATABASE),
        column("server_assignment_count", Numeric, PerSecond, RATE),
        column("xact_count", Numeric, PerSecond, RATE),
        column("query_count", Numeric, PerSecond, RATE),
        column("bytes_received", Numeric, PerSecond, RATE),
        column("bytes_sent", Numeric, PerSecond, RATE),
        column("xact_time", Numeric, Microseconds, EACH),
        column("query_time", Numeric, Microseconds, EACH),
        column("wait_time", Numeric, Microseconds, EACH),
        column("avg_client_parse_count", Numeric, PerSecond, RATE),
        column("avg_server_parse_count", Numeric, PerSecond, RATE),
        column("avg_bind_count", Numeric, PerSecond, RATE),
        column("avg_client_login_count", Numeric, PerSecond, RATE),
    ],
};

/// `SHOW TOTALS`
pub(super) static TOTALS: Table = Table {
    name: "totals",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "STATS of all databases together, one number in a row.",
    columns: &[
        column("name", Text, None, "`total_…` or `avg_…`, as PgBouncer names them."),
        column("value", Numeric, Count, "The number; times are microseconds."),
    ],
};

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[&STATS, &STATS_AVERAGES, &STATS_TOTALS, &TOTALS];
