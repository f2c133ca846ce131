//! Owns what a test of moving keys works on: shards and a catalog that may be killed, two proxies
//! and the rebalancer as processes of their own, clients at work, and who judges at the end what
//! the shards hold. It must not know what any single test does to them.

pub mod backstage;
pub mod course;
pub mod judge;
pub mod leftovers;
pub mod ownership;
pub mod proxies;
pub mod rebalancer;
pub mod workload;

use crate::cluster::{self, USER};
use crate::config::ConfigText;
use crate::process::{binary, scratch_file};
use crate::shards::servers;
use backstage::Backstage;
use pgmanifold::config::model::Address;
use pgmanifold::demo::postgres::{PgCluster, Postgres};
use proxies::Proxy;
use rebalancer::Rebalancer;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;

/// Longest run of one command of `pgmanifold map`.
const MAP_TIMEOUT: Duration = Duration::from_secs(60);
/// The database of the catalog.
const CATALOG: &str = "catalog";
/// Settings of every shard.
const SHARD_SETTINGS: [(&str, &str); 4] = [
    ("wal_level", "logical"),
    ("max_prepared_transactions", "64"),
    // A subscription whose publisher was killed tries again soon.
    ("wal_retrieve_retry_interval", "200ms"),
    ("max_worker_processes", "16"),
];

/// What a test asks for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Begins the name of its database.
    pub test: String,
    /// How many shards: `s0`, `s1`, ….
    pub shards: usize,
    /// Replicas of each shard.
    pub replicas: usize,
    /// How many proxies.
    pub proxies: usize,
    /// Run on every shard as the ordinary user, before the map is written.
    pub schema: String,
    /// Sections `[[distribution]]` and `[[table]]` of the configuration.
    pub sections: String,
    /// Lines of `[limits]` in the rebalancer's configuration.
    pub limits: Vec<String>,
}

impl Options {
    /// Two shards without replicas, two proxies, and the tables of [`workload`].
    pub fn new(test: &str) -> Self {
        Self {
            test: test.into(),
            shards: 2,
            replicas: 0,
            proxies: 2,
            schema: workload::SCHEMA.into(),
            sections: workload::SECTIONS.into(),
            limits: Vec::new(),
        }
    }
}

/// What a test of moving keys works on.
#[derive(Debug)]
pub struct Moves {
    /// One cluster per shard.
    pub shards: Vec<Arc<PgCluster>>,
    /// The catalog's server.
    pub catalog: Arc<PgCluster>,
    /// The sharded database, of the same name on every shard and in the proxies.
    pub database: String,
    /// The proxies, in front of the same shards.
    pub proxies: Vec<Proxy>,
    /// The rebalancer.
    pub rebalancer: Rebalancer,
    /// Where relays and clients run.
    pub backstage: Backstage,
    /// Of `pgmanifold map`.
    file: PathBuf,
}

impl Moves {
    /// Everything is started, and the map is written by the commands that operators use.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start(options: Options) -> Moves {
        let shards =
            (0..options.shards).map(|_| cluster::private_with(options.replicas, &SHARD_SETTINGS));
        let shards: Vec<_> = shards.collect();
        let catalog = cluster::private(0);
        let database = options.test.clone();
        for (number, shard) in shards.iter().enumerate() {
            servers::create_database(&shard.primary, &database, &format!("s{number}"), false);
            let sql = format!("set role {USER};\n{}", options.schema);
            shard.primary.query_in(&database, &sql).expect("the schema");
            shard.wait_caught_up().expect("replicas follow");
        }
        let create = format!("create database {CATALOG} owner {USER}");
        catalog.primary.query(&create).expect("the catalog's database");

        let config = config(&shards, &database, &options.sections);
        let file = scratch_file(&format!("{database}.map.toml"));
        let text = config.clone().section(&catalog_section(&catalog.primary.address())).text();
        std::fs::write(&file, text).expect("the configuration file");
        let backstage = Backstage::start();
        let rebalancer = Rebalancer::new(&database, &shards, &catalog, CATALOG, &options.limits);
        let proxies = Vec::new();
        let mut moves = Moves { shards, catalog, database, proxies, rebalancer, backstage, file };
        moves.map_succeeds(&["init", "--user", "postgres"]).await;
        moves.map_succeeds(&["apply"]).await;
        for number in 0..options.proxies {
            let name = format!("p{number}");
            let proxy = Proxy::start(&name, &config, &moves.catalog, &moves.backstage).await;
            moves.proxies.push(proxy);
        }
        for proxy in &moves.proxies {
            proxy.wait_ready(&moves.database).await;
        }
        moves
    }

    /// The primary of a shard.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn shard(&self, number: usize) -> &Postgres {
        &self.shards[number].primary
    }

    /// Rows of a query in the catalog.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn in_catalog(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.catalog.primary.query_in(CATALOG, sql).expect("the catalog answers")
    }

    /// Rows of a query on a shard, directly and as the superuser.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn on_shard(&self, number: usize, sql: &str) -> Vec<Vec<Option<String>>> {
        let rows = self.shard(number).query_in(&self.database, sql);
        rows.unwrap_or_else(|error| panic!("s{number}: {error}"))
    }

    /// Runs a map command; its exit code, and all it prints.
    ///
    /// # Panics
    /// When it does not run, or takes longer than a minute.
    pub async fn map(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(binary());
        command.arg("map").args(arguments).arg("--config").arg(&self.file);
        let output = tokio::time::timeout(MAP_TIMEOUT, command.kill_on_drop(true).output()).await;
        let output = output.expect("ends by itself").expect("the binary runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.code().expect("an exit code"), text)
    }

    /// The same for one that must succeed; what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub async fn map_succeeds(&self, arguments: &[&str]) -> String {
        let (code, output) = self.map(arguments).await;
        assert_eq!(code, 0, "pgmanifold map {}: {output}", arguments.join(" "));
        output
    }

    /// Everything is where the map says, on shards that are alike.
    ///
    /// # Panics
    /// When it is not.
    pub async fn verify_map(&self) {
        self.map_succeeds(&["verify", "--user", "postgres"]).await;
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
        if std::thread::panicking() {
            for server in
                self.shards.iter().map(|shard| &shard.primary).chain([&self.catalog.primary])
            {
                println!("--- end of a server's log ---\n{}\n---", server.log_tail());
            }
        }
    }
}

/// Names of shards, in order.
pub fn names(shards: usize) -> Vec<String> {
    (0..shards).map(|number| format!("s{number}")).collect()
}

fn config(shards: &[Arc<PgCluster>], database: &str, sections: &str) -> ConfigText {
    let names = names(shards.len());
    let hosts = |shard: &Arc<PgCluster>| -> Vec<Address> {
        shard.servers().map(Postgres::address).collect()
    };
    let all: Vec<_> = names.iter().cloned().zip(shards.iter().map(hosts)).collect();
    let keys = format!("name = {database:?}\nshards = {names:?}\n");
    ConfigText::sharded(&all, &keys)
        .section(sections)
        .pool("two_phase_recovery_interval_ms = 300")
        .pool("two_phase_resolve_timeout_ms = 5000")
        .shard("failover_wait_ms = 3000")
}

/// The section `[catalog]` of a configuration.
fn catalog_section(address: &Address) -> String {
    format!(
        "[catalog]\nhosts = [{:?}]\ndatabase = {CATALOG:?}\nuser = {USER:?}\n\
         tls_mode = \"disable\"\npoll_interval_ms = 1000\n",
        address.to_string()
    )
}
