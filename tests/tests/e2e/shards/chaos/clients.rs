//! Owns the clients of the chaos: what they do, and what they were told of it.

use pgmanifold::config::model::Address;
use pgmanifold_tests::client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error};

/// A client gives a call up after this time, and its connection with it.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Rows of one insert.
const ROWS: i64 = 6;

/// What a client was told of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// It is done.
    Acknowledged,
    /// It is not done.
    Refused(String),
    /// Nothing that can be relied upon.
    Unknown(String),
}

/// What an operation was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A transaction of several statements: two accounts, two rows in `moves`.
    Transfer,
    /// One statement: six rows in `entries`.
    Insert,
}

/// One operation.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    /// Unique in the run.
    pub number: i64,
    /// What it was.
    pub kind: Kind,
    /// Rows it makes.
    pub rows: i64,
    /// How it ended for the client.
    pub told: Told,
}

/// All clients, and where they find proxies.
#[derive(Debug)]
pub(super) struct Crowd {
    database: String,
    accounts: i64,
    addresses: Mutex<Vec<Address>>,
    next: AtomicI64,
}

/// Clients at work.
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<Operation>>>,
}

impl Clients {
    /// Lets them finish what they are at.
    pub(super) async fn end(self) -> Vec<Operation> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await.expect("a client does not panic"));
        }
        all
    }
}

impl Crowd {
    pub(super) fn new(database: &str, accounts: i64, addresses: Vec<Address>) -> Arc<Self> {
        let (addresses, next) = (Mutex::new(addresses), AtomicI64::new(1));
        Arc::new(Self { database: database.into(), accounts, addresses, next })
    }

    /// A proxy is somewhere else now.
    pub(super) fn set_address(&self, number: usize, address: Address) {
        self.addresses.lock().expect("no panic under this lock")[number] = address;
    }

    /// Lets so many clients work.
    pub(super) fn begin(self: &Arc<Self>, clients: usize, seed: u64) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..clients as u64).map(|number| {
            let random = StdRng::seed_from_u64(seed.wrapping_add(number));
            tokio::spawn(Arc::clone(self).work(random, Arc::clone(&stop)))
        });
        Clients { tasks: tasks.collect(), stop }
    }

    async fn work(self: Arc<Self>, mut random: StdRng, stop: Arc<AtomicBool>) -> Vec<Operation> {
        let mut done = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let address = {
                let addresses = self.addresses.lock().expect("no panic under this lock");
                addresses[random.random_range(0..addresses.len())].clone()
            };
            let config = client::config(&address, "app", &self.database);
            let Ok(client) = client::try_connect(&config).await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            // Connections change now and then, also without a fault.
            for _ in 0..random.random_range(5..50) {
                let operation = self.operate(&client, &mut random).await;
                done.push(operation);
                if stop.load(Ordering::Relaxed) || client.is_closed() {
                    break;
                }
            }
        }
        done
    }

    async fn operate(&self, client: &Client, random: &mut StdRng) -> Operation {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if random.random_bool(0.5) {
            let told = self.transfer(client, random, number).await;
            return Operation { number, kind: Kind::Transfer, rows: 2, told };
        }
        let values = (0..ROWS).map(|row| format!("({}, {number})", number * ROWS + row));
        let values = values.collect::<Vec<_>>().join(", ");
        let sql = format!("insert into entries (id, operation) values {values}");
        let told = told(call(client, &sql).await);
        Operation { number, kind: Kind::Insert, rows: ROWS, told }
    }

    /// From the account with the smaller number to the other, or back: always locked in the same
    /// order, for nobody sees deadlocks over shards.
    async fn transfer(&self, client: &Client, random: &mut StdRng, number: i64) -> Told {
        let one = random.random_range(1..self.accounts);
        let other = random.random_range(one + 1..=self.accounts);
        let amount = random.random_range(-50..50);
        let statements = [
            "begin".to_owned(),
            format!("update accounts set balance = balance - {amount} where id = {one}"),
            format!("update accounts set balance = balance + {amount} where id = {other}"),
            format!("insert into moves values ({one}, {number}), ({other}, {number})"),
        ];
        for sql in statements {
            if let Err(error) = call(client, &sql).await {
                // An error leaves the transaction failed, and a lost connection rolls it back.
                if !client.is_closed() {
                    let _ = call(client, "rollback").await;
                }
                let verb = sql.split(' ').next().unwrap_or_default();
                return Told::Refused(format!("{verb}: {}", text(&error)));
            }
        }
        told(call(client, "commit").await)
    }
}

/// `None` when the call took too long.
async fn call(client: &Client, sql: &str) -> Result<(), Option<Error>> {
    match tokio::time::timeout(CALL_TIMEOUT, client.simple_query(sql)).await {
        Ok(result) => result.map(drop).map_err(Some),
        Err(_) => Err(None),
    }
}

/// What follows from the answer to a statement that commits. A COMMIT that is answered by an error
/// that does not speak of doubt is not done.
fn told(result: Result<(), Option<Error>>) -> Told {
    let error = match result {
        Ok(()) => return Told::Acknowledged,
        Err(error) => error,
    };
    let code = error.as_ref().and_then(|error| error.code()).map(|code| code.code().to_owned());
    let doubt = match code.as_deref() {
        None => true,
        // What a server says of its end is passed on; what it did before is not known. 08006 says
        // that nothing was changed.
        Some(code) => matches!(code, "PGM06" | "08007" | "57P01" | "57P02"),
    };
    let text = text(&error);
    if doubt { Told::Unknown(text) } else { Told::Refused(text) }
}

fn text(error: &Option<Error>) -> String {
    error.as_ref().map_or("no answer".into(), client::text)
}
