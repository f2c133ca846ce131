//! Owns what a test of sharding works on: three shards with a database of the test's own, a proxy
//! before them, and one plain server that has the same tables in one place (the oracle).

pub mod commits;
pub mod layout;
pub mod scissors;
pub mod servers;

use crate::cluster::USER;
use crate::config::ConfigText;
use crate::raw::Raw;
use crate::tables::TableRow;
use crate::{client, eventually, front};
use layout::Layout;
use pgmanifold::config::model::Address;
use pgmanifold::demo::postgres::{PgCluster, Postgres};
use pgmanifold_router::shard_schema;
use servers::{SHARDS, Servers};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio_postgres::Client;

/// Longest wait for the proxy to know its servers.
const READY_TIMEOUT: Duration = Duration::from_secs(15);

/// SQLSTATEs of a proxy that does not know its servers yet.
const READY_SOON: [&str; 3] = ["57P03", "08006", "08001"];

/// What a test asks for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Begins the name of its databases.
    pub test: String,
    /// Replicas of each shard.
    pub replicas: usize,
    /// The shards are the test's own and may be killed.
    pub private: bool,
    /// Text is ordered by ICU's rules instead of byte by byte.
    pub icu: bool,
    /// Which tables are spread, and how.
    pub layout: Layout,
    /// Run on every shard and on the oracle as the ordinary user, before the proxy starts.
    pub schema: String,
    /// Run on every shard as the superuser, before the schema.
    pub install: Vec<String>,
    /// No proxy in this process: the test starts its own from [`Shards::config`].
    pub without_proxy: bool,
}

impl Options {
    /// Shared shards without replicas, and no sharded table.
    pub fn new(test: &str) -> Self {
        Self {
            test: test.into(),
            replicas: 0,
            private: false,
            icu: false,
            layout: Layout::new(),
            schema: String::new(),
            install: Vec::new(),
            without_proxy: false,
        }
    }

    /// With these tables.
    #[must_use]
    pub fn tables(mut self, layout: Layout, schema: &str) -> Self {
        (self.layout, self.schema) = (layout, schema.into());
        self
    }
}

/// What a test of sharding works on.
#[derive(Debug)]
pub struct Shards {
    /// The shards and the oracle.
    pub servers: Servers,
    /// The test's database, of the same name on every shard, on the oracle, and in the proxy.
    pub database: String,
    /// The proxy, when it runs in this process.
    pub address: Address,
    /// Its configuration.
    pub config: ConfigText,
    /// Which tables are spread, and how.
    pub layout: Layout,
    proxy: Option<front::Proxy>,
}

impl Shards {
    /// Databases with the tables asked for, behind a proxy whose configuration `adjust` changes.
    ///
    /// # Panics
    /// When servers or proxy do not start.
    pub async fn start(options: Options, adjust: impl FnOnce(ConfigText) -> ConfigText) -> Shards {
        let servers = match options.private {
            true => Servers::private(options.replicas),
            false => Servers::shared(options.replicas),
        };
        let database = create_databases(&servers, &options);
        let config = adjust(config(&servers, &database, &options.layout));
        let (proxy, address) = match options.without_proxy {
            true => (None, Address::Tcp("127.0.0.1".into(), 0)),
            false => {
                let (proxy, address) = front::start(&config.text());
                (Some(proxy), address)
            }
        };
        let layout = options.layout;
        let shards = Shards { servers, database, address, config, layout, proxy };
        if shards.proxy.is_some() {
            shards.wait_ready().await;
        }
        shards
    }

    /// Starts the proxy in this process, with this configuration, where it was left out.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn serve(&mut self, config: ConfigText) {
        let (proxy, address) = front::start(&config.text());
        (self.proxy, self.address, self.config) = (Some(proxy), address, config);
        self.wait_ready().await;
    }

    async fn wait_ready(&self) {
        let spread = self.layout.distributions.iter().flat_map(|one| &one.tables).next();
        // Writes need what the home shard's catalog says.
        let ask = match spread {
            Some((table, _)) => format!("delete from {table} where false"),
            None => "select 1".into(),
        };
        eventually("the proxy serves", READY_TIMEOUT, async || {
            let config = client::config(&self.address, USER, &self.database);
            let Ok(client) = client::try_connect(&config).await else { return false };
            match client.simple_query(&ask).await {
                Ok(_) => true,
                // Only what may pass is waited for.
                Err(error) => !READY_SOON.contains(&client::code(&error).as_str()),
            }
        })
        .await;
    }

    /// The primary of a shard.
    pub fn shard(&self, number: usize) -> &Postgres {
        &self.servers.shards[number].primary
    }

    /// The server that has everything.
    pub fn oracle(&self) -> &Postgres {
        &self.servers.oracle.primary
    }

    /// All clusters: the shards, then the oracle.
    pub fn clusters(&self) -> impl Iterator<Item = &PgCluster> {
        self.servers.shards.iter().chain([&self.servers.oracle]).map(AsRef::as_ref)
    }

    /// Logs in through the proxy as the ordinary user.
    pub async fn client(&self) -> Client {
        client::connect(&self.address, USER, &self.database).await
    }

    /// Logs in at a shard itself.
    pub async fn shard_client(&self, number: usize) -> Client {
        client::connect(&self.shard(number).address(), USER, &self.database).await
    }

    /// Logs in at the oracle.
    pub async fn oracle_client(&self) -> Client {
        client::connect(&self.oracle().address(), USER, &self.database).await
    }

    /// The byte-exact client through the proxy.
    pub async fn raw(&self) -> Raw {
        Raw::connect(&self.address, USER, &self.database).await
    }

    /// The byte-exact client at the oracle.
    pub async fn raw_oracle(&self) -> Raw {
        Raw::connect(&self.oracle().address(), USER, &self.database).await
    }

    /// Runs statements as the ordinary user on every shard and on the oracle, directly.
    ///
    /// # Panics
    /// When one of them fails.
    pub fn everywhere(&self, sql: &str) {
        for cluster in self.clusters() {
            run_as_user(&cluster.primary, &self.database, sql);
        }
    }

    /// The same as the superuser.
    ///
    /// # Panics
    /// When one of them fails.
    pub fn everywhere_as_superuser(&self, sql: &str) {
        for cluster in self.clusters() {
            cluster.primary.query_in(&self.database, sql).expect("a server takes it");
        }
    }

    /// Fills a table with the rows of `query`, directly: the oracle gets all, a shard its own.
    ///
    /// # Panics
    /// When a server refuses.
    pub fn fill(&self, table: &str, query: &str) {
        self.fill_into(table, table, query);
    }

    /// The same; `into` names the table and the columns that are given.
    ///
    /// # Panics
    /// When a server refuses.
    pub fn fill_into(&self, table: &str, into: &str, query: &str) {
        for (number, cluster) in self.servers.shards.iter().enumerate() {
            let own = self.layout.belongs(table, number, SHARDS);
            // In another order than on the oracle: nothing may depend on it.
            let sql = format!(
                "insert into {into} select * from ({query}) as filled where {own} \
                 order by md5(filled::text)"
            );
            run_as_user(&cluster.primary, &self.database, &sql);
        }
        run_as_user(self.oracle(), &self.database, &format!("insert into {into} {query}"));
    }

    /// Waits until all replicas have all there is.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn settle(&self) {
        for shard in &self.servers.shards {
            shard.wait_caught_up().expect("replicas follow");
        }
    }

    /// Rows of `query` on each shard, directly and as the superuser.
    ///
    /// # Panics
    /// When a shard refuses.
    pub fn on_shards(&self, query: &str) -> Vec<Vec<Vec<Option<String>>>> {
        let rows = |shard: &std::sync::Arc<PgCluster>| {
            shard.primary.query_in(&self.database, query).expect("a shard answers")
        };
        self.servers.shards.iter().map(rows).collect()
    }

    /// The rows of one of the console's tables now.
    pub fn table(&self, name: &str) -> Vec<TableRow> {
        self.proxy.as_ref().map(|proxy| front::table(proxy, name)).unwrap_or_default()
    }

    /// What the proxy's metrics say now.
    pub fn metrics(&self) -> String {
        self.proxy.as_ref().map(front::metrics).unwrap_or_default()
    }

    /// Replaces the running proxy's configuration.
    ///
    /// # Panics
    /// When the proxy refuses it.
    pub fn reload(&self, config: &ConfigText) {
        if let Some(proxy) = &self.proxy {
            front::reload(proxy, &config.text());
        }
    }
}

impl Shards {
    /// Stops the proxy and removes the databases: for tests that make many.
    ///
    /// # Panics
    /// When a server refuses.
    pub fn remove(mut self) {
        if let Some(proxy) = self.proxy.take() {
            front::stop(proxy);
        }
        let drop = format!("drop database {} with (force)", self.database);
        for cluster in self.clusters() {
            cluster.primary.query(&drop).expect("a database is dropped");
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            front::stop(proxy);
        }
        if std::thread::panicking() {
            println!(
                "--- end of the proxies' log ---\n{}\n---",
                crate::fixture::tail(&front::log())
            );
        }
    }
}

fn run_as_user(server: &Postgres, database: &str, sql: &str) {
    let done = server.query_in(database, &format!("set role {USER};\n{sql}"));
    done.unwrap_or_else(|error| panic!("{}: {error}\n{sql}", server.name()));
}

/// Names of the shards, in order.
pub fn names() -> Vec<String> {
    (0..SHARDS).map(|number| format!("s{number}")).collect()
}

fn create_databases(servers: &Servers, options: &Options) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let database = format!("{}_{}", options.test, NUMBER.fetch_add(1, Ordering::Relaxed));
    let all = names().into_iter().chain(["oracle".into()]);
    let clusters = servers.shards.iter().chain([&servers.oracle]);
    std::thread::scope(|scope| {
        for ((place, cluster), number) in all.zip(clusters).zip(0_u16..) {
            let database = &database;
            scope.spawn(move || {
                servers::create_database(&cluster.primary, database, &place, options.icu);
                if place != "oracle" {
                    let schema = shard_schema::install(number, &[]);
                    cluster.primary.query_in(database, &schema).expect("the schema of shards");
                    for sql in &options.install {
                        cluster.primary.query_in(database, sql).expect("an installation");
                    }
                }
                run_as_user(&cluster.primary, database, &options.schema);
                cluster.wait_caught_up().expect("replicas follow");
            });
        }
    });
    database
}

fn config(servers: &Servers, database: &str, layout: &Layout) -> ConfigText {
    let hosts = |shard: &std::sync::Arc<PgCluster>| -> Vec<Address> {
        shard.servers().map(Postgres::address).collect()
    };
    let shards: Vec<_> = names().into_iter().zip(servers.shards.iter().map(hosts)).collect();
    let keys = format!("name = {database:?}\nshards = {:?}\n", names());
    ConfigText::sharded(&shards, &keys).section(&layout.toml(database, &names()))
}
