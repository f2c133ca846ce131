//! Owns what one test works on: a cluster, a database of its own, and a proxy before it. When the
//! test fails, it prints the ends of the logs.

use crate::cluster::{self, USER};
use crate::config::ConfigText;
use crate::raw::Raw;
use crate::tables::TableRow;
use crate::{client, eventually, front};
use pgmanifold::config::model::Address;
use pgmanifold::demo::postgres::PgCluster;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Client;

/// A read that may run anywhere and says where it ran: `primary`, `replica1`, `replica2`. The
/// function stands in every test's database: asking for the setting itself is sent to the primary.
pub const WHERE: &str = "select public.place()";
/// Longest wait for the proxy to know its servers.
const READY_TIMEOUT: Duration = Duration::from_secs(15);
/// Lines of a log shown when a test fails.
const LOG_LINES: usize = 60;

/// What one test works on.
#[derive(Debug)]
pub struct Fixture {
    /// The servers.
    pub cluster: Arc<PgCluster>,
    /// The test's own database.
    pub database: String,
    /// Where tests connect to: the proxy, or the primary with `PGM_E2E_DIRECT=1`.
    pub address: Address,
    proxy: Option<front::Proxy>,
}

/// Whether tests run without a proxy.
pub fn is_direct() -> bool {
    std::env::var_os("PGM_E2E_DIRECT").is_some()
}

impl Fixture {
    /// A database on the shared cluster behind a proxy whose configuration `adjust` changes.
    pub async fn shared(test: &str, adjust: impl FnOnce(ConfigText) -> ConfigText) -> Fixture {
        Fixture::on(cluster::shared(), test, adjust).await
    }

    /// The same on a cluster of the test's own.
    ///
    /// # Panics
    /// When the proxy does not start or does not find its servers.
    pub async fn on(
        cluster: Arc<PgCluster>,
        test: &str,
        adjust: impl FnOnce(ConfigText) -> ConfigText,
    ) -> Fixture {
        let database = cluster::create_database(&cluster, test);
        let hosts: Vec<Address> = cluster.servers().map(|server| server.address()).collect();
        let config = adjust(ConfigText::new(&hosts, &database));
        let fixture = Fixture::with_config(cluster, database, &config);
        fixture.wait_ready().await;
        fixture
    }

    /// A proxy with exactly this configuration; it is not waited for.
    ///
    /// # Panics
    /// When the proxy does not start.
    pub fn with_config(cluster: Arc<PgCluster>, database: String, config: &ConfigText) -> Fixture {
        if is_direct() {
            let address = cluster.primary.address();
            return Fixture { cluster, database, address, proxy: None };
        }
        let (proxy, address) = front::start(&config.text());
        Fixture { cluster, database, address, proxy: Some(proxy) }
    }

    async fn wait_ready(&self) {
        eventually("the proxy serves", READY_TIMEOUT, async || {
            let config = client::config(&self.address, USER, &self.database);
            let Ok(client) = client::try_connect(&config).await else { return false };
            client.simple_query("select 1").await.is_ok()
        })
        .await;
    }

    /// Waits until reads run on every replica.
    ///
    /// # Panics
    /// When they do not for 15 s.
    pub async fn wait_replicas(&self) {
        if is_direct() {
            return;
        }
        let client = self.client().await;
        let mut seen = BTreeSet::new();
        let deadline = std::time::Instant::now() + READY_TIMEOUT;
        while self.cluster.replicas.iter().any(|replica| !seen.contains(replica.name())) {
            assert!(std::time::Instant::now() < deadline, "reads only run on {seen:?}");
            seen.insert(client::value(&client, WHERE).await);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Logs in through the proxy as the ordinary user.
    pub async fn client(&self) -> Client {
        client::connect(&self.address, USER, &self.database).await
    }

    /// Logs in at the primary itself.
    pub async fn direct(&self) -> Client {
        client::connect(&self.cluster.primary.address(), USER, &self.database).await
    }

    /// The byte-exact client through the proxy.
    pub async fn raw(&self) -> Raw {
        Raw::connect(&self.address, USER, &self.database).await
    }

    /// The byte-exact client at the primary itself.
    pub async fn raw_direct(&self) -> Raw {
        Raw::connect(&self.cluster.primary.address(), USER, &self.database).await
    }

    /// The rows of one of the console's tables now, as the proxy in this process fills it.
    pub fn table(&self, name: &str) -> Vec<TableRow> {
        self.proxy.as_ref().map(|proxy| front::table(proxy, name)).unwrap_or_default()
    }

    /// What the proxy's metrics say now.
    pub fn metrics(&self) -> String {
        self.proxy.as_ref().map(front::metrics).unwrap_or_default()
    }

    /// The sum of all series of a metric family whose labels contain this text.
    pub fn metric_sum(&self, family: &str, labels: &str) -> f64 {
        let text = self.metrics();
        let lines = text.lines().filter(|line| {
            let labelled = line.strip_prefix(family).is_some_and(|rest| rest.starts_with('{'));
            labelled && line.contains(labels)
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
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

    /// The value of a series of the proxy's metrics, with its labels as they are printed; 0 when it
    /// is not there.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.proxy.as_ref().map(front::metrics).unwrap_or_default();
        let values = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        values.filter_map(|value| value.parse().ok()).next().unwrap_or_default()
    }

    /// Servers' sessions of the test's database, without the launcher's own.
    ///
    /// # Panics
    /// When the primary does not answer.
    pub fn server_sessions(&self, condition: &str) -> u32 {
        let sql = format!(
            "select count(*) from pg_stat_activity where datname = '{}' \
             and backend_type = 'client backend' and {condition}",
            self.database
        );
        self.cluster.primary.value(&sql).expect("activity").parse().expect("a number")
    }

    /// What every server session of the test's database does, for a failure's message.
    pub fn activity(&self) -> String {
        let sql = format!(
            "select pid, usename, state, wait_event_type, query from pg_stat_activity \
             where datname = '{}'",
            self.database
        );
        let rows = self.cluster.primary.query(&sql).unwrap_or_default();
        rows.iter().map(|row| format!("{row:?}\n")).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            front::stop(proxy);
        }
        if std::thread::panicking() {
            println!("--- end of the proxies' log ---\n{}\n---", tail(&front::log()));
            for server in self.cluster.servers() {
                println!("--- end of {}'s log ---\n{}\n---", server.name(), server.log_tail());
            }
        }
    }
}

/// The last lines of a log.
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
