//! Owns the tables of the process itself.

use crate::schema::Unit::{Bytes, Count, None, Seconds};
use crate::schema::{Origin, Table, column};
use crate::value::Kind::{Int4, Int8, Text};

/// `SHOW VERSION`
pub(super) static VERSION: Table = Table {
    name: "version",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "The version of this process.",
    columns: &[column("version", Text, None, "Name and version, as `pgmanifold 0.1.0`.")],
};

/// `SHOW CONFIG`
pub(super) static CONFIG: Table = Table {
    name: "config",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "The configuration that holds. First come keys under PgBouncer's names and in its units, \
           for tools that look for them; then every key of the file under its own name \
           (`general.max_clients`, `database.app.pool_size`), also those that were not given. \
           Distributions and tables are in RANGES and TABLES.",
    columns: &[
        column("key", Text, None, "Section, name of the element, key."),
        column("value", Text, None, "What holds; `***` for secrets, NULL when nothing was given."),
        column("default", Text, None, "What holds when it is not given, sometimes in words."),
        column(
            "changeable",
            Text,
            None,
            "`yes` when SET can change it. What is `no` is changed in the file, for RELOAD or a restart.",
        ),
    ],
};

/// `SHOW MEM`
pub(super) static MEM: Table = Table {
    name: "mem",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "Memory of this process by what it is for. Elements are counted by what they take at least; buffers and texts come on top. \
           The row `resident` has the whole, as the operating system sees it, in KiB.",
    columns: &[
        column("name", Text, None, "What it is for."),
        column("size", Int4, Bytes, "Size of an element."),
        column("used", Int4, Count, "Elements in use."),
        column("free", Int4, Count, "Elements kept for later use."),
        column("memtotal", Int4, Bytes, "Size of all elements, at most 2147483647."),
    ],
};

/// `SHOW PEERS`
pub(super) static PEERS: Table = Table {
    name: "peers",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "PgBouncer's peers. Always empty: processes that share their addresses find each other.",
    columns: &[
        column("peer_id", Int4, None, "Number of the peer."),
        column("host", Text, None, "Its address."),
        column("port", Int4, None, "Its port."),
        column("pool_size", Int4, Count, "Most connections to it."),
    ],
};

/// `SHOW PEER_POOLS`
pub(super) static PEER_POOLS: Table = Table {
    name: "peer_pools",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "Connections to PgBouncer's peers. Always empty.",
    columns: &[
        column("peer_id", Int4, None, "Number of the peer."),
        column("cl_active_cancel_req", Int4, Count, "Cancel requests sent on."),
        column("cl_waiting_cancel_req", Int4, Count, "Cancel requests that wait."),
        column("sv_active_cancel", Int4, Count, "Connections that carry one."),
        column("sv_login", Int4, Count, "Connections being opened."),
    ],
};

/// `SHOW DNS_HOSTS`
pub(super) static DNS_HOSTS: Table = Table {
    name: "dns_hosts",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "PgBouncer's memory of host names. Always empty: names are looked up for every \
           connection, by the operating system.",
    columns: &[
        column("hostname", Text, None, "The name."),
        column("ttl", Int8, Seconds, "How long the answer holds."),
        column("addrs", Text, None, "The addresses."),
    ],
};

/// `SHOW DNS_ZONES`
pub(super) static DNS_ZONES: Table = Table {
    name: "dns_zones",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "PgBouncer's memory of DNS zones. Always empty.",
    columns: &[
        column("zonename", Text, None, "The zone."),
        column("serial", Int8, None, "Its serial number."),
        column("count", Int4, Count, "Names in it."),
    ],
};

/// Those of this file.
pub(super) static TABLES: &[&Table] =
    &[&VERSION, &CONFIG, &MEM, &PEERS, &PEER_POOLS, &DNS_HOSTS, &DNS_ZONES];
