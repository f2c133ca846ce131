//! The console's commands under load: what they promise, seen from the servers and from clients.

mod clients;
mod databases;
mod hosts;
mod process;
mod sharded;

use pgmanifold::config::model::Address;
use pgmanifold_tests::client::{self, code, exec, text};
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, WHERE};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// Longest time given to what should take a moment, with two busy cores.
const SOON: Duration = Duration::from_secs(20);

/// Who may give commands.
fn with_console(config: ConfigText) -> ConfigText {
    config.section("[console]\nadmin_users = [\"postgres\"]\n")
}

async fn fixture(test: &str) -> Fixture {
    let fixture = Fixture::shared(test, |config| with_console(config.pool("pool_size = 6"))).await;
    exec(&fixture.client().await, "create table t (n int); insert into t values (0)").await;
    fixture.cluster.wait_caught_up().expect("replicas follow");
    fixture.wait_replicas().await;
    fixture
}

/// A connection to the console.
async fn console_at(address: &Address) -> Client {
    client::connect(address, "postgres", "pgmanifold").await
}

async fn console(fixture: &Fixture) -> Client {
    console_at(&fixture.address).await
}

/// SQLSTATE and text of the error that a command must give.
async fn refused(console: &Client, command: &str) -> (String, String) {
    match console.simple_query(command).await {
        Ok(_) => panic!("{command} was not refused"),
        Err(error) => (code(&error), text(&error)),
    }
}

/// Server sessions of the test's clients on all hosts.
fn servers_in_use(fixture: &Fixture) -> u32 {
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = '{}' and usename = '{USER}'",
        fixture.database
    );
    let on = |value: String| value.parse::<u32>().expect("a number");
    fixture.cluster.servers().map(|server| on(server.value(&sql).expect("activity"))).sum()
}

/// Backend pids of the test's clients, with the host.
fn pids(fixture: &Fixture) -> Vec<String> {
    let sql = format!(
        "select pid from pg_stat_activity where datname = '{}' and usename = '{USER}'",
        fixture.database
    );
    let on = |server: &pgmanifold::demo::postgres::Postgres| -> Vec<String> {
        let rows = server.query(&sql).expect("activity");
        rows.into_iter().map(|row| format!("{} {row:?}", server.name())).collect()
    };
    fixture.cluster.servers().flat_map(on).collect()
}

/// Clients that run transactions all the time.
struct Load {
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Option<String>>>,
}

impl Load {
    /// `count` clients: most write, some read.
    async fn start(fixture: &Fixture, count: usize) -> Load {
        let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut clients = Vec::with_capacity(count);
        for number in 0..count {
            let client = fixture.client().await;
            let (done, stop) = (Arc::clone(&done), Arc::clone(&stop));
            clients.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = transaction(&client, number).await {
                        return Some(text(&error));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                None
            }));
        }
        let load = Load { done, stop, clients };
        load.goes_on().await;
        load
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until every client may have done something.
    async fn goes_on(&self) {
        let target = self.done() + 3 * self.clients.len() as u64;
        pgmanifold_tests::eventually("the load goes on", SOON, async || self.done() >= target)
            .await;
    }

    /// Ends the load; what went wrong for each client.
    async fn finish(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut errors = Vec::new();
        for client in self.clients {
            errors.extend(client.await.expect("no panic"));
        }
        (self.done.load(Ordering::Relaxed), errors)
    }
}

/// A transaction as pgbench's: several statements, and a prepared one.
async fn transaction(client: &Client, number: usize) -> Result<(), tokio_postgres::Error> {
    if number.is_multiple_of(3) {
        client.simple_query(WHERE).await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        return Ok(());
    }
    client.batch_execute("begin").await?;
    client.query("select n + $1::int4 from t", &[&1_i32]).await?;
    client.batch_execute("select pg_sleep(0.002)").await?;
    client.batch_execute("commit").await
}
