//! Owns the part of the key table that bounds what clients and servers may take: places in queues,
//! connections over several pools, times. They follow the keys of their section in `sections`.

use super::Absent::{Value, Words};
use super::Key;
use super::Kind::{Boolean, Integer};
use super::Reload::{Live, NewConnections, Restart};
use super::catalog::NAME_KEYS;
use super::sections::{HOUR_MS, MANY, MONTH_MS, key};
use super::statements::STATEMENT_KEYS;
use super::stats::STATS_KEYS;

/// The groups that a section has from here.
pub(super) fn groups_of(section: &str) -> &'static [&'static [Key]] {
    match section {
        "general" => &[NETWORK_KEYS, NAME_KEYS, STATS_KEYS, STATEMENT_KEYS],
        "user" => &[USER_LIMIT_KEYS],
        "pool" | "database" => &[WAITING_KEYS, SESSION_TIMEOUT_KEYS],
        _ => &[],
    }
}

/// Of `[general]`: ways in.
const NETWORK_KEYS: &[Key] = &[
    key(
        "max_logins",
        Integer(1, MANY),
        Value("1000"),
        Live,
        "Most client connections that have not finished TLS and login. One more takes the place \
         of the one that has been at it longest, which is closed: who logs in at normal speed is \
         not hindered by those who connect and keep silent.",
    ),
    key(
        "reuse_port",
        Boolean,
        Value("false"),
        Restart,
        "Let a second process with the same addresses start beside this one, to take over while \
         this one drains (see operations.md, Rolling restart).",
    ),
    key(
        "tcp_keepalive_idle_ms",
        Integer(0, HOUR_MS * 24),
        Value("60000"),
        NewConnections,
        "An idle TCP connection, to clients and servers, is probed after this time, in whole \
         seconds. 0 leaves it to the kernel.",
    ),
    key(
        "tcp_keepalive_interval_ms",
        Integer(1000, HOUR_MS),
        Value("10000"),
        NewConnections,
        "Time between two probes that are not answered, in whole seconds.",
    ),
    key(
        "tcp_keepalive_probes",
        Integer(1, 100),
        Value("6"),
        NewConnections,
        "So many unanswered probes end the connection.",
    ),
    key(
        "tcp_user_timeout_ms",
        Integer(0, HOUR_MS * 24),
        Value("0"),
        NewConnections,
        "A TCP connection whose peer has not acknowledged sent bytes for so long ends. 0 leaves it \
         to the kernel.",
    ),
];

/// Of `[[user]]`: limits over all its pools.
const USER_LIMIT_KEYS: &[Key] = &[key(
    "max_user_connections",
    Integer(1, MANY),
    Words("no limit"),
    Live,
    "Most server connections per host for this user, over all databases. When it is reached, an \
     idle connection of another database makes room; when none is idle, the databases take turns.",
)];

/// Of `[pool]` and `[[database]]`: who may wait, and for how long.
const WAITING_KEYS: &[Key] = &[
    key(
        "pool_queue_max",
        Integer(1, MANY),
        Words("`general.max_clients`"),
        Live,
        "Most clients that wait for a server connection, per user and host. One more is refused at \
         once with SQLSTATE 53400.",
    ),
    key(
        "query_wait_notify_ms",
        Integer(0, HOUR_MS),
        Value("5000"),
        Live,
        "A client that has waited so long for a server connection is sent a NOTICE. 0, or not less \
         than `checkout_timeout_ms`: never.",
    ),
    key(
        "reserve_pool_size",
        Integer(0, 10_000),
        Value("0"),
        Live,
        "Server connections per user and host beyond `pool_size`, opened for a client that has \
         waited `reserve_pool_timeout_ms`, and closed when nobody waits any more.",
    ),
    key(
        "reserve_pool_timeout_ms",
        Integer(1, HOUR_MS),
        Value("1000"),
        Live,
        "Wait after which the reserve is used.",
    ),
    key(
        "max_db_connections",
        Integer(1, MANY),
        Words("no limit"),
        Live,
        "Most server connections per host for the database, over all users. When it is reached, an \
         idle connection of another user makes room; when none is idle, the users take turns.",
    ),
];

/// Of `[pool]` and `[[database]]`: how long a session may do what.
const SESSION_TIMEOUT_KEYS: &[Key] = &[
    key(
        "query_timeout_ms",
        Integer(0, MONTH_MS),
        Value("0"),
        Live,
        "A statement that has run longer on a server is cancelled there; the client gets SQLSTATE \
         57014 and keeps its session. 0: no limit. Waiting for a server does not count.",
    ),
    key(
        "idle_transaction_timeout_ms",
        Integer(0, MONTH_MS),
        Value("0"),
        Live,
        "A session that does nothing inside a transaction for longer is closed with SQLSTATE \
         25P03, and the transaction rolled back. 0: no limit.",
    ),
    key(
        "transaction_timeout_ms",
        Integer(0, MONTH_MS),
        Value("0"),
        Live,
        "A session whose transaction takes longer is closed with SQLSTATE 25P04, and the \
         transaction rolled back. 0: no limit.",
    ),
    key(
        "client_idle_timeout_ms",
        Integer(0, MONTH_MS),
        Value("0"),
        Live,
        "A session that does nothing outside of transactions for longer is closed with SQLSTATE \
         57P05. 0: no limit.",
    ),
];
