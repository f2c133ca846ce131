//! Owns the load of the failover tests: writers that know what was acknowledged to them, and
//! readers that know when they were answered. It runs on a thread of its own, because the tests
//! block theirs while they break servers.

use pgmanifold::config::model::Address;
use pgmanifold_tests::client::{self, code, text};
use pgmanifold_tests::cluster::USER;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Error};

/// Pause of a reader between two reads.
const READ_PAUSE: Duration = Duration::from_millis(5);
/// Longest statement: nothing may hang.
const STATEMENT_LIMIT: Duration = Duration::from_secs(25);

/// SQLSTATEs that promise that nothing was changed.
const PROMISES: &[&str] = &["40001", "25P02", "57P03", "08006", "25006", "08001"];

/// How many of each there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crew {
    pub(super) autocommit: usize,
    pub(super) transactions: usize,
    pub(super) readers: usize,
}

/// What the clients saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Rows whose commit was acknowledged, and when.
    pub(super) acknowledged: BTreeMap<i64, Instant>,
    /// Rows of which the proxy said that they were not written, and how.
    pub(super) refused: BTreeMap<i64, String>,
    /// Transactions that must be there as a whole or not at all: their two rows.
    pub(super) pairs: Vec<(i64, i64)>,
    /// When reads were answered.
    pub(super) reads: Vec<Instant>,
    /// Errors of writes and reads by their text.
    pub(super) write_errors: BTreeMap<String, u32>,
    pub(super) read_errors: BTreeMap<String, u32>,
}

/// A running load.
pub(super) struct Load {
    pub(super) seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What one client works with.
#[derive(Clone)]
struct Worker {
    number: i64,
    login: tokio_postgres::Config,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
}

impl Load {
    /// Starts the clients; their tables are `t (id bigint)` and whatever `read` needs.
    pub(super) fn start(address: &Address, database: &str, crew: Crew, read: &'static str) -> Load {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            number: 0,
            login: client::config(address, USER, database),
            seen: Arc::clone(&seen),
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("an event loop").block_on(async move {
                let mut tasks = tokio::task::JoinSet::new();
                for number in 0..crew.autocommit + crew.transactions + crew.readers {
                    let worker = Worker { number: number as i64, ..worker.clone() };
                    match number {
                        n if n < crew.autocommit => tasks.spawn(worker.write_singly()),
                        n if n < crew.autocommit + crew.transactions => {
                            tasks.spawn(worker.write_in_transactions())
                        }
                        _ => tasks.spawn(worker.read(read)),
                    };
                }
                while let Some(ended) = tasks.join_next().await {
                    ended.expect("no client panics");
                }
            });
        });
        Load { seen, stop, thread: Some(thread) }
    }

    /// Ends all clients and returns what they saw.
    pub(super) fn finish(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("invariant: finished once");
        thread.join().expect("the load does not panic");
        std::mem::take(&mut *self.seen.lock().expect("no panic under it"))
    }

    /// The first acknowledgement after `since`, if there was one.
    pub(super) fn first_write_after(&self, since: Instant) -> Option<Instant> {
        let seen = self.seen.lock().expect("no panic under it");
        seen.acknowledged.values().filter(|at| **at > since).min().copied()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Worker {
    fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// A connection: the one at hand while it lives.
    async fn connection(&self, client: Option<Client>) -> Option<Client> {
        if let Some(client) = client.filter(|client| !client.is_closed()) {
            return Some(client);
        }
        let login = client::try_connect(&self.login).await;
        if let Err(error) = &login {
            self.note_error(error, true);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        login.ok()
    }

    fn note_error(&self, error: &Error, write: bool) {
        let mut seen = self.seen.lock().expect("no panic under it");
        let errors = if write { &mut seen.write_errors } else { &mut seen.read_errors };
        let db = error.as_db_error().map(|db| format!("{} {}", db.code().code(), db.message()));
        *errors.entry(db.unwrap_or_else(|| text(error))).or_default() += 1;
    }

    fn note_write(&self, ids: &[i64], result: &Result<(), Error>) {
        let now = Instant::now();
        if let Err(error) = result {
            self.note_error(error, true);
        }
        let mut seen = self.seen.lock().expect("no panic under it");
        for id in ids {
            match result {
                Ok(()) => _ = seen.acknowledged.insert(*id, now),
                Err(error) if PROMISES.contains(&code(error).as_str()) => {
                    seen.refused.insert(*id, text(error));
                }
                Err(_) => {}
            }
        }
    }

    async fn write_singly(self) {
        let (mut client, mut next) = (None, self.number * 1_000_000_000);
        while self.runs() {
            client = self.connection(client).await;
            let Some(client) = &client else { continue };
            next += 1;
            let sql = format!("insert into t values ({next})");
            self.note_write(&[next], &limited(client.batch_execute(&sql)).await);
        }
    }

    /// Half of the transactions by the extended protocol's own BEGIN, half by the simple one.
    async fn write_in_transactions(self) {
        let (mut client, mut next) = (None, self.number * 1_000_000_000);
        while self.runs() {
            client = self.connection(client).await;
            let Some(client) = &client else { continue };
            let (first, second) = (next + 1, next + 2);
            next += 2;
            self.seen.lock().expect("no panic under it").pairs.push((first, second));
            let result = limited(transaction(client, first, second)).await;
            self.note_write(&[first, second], &result);
            if result.is_err() {
                let _ = limited(client.batch_execute("rollback")).await;
            }
        }
    }

    async fn read(self, sql: &'static str) {
        let mut client = None;
        while self.runs() {
            client = self.connection(client).await;
            let Some(client) = &client else { continue };
            match limited(client.simple_query(sql)).await {
                Ok(_) => {
                    self.seen.lock().expect("no panic under it").reads.push(Instant::now());
                }
                Err(error) => self.note_error(&error, false),
            }
            tokio::time::sleep(READ_PAUSE).await;
        }
    }
}

async fn transaction(client: &Client, first: i64, second: i64) -> Result<(), Error> {
    client.batch_execute("begin").await?;
    client.batch_execute(&format!("insert into t values ({first})")).await?;
    if first % 4 == 1 {
        client.execute("insert into t values ($1)", &[&second]).await?;
    } else {
        client.batch_execute(&format!("insert into t values ({second})")).await?;
    }
    client.batch_execute("commit").await
}

async fn limited<T>(statement: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let answered = tokio::time::timeout(STATEMENT_LIMIT, statement).await;
    answered.expect("no statement hangs")
}

impl Seen {
    /// Compares with the rows that are there. Returns how many writes of unknown outcome are.
    pub(super) fn check(&self, rows: &[i64]) -> usize {
        let there: BTreeSet<i64> = rows.iter().copied().collect();
        assert_eq!(there.len(), rows.len(), "rows are there twice");
        let lost: Vec<_> = self.acknowledged.keys().filter(|id| !there.contains(id)).collect();
        assert!(lost.is_empty(), "{} acknowledged writes are lost: {lost:?}", lost.len());
        for (id, error) in &self.refused {
            assert!(!there.contains(id), "row {id} is there although: {error}");
        }
        for (first, second) in &self.pairs {
            let both = (there.contains(first), there.contains(second));
            assert_eq!(both.0, both.1, "half of the transaction of {first} and {second}");
        }
        there.iter().filter(|id| !self.acknowledged.contains_key(id)).count()
    }

    /// The longest time between two answered reads that began or ended between the two times.
    pub(super) fn read_gap(&self, from: Instant, to: Instant) -> Duration {
        let mut at = from;
        let mut gap = Duration::ZERO;
        let mut reads: Vec<_> = self.reads.iter().filter(|at| **at > from && **at < to).collect();
        reads.sort();
        for read in reads.into_iter().chain([&to]) {
            gap = gap.max(*read - at);
            at = *read;
        }
        gap
    }
}
