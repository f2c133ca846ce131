//! Owns the sample data and the mixed workload. Every statement of it returns the name of the
//! server that ran it, so the counts come from the servers and not from pgmanifold's own word.

use super::postgres::PgCluster;
use hdrhistogram::Histogram;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

/// Sessions that only read.
const READERS: usize = 5;
/// Sessions that write and read.
const SHOPPERS: usize = 3;
/// All sessions.
pub(super) const SESSIONS: usize = READERS + SHOPPERS;
/// Rows of sample data.
pub(super) const CUSTOMERS: i32 = 1_000;
/// Rows of sample data.
pub(super) const PRODUCTS: i32 = 200;
/// Rows of sample data.
pub(super) const ORDERS: i32 = 5_000;
/// Pause of a session between two operations, so that latencies are those of a machine with
/// room to breathe and not of one that is full.
const THINK_TIME: Duration = Duration::from_millis(3);
/// Longest wait for pgmanifold to serve.
const READY_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause between two attempts.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Longest latency that is told apart, in microseconds.
const MAX_LATENCY_US: u64 = 60_000_000;

/// Makes and fills the shop.
const SAMPLE: &str = "
create table customers (
    id int primary key, name text not null, visits int not null default 0);
create table products (
    id int primary key, name text not null, price_cents int not null, stock int not null);
create table orders (
    id bigint generated always as identity primary key,
    customer_id int not null references customers, product_id int not null references products,
    quantity int not null, placed_at timestamptz not null default now());
create index on orders (customer_id);
insert into customers select n, 'customer ' || n from generate_series(1, 1000) n;
insert into products select n, 'product ' || n, 100 + n * 7, 1000 from generate_series(1, 200) n;
insert into orders (customer_id, product_id, quantity)
    select 1 + n * 7 % 1000, 1 + n * 13 % 200, 1 + n % 3 from generate_series(1, 5000) n;
";

/// What a line of the table counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A SELECT of a session that never writes.
    Read,
    /// BEGIN READ ONLY, two SELECTs, COMMIT.
    ReadOnlyTransaction,
    /// A SELECT of a row the session has just changed.
    OwnRead,
    /// A single UPDATE.
    Write,
    /// BEGIN, three statements, COMMIT.
    Transaction,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] =
        [Kind::Read, Kind::ReadOnlyTransaction, Kind::OwnRead, Kind::Write, Kind::Transaction];

    pub(super) fn label(self) -> &'static str {
        match self {
            Kind::Read => "reads",
            Kind::ReadOnlyTransaction => "READ ONLY transactions",
            Kind::OwnRead => "reads right after an own write",
            Kind::Write => "writes",
            Kind::Transaction => "transactions",
        }
    }
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Tally {
    servers: Vec<String>,
    kinds: [(Vec<u64>, Histogram<u64>); Kind::ALL.len()],
    /// Own reads that missed the write before them.
    pub(super) stale: u64,
    /// Statements of all sessions so far.
    pub(super) statements: u64,
}

impl Tally {
    /// An empty tally for the servers of `cluster`.
    pub(super) fn new(cluster: &PgCluster) -> Result<Tally, String> {
        let servers: Vec<String> = cluster.servers().map(|server| server.name().into()).collect();
        let empty =
            || Histogram::new_with_max(MAX_LATENCY_US, 3).map_err(|error| error.to_string());
        let mut kinds = Vec::new();
        for _ in Kind::ALL {
            kinds.push((vec![0; servers.len()], empty()?));
        }
        let kinds = kinds.try_into().map_err(|_| "one histogram per kind")?;
        Ok(Tally { servers, kinds, stale: 0, statements: 0 })
    }

    /// Operations of a kind, by server.
    pub(super) fn counts(&self, kind: Kind) -> &[u64] {
        &self.kinds[kind as usize].0
    }

    /// A quantile of a kind's latency.
    pub(super) fn latency(&self, kind: Kind, quantile: f64) -> Duration {
        Duration::from_micros(self.kinds[kind as usize].1.value_at_quantile(quantile))
    }

    fn record(&mut self, kind: Kind, server: &str, latency: Duration) -> Result<(), String> {
        let index = self.servers.iter().position(|name| name == server);
        let index = index.ok_or_else(|| format!("an unknown server answered: {server:?}"))?;
        let (counts, histogram) = &mut self.kinds[kind as usize];
        counts[index] += 1;
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(MAX_LATENCY_US);
        histogram.saturating_record(latency_us);
        Ok(())
    }
}

/// Opens a session.
pub(super) async fn connect(dsn: &str) -> Result<Client, String> {
    let answer = tokio_postgres::connect(dsn, NoTls).await;
    let (client, connection) = answer.map_err(|error| describe("connecting", &error))?;
    // It ends when the client is dropped; what goes wrong in it, the client's calls report.
    tokio::spawn(connection);
    Ok(client)
}

/// Waits until a session can write, which needs pgmanifold's first look at the servers.
pub(super) async fn wait_ready(dsn: &str) -> Result<(), String> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let probe = async {
            let client = connect(dsn).await?;
            let sql = "begin; select 1 for update; commit";
            client.batch_execute(sql).await.map_err(|error| describe("first statement", &error))
        };
        match probe.await {
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(READY_POLL_INTERVAL).await,
            Ok(()) => return Ok(()),
        }
    }
}

/// Creates and fills the tables.
pub(super) async fn load(dsn: &str) -> Result<(), String> {
    let client = connect(dsn).await?;
    client.batch_execute(SAMPLE).await.map_err(|error| describe("loading sample data", &error))
}

/// Runs all sessions until `stop` is set.
pub(super) async fn run(
    dsn: &str,
    tally: Rc<RefCell<Tally>>,
    stop: Rc<Cell<bool>>,
) -> Result<(), String> {
    let sessions = (0..SESSIONS).map(|number| {
        let tally = tally.clone();
        let stop = stop.clone();
        async move {
            let mut session = Session::open(dsn, tally).await?;
            while !stop.get() {
                match number < READERS {
                    true => session.read_something().await?,
                    false => session.shop().await?,
                }
                tokio::time::sleep(THINK_TIME).await;
            }
            Ok(())
        }
    });
    futures_util::future::try_join_all(sessions).await.map(drop)
}

/// One client with its prepared statements.
struct Session {
    client: Client,
    tally: Rc<RefCell<Tally>>,
    product: Statement,
    orders: Statement,
    visits: Statement,
    visit: Statement,
    lock_product: Statement,
    order: Statement,
    take: Statement,
}

impl Session {
    async fn open(dsn: &str, tally: Rc<RefCell<Tally>>) -> Result<Session, String> {
        let client = connect(dsn).await?;
        let prepare = async |sql: &str| {
            let sql = sql.replace("SERVER", "current_setting('launcher.server')");
            client.prepare(&sql).await.map_err(|error| describe(&sql, &error))
        };
        Ok(Session {
            product: prepare("select SERVER, price_cents from products where id = $1").await?,
            orders: prepare("select SERVER, count(*) from orders where customer_id = $1").await?,
            visits: prepare("select SERVER, visits from customers where id = $1").await?,
            visit: prepare(
                "update customers set visits = visits + 1 where id = $1 returning SERVER, visits",
            )
            .await?,
            lock_product: prepare("select SERVER, stock from products where id = $1 for update")
                .await?,
            order: prepare(
                "insert into orders (customer_id, product_id, quantity) values ($1, $2, 1) \
                 returning SERVER",
            )
            .await?,
            take: prepare("update products set stock = stock - 1 where id = $1 returning SERVER")
                .await?,
            client,
            tally,
        })
    }

    /// What a session that only reads does.
    async fn read_something(&mut self) -> Result<(), String> {
        let customer = rand::random_range(1..=CUSTOMERS);
        let product = rand::random_range(1..=PRODUCTS);
        match rand::random_range(0..10) {
            0 => self.read_only_transaction(customer, product).await,
            1..5 => self.single(Kind::Read, &self.orders, customer).await.map(drop),
            _ => self.single(Kind::Read, &self.product, product).await.map(drop),
        }
    }

    /// What a session that also writes does: a visit, read back at once, and sometimes an order.
    async fn shop(&mut self) -> Result<(), String> {
        let customer = rand::random_range(1..=CUSTOMERS);
        let written: i32 = self.single(Kind::Write, &self.visit, customer).await?.get(1);
        let seen: i32 = self.single(Kind::OwnRead, &self.visits, customer).await?.get(1);
        // Others may have counted the same customer up meanwhile; only less is stale.
        if seen < written {
            self.tally.borrow_mut().stale += 1;
        }
        if rand::random_ratio(1, 3) {
            self.transaction(customer, rand::random_range(1..=PRODUCTS)).await?;
        }
        Ok(())
    }

    async fn single(&self, kind: Kind, statement: &Statement, id: i32) -> Result<Row, String> {
        let started = Instant::now();
        let row = self.client.query_one(statement, &[&id]).await;
        let row = row.map_err(|error| describe(kind.label(), &error))?;
        self.record(kind, 1, &[&row], started)?;
        Ok(row)
    }

    async fn read_only_transaction(&mut self, customer: i32, product: i32) -> Result<(), String> {
        let started = Instant::now();
        let transaction = self.client.build_transaction().read_only(true).start().await;
        let failed = |error| describe("READ ONLY transaction", &error);
        let transaction = transaction.map_err(failed)?;
        let first = transaction.query_one(&self.visits, &[&customer]).await.map_err(failed)?;
        let second = transaction.query_one(&self.product, &[&product]).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        self.record(Kind::ReadOnlyTransaction, 4, &[&first, &second], started)
    }

    async fn transaction(&mut self, customer: i32, product: i32) -> Result<(), String> {
        let started = Instant::now();
        let failed = |error| describe("transaction", &error);
        let transaction = self.client.transaction().await.map_err(failed)?;
        let mut rows = Vec::new();
        let steps: [(&Statement, &[&(dyn ToSql + Sync)]); 3] = [
            (&self.lock_product, &[&product]),
            (&self.order, &[&customer, &product]),
            (&self.take, &[&product]),
        ];
        for (statement, values) in steps {
            rows.push(transaction.query_one(statement, values).await.map_err(failed)?);
        }
        transaction.commit().await.map_err(failed)?;
        self.record(Kind::Transaction, 5, &rows.iter().collect::<Vec<_>>(), started)
    }

    /// Counts one operation; all its rows must name one server.
    fn record(
        &self,
        kind: Kind,
        statements: u64,
        rows: &[&Row],
        started: Instant,
    ) -> Result<(), String> {
        let names: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        let first = names.first().copied().unwrap_or_default();
        if names.iter().any(|name| *name != first) {
            return Err(format!("one of the {} ran on several servers: {names:?}", kind.label()));
        }
        let mut tally = self.tally.borrow_mut();
        tally.statements += statements;
        tally.record(kind, first, started.elapsed())
    }
}

/// An error with the server's own words, which tokio-postgres hides behind `db error`.
pub(super) fn describe(what: &str, error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => {
            let detail = db.detail().map(|text| format!("\n  detail: {text}"));
            let hint = db.hint().map(|text| format!("\n  hint: {text}"));
            format!(
                "{what}: {} (SQLSTATE {}){}{}",
                db.message(),
                db.code().code(),
                detail.unwrap_or_default(),
                hint.unwrap_or_default()
            )
        }
        None => match std::error::Error::source(error) {
            Some(source) => format!("{what}: {error}: {source}"),
            None => format!("{what}: {error}"),
        },
    }
}
