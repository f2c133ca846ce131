//! Owns clients at work over all proxies while keys move: what they write they write down, what
//! they read they compare with that, and how long everything took is measured.
//!
//! Every client has keys of its own, so that it knows what is there; accounts belong to all.

mod client;
mod copying;
pub mod latency;
pub mod ledger;
mod operations;
mod reads;

use super::Moves;
use super::backstage::Backstage;
use crate::cluster::USER;
use client::Worker;
use latency::{Latencies, Report};
use ledger::Ledger;
use pgmanifold::config::model::Address;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The tables. `counters` have one row per key of each client, `entries` come and go, `accounts`
/// and `transfers` are everybody's, `tags` are all changed at once.
pub const SCHEMA: &str = "\
    create table counters (customer bigint primary key, client integer not null, \
                           count bigint not null default 0, steps bigint not null default 0); \
    create table entries (customer bigint, number bigint, client integer not null, \
                          filler text not null, primary key (customer, number)); \
    create index entries_client on entries (client); \
    create table accounts (customer bigint primary key, balance bigint not null); \
    create table transfers (customer bigint, transfer bigint, amount bigint not null, \
                            primary key (customer, transfer)); \
    create table tags (customer bigint primary key, tag bigint not null default 0)";

/// How they are spread.
pub const SECTIONS: &str = "\
    [[distribution]]\nname = \"customer\"\nkey_types = \"bigint\"\n\
    [[table]]\nname = \"counters\"\ndistribution = \"customer\"\nkey = \"customer\"\n\
    [[table]]\nname = \"entries\"\ndistribution = \"customer\"\nkey = \"customer\"\n\
    [[table]]\nname = \"accounts\"\ndistribution = \"customer\"\nkey = \"customer\"\n\
    [[table]]\nname = \"transfers\"\ndistribution = \"customer\"\nkey = \"customer\"\n\
    [[table]]\nname = \"tags\"\ndistribution = \"customer\"\nkey = \"customer\"\n";

/// What every account has at first.
pub const BALANCE: i64 = 1000;
/// The client of rows that nobody changes.
pub const NOBODY: i64 = -1;

/// What the workload is like.
#[derive(Debug, Clone)]
pub struct Load {
    /// Clients, spread over the proxies in turn.
    pub clients: usize,
    /// Keys of all clients together: 1, 2, ….
    pub keys: i64,
    /// Rows of `entries` that are there at first and that nobody changes.
    pub rows: i64,
    /// Longest pause between two operations of a client.
    pub pace: Duration,
    /// Shards have replicas: a new session sees there for certain only what it wrote itself.
    pub replicas: bool,
    /// Some transactions stay open for so long.
    pub long_read: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            clients: 8,
            keys: 400,
            rows: 20_000,
            pace: Duration::from_millis(8),
            replicas: false,
            long_read: Duration::from_millis(1500),
        }
    }
}

/// What all clients know.
#[derive(Debug)]
struct Shared {
    load: Load,
    database: String,
    /// Of the proxies, in order.
    addresses: Vec<Address>,
    stop: AtomicBool,
    latencies: Latencies,
    /// What a client read that cannot be, and other things that must not be.
    complaints: Mutex<Vec<String>>,
}

impl Shared {
    fn complain(&self, text: String) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        // The first ones tell; a broken run has one per statement.
        if complaints.len() < 20 {
            complaints.push(text);
        }
    }
}

/// The workload of a test, at work or not.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    /// Of the clients that are not at work.
    ledgers: Vec<Ledger>,
    tasks: Vec<JoinHandle<Ledger>>,
}

impl Workload {
    /// Fills the tables, on the shards that the map says.
    ///
    /// # Panics
    /// When a server does not take it.
    pub async fn new(moves: &Moves, load: Load) -> Self {
        let addresses: Vec<Address> = moves.proxies.iter().map(|proxy| proxy.address()).collect();
        let clients = i64::try_from(load.clients).expect("invariant: a small number");
        let first = moves.proxies[0].address();
        let session = crate::client::connect(&first, USER, &moves.database).await;
        fill(&session, &load, clients).await;
        let ledgers = (0..clients).map(|client| Ledger::new(client, clients, load.keys));
        let ledgers = ledgers.collect();
        let shared = Shared {
            load,
            database: moves.database.clone(),
            addresses,
            stop: AtomicBool::new(false),
            latencies: Latencies::default(),
            complaints: Mutex::default(),
        };
        Self { shared: Arc::new(shared), ledgers, tasks: Vec::new() }
    }

    /// Lets the clients work until [`Workload::end`].
    ///
    /// # Panics
    /// When they are at work.
    pub fn begin(&mut self, backstage: &Backstage, random: &mut StdRng) {
        assert!(self.tasks.is_empty(), "the clients are at work");
        self.shared.stop.store(false, Ordering::Relaxed);
        for ledger in self.ledgers.drain(..) {
            let random = StdRng::seed_from_u64(random.random());
            let worker = Worker::new(Arc::clone(&self.shared), ledger, random);
            self.tasks.push(backstage.spawn(worker.work()));
        }
    }

    /// Lets them finish what they are at.
    ///
    /// # Panics
    /// When one has panicked.
    pub async fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            self.ledgers.push(task.await.expect("a client does not panic"));
        }
        self.ledgers.sort_by_key(|ledger| ledger.client);
    }

    /// What the clients were told, when they are not at work.
    pub fn ledgers(&self) -> &[Ledger] {
        &self.ledgers
    }

    /// What the workload is like.
    pub fn load(&self) -> &Load {
        &self.shared.load
    }

    /// Tells times of keys with these hashes from those of others, from now on.
    pub fn watch(&self, hashes: Option<(i64, i64)>) {
        self.shared.latencies.watch(hashes);
    }

    /// How long everything took since the last time this was asked.
    pub fn report(&self) -> Report {
        self.shared.latencies.take()
    }

    /// What must not be and was seen so far.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nothing was seen that must not be.
    ///
    /// # Panics
    /// When something was.
    pub fn assert_quiet(&self) {
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "clients complain:\n{}", complaints.join("\n"));
    }
}

/// As the ordinary user, through a proxy: rows come to where the map says.
async fn fill(session: &tokio_postgres::Client, load: &Load, clients: i64) {
    let values = |row: &dyn Fn(i64) -> String| -> String {
        (1..=load.keys).map(row).collect::<Vec<_>>().join(", ")
    };
    let counters = values(&|key| format!("({key}, {})", key % clients));
    let accounts = values(&|key| format!("({key}, {BALANCE})"));
    let tags = values(&|key| format!("({key})"));
    let mut statements = vec![
        format!("insert into counters (customer, client) values {counters}"),
        format!("insert into accounts values {accounts}"),
        format!("insert into tags (customer) values {tags}"),
    ];
    let rows: Vec<i64> = (1..=load.rows).collect();
    for chunk in rows.chunks(2000) {
        let filler = "x".repeat(60);
        let values = chunk.iter().map(|number| {
            // Of negative keys: no client has them.
            format!("({}, {number}, {NOBODY}, '{filler}')", -(number % 1000) - 1)
        });
        let values = values.collect::<Vec<_>>().join(", ");
        statements.push(format!("insert into entries values {values}"));
    }
    for sql in statements {
        crate::client::exec(session, &sql).await;
    }
}
