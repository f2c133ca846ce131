//! Owns the servers of the sharded part: three primaries, the rows on them, and pgmanifold in
//! front. It measures nothing.

use super::Site;
use crate::client::Client;
use crate::error::{Context, Result, fail};
use crate::process::{Process, free_port};
use pgmanifold::demo::postgres::{Binaries, PgCluster, PgClusterOptions};
use rustix::process::Signal;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The role of everything.
pub(super) const USER: &str = "bench";
/// The sharded database.
pub(super) const SHARDED: &str = "bench_sharded";
/// A database that is not sharded, on the first shard's server.
pub(super) const PLAIN: &str = "bench_plain";
/// Rows of `accounts`, in each database.
pub(super) const ACCOUNTS: u32 = 1_000_000;
/// Names of the shards.
pub(super) const SHARDS: [&str; 3] = ["s0", "s1", "s2"];
/// Server connections of a pool.
const POOL_SIZE: usize = 10;
/// Longest wait for pgmanifold to answer on all shards, under valgrind too.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// As for the servers of the other parts: nothing works in the background.
const SETTINGS: [(&str, &str); 7] = [
    ("max_connections", "100"),
    ("max_prepared_transactions", "64"),
    ("shared_buffers", "256MB"),
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "30min"),
    ("autovacuum", "off"),
    ("jit", "off"),
];

/// The running servers.
pub(super) struct Fleet<'a> {
    pub(super) site: &'a Site<'a>,
    pub(super) clusters: Vec<PgCluster>,
    binaries: Binaries,
}

/// pgmanifold in front of them.
pub(super) struct Front {
    /// Where clients connect.
    pub(super) port: u16,
    /// Where its metrics are.
    pub(super) http_port: u16,
    process: Process,
}

impl Front {
    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

impl<'a> Fleet<'a> {
    /// Makes, starts and fills the servers.
    pub(super) fn start(site: &'a Site<'a>) -> Result<Self> {
        eprintln!("starting three shards");
        let settings = SETTINGS.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let start = || {
            let settings = settings.to_vec();
            PgCluster::start(PgClusterOptions { replicas: 0, settings, ..Default::default() })
        };
        let clusters =
            SHARDS.map(|_| start()).into_iter().collect::<std::result::Result<Vec<_>, _>>();
        let fleet = Fleet {
            site,
            clusters: clusters.context("start PostgreSQL")?,
            binaries: Binaries::find().context("PostgreSQL")?,
        };
        for number in 0..SHARDS.len() {
            fleet.fill(number)?;
        }
        Ok(fleet)
    }

    fn fill(&self, number: usize) -> Result<()> {
        let primary = &self.clusters[number].primary;
        let run =
            |database: &str, sql: &str| primary.query_in(database, sql).map(drop).context(sql);
        run("postgres", &format!("create role {USER} login in role pg_monitor"))?;
        run("postgres", &format!("create database {SHARDED} owner {USER}"))?;
        let number_of_shard = u16::try_from(number).context("the number of a shard")?;
        run(SHARDED, &pgmanifold_router::shard_schema::install(number_of_shard, &[]))?;
        self.make_tables(number, SHARDED, &owned(number))?;
        if number == 0 {
            run("postgres", &format!("create database {PLAIN} owner {USER}"))?;
            self.make_tables(number, PLAIN, "true")?;
        }
        Ok(())
    }

    fn make_tables(&self, number: usize, database: &str, condition: &str) -> Result<()> {
        let mut client = Client::connect(self.clusters[number].primary.port(), USER, database)?;
        let fill = format!(
            "insert into accounts select n, (n * 7919::bigint % 1000003)::int, md5(n::text) \
             from generate_series(1, {ACCOUNTS}) n where {condition}"
        );
        for sql in [
            "create table accounts (aid int primary key, abalance int not null, filler text)",
            fill.as_str(),
            "create index on accounts (abalance desc, aid)",
            "create table copied (aid int, abalance int, filler text)",
            "vacuum analyze accounts",
        ] {
            client.query(sql)?;
        }
        Ok(())
    }

    /// Starts pgmanifold, as the argument of a wrapper (valgrind) when there is one.
    pub(super) fn front(&self, wrapper: &[String]) -> Result<Front> {
        let (port, http_port) = (free_port()?, free_port()?);
        let file = self.site.scratch.join(format!("shards-{port}.conf"));
        std::fs::write(&file, self.configuration(port, http_port)).context(file.display())?;
        self.site.account.own(&file)?;
        let words = [self.site.scratch.join("pgmanifold"), "run".into(), "--config".into(), file];
        let mut line = wrapper.iter().map(PathBuf::from).chain(words);
        let Some(program) = line.next() else { return fail("no command") };
        let mut command = self.site.account.command(program);
        command.args(line);
        let log = self.site.scratch.join(format!("shards-{port}.log"));
        let mut process = Process::start(command, "pgmanifold", &log, Signal::TERM)?;
        process.wait_for_port(port, &log)?;
        self.wait_ready(port).context(log.display())?;
        Ok(Front { port, http_port, process })
    }

    fn wait_ready(&self, port: u16) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let want = Some(ACCOUNTS.to_string());
        loop {
            let mut counts = Vec::new();
            for database in [SHARDED, PLAIN] {
                let count = Client::connect(port, USER, database)
                    .and_then(|mut client| client.query("select count(*) from accounts"));
                counts.push(count);
            }
            if counts.iter().all(|count| matches!(count, Ok(count) if *count == want)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return fail(format!("it does not answer over all shards: {counts:?}"));
            }
            sleep(Duration::from_millis(200));
        }
    }

    fn configuration(&self, port: u16, http_port: u16) -> String {
        let mut text = format!(
            "[general]\nworkers = {}\nlog_level = \"warn\"\n\
             [http]\naddress = \"127.0.0.1:{http_port}\"\n\
             [[listener]]\naddress = \"127.0.0.1:{port}\"\nauth = \"trust\"\n\
             [[user]]\nname = \"{USER}\"\n[pool]\npool_size = {POOL_SIZE}\n",
            self.site.workers
        );
        for (name, cluster) in SHARDS.iter().zip(&self.clusters) {
            let host = format!("127.0.0.1:{}", cluster.primary.port());
            let _ = write!(
                text,
                "[[shard]]\nname = \"{name}\"\nhosts = [\"{host}\"]\ntls_mode = \"disable\"\n\
                 monitor_user = \"{USER}\"\nmonitor_database = \"{SHARDED}\"\n\
                 recovery_user = \"postgres\"\n"
            );
        }
        let _ = write!(
            text,
            "[[database]]\nname = \"{PLAIN}\"\nshard = \"s0\"\n\
             [[database]]\nname = \"{SHARDED}\"\nshards = {SHARDS:?}\n\
             [[distribution]]\nname = \"account\"\nkey_types = \"integer\"\n\
             [[table]]\nname = \"accounts\"\ndistribution = \"account\"\nkey = \"aid\"\n\
             [[table]]\nname = \"copied\"\ndistribution = \"account\"\nkey = \"aid\"\n"
        );
        text
    }

    /// pgbench with a script of its own.
    pub(super) fn pgbench(&self, port: u16, script: &str) -> Result<Command> {
        let file = self.site.scratch.join("shards.sql");
        std::fs::write(&file, script).context(file.display())?;
        let mut command = Command::new(self.binaries.dir.join("pgbench"));
        command.args(["-n", "-h", "127.0.0.1", "-U", USER, "-p", &port.to_string(), "-j", "1"]);
        command.arg("-f").arg(file);
        command.env("PGSSLMODE", "disable").env("PGGSSENCMODE", "disable");
        Ok(command)
    }
}

/// Which rows a shard has, when the hash space is split evenly.
fn owned(number: usize) -> String {
    let width = (1_i128 << 64) / SHARDS.len() as i128;
    let from = i128::from(i64::MIN) + width * number as i128;
    let to = match number + 1 == SHARDS.len() {
        true => i128::from(i64::MAX),
        false => from + width - 1,
    };
    format!("hashint8extended(n, 0) between ({from})::bigint and ({to})::bigint")
}
