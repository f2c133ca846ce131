//! Owns the real servers of the run: one primary, two streaming replicas, and the data in them.
//! What runs against them is none of its business.

use crate::client::Client;
use crate::error::{Context, Result};
use crate::process::output;
use pgmanifold::demo::postgres::{Binaries, PgCluster, PgClusterOptions, Postgres};
use std::process::Command;

/// The role and the database of everything the benchmark does.
pub(crate) const USER: &str = "bench";
/// See `USER`.
pub(crate) const DATABASE: &str = "bench";
/// pgbench's scale: 1,000,000 accounts, 10 branches for TPC-B's 10 clients.
const SCALE: u32 = 10;
/// What the benchmark sets above the launcher's own settings: memory and connections enough,
/// and nothing that works in the background while a run is measured.
const SETTINGS: [(&str, &str); 6] = [
    ("max_connections", "400"),
    ("shared_buffers", "512MB"),
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "30min"),
    ("autovacuum", "off"),
    ("jit", "off"),
];

/// The running servers; dropping it stops and removes them.
#[derive(Debug)]
pub(crate) struct Servers {
    cluster: PgCluster,
    binaries: Binaries,
    version: String,
}

impl Servers {
    /// Makes, starts and fills them.
    pub(crate) fn start() -> Result<Self> {
        let binaries = Binaries::find().context("PostgreSQL")?;
        let settings = SETTINGS.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let options = PgClusterOptions { settings: settings.into(), ..Default::default() };
        let cluster = PgCluster::start(options).context("start PostgreSQL")?;
        let primary = &cluster.primary;
        let run = |sql: &str| primary.query(sql).context(sql);
        run(&format!("create role {USER} login in role pg_monitor"))?;
        run(&format!("create database {DATABASE} owner {USER}"))?;
        let version = primary.value("show server_version").context("server_version")?;
        let servers = Servers { cluster, binaries, version };
        servers.fill()?;
        servers.cluster.wait_caught_up().context("the replicas do not catch up")?;
        Ok(servers)
    }

    /// The primary's port.
    pub(crate) fn primary_port(&self) -> u16 {
        self.cluster.primary.port()
    }

    /// The ports of all hosts, primary first.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.cluster.servers().map(Postgres::port).collect()
    }

    /// PostgreSQL's version.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Whether this was the last statement of a session that is still open on a replica.
    pub(crate) fn replica_has_run(&self, sql: &str) -> Result<bool> {
        let look = format!("select count(*) from pg_stat_activity where query = '{sql}'");
        for replica in &self.cluster.replicas {
            if replica.value(&look).context("pg_stat_activity")? != "0" {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// pgbench, told where a server or a proxy is.
    pub(crate) fn pgbench(&self, port: u16) -> Command {
        let mut command = Command::new(self.binaries.dir.join("pgbench"));
        command.args(["-h", "127.0.0.1", "-U", USER, "-p", &port.to_string()]);
        command.env("PGSSLMODE", "disable").env("PGGSSENCMODE", "disable");
        command
    }

    /// pgbench's tables, and 1,000 rows of about 100 bytes.
    fn fill(&self) -> Result<()> {
        let port = self.primary_port();
        let mut pgbench = self.pgbench(port);
        pgbench.args(["-i", "-q", "-s", &SCALE.to_string(), DATABASE]);
        output(pgbench, "pgbench -i")?;
        let mut client = Client::connect(port, USER, DATABASE)?;
        client.query(
            "create table bench_rows as select n::int4 as id, n::int8 * 7919 as code, \
             repeat(md5(n::text), 2) || left(md5(n::text), 16) as filler \
             from generate_series(1, 1000) as n",
        )?;
        client.query("vacuum analyze bench_rows")?;
        Ok(())
    }
}
