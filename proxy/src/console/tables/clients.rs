//! Fills the tables of client and server connections.

use super::{CONSOLE, Fill, int4};
use crate::console::session::ConsoleHandle;
use crate::console::time;
use crate::metrics::ClientState;
use crate::pool::servers::ServerRow;
use crate::server::Shared;
use crate::server::clients::{ClientRow, ClientWord};
use crate::wire::link::Link;
use pgmanifold_console::Value;
use pgmanifold_console::value::Row;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

pub(super) const FILLS: &[(&str, Fill)] = &[
    ("active_sockets", active_sockets),
    ("clients", |shared| Look::now(shared).clients("")),
    ("servers", |shared| Look::now(shared).servers("")),
    ("sockets", |shared| Look::now(shared).sockets()),
];

/// Columns of buffers, which sockets do not have here.
const BUFFERS: usize = 7;

/// All connections at a moment.
pub(super) struct Look {
    /// The clients, by number.
    pub(super) clients: Vec<ClientRow>,
    /// Connections to the console.
    pub(super) consoles: Vec<Arc<ConsoleHandle>>,
    /// The servers that have logged in.
    pub(super) servers: Vec<ServerRow>,
    /// Servers that are being logged in to, by pool.
    pub(super) opening: Vec<Opening>,
}

/// Connections that a pool is making.
pub(super) struct Opening {
    /// Name of the database.
    pub(super) database: String,
    /// Name of the user.
    pub(super) user: String,
    /// The same on servers.
    server_user: String,
    host: String,
    /// How many.
    pub(super) count: usize,
}

/// What a server does, in PgBouncer's words.
pub(super) fn server_word(server: &ServerRow) -> &'static str {
    match (server.idle_since, server.client) {
        (Some(_), _) => "idle",
        (None, 0) => "tested",
        (None, _) => "active",
    }
}

impl Look {
    pub(super) fn now(shared: &Arc<Shared>) -> Self {
        let state = shared.state();
        let servers = state.servers.rows();
        let pools = state.all_pools();
        let pools = pools.iter().flat_map(|pools| &pools.pools);
        let opening = pools.map(|pool| Opening {
            database: pool.database().name.clone(),
            user: pool.user().name.clone(),
            server_user: pool.user().server_user.clone(),
            host: pool.host().address.to_string(),
            count: pool.numbers().connecting,
        });
        let opening = opening.filter(|opening| opening.count > 0).collect();
        let consoles = shared.consoles.list();
        Self { clients: shared.clients.list(), consoles, servers, opening }
    }

    fn clients(&self, prefix: &str) -> Vec<Row> {
        // A client of several shards may have servers, and none at hand.
        let lent = self.servers.iter().filter(|server| server.client != 0);
        let lent: HashMap<u32, u64> = lent.map(|server| (server.client, server.info.id)).collect();
        let row = |client: &ClientRow| client_row(client, &lent, prefix);
        let consoles = self.consoles.iter().map(|console| console_row(console, prefix));
        self.clients.iter().map(row).chain(consoles).collect()
    }

    fn servers(&self, prefix: &str) -> Vec<Row> {
        let by_id: HashMap<u32, &ClientRow> =
            self.clients.iter().map(|client| (client.handle.id, client)).collect();
        let row = |server: &ServerRow| server_row(server, &by_id, prefix);
        let mut rows: Vec<Row> = self.servers.iter().map(row).collect();
        let word = if prefix.is_empty() { "new" } else { "sv_login" };
        for opening in &self.opening {
            rows.extend((0..opening.count).map(|_| opening_row(opening, word)));
        }
        rows
    }

    fn sockets(&self) -> Vec<Row> {
        let mut rows = self.clients("cl_");
        rows.extend(self.servers("sv_"));
        for row in &mut rows {
            row.extend(std::iter::repeat_n(Value::Int(0), BUFFERS));
        }
        rows
    }
}

/// Of all sockets, those of clients that wait or work, and of the servers they have.
fn active_sockets(shared: &Arc<Shared>) -> Vec<Row> {
    let mut look = Look::now(shared);
    let works = |client: &ClientRow| {
        client.word == ClientWord::Waiting || client.state == ClientState::Active
    };
    look.clients.retain(works);
    look.consoles.retain(|console| console.is_busy());
    let clients: Vec<u32> = look.clients.iter().map(|client| client.handle.id).collect();
    look.servers.retain(|server| {
        let nobodys = server.idle_since.is_none() && server.client == 0;
        nobodys || clients.binary_search(&server.client).is_ok()
    });
    look.sockets()
}

fn client_row(client: &ClientRow, lent: &HashMap<u32, u64>, prefix: &str) -> Row {
    let (handle, sight) = (&client.handle, &client.handle.sight);
    let server = client.server.or_else(|| lent.get(&handle.id).copied());
    let word = match (client.word, server) {
        (ClientWord::Idle, Some(_)) => ClientWord::Active,
        (word, _) => word,
    };
    let requested = sight.request_at().map_or_else(|| time::utc(sight.connected_at), time::utc_of);
    Connection {
        kind: "C",
        user: &sight.user.name,
        database: &sight.database,
        state: format!("{prefix}{}", word.word()),
        link: &sight.link,
        connected_at: sight.connected_at,
        requested,
        wait_us: client.wait.as_micros(),
        close_needed: client.ends,
        ptr: client_ptr(handle.id),
        other: server.map(server_ptr).unwrap_or_default(),
        pid: sight.link.peer_pid,
        application_name: &client.application_name,
        prepared: client.prepared,
        id: i64::from(handle.id.cast_signed()),
    }
    .into_row()
}

/// As PgBouncer shows those who ask it.
fn console_row(console: &ConsoleHandle, prefix: &str) -> Row {
    Connection {
        kind: "C",
        user: &console.user.name,
        database: CONSOLE,
        state: format!("{prefix}{}", ClientWord::Active.word()),
        link: &console.link,
        connected_at: console.since,
        requested: time::utc(console.requested_at()),
        wait_us: 0,
        close_needed: false,
        ptr: client_ptr(console.id),
        other: String::new(),
        pid: console.link.peer_pid,
        application_name: &console.application_name(),
        prepared: u32::try_from(console.prepared()).unwrap_or(u32::MAX),
        id: i64::from(console.id.cast_signed()),
    }
    .into_row()
}

fn server_row(server: &ServerRow, clients: &HashMap<u32, &ClientRow>, prefix: &str) -> Row {
    let info = &server.info;
    let client = clients.get(&server.client);
    let asked = client.and_then(|client| client.handle.sight.request_at()).or(server.idle_since);
    let requested = asked.map_or_else(|| time::utc(info.connected_at), time::utc_of);
    let key = info.cancel.as_ref().map(|key| key.process_id.cast_signed());
    Connection {
        kind: "S",
        user: &server.pool.user().server_user,
        database: &server.pool.database().name,
        state: format!("{prefix}{}", server_word(server)),
        link: &info.link,
        connected_at: info.connected_at,
        requested,
        wait_us: 0,
        close_needed: server.close_needed,
        ptr: server_ptr(info.id),
        other: client.map(|client| client_ptr(client.handle.id)).unwrap_or_default(),
        pid: key.unwrap_or(info.link.peer_pid),
        application_name: client.map_or("", |client| &client.application_name),
        prepared: info.prepared.load(Ordering::Relaxed),
        id: i64::try_from(info.id & 0x7fff_ffff).unwrap_or_default(),
    }
    .into_row()
}

fn opening_row(opening: &Opening, word: &str) -> Row {
    let now = SystemTime::now();
    let row = Connection {
        kind: "S",
        user: &opening.server_user,
        database: &opening.database,
        state: word.to_owned(),
        link: &Link::default(),
        connected_at: now,
        requested: time::utc(now),
        wait_us: 0,
        close_needed: false,
        ptr: String::new(),
        other: String::new(),
        pid: 0,
        application_name: "",
        prepared: 0,
        id: 0,
    };
    let mut row = row.into_row();
    // Of its two ends only the name of the host is known.
    if let Some(address) = row.get_mut(5) {
        *address = opening.host.as_str().into();
    }
    row
}

/// Stands for PgBouncer's pointer to a client.
fn client_ptr(id: u32) -> String {
    format!("0xc{id:011x}")
}

/// The same of a server.
fn server_ptr(id: u64) -> String {
    format!("0x5{id:011x}")
}

/// What the columns of a connection are made of.
struct Connection<'a> {
    kind: &'static str,
    user: &'a str,
    database: &'a str,
    state: String,
    link: &'a Link,
    connected_at: SystemTime,
    requested: String,
    wait_us: u128,
    close_needed: bool,
    ptr: String,
    other: String,
    pid: i32,
    application_name: &'a str,
    prepared: u32,
    id: i64,
}

impl Connection<'_> {
    fn into_row(self) -> Row {
        let (addr, port) = end(self.link.peer);
        let (local_addr, local_port) = end(self.link.local);
        let (wait, wait_us) = super::seconds_and_micros(self.wait_us);
        vec![
            self.kind.into(),
            self.user.into(),
            self.database.into(),
            "none".into(),
            self.state.into(),
            addr,
            port,
            local_addr,
            local_port,
            time::utc(self.connected_at).into(),
            self.requested.into(),
            wait,
            wait_us,
            i64::from(self.close_needed).into(),
            self.ptr.into(),
            self.other.into(),
            self.pid.into(),
            (&*self.link.tls).into(),
            self.application_name.into(),
            int4(self.prepared as usize),
            self.id.into(),
        ]
    }
}

fn end(address: Option<SocketAddr>) -> (Value, Value) {
    match address {
        Some(address) => (address.ip().to_canonical().to_string().into(), address.port().into()),
        None => ("unix".into(), Value::Int(0)),
    }
}
