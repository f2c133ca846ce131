//! Owns the clients of the demo of moving keys: each has customers of its own, writes, reads back
//! and counts. How long writes took is measured apart for the keys that move.

use super::super::workload::{connect, describe};
use super::fleet::CUSTOMERS;
use hdrhistogram::Histogram;
use pgmanifold_router::hash::hash_key;
use pgmanifold_router::key::KeyValue;
use rand::RngExt;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error};

/// Sessions, over both proxies in turn.
pub(super) const SESSIONS: usize = 8;
/// Longest latency that is told apart, in microseconds.
const MAX_LATENCY_US: u64 = 60_000_000;
/// Pause of a session between two operations.
const THINK_TIME: Duration = Duration::from_millis(4);
/// What each customer has at first, in cents.
pub(super) const CREDIT: i64 = 10_000;
/// Every so manieth operation counts all customers.
const COUNT_EVERY: u64 = 50;
/// Every so manieth operation is a new order.
const ORDER_EVERY: u64 = 5;

/// Writes: the hash of the key, and how long it took in microseconds.
pub(super) type Window = Vec<(i64, u64)>;

/// Latencies of those writes of a window whose keys are, or are not, between two hashes.
pub(super) fn latencies(window: &Window, keys: (i64, i64), inside: bool) -> Histogram<u64> {
    let (from, to) = keys;
    let mut times =
        Histogram::new_with_max(MAX_LATENCY_US, 3).expect("invariant: three digits up to a minute");
    for (hash, us) in window {
        if (from..to).contains(hash) == inside {
            times.saturating_record(*us);
        }
    }
    times
}

/// What all sessions did.
#[derive(Debug, Default, Clone)]
pub(super) struct Done {
    /// Writes that were acknowledged.
    pub(super) writes: u64,
    /// Cents that they added.
    cents: i64,
    /// Orders that they added.
    orders: i64,
    /// Reads of what the session itself had written.
    pub(super) reads: u64,
    /// Statements that were refused, and can be repeated.
    pub(super) refused: u64,
}

struct Shared {
    stop: AtomicBool,
    window: Mutex<Window>,
    done: Mutex<Done>,
}

/// The sessions at work.
pub(super) struct Load {
    shared: Arc<Shared>,
    sessions: Vec<JoinHandle<Result<(), String>>>,
}

impl Load {
    /// Lets them begin, over the proxies in turn; every customer has so many orders.
    pub(super) async fn begin(dsns: &[String], orders_each: i64) -> Result<Load, String> {
        let (window, done) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), window, done });
        let mut sessions = Vec::new();
        for (number, dsn) in (0..SESSIONS).zip(dsns.iter().cycle()) {
            let session = Session {
                client: connect(dsn).await?,
                shared: Arc::clone(&shared),
                number: i64::try_from(number).map_err(|error| error.to_string())?,
                credits: HashMap::new(),
                orders: orders_each,
            };
            sessions.push(tokio::spawn(session.run()));
        }
        Ok(Load { shared, sessions })
    }

    /// Latencies since this was last asked.
    pub(super) fn take(&self) -> Window {
        let mut window = self.shared.window.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut window)
    }

    /// Lets them finish what they are at.
    pub(super) async fn end(self) -> Result<Done, String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for session in self.sessions {
            session.await.map_err(|error| error.to_string())??;
        }
        let done = self.shared.done.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(done.clone())
    }
}

impl Done {
    /// Compares all that was acknowledged, and what was there at first, with all there is.
    pub(super) async fn prove(&self, dsn: &str, orders_each: i64) -> Result<(), String> {
        let client = connect(dsn).await?;
        let sql = "select count(*), sum(credit_cents)::bigint from customers";
        let row = client.query_one(sql, &[]).await.map_err(|error| describe(sql, &error))?;
        let (customers, cents): (i64, i64) = (row.get(0), row.get(1));
        let sql = "select count(*) from orders";
        let row = client.query_one(sql, &[]).await.map_err(|error| describe(sql, &error))?;
        let found = (customers, cents, row.get(0));
        let wanted =
            (CUSTOMERS, CUSTOMERS * CREDIT + self.cents, CUSTOMERS * orders_each + self.orders);
        match found == wanted {
            true => Ok(()),
            false => {
                Err(format!("customers, cents and orders are {found:?} instead of {wanted:?}"))
            }
        }
    }
}

/// One session: it alone writes its customers, so any other value it reads is wrong.
struct Session {
    client: Client,
    shared: Arc<Shared>,
    number: i64,
    /// What its customers have.
    credits: HashMap<i64, i64>,
    /// The highest number of an order it has made.
    orders: i64,
}

impl Session {
    async fn run(mut self) -> Result<(), String> {
        let mut turn = 0_u64;
        while !self.shared.stop.load(Ordering::Relaxed) {
            turn += 1;
            let customer = self.any_customer();
            let result = if turn.is_multiple_of(COUNT_EVERY) {
                self.count().await
            } else if turn.is_multiple_of(ORDER_EVERY) {
                self.order(customer).await
            } else {
                self.pay(customer).await
            };
            result?;
            tokio::time::sleep(THINK_TIME).await;
        }
        Ok(())
    }

    fn any_customer(&self) -> i64 {
        let sessions = i64::try_from(SESSIONS).unwrap_or(1);
        1 + rand::rng().random_range(0..CUSTOMERS / sessions) * sessions + self.number
    }

    /// A write of one row, and the session reads it back.
    async fn pay(&mut self, customer: i64) -> Result<(), String> {
        let sql = "update customers set credit_cents = credit_cents + 1 where id = $1";
        let began = Instant::now();
        let written = self.client.execute(sql, &[&customer]).await;
        if !self.is_done(sql, written, customer, began)? {
            return Ok(());
        }
        let credit = self.credits.entry(customer).or_insert(CREDIT);
        *credit += 1;
        let wanted = *credit;
        self.add(|done| done.cents += 1);
        let sql = "select credit_cents from customers where id = $1";
        match self.client.query_one(sql, &[&customer]).await {
            Ok(row) if row.get::<_, i64>(0) == wanted => self.add(|done| done.reads += 1),
            Ok(row) => {
                let found: i64 = row.get(0);
                return Err(format!("customer {customer} has {found} cents instead of {wanted}"));
            }
            Err(error) => self.may_repeat(sql, &error)?,
        }
        Ok(())
    }

    /// A new row.
    async fn order(&mut self, customer: i64) -> Result<(), String> {
        self.orders += 1;
        let number = i32::try_from(self.orders).map_err(|error| error.to_string())?;
        let sql = "insert into orders values ($1, $2, 100)";
        let began = Instant::now();
        let written = self.client.execute(sql, &[&customer, &number]).await;
        if self.is_done(sql, written, customer, began)? {
            self.add(|done| done.orders += 1);
        }
        Ok(())
    }

    /// All rows of both shards, each once.
    async fn count(&self) -> Result<(), String> {
        let sql = "select count(*) from customers";
        match self.client.query_one(sql, &[]).await {
            Ok(row) if row.get::<_, i64>(0) == CUSTOMERS => Ok(()),
            Ok(row) => Err(format!("{} customers were counted", row.get::<_, i64>(0))),
            Err(error) => self.may_repeat(sql, &error),
        }
    }

    /// A write of one row ended; whether it is done.
    fn is_done(
        &self,
        sql: &str,
        written: Result<u64, Error>,
        customer: i64,
        began: Instant,
    ) -> Result<bool, String> {
        match written {
            Ok(1) => {}
            Ok(rows) => return Err(format!("{sql}: {rows} rows of customer {customer}")),
            Err(error) => return self.may_repeat(sql, &error).map(|()| false),
        }
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(MAX_LATENCY_US);
        let hash = hash_key(&[KeyValue::Int(customer)]);
        let mut window = self.shared.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.push((hash, us.clamp(1, MAX_LATENCY_US)));
        drop(window);
        self.add(|done| done.writes += 1);
        Ok(true)
    }

    fn add(&self, change: impl FnOnce(&mut Done)) {
        change(&mut self.shared.done.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Errors that say that nothing was done are counted; others end the demo.
    fn may_repeat(&self, sql: &str, error: &Error) -> Result<(), String> {
        let code = error.code().map_or("", |code| code.code());
        match code {
            "40001" | "08006" | "57P03" => {
                self.add(|done| done.refused += 1);
                Ok(())
            }
            _ => Err(describe(sql, error)),
        }
    }
}
