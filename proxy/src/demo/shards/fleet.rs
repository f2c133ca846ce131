//! Owns what the second part of the demo works on: two shards, each a primary and a replica,
//! pgmanifold before them, and the small shop in it. Beside them one database has all the rows in
//! one place: what it answers is right.

use super::super::inlet::{DATABASE, Inlet, Logins, USER};
use super::super::postgres::{LaunchError, PgCluster, PgClusterOptions};
use super::super::workload::{connect, describe};
use pgmanifold_router::shard_schema;
use std::fmt::Write;
use tokio_postgres::Client;

/// Names of the shards, in order.
pub(super) const SHARDS: [&str; 2] = ["north", "south"];
/// The login that ends transactions somebody left prepared.
const RECOVERY: &str = "pgmanifold_recovery";
/// Database with all the rows in one place.
const WHOLE: &str = "shop_whole";
/// Sample data.
pub(super) const CUSTOMERS: u32 = 400;
/// Orders of each customer.
pub(super) const ORDERS_EACH: u32 = 5;
/// Lines of each order.
const LINES_EACH: u32 = 2;
/// Rows of one INSERT.
const ROWS_AT_ONCE: usize = 500;

/// The tables, as the application creates them.
const SCHEMA: [&str; 5] = [
    "create table countries (code text primary key, name text not null)",
    "create table settings (name text primary key, value text not null)",
    "create table customers (id bigint primary key, name text not null, \
     country text not null references countries, credit_cents bigint not null)",
    "create table orders (customer_id bigint not null references customers, \
     number int not null, placed_on date not null, total_cents bigint not null, \
     primary key (customer_id, number))",
    "create table order_lines (customer_id bigint not null, order_number int not null, \
     line int not null, product text not null, quantity int not null, \
     primary key (customer_id, order_number, line), \
     foreign key (customer_id, order_number) references orders)",
];

/// What of it is spread, and how.
const MAP: &str = r#"
[[distribution]]
name = "customer"
key_types = "bigint"

[[distribution]]
name = "everywhere"
kind = "reference"

[[table]]
name = "customers"
distribution = "customer"
key = "id"

[[table]]
name = "orders"
distribution = "customer"
key = "customer_id"

[[table]]
name = "order_lines"
distribution = "customer"
key = "customer_id"

[[table]]
name = "countries"
distribution = "everywhere"
"#;

/// Two shards, and pgmanifold before them once [`Fleet::open`] was called.
pub(in crate::demo) struct Fleet {
    pub(super) clusters: Vec<PgCluster>,
    logins: Logins,
}

impl Fleet {
    /// Starts the servers.
    pub(in crate::demo) fn start() -> Result<Fleet, LaunchError> {
        let logins = Logins::new();
        let clusters = std::thread::scope(|scope| {
            let threads = SHARDS.map(|_| scope.spawn(shard));
            let clusters = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    let what = "a shard's thread panicked".to_owned();
                    Err(LaunchError::Server { what, log_tail: String::new() })
                })
            });
            clusters.collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Fleet { clusters, logins })
    }

    /// Makes logins and empty databases, starts pgmanifold, and makes the whole database in
    /// `other`, a cluster with roles of its own.
    pub(super) fn open(&self, other: &PgCluster) -> Result<Inlet, String> {
        let password = super::super::inlet::random_password();
        for (cluster, number) in self.clusters.iter().zip(0_u16..) {
            let words = |error: LaunchError| error.to_string();
            self.logins.create(cluster).map_err(words)?;
            let recovery = format!("create role {RECOVERY} superuser login password '{password}'");
            cluster.primary.query(&recovery).map_err(words)?;
            let install = shard_schema::install(number, &[RECOVERY]);
            cluster.primary.query_in(DATABASE, &install).map_err(words)?;
            cluster.wait_caught_up().map_err(words)?;
        }
        let make = format!("create database {WHOLE} owner {USER}");
        other.primary.query(&make).map_err(|error| error.to_string())?;
        Inlet::with(&self.configuration(&password))
    }

    fn configuration(&self, recovery_password: &str) -> String {
        let mut text = self.logins.listener();
        for (cluster, name) in self.clusters.iter().zip(SHARDS) {
            let hosts: Vec<String> =
                cluster.servers().map(|server| server.address().to_string()).collect();
            text += &self.logins.shard(name, &hosts);
            let _ = writeln!(text, "recovery_user = \"{RECOVERY}\"");
            let _ = writeln!(text, "recovery_password = \"{recovery_password}\"");
        }
        let _ = writeln!(text, "\n[[database]]\nname = \"{DATABASE}\"\nshards = {SHARDS:?}");
        text + MAP
    }

    /// Connection string of the application.
    pub(super) fn dsn(&self, inlet: &Inlet) -> String {
        self.logins.dsn(inlet.port)
    }

    /// Waits until all replicas have all there is.
    pub(super) fn settle(&self) -> Result<(), LaunchError> {
        self.clusters.iter().try_for_each(PgCluster::wait_caught_up)
    }

    /// First values of a query's rows, asked directly of each shard's primary.
    pub(super) fn ask(&self, sql: &str) -> Result<Vec<Vec<String>>, LaunchError> {
        let ask = |cluster: &PgCluster| {
            let rows = cluster.primary.query_in(DATABASE, sql)?;
            let first = |row: Vec<Option<String>>| row.into_iter().next().flatten();
            Ok(rows.into_iter().map(|row| first(row).unwrap_or_default()).collect())
        };
        self.clusters.iter().map(ask).collect()
    }
}

/// All statements are logged: the servers themselves then say what they were sent.
fn shard() -> Result<PgCluster, LaunchError> {
    PgCluster::start(PgClusterOptions {
        replicas: 1,
        password: Some(super::super::inlet::random_password()),
        settings: vec![("log_statement".into(), "all".into())],
        ..PgClusterOptions::default()
    })
}

/// Connection string of the database with all rows, in the first part's cluster.
pub(super) fn whole_dsn(logins: &Logins, cluster: &PgCluster) -> String {
    logins.dsn_of(cluster.primary.port(), WHOLE)
}

/// Creates and fills the shop: through pgmanifold, or in the whole database.
pub(super) async fn fill(dsn: &str) -> Result<Client, String> {
    let client = connect(dsn).await?;
    for sql in SCHEMA {
        client.batch_execute(sql).await.map_err(|error| describe(sql, &error))?;
    }
    for (table, rows) in [
        ("countries", countries()),
        ("settings", vec!["('open', 'yes')".to_owned(), "('currency', 'euro')".to_owned()]),
        ("customers", customers()),
        ("orders", orders()),
        ("order_lines", lines()),
    ] {
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let sql = format!("insert into {table} values {}", rows.join(", "));
            let failed = |error| describe(&format!("insert into {table}"), &error);
            client.batch_execute(&sql).await.map_err(failed)?;
        }
    }
    Ok(client)
}

fn countries() -> Vec<String> {
    let all = [
        ("at", "Austria"),
        ("de", "Germany"),
        ("fr", "France"),
        ("it", "Italy"),
        ("pt", "Portugal"),
    ];
    all.map(|(code, name)| format!("('{code}', '{name}')")).to_vec()
}

fn customers() -> Vec<String> {
    let codes = ["at", "de", "de", "fr", "fr", "fr", "it", "pt"].iter().cycle();
    let row = |(id, code)| format!("({id}, 'customer {id}', '{code}', {})", 10_000 + id * 7 % 500);
    (1..=CUSTOMERS).zip(codes).map(row).collect()
}

fn orders() -> Vec<String> {
    let row = |(id, number)| {
        let (month, day) = (1 + (id + number * 5) % 12, 1 + id * number % 28);
        let total = 500 + (id * 7919 + number * 104_729) % 99_500;
        format!("({id}, {number}, '2026-{month:02}-{day:02}', {total})")
    };
    all_orders().map(row).collect()
}

fn lines() -> Vec<String> {
    let row = |(id, number, line)| {
        let (product, quantity) = ((id + number + line) % 40, 1 + (id * line) % 4);
        format!("({id}, {number}, {line}, 'product {product}', {quantity})")
    };
    let all =
        all_orders().flat_map(|(id, number)| (1..=LINES_EACH).map(move |line| (id, number, line)));
    all.map(row).collect()
}

fn all_orders() -> impl Iterator<Item = (u32, u32)> {
    (1..=CUSTOMERS).flat_map(|id| (1..=ORDERS_EACH).map(move |number| (id, number)))
}
