//! Owns the tables of client and server connections.

use crate::schema::Unit::{Bytes, Count, Microseconds, None, Seconds, Time};
use crate::schema::{Origin, Table, column};
use crate::value::Kind::{Int4, Text};

/// The columns of a connection, and what follows them.
macro_rules! connections {
    ($($more:expr),* $(,)?) => {
        &[
            column("type", Text, None, "`C` for a client, `S` for a server."),
            column("user", Text, None,
                "Who logged in; for a server, the user it was logged in to."),
            column("database", Text, None,
                "The database as it is configured here, on whichever shard the server is."),
            column("replication", Text, None,
                "Always `none`: connections for replication are refused at login."),
            column("state", Text, None,
                "Of a client: `active` (it has a server), `waiting` (for one) or `idle`. Of a \
                 server: `active` (a client has it), `idle`, `tested` (asked by pgmanifold itself, \
                 or on its way from hand to hand) or `new` (it is being logged in to). PgBouncer's \
                 other words do not occur. In SOCKETS with `cl_` or `sv_` before it, and \
                 `sv_login` for `new`."),
            column("addr", Text, None, "Address of the peer; `unix` for a Unix socket."),
            column("port", Int4, None, "Port of the peer."),
            column("local_addr", Text, None, "Address on this machine."),
            column("local_port", Int4, None, "Port on this machine."),
            column("connect_time", Text, Time, "When it was made."),
            column("request_time", Text, Time, "When the last request began."),
            column("wait", Int4, Seconds,
                "How long a client waits for a server now, whole seconds."),
            column("wait_us", Int4, Microseconds,
                "What `wait` leaves out of that time."),
            column("close_needed", Int4, None,
                "1: it is closed as soon as its transaction has ended."),
            column("ptr", Text, None,
                "Names the connection; not an address. It stays the same while it lasts."),
            column("link", Text, None,
                "`ptr` of the server a client has, or of the client a server is lent to; empty \
                 for none. A client that works on several shards is linked to one of them, and all \
                 of them to it."),
            column("remote_pid", Int4, None,
                "Process id of the peer: of a server always, of a client on a Unix socket; \
                 else 0."),
            column("tls", Text, None, "Version and cipher suite of TLS; empty without."),
            column("application_name", Text, None,
                "The client's; for a server that of the client it is lent to."),
            column("prepared_statements", Int4, Count,
                "How many named statements the client has prepared, or the server knows."),
            column("id", Int4, None,
                "Number of the connection. A client's is the process id it was given, and what \
                 KILL_CLIENT takes."),
            $($more),*
        ]
    };
}

/// The columns of a socket.
macro_rules! sockets {
    () => {
        connections!(
            column("recv_pos", Int4, Bytes, "Always 0: sockets have no buffers of their own."),
            column("pkt_pos", Int4, Bytes, "Always 0, as `recv_pos`."),
            column("pkt_remain", Int4, Bytes, "Always 0, as `recv_pos`."),
            column("send_pos", Int4, Bytes, "Always 0, as `recv_pos`."),
            column("send_remain", Int4, Bytes, "Always 0, as `recv_pos`."),
            column("pkt_avail", Int4, Bytes, "Always 0, as `recv_pos`."),
            column("send_avail", Int4, Bytes, "Always 0, as `recv_pos`."),
        )
    };
}

/// `SHOW CLIENTS`
pub(super) static CLIENTS: Table = Table {
    name: "clients",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "The clients that have logged in, by their number.",
    columns: connections!(),
};

/// `SHOW SERVERS`
pub(super) static SERVERS: Table = Table {
    name: "servers",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "The connections to servers, of all pools on all hosts and shards, by their number. \
           Connections of pgmanifold's own (health checks, catalog reads, LISTEN) are not in \
           pools, and not here.",
    columns: connections!(),
};

/// `SHOW SOCKETS`
pub(super) static SOCKETS: Table = Table {
    name: "sockets",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "CLIENTS and SERVERS in one, with PgBouncer's columns of buffers.",
    columns: sockets!(),
};

/// `SHOW ACTIVE_SOCKETS`
pub(super) static ACTIVE_SOCKETS: Table = Table {
    name: "active_sockets",
    aliases: &[],
    origin: Origin::PgBouncer,
    help: "Those of SOCKETS on which something is under way: clients that wait or have a \
           request running, and their servers.",
    columns: sockets!(),
};

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[&ACTIVE_SOCKETS, &CLIENTS, &SERVERS, &SOCKETS];
