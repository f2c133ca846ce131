//! Owns the tables of pools, databases and users.

use crate::schema::Unit::{Count, Microseconds, None, Seconds};
use crate::schema::{Origin, Table, column};
use crate::value::Kind::{Int4, Text};

/// `SHOW POOLS`
pub(super) static POOLS: Table = Table {
    name: "pools",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "The pools of each database and user, on all hosts of all shards together; \
           SELECT from SERVERS, or SHOW HOSTS, tells them apart. The console's own clients are \
           the pool of database and user `pgbouncer`, as PgBouncer shows its own.",
    columns: &[
        column("database", Text, None, "Name of the database."),
        column("user", Text, None, "Name of the user; the forced one if there is one."),
        column("cl_active", Int4, Count, "Clients that have a server, or want none now."),
        column("cl_waiting", Int4, Count, "Clients that wait for a server."),
        column(
            "cl_active_cancel_req",
            Int4,
            Count,
            "Always 0: a cancel request is no client of a pool.",
        ),
        column(
            "cl_waiting_cancel_req",
            Int4,
            Count,
            "Always 0: cancel requests do not wait for a place.",
        ),
        column("sv_active", Int4, Count, "Servers lent to clients."),
        column("sv_active_cancel", Int4, Count, "Always 0, as `cl_active_cancel_req`."),
        column(
            "sv_being_canceled",
            Int4,
            Count,
            "Always 0: a server to which a cancel request was sent is closed, not lent again.",
        ),
        column("sv_idle", Int4, Count, "Servers that are free."),
        column("sv_used", Int4, Count, "Always 0: a free server needs no query before it is lent."),
        column(
            "sv_tested",
            Int4,
            Count,
            "Servers that are neither free nor a client's: pgmanifold itself asks them something.",
        ),
        column("sv_login", Int4, Count, "Servers that are being logged in to."),
        column(
            "maxwait",
            Int4,
            Seconds,
            "How long the client that waits longest has waited, whole seconds.",
        ),
        column("maxwait_us", Int4, Microseconds, "What `maxwait` leaves out of that time."),
        column("pool_mode", Text, None, "`transaction` or `session`; `statement` for the console."),
        column(
            "load_balance_hosts",
            Text,
            None,
            "Always NULL: roles and lag decide which host serves a request.",
        ),
    ],
};

/// `SHOW DATABASES`
pub(super) static DATABASES: Table = Table {
    name: "databases",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "The databases of the configuration, one row for each, sharded or not, and the \
           console's own, `pgbouncer`. SHOW HOSTS has a row for every host.",
    columns: &[
        column("name", Text, None, "Name of the database, as clients give it."),
        column(
            "host",
            Text,
            None,
            "Its hosts, as a list with commas: of all its shards, each once. A port that differs \
             from `port` follows its host after a colon.",
        ),
        column("port", Int4, None, "Port of the first of them."),
        column("database", Text, None, "Its name on the servers."),
        column("force_user", Text, None, "Whose pools all its clients use; else NULL."),
        column(
            "pool_size",
            Int4,
            Count,
            "Most server connections of a user on one host (`pool_size`).",
        ),
        column("min_pool_size", Int4, Count, "Of these kept when idle (`min_idle`)."),
        column(
            "reserve_pool_size",
            Int4,
            Count,
            "More of them for clients that have waited long (`reserve_pool_size`).",
        ),
        column("server_lifetime", Int4, Seconds, "Age at which they are closed."),
        column("pool_mode", Text, None, "`transaction` or `session`."),
        column(
            "load_balance_hosts",
            Text,
            None,
            "Always NULL: roles and lag decide which host serves a request.",
        ),
        column(
            "max_connections",
            Int4,
            Count,
            "Most server connections on one host (`max_db_connections`); 0: no limit.",
        ),
        column("current_connections", Int4, Count, "Server connections now, on all hosts."),
        column("max_client_connections", Int4, Count, "Most clients (`max_clients`); 0: no limit."),
        column("current_client_connections", Int4, Count, "Clients now."),
        column("paused", Int4, None, "1 after PAUSE."),
        column("disabled", Int4, None, "1 after DISABLE."),
    ],
};

/// `SHOW USERS`
pub(super) static USERS: Table = Table {
    name: "users",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "The users of the configuration, and those that servers have vouched for and who are \
           connected.",
    columns: &[
        column("name", Text, None, "Name of the user."),
        column("pool_size", Text, None, "The user's own `pool_size`; empty without."),
        column("reserve_pool_size", Text, None, "Always empty: a reserve is the database's."),
        column("pool_mode", Text, None, "Always NULL: the mode is the database's."),
        column(
            "max_user_connections",
            Int4,
            Count,
            "Most server connections on one host (`max_user_connections`); 0: no limit.",
        ),
        column("current_connections", Int4, Count, "Server connections now, on all hosts."),
        column(
            "max_user_client_connections",
            Int4,
            Count,
            "Most clients (`max_clients`); 0: no limit.",
        ),
        column("current_client_connections", Int4, Count, "Clients now."),
    ],
};

/// `SHOW LISTS`
pub(super) static LISTS: Table = Table {
    name: "lists",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "How many there are of what. Nothing is kept for later use, so free clients and servers \
           are always 0; names are resolved by the system, so there is no list of them.",
    columns: &[
        column(
            "list",
            Text,
            None,
            "`databases`, `users`, `peers`, `pools`, `peer_pools`, `free_clients`, \
             `used_clients`, `login_clients`, `free_servers`, `used_servers`, `dns_names`, \
             `dns_zones`, `dns_queries`, `dns_pending`.",
        ),
        column("items", Int4, Count, "How many."),
    ],
};

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[&DATABASES, &LISTS, &POOLS, &USERS];
