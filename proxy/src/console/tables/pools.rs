//! Fills the tables of pools, databases and users.

use super::clients::{Look, server_word};
use super::{CONSOLE, Fill, int4, seconds_and_micros};
use crate::config::model::{Address, Config, Database, Host, PoolMode};
use crate::server::Shared;
use crate::server::clients::ClientWord;
use pgmanifold_console::Value;
use pgmanifold_console::value::Row;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(super) const FILLS: &[(&str, Fill)] =
    &[("databases", databases), ("lists", lists), ("pools", pools), ("users", users)];

/// Clients and servers of one database and user.
#[derive(Default)]
struct Pool {
    clients_active: usize,
    clients_waiting: usize,
    servers_active: usize,
    servers_idle: usize,
    servers_tested: usize,
    servers_opening: usize,
    longest_wait: Duration,
}

impl Pool {
    fn servers(&self) -> usize {
        self.servers_active + self.servers_idle + self.servers_tested + self.servers_opening
    }

    fn clients(&self) -> usize {
        self.clients_active + self.clients_waiting
    }

    fn row(&self, database: &str, user: &str, mode: &str) -> Row {
        let (wait, wait_us) = seconds_and_micros(self.longest_wait.as_micros());
        vec![
            database.into(),
            user.into(),
            int4(self.clients_active),
            int4(self.clients_waiting),
            int4(0),
            int4(0),
            int4(self.servers_active),
            int4(0),
            int4(0),
            int4(self.servers_idle),
            int4(0),
            int4(self.servers_tested),
            int4(self.servers_opening),
            wait,
            wait_us,
            mode.into(),
            Value::Null,
        ]
    }
}

/// All pools, by database and user: that of the console too.
fn look(shared: &Arc<Shared>) -> (Look, BTreeMap<(String, String), Pool>) {
    let look = Look::now(shared);
    let state = shared.state();
    let mut pools: BTreeMap<(String, String), Pool> = BTreeMap::new();
    for known in state.all_pools() {
        pools.entry((known.database.name.clone(), known.user.name.clone())).or_default();
    }
    let console = pools.entry((CONSOLE.to_owned(), CONSOLE.to_owned())).or_default();
    console.clients_active += look.consoles.len();
    for client in &look.clients {
        let sight = &client.handle.sight;
        let known = state.config.databases.iter().find(|known| *known.name == *sight.database);
        let forced = known.and_then(|known| known.forced_user.as_ref());
        let user = forced.unwrap_or(&sight.user).name.clone();
        let pool = pools.entry((sight.database.to_string(), user)).or_default();
        match client.word {
            ClientWord::Waiting => pool.clients_waiting += 1,
            ClientWord::Active | ClientWord::Idle => pool.clients_active += 1,
        }
        pool.longest_wait = pool.longest_wait.max(client.wait);
    }
    for server in &look.servers {
        let key = (server.pool.database().name.clone(), server.pool.user().name.clone());
        let pool = pools.entry(key).or_default();
        match server_word(server) {
            "active" => pool.servers_active += 1,
            "idle" => pool.servers_idle += 1,
            _ => pool.servers_tested += 1,
        }
    }
    for opening in &look.opening {
        let key = (opening.database.clone(), opening.user.clone());
        pools.entry(key).or_default().servers_opening += opening.count;
    }
    (look, pools)
}

fn pools(shared: &Arc<Shared>) -> Vec<Row> {
    let (_, pools) = look(shared);
    let config = Arc::clone(&shared.state().config);
    let row = |((database, user), pool): (&(String, String), &Pool)| {
        pool.row(database, user, mode_of(&config, database))
    };
    pools.iter().map(row).collect()
}

fn mode_of(config: &Config, database: &str) -> &'static str {
    let known = config.databases.iter().find(|known| known.name == database);
    match known.map(|known| known.pool_mode) {
        Some(PoolMode::Transaction) => "transaction",
        Some(PoolMode::Session) => "session",
        Some(PoolMode::Statement) | None => "statement",
    }
}

fn databases(shared: &Arc<Shared>) -> Vec<Row> {
    let (_, pools) = look(shared);
    let config = Arc::clone(&shared.state().config);
    let sum = |name: &str, count: fn(&Pool) -> usize| -> usize {
        let own = pools.iter().filter(|((database, _), _)| database == name);
        own.map(|(_, pool)| count(pool)).sum()
    };
    let state = shared.state();
    let row = |database: &Arc<Database>| {
        let name = &database.name;
        let mut row =
            database_row(database, &config, (sum(name, Pool::servers), sum(name, Pool::clients)));
        let lever = state.levers().of(name);
        row.extend([lever.is_paused(), lever.is_disabled()].map(|is| Value::Int(is.into())));
        row
    };
    let mut rows: Vec<Row> = config.databases.iter().map(row).collect();
    rows.push(own_row(&config, sum(CONSOLE, Pool::clients)));
    rows
}

fn database_row(database: &Database, config: &Config, (servers, clients): (usize, usize)) -> Row {
    let (host, port) = hosts(database);
    let lifetime = usize::try_from(database.max_lifetime.as_secs()).unwrap_or(usize::MAX);
    vec![
        database.name.as_str().into(),
        host,
        port,
        database.server_database.as_str().into(),
        database.forced_user.as_ref().map(|user| user.name.as_str()).into(),
        int4(database.pool_size),
        int4(database.min_idle),
        int4(database.waiting.reserve_size),
        int4(lifetime),
        mode_of(config, &database.name).into(),
        Value::Null,
        limit(database.waiting.max_db_connections),
        int4(servers),
        limit(database.max_clients),
        int4(clients),
    ]
}

/// The console's own database, as PgBouncer shows its.
fn own_row(config: &Config, clients: usize) -> Row {
    let port = config.listeners.iter().find_map(|listener| match &listener.address {
        Address::Tcp(_, port) => Some(*port),
        Address::Unix(_) => None,
    });
    vec![
        CONSOLE.into(),
        Value::Null,
        port.unwrap_or(0).into(),
        CONSOLE.into(),
        CONSOLE.into(),
        int4(0),
        int4(0),
        int4(0),
        int4(0),
        "statement".into(),
        Value::Null,
        int4(0),
        int4(0),
        int4(0),
        int4(clients),
        int4(0),
        int4(0),
    ]
}

/// All hosts as one list, and the port of the first.
fn hosts(database: &Database) -> (Value, Value) {
    let one = std::slice::from_ref(&database.shard);
    let shards = database.sharding.as_ref().map_or(one, |sharding| &sharding.shards);
    let all: Vec<&Arc<Host>> = shards.iter().flat_map(|shard| &shard.hosts).collect();
    let first = all.first().map_or(0, |host| port_of(&host.address));
    let mut names: Vec<String> = Vec::new();
    for host in all {
        let name = match &host.address {
            Address::Tcp(name, port) if *port == first => name.clone(),
            other => other.to_string(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (names.join(",").into(), first.into())
}

/// That of a Unix socket stands at the end of its name.
fn port_of(address: &Address) -> u16 {
    match address {
        Address::Tcp(_, port) => *port,
        Address::Unix(path) => {
            let name = path.to_string_lossy();
            name.rsplit('.').next().and_then(|port| port.parse().ok()).unwrap_or(0)
        }
    }
}

fn users(shared: &Arc<Shared>) -> Vec<Row> {
    let (look, pools) = look(shared);
    let config = Arc::clone(&shared.state().config);
    let mut known: BTreeMap<&str, &Arc<crate::config::model::User>> =
        config.users.iter().map(|user| (user.name.as_str(), user)).collect();
    for client in &look.clients {
        let user = &client.handle.sight.user;
        known.entry(user.name.as_str()).or_insert(user);
    }
    let row = |(name, user): (&&str, &&Arc<crate::config::model::User>)| {
        let own = pools.iter().filter(|((_, user), _)| user == name);
        let servers = own.map(|(_, pool)| pool.servers()).sum();
        let has =
            |client: &&crate::server::clients::ClientRow| client.handle.sight.user.name == **name;
        vec![
            (*name).into(),
            user.pool_size.map(|size| size.to_string()).unwrap_or_default().into(),
            "".into(),
            Value::Null,
            limit(user.max_user_connections),
            int4(servers),
            limit(user.max_clients),
            int4(look.clients.iter().filter(has).count()),
        ]
    };
    known.iter().map(row).collect()
}

fn lists(shared: &Arc<Shared>) -> Vec<Row> {
    let (look, pools) = look(shared);
    let config = Arc::clone(&shared.state().config);
    let users = config.users.iter().map(|user| user.name.as_str());
    let connected = look.clients.iter().map(|client| client.handle.sight.user.name.as_str());
    let users: BTreeSet<&str> = users.chain(connected).collect();
    let opening: usize = look.opening.iter().map(|opening| opening.count).sum();
    let logins = usize::try_from(shared.metrics.logins()).unwrap_or(0);
    [
        ("databases", config.databases.len() + 1),
        ("users", users.len()),
        ("peers", 0),
        ("pools", pools.len()),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", look.clients.len() + look.consoles.len() + logins),
        ("login_clients", logins),
        ("free_servers", 0),
        ("used_servers", look.servers.len() + opening),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ]
    .map(|(list, items)| vec![list.into(), int4(items)])
    .into()
}

/// A limit that is none is shown as 0.
fn limit(limit: usize) -> Value {
    if i32::try_from(limit).is_ok() { int4(limit) } else { int4(0) }
}
