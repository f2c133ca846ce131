//! Owns the proxies of a test of moving keys: processes with names of their own, which can be
//! killed and started again in the same place, stopped for a while, and cut off from the catalog.

use super::backstage::Backstage;
use super::catalog_section;
use crate::cluster::USER;
use crate::config::ConfigText;
use crate::process::Process;
use crate::relay::{Fault, Relay};
use crate::{client, eventually};
use pgmanifold::config::model::Address;
use pgmanifold::demo::postgres::PgCluster;
use rustix::process::Signal;
use std::time::Duration;

/// Longest wait for a proxy to have the map.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Its name in the catalog.
    pub name: String,
    /// Its process.
    pub process: Process,
    /// Between it and the catalog.
    catalog: Relay,
}

impl Proxy {
    /// Starts one with this configuration and a way to the catalog of its own.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(
        name: &str,
        config: &ConfigText,
        catalog: &PgCluster,
        backstage: &Backstage,
    ) -> Proxy {
        let port = catalog.primary.port();
        let relay = backstage.spawn(async move { Relay::start(port).await });
        let relay = relay.await.expect("a relay");
        let config = config.clone().general(&format!("name = {name:?}"));
        let config = config.section(&catalog_section(&relay.address()));
        let process = Process::start(&format!("moves-{name}-{port}"), &config.text()).await;
        Proxy { name: name.into(), process, catalog: relay }
    }

    /// Where clients connect to; the same over all restarts.
    pub fn address(&self) -> Address {
        self.process.address()
    }

    /// Waits until it knows the map and the tables.
    ///
    /// # Panics
    /// When it does not within 30 s.
    pub async fn wait_ready(&self, database: &str) {
        let config = client::config(&self.address(), USER, database);
        eventually("a proxy knows the map", READY_TIMEOUT, async || {
            let Ok(client) = client::try_connect(&config).await else { return false };
            let asked = client.simple_query("select count(*) from pgm.this_shard").await;
            asked.is_ok()
        })
        .await;
    }

    /// Kills it, and starts it again after a while.
    ///
    /// # Panics
    /// When it does not start again.
    pub async fn kill(&mut self, pause: Duration) {
        self.process.signal(Signal::KILL);
        self.process.exit().await;
        tokio::time::sleep(pause).await;
        self.process.start_again().await;
    }

    /// Nothing of it runs until [`Proxy::thaw`]; its sockets stay open.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// It goes on as if nothing had been.
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Whether it can reach the catalog from now on.
    pub fn reach_catalog(&self, reaches: bool) {
        self.catalog.set(if reaches { Fault::None } else { Fault::Cut });
    }

    /// Its connections to the catalog stay open, and nothing passes, until it reaches it again.
    pub fn stall_catalog(&self) {
        self.catalog.set(Fault::Stall);
    }
}
