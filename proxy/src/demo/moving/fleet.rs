//! Owns what the demo of moving keys works on: two shards, each a primary and a replica, a
//! catalog, two proxies, and what the rebalancer is told of them.

use super::super::inlet::{DATABASE, Inlet, Logins, USER, random_password};
use super::super::postgres::{LaunchError, PgCluster, PgClusterOptions};
use super::super::say;
use super::super::workload::wait_ready;
use super::command;
use super::load::CREDIT;
use crate::config;
use crate::shard_map::admin::{Admin, change};
use comfy_table::{Table, presets};
use pgmanifold_router::catalog::INSTALL_SQL;
use pgmanifold_router::shard_schema;
use std::fmt::Write;
use std::path::PathBuf;

/// Names of the shards, in order.
const SHARDS: [&str; 2] = ["north", "south"];
/// Superuser on the shards: ends transactions that somebody left prepared, and moves keys.
const MOVER: &str = "pgmanifold_mover";
/// Owner and database of the catalog.
const CATALOG: &str = "pgmanifold";
/// The first hash of south's keys: north has three quarters of all.
const BORDER: i64 = 1 << 62;
/// Sample data.
pub(super) const CUSTOMERS: i64 = 40_000;

const SCHEMA: &str = "\
    create table customers (id bigint primary key, name text not null, \
                            credit_cents bigint not null); \
    create table orders (customer_id bigint not null references customers, number int not null, \
                         total_cents bigint not null, primary key (customer_id, number))";

/// The servers.
pub(super) struct Fleet {
    shards: Vec<PgCluster>,
    catalog: PgCluster,
    logins: Logins,
    password: String,
}

impl Fleet {
    /// Starts the servers, and makes logins, schemas and tables.
    pub(super) fn start() -> Result<Fleet, LaunchError> {
        let (logins, password) = (Logins::new(), random_password());
        let start = |replicas| {
            let password = Some(random_password());
            PgCluster::start(PgClusterOptions { replicas, password, ..PgClusterOptions::default() })
        };
        let mut clusters = std::thread::scope(|scope| {
            let threads = [1, 1, 0].map(|replicas| scope.spawn(move || start(replicas)));
            let clusters = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    let what = "a server's thread panicked".to_owned();
                    Err(LaunchError::Server { what, log_tail: String::new() })
                })
            });
            clusters.collect::<Result<Vec<_>, _>>()
        })?;
        let catalog = clusters.pop();
        let catalog = catalog.ok_or_else(|| LaunchError::Server {
            what: "there is no catalog".to_owned(),
            log_tail: String::new(),
        })?;
        for (cluster, number) in clusters.iter().zip(0_u16..) {
            logins.create(cluster)?;
            let mover = format!("create role {MOVER} superuser login password '{password}'");
            cluster.primary.query(&mover)?;
            let install = shard_schema::install(number, &[MOVER]);
            cluster.primary.query_in(DATABASE, &install)?;
            cluster.primary.query_in(DATABASE, &format!("set role {USER}; {SCHEMA}"))?;
            cluster.wait_caught_up()?;
        }
        catalog.primary.query(&format!("create role {CATALOG} login password '{password}'"))?;
        catalog.primary.query(&format!("create database {CATALOG} owner {CATALOG}"))?;
        catalog.primary.query_in(CATALOG, &format!("set role {CATALOG}; {INSTALL_SQL}"))?;
        Ok(Fleet { shards: clusters, catalog, logins, password })
    }

    /// Writes the map into the catalog, as `pgmanifold map apply` does.
    pub(super) async fn write_map(&self) -> Result<(), String> {
        let text = self.configuration("demo");
        let config = config::parse(&text, "demo.toml").map_err(|error| error.to_string())?;
        let admin = Admin::new(config, None, None).map_err(|error| error.to_string())?;
        let changed = change::apply(&admin, change::Permissions::default()).await;
        changed.map(drop).map_err(|error| error.to_string())
    }

    /// Starts two proxies.
    pub(super) async fn open(&self) -> Result<Vec<Inlet>, String> {
        let mut inlets = Vec::new();
        for name in ["one", "two"] {
            let inlet = Inlet::with(&self.configuration(name))?;
            wait_ready(&self.dsn(&inlet)).await?;
            inlets.push(inlet);
        }
        Ok(inlets)
    }

    /// Connection string of the application.
    pub(super) fn dsn(&self, inlet: &Inlet) -> String {
        self.logins.dsn(inlet.port)
    }

    fn configuration(&self, name: &str) -> String {
        let mut text = format!("[general]\nname = {name:?}\n\n") + &self.logins.listener();
        for (cluster, name) in self.shards.iter().zip(SHARDS) {
            let hosts: Vec<String> =
                cluster.servers().map(|server| server.address().to_string()).collect();
            text += &self.logins.shard(name, &hosts);
            let _ = writeln!(text, "recovery_user = \"{MOVER}\"");
            let _ = writeln!(text, "recovery_password = \"{}\"", self.password);
        }
        let _ = writeln!(text, "\n[[database]]\nname = \"{DATABASE}\"\nshards = {SHARDS:?}\n");
        let catalog = self.catalog.primary.address().to_string();
        let _ = writeln!(text, "[catalog]\nhosts = [{catalog:?}]\ndatabase = {CATALOG:?}");
        let _ = writeln!(text, "user = {CATALOG:?}\npassword = {:?}\n", self.password);
        let [north, south] = SHARDS;
        let _ = writeln!(text, "[[distribution]]\nname = \"customer\"\nkey_types = \"bigint\"");
        let _ = writeln!(
            text,
            "ranges = [{{ shard = {north:?} }}, {{ from = {BORDER}, shard = {south:?} }}]\n"
        );
        for (table, key) in [("customers", "id"), ("orders", "customer_id")] {
            let _ = writeln!(text, "[[table]]\nname = {table:?}\ndistribution = \"customer\"");
            let _ = writeln!(text, "key = {key:?}\n");
        }
        text
    }

    /// Fills the tables, each shard with its own keys; every customer has so many orders.
    pub(super) fn fill(&self, orders_each: i64) -> Result<(), String> {
        for (cluster, operator) in self.shards.iter().zip(["<", ">="]) {
            let own = format!("hashint8extended(id, 0) {operator} {BORDER}");
            let sql = format!(
                "set role {USER}; \
                 insert into customers select id, 'customer ' || id, {CREDIT} \
                     from generate_series(1, {CUSTOMERS}) id where {own}; \
                 insert into orders select id, number, 500 + id * number % 9000 \
                     from customers, generate_series(1, {orders_each}) number; \
                 analyze customers; analyze orders"
            );
            let filled = cluster.primary.query_in(DATABASE, &sql);
            filled.map_err(|error| error.to_string())?;
            cluster.wait_caught_up().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Prints how many rows each shard holds.
    pub(super) fn show_rows(&self, title: &str) -> Result<(), String> {
        let mut table = Table::new();
        table.load_style(presets::UTF8_BORDERS_ONLY);
        table.set_header(["table", SHARDS[0], SHARDS[1]]);
        for name in ["customers", "orders"] {
            let mut cells = vec![name.to_owned()];
            for cluster in &self.shards {
                let sql = format!("select count(*) from {name}");
                let rows = cluster.primary.query_in(DATABASE, &sql);
                let rows = rows.map_err(|error| error.to_string())?;
                let first = rows.into_iter().next().and_then(|row| row.into_iter().next());
                cells.push(first.flatten().unwrap_or_default());
            }
            table.add_row(cells);
        }
        say(&format!("\n{title}\n{table}"));
        Ok(())
    }

    /// Prints how long writes to the keys waited in the last move.
    pub(super) fn show_pause(&self) -> Result<(), String> {
        let pause = self.of_last_move("round(write_pause_ms::numeric, 1)")?;
        say(&format!("\nwrites to the keys waited {pause} ms while they changed hands"));
        Ok(())
    }

    /// The number of the last move.
    pub(super) fn last_move(&self) -> Result<String, String> {
        self.of_last_move("id")
    }

    /// The hashes of the keys of the last move: the first one, and the one beyond the last.
    pub(super) fn moved_keys(&self) -> Result<(i64, i64), String> {
        let hash = |text: String| text.parse::<i64>().map_err(|error| error.to_string());
        let (first, beyond) = (format!("{}", i64::MIN), format!("{}", i64::MAX));
        let from = hash(self.of_last_move(&format!("coalesce(starts, '{first}')"))?)?;
        Ok((from, hash(self.of_last_move(&format!("coalesce(ends, '{beyond}')"))?)?))
    }

    /// What is a number of the last move.
    pub(super) fn number_of_last_move(&self, expression: &str) -> Result<f64, String> {
        self.of_last_move(expression)?.parse().map_err(|_| format!("{expression} is no number"))
    }

    fn of_last_move(&self, expression: &str) -> Result<String, String> {
        let sql = format!("select {expression} from pgm.move order by id desc limit 1");
        let rows =
            self.catalog.primary.query_in(CATALOG, &sql).map_err(|error| error.to_string())?;
        let value = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
        value.ok_or_else(|| format!("the catalog has no {expression} of a move"))
    }

    /// A file of this run's own.
    pub(super) fn file(&self, name: &str) -> String {
        self.catalog.directory().join(name).display().to_string()
    }

    /// Runs a command of the rebalancer, and shows it.
    pub(super) async fn rebalance(&self, arguments: &[&str]) -> Result<(), String> {
        command::run(&self.rebalancer_file("")?, arguments).await
    }

    /// The same without a word, with lines of the configuration's section `[limits]`.
    pub(super) async fn rebalance_quietly(
        &self,
        limits: &str,
        arguments: &[&str],
    ) -> Result<(), String> {
        command::run_quietly(&self.rebalancer_file(limits)?, arguments).await
    }

    fn rebalancer_file(&self, limits: &str) -> Result<PathBuf, String> {
        let file = PathBuf::from(self.file("rebalancer.toml"));
        let text = format!("{}\n[limits]\n{limits}\n", self.rebalancer());
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        Ok(file)
    }

    /// The rebalancer's configuration.
    fn rebalancer(&self) -> String {
        let url = |user: &str, hosts: &str, database: &str| {
            format!("postgresql://{user}:{}@{hosts}/{database}", self.password)
        };
        let catalog = self.catalog.primary.address().to_string();
        let mut text = format!(
            "database = {DATABASE:?}\n\n[catalog]\nurl = {:?}\n",
            url(CATALOG, &catalog, CATALOG)
        );
        for (cluster, name) in self.shards.iter().zip(SHARDS) {
            let hosts = cluster.servers().map(|server| server.address().to_string());
            let hosts = hosts.collect::<Vec<_>>().join(",");
            let url = url(MOVER, &hosts, DATABASE);
            let _ = writeln!(text, "\n[[shard]]\nname = {name:?}\nurl = {url:?}");
        }
        text
    }
}
