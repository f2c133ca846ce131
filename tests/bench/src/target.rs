//! Owns the things compared: how each is configured and started. It measures nothing.
//! All targets speak TCP on the loopback without TLS and without passwords.

use crate::client::Client;
use crate::error::{Context, Result, fail};
use crate::pgbench::Site;
use crate::process::{Account, Process, Scratch, free_port};
use crate::servers::{DATABASE, Servers, USER};
use crate::workload::Mode;
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Server connections of a pool: the same for PgBouncer and pgmanifold.
pub(crate) const POOL_SIZE: usize = 10;
/// Time pgmanifold has to send reads to replicas after its start, under valgrind too.
const REPLICA_READS_TIMEOUT: Duration = Duration::from_secs(30);
/// Name of PgBouncer's second database, in session pooling.
const SESSION_DATABASE: &str = "bench_session";

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// No proxy.
    Direct,
    /// Debian's PgBouncer.
    PgBouncer,
    /// The bare relay: the floor.
    Relay,
    /// pgmanifold with read/write splitting and read-after-write.
    Pgmanifold,
}

impl Kind {
    /// Reads the names of `--targets`.
    pub(crate) fn parse_all(names: &[String]) -> Result<Vec<Kind>> {
        names.iter().map(|name| Kind::parse(name)).collect()
    }

    fn parse(name: &str) -> Result<Kind> {
        let all = [Kind::Direct, Kind::PgBouncer, Kind::Relay, Kind::Pgmanifold];
        match all.into_iter().find(|kind| kind.name() == name) {
            Some(kind) => Ok(kind),
            None => fail(format!("no target `{name}` (direct, pgbouncer, relay, pgmanifold)")),
        }
    }

    /// Its name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::PgBouncer => "pgbouncer",
            Kind::Relay => "relay",
            Kind::Pgmanifold => "pgmanifold",
        }
    }

    /// Whether many clients share few servers there.
    pub(crate) fn pools(self) -> bool {
        matches!(self, Kind::PgBouncer | Kind::Pgmanifold)
    }

    /// The database to ask for. PgBouncer 1.18 has no protocol-level prepared statements in
    /// transaction pooling, so those run against its session pool.
    pub(crate) fn database(self, mode: Mode) -> &'static str {
        match (self, mode) {
            (Kind::PgBouncer, Mode::Prepared) => SESSION_DATABASE,
            _ => DATABASE,
        }
    }
}

/// Starts targets.
#[derive(Debug)]
pub(crate) struct Launcher<'a> {
    /// As whom.
    pub(crate) account: &'a Account,
    /// Where their files go.
    pub(crate) scratch: &'a Scratch,
    /// In front of what.
    pub(crate) servers: &'a Servers,
    /// Worker threads of pgmanifold.
    pub(crate) workers: usize,
    /// More lines of `[general]` for pgmanifold.
    pub(crate) general: &'a str,
}

/// A target that takes connections.
#[derive(Debug)]
pub(crate) struct Target {
    /// Which one.
    pub(crate) kind: Kind,
    /// Its port.
    pub(crate) port: u16,
    process: Option<Process>,
}

impl Target {
    /// Its process; the direct target has none.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }
}

impl Launcher<'_> {
    /// What runs against its targets need.
    pub(crate) fn site(&self) -> Site<'_> {
        Site { scratch: self.scratch, servers: self.servers }
    }

    /// Copies our binaries to where the ordinary user can run them.
    pub(crate) fn install(&self, binaries: &Path, kinds: &[Kind]) -> Result<()> {
        for kind in kinds.iter().filter(|kind| matches!(kind, Kind::Relay | Kind::Pgmanifold)) {
            let from = binaries.join(kind.name());
            let build = "build it with `cargo build --release -p pgmanifold -p pgmanifold-bench`";
            fs::copy(&from, self.scratch.join(kind.name()))
                .context(format!("{}: {build}", from.display()))?;
        }
        Ok(())
    }

    /// Starts one.
    pub(crate) fn start(&self, kind: Kind) -> Result<Target> {
        self.start_under(kind, &[])
    }

    /// Starts one as the argument of a wrapper (valgrind).
    pub(crate) fn start_under(&self, kind: Kind, wrapper: &[String]) -> Result<Target> {
        if kind == Kind::Direct {
            return Ok(Target { kind, port: self.servers.primary_port(), process: None });
        }
        let port = free_port()?;
        let words = self.command_line(kind, port)?;
        let mut line = wrapper.iter().map(PathBuf::from).chain(words);
        let Some(program) = line.next() else { return fail("no command") };
        let mut command: Command = self.account.command(program);
        command.args(line);
        let log = self.scratch.join(format!("{}-{port}.log", kind.name()));
        let mut process = Process::start(command, kind.name(), &log, Signal::TERM)?;
        process.wait_for_port(port, &log)?;
        if kind == Kind::Pgmanifold {
            self.wait_for_replica_reads(port).context(log.display())?;
        }
        Ok(Target { kind, port, process: Some(process) })
    }

    /// Starts pgmanifold with more in its configuration file.
    pub(crate) fn start_pgmanifold(&self, more: &str) -> Result<Target> {
        let (kind, port) = (Kind::Pgmanifold, free_port()?);
        let text = self.pgmanifold_toml(port) + more;
        let file = self.write("pgmanifold", port, &text)?;
        let mut command = self.account.command(self.scratch.join(kind.name()));
        command.arg("run").arg("--config").arg(file);
        let log = self.scratch.join(format!("{}-{port}.log", kind.name()));
        let mut process = Process::start(command, kind.name(), &log, Signal::TERM)?;
        process.wait_for_port(port, &log)?;
        self.wait_for_replica_reads(port).context(log.display())?;
        Ok(Target { kind, port, process: Some(process) })
    }

    fn command_line(&self, kind: Kind, port: u16) -> Result<Vec<PathBuf>> {
        let binary = self.scratch.join(kind.name());
        Ok(match kind {
            Kind::Direct => Vec::new(),
            Kind::Relay => {
                let listen = format!("127.0.0.1:{port}");
                let server = format!("127.0.0.1:{}", self.servers.primary_port());
                vec![binary, listen.into(), server.into()]
            }
            Kind::PgBouncer => {
                let file = self.write("pgbouncer", port, &self.pgbouncer_ini(port)?)?;
                vec!["/usr/sbin/pgbouncer".into(), "-q".into(), file]
            }
            Kind::Pgmanifold => {
                let file = self.write("pgmanifold", port, &self.pgmanifold_toml(port))?;
                vec![binary, "run".into(), "--config".into(), file]
            }
        })
    }

    fn pgbouncer_ini(&self, port: u16) -> Result<String> {
        let users = self.write("users", port, &format!("\"{USER}\" \"\"\n"))?;
        let server = self.servers.primary_port();
        Ok(format!(
            "[databases]\n\
             {DATABASE} = host=127.0.0.1 port={server}\n\
             {SESSION_DATABASE} = host=127.0.0.1 port={server} dbname={DATABASE} \
             pool_mode=session pool_size=100\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = trust\n\
             auth_file = {}\n\
             pool_mode = transaction\n\
             default_pool_size = {POOL_SIZE}\n\
             max_client_conn = 4000\n\
             ignore_startup_parameters = extra_float_digits\n\
             log_connections = 0\n\
             log_disconnections = 0\n\
             log_stats = 0\n",
            users.display()
        ))
    }

    fn pgmanifold_toml(&self, port: u16) -> String {
        let (workers, general) = (self.workers, self.general);
        let hosts: Vec<String> =
            self.servers.ports().iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        let hosts = hosts.join(", ");
        format!(
            "[general]\nworkers = {workers}\nlog_level = \"warn\"\n{general}\
             [[listener]]\naddress = \"127.0.0.1:{port}\"\nauth = \"trust\"\n\
             [[user]]\nname = \"{USER}\"\n\
             [[shard]]\nname = \"main\"\nhosts = [{hosts}]\ntls_mode = \"disable\"\n\
             monitor_user = \"{USER}\"\nmonitor_database = \"{DATABASE}\"\n\
             [[database]]\nname = \"{DATABASE}\"\npool_size = {POOL_SIZE}\n\
             read_replicas = true\ncausality = \"session\"\n"
        )
    }

    fn write(&self, name: &str, port: u16, text: &str) -> Result<PathBuf> {
        let path = self.scratch.join(format!("{name}-{port}.conf"));
        fs::write(&path, text).context(path.display())?;
        self.account.own(&path)?;
        Ok(path)
    }

    /// Waits until reads run on a replica: before that the proxy has not seen all hosts yet, and
    /// a run without splitting is not what is to be measured.
    fn wait_for_replica_reads(&self, port: u16) -> Result<()> {
        let sql = format!("select count(*) as reads_through_{port} from bench_rows");
        let deadline = Instant::now() + REPLICA_READS_TIMEOUT;
        loop {
            let asked =
                Client::connect(port, USER, DATABASE).and_then(|mut client| client.query(&sql));
            if asked.is_ok() && self.servers.replica_has_run(&sql)? {
                return Ok(());
            }
            if Instant::now() > deadline {
                return fail(format!("reads do not reach a replica (last read: {asked:?})"));
            }
            sleep(Duration::from_millis(100));
        }
    }
}
