//! Owns the real servers of the run: one primary, two streaming replicas, and the data in them.
//! What runs against them is none of its business.

use crate::client::Client;
use crate::error::{Context, Result, fail};
use crate::process::{Account, Process, Scratch, free_port, output};
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The role and the database of everything the benchmark does.
pub(crate) const USER: &str = "bench";
/// See `USER`.
pub(crate) const DATABASE: &str = "bench";
/// pgbench's scale: 1,000,000 accounts, 10 branches for TPC-B's 10 clients.
const SCALE: u32 = 10;
const REPLICAS: usize = 2;
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(60);
const BINARIES: &str = "/usr/lib/postgresql/15/bin";

/// Settings of all servers. `fsync` is off because disks are not what is measured here.
const SETTINGS: &str = "\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 400
shared_buffers = '512MB'
fsync = off
full_page_writes = off
max_wal_size = '4GB'
checkpoint_timeout = '30min'
autovacuum = off
jit = off
";

/// The running servers; dropping it stops them, replicas first.
#[derive(Debug)]
pub(crate) struct Servers {
    replicas: Vec<(Process, u16)>,
    primary: (Process, u16),
    version: String,
}

impl Servers {
    /// Makes, starts and fills them.
    pub(crate) fn start(account: &Account, scratch: &Scratch) -> Result<Self> {
        let data = scratch.join("primary");
        let mut initdb = account.command(binary("initdb"));
        initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "--no-sync"]);
        output(initdb, "initdb")?;
        let primary = start_server(account, scratch, "primary")?;
        let mut client = Client::connect(primary.1, "postgres", "postgres")?;
        client.query(&format!("create role {USER} login in role pg_monitor"))?;
        client.query(&format!("create database {DATABASE} owner {USER}"))?;
        let version = client.query("show server_version")?.unwrap_or_default();
        fill(primary.1)?;
        let mut replicas = Vec::new();
        for number in 1..=REPLICAS {
            let name = format!("replica{number}");
            let mut backup = account.command(binary("pg_basebackup"));
            backup.arg("-D").arg(scratch.join(&name)).args(["-R", "--checkpoint=fast"]);
            backup.args(["--no-sync", "-h", "127.0.0.1", "-U", "postgres"]);
            backup.arg("-p").arg(primary.1.to_string());
            output(backup, "pg_basebackup")?;
            replicas.push(start_server(account, scratch, &name)?);
        }
        let servers = Servers { replicas, primary, version };
        servers.wait_for_replicas()?;
        Ok(servers)
    }

    /// The primary's port.
    pub(crate) fn primary_port(&self) -> u16 {
        self.primary.1
    }

    /// The ports of all hosts, primary first.
    pub(crate) fn ports(&self) -> Vec<u16> {
        std::iter::once(&self.primary).chain(&self.replicas).map(|(_, port)| *port).collect()
    }

    /// PostgreSQL's version.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    fn wait_for_replicas(&self) -> Result<()> {
        let sql = "select count(*) from pg_stat_replication \
                   where replay_lsn >= pg_current_wal_flush_lsn()";
        let mut client = Client::connect(self.primary_port(), "postgres", "postgres")?;
        let deadline = Instant::now() + CATCH_UP_TIMEOUT;
        while client.query(sql)?.as_deref() != Some("2") {
            if Instant::now() > deadline {
                return fail("the replicas do not catch up");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// pgbench's tables, and 1,000 rows of about 100 bytes.
fn fill(port: u16) -> Result<()> {
    let mut pgbench = pgbench_command(port);
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

/// pgbench, told where a server or a proxy is.
pub(crate) fn pgbench_command(port: u16) -> Command {
    let mut command = Command::new(binary("pgbench"));
    command.args(["-h", "127.0.0.1", "-U", USER, "-p", &port.to_string()]);
    command.env("PGSSLMODE", "disable").env("PGGSSENCMODE", "disable");
    command
}

fn start_server(account: &Account, scratch: &Scratch, name: &str) -> Result<(Process, u16)> {
    let port = free_port()?;
    let data = scratch.join(name);
    let settings = format!("{SETTINGS}port = {port}\ncluster_name = '{name}'\n");
    let file = data.join("postgresql.conf");
    fs::write(&file, settings).context(file.display())?;
    let log = scratch.join(format!("{name}.log"));
    let mut command = account.command(binary("postgres"));
    command.arg("-D").arg(&data);
    let mut process = Process::start(command, name, &log, Signal::INT)?;
    process.wait_for_port(port, &log)?;
    wait_for_login(port)?;
    Ok((process, port))
}

/// The port opens before the server takes logins ("the database system is starting up").
fn wait_for_login(port: u16) -> Result<()> {
    let deadline = Instant::now() + CATCH_UP_TIMEOUT;
    loop {
        match Client::connect(port, "postgres", "postgres") {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn binary(name: &str) -> PathBuf {
    Path::new(BINARIES).join(name)
}
