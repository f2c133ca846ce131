//! Owns one PostgreSQL server: its process and what tests and the demo do to it. It knows
//! nothing of the other servers of its cluster.

use super::account::{Account, spawn};
use super::binaries::Binaries;
use super::process::{self, kill_tree, signal, signal_children, wait_exit, wait_until};
use super::{CONDITION_TIMEOUT, LaunchError, QUERY_TIMEOUT, START_TIMEOUT, STOP_TIMEOUT};
use crate::config::model::Address;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ports are taken from here: below the kernel's range for outgoing connections, so that no
/// such connection takes a server's port while the server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Ports tried when others take them between our look and the server's start.
const MAX_PORT_ATTEMPTS: u32 = 20;
/// The superuser's name.
pub(super) const SUPERUSER: &str = "postgres";

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ends sessions, writes a checkpoint.
    Fast,
    /// Ends at once; recovers at the next start.
    Immediate,
}

/// One PostgreSQL server. Methods block; none may be called by two threads to start and stop
/// the same server at once and expect more than one of the two outcomes.
#[derive(Debug)]
pub struct Postgres {
    name: String,
    binaries: Binaries,
    account: Account,
    data_dir: PathBuf,
    socket_dir: PathBuf,
    log_path: PathBuf,
    port: u16,
    password: Option<String>,
    /// `None` when stopped.
    process: Mutex<Option<Child>>,
}

/// What a [`Postgres`] is made from; the data directory exists already.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) binaries: Binaries,
    pub(super) account: Account,
    pub(super) data_dir: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) log_path: PathBuf,
    pub(super) password: Option<String>,
}

impl Postgres {
    /// Starts a server on a free port.
    pub(super) fn start_on_free_port(parts: Parts) -> Result<Postgres, LaunchError> {
        let Parts { name, binaries, account, data_dir, socket_dir, log_path, password } = parts;
        let process = Mutex::new(None);
        let mut server = Postgres {
            name,
            binaries,
            account,
            data_dir,
            socket_dir,
            log_path,
            port: free_port()?,
            password,
            process,
        };
        for _ in 1..MAX_PORT_ATTEMPTS {
            let log_start = server.log_length();
            match server.start() {
                Err(_) if process::tail(&server.log_path, log_start).contains("could not bind") => {
                    server.port = free_port()?;
                }
                result => return result.map(|()| server),
            }
        }
        server.start().map(|()| server)
    }

    /// `primary`, `replica1`, ….
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The TCP port on 127.0.0.1, the same over all restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the Unix socket `.s.PGSQL.PORT` lies.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The TCP address.
    pub fn address(&self) -> Address {
        Address::Tcp("127.0.0.1".into(), self.port)
    }

    /// The Unix socket's address.
    pub fn unix_address(&self) -> Address {
        Address::Unix(self.socket_dir.join(format!(".s.PGSQL.{}", self.port)))
    }

    /// Connection string of the superuser over TCP, for libpq and tokio-postgres.
    pub fn dsn(&self) -> String {
        self.dsn_for(SUPERUSER, self.password.as_deref(), "postgres")
    }

    /// Connection string for any user and database over TCP.
    pub fn dsn_for(&self, user: &str, password: Option<&str>, database: &str) -> String {
        let mut dsn = format!(
            "host=127.0.0.1 port={} user={} dbname={} sslmode=disable",
            self.port,
            quoted(user),
            quoted(database)
        );
        if let Some(password) = password {
            dsn.push_str(&format!(" password={}", quoted(password)));
        }
        dsn
    }

    /// Process id of the server, when it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Child::id)
    }

    /// Whether the process is there (also when frozen or still starting).
    pub fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Starts the server and waits until it accepts connections.
    ///
    /// # Errors
    /// When it runs already, ends early, or takes longer than 60 s.
    pub fn start(&self) -> Result<(), LaunchError> {
        if self.is_running() {
            return Err(self.failed("runs already"));
        }
        let log_start = self.log_length();
        let mut command = self.account.command(&self.binaries.program("postgres"), &self.data_dir);
        command.arg("-D").arg(&self.data_dir).args(["-p", &self.port.to_string()]);
        process::append_output(&mut command, &self.log_path)?;
        let child =
            spawn(command).map_err(|error| self.failed(&format!("did not start: {error}")))?;
        *self.process() = Some(child);
        let settled = wait_until(START_TIMEOUT, || !self.is_running() || self.is_ready());
        if settled && self.is_running() {
            return Ok(());
        }
        let why = match settled {
            true => "ended while it started".to_string(),
            false => format!("was not ready after {} s", START_TIMEOUT.as_secs()),
        };
        self.kill();
        let log_tail = process::tail(&self.log_path, log_start);
        Err(LaunchError::Server { what: format!("{} {why}", self.name), log_tail })
    }

    /// Stops the server; one that is stopped stays so.
    ///
    /// # Errors
    /// When it takes longer than 30 s (it is killed then).
    pub fn stop(&self, how: Stop) -> Result<(), LaunchError> {
        let Some(mut child) = self.process().take() else { return Ok(()) };
        signal_children(child.id(), Signal::CONT);
        signal(child.id(), Signal::CONT);
        signal(child.id(), if how == Stop::Fast { Signal::INT } else { Signal::QUIT });
        if wait_exit(&mut child, STOP_TIMEOUT) {
            return Ok(());
        }
        kill_tree(&mut child);
        Err(self.failed(&format!("did not stop within {} s", STOP_TIMEOUT.as_secs())))
    }

    /// Stops (fast) and starts again.
    ///
    /// # Errors
    /// As [`Postgres::stop`] and [`Postgres::start`].
    pub fn restart(&self) -> Result<(), LaunchError> {
        self.stop(Stop::Fast)?;
        self.start()
    }

    /// Kills the server and its children with SIGKILL, as a crash of the machine would.
    pub fn kill(&self) {
        if let Some(mut child) = self.process().take() {
            kill_tree(&mut child);
        }
    }

    /// Stops all its processes with SIGSTOP: connections stay open and nothing answers.
    pub fn freeze(&self) {
        if let Some(pid) = self.pid() {
            signal(pid, Signal::STOP);
            signal_children(pid, Signal::STOP);
        }
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        if let Some(pid) = self.pid() {
            signal_children(pid, Signal::CONT);
            signal(pid, Signal::CONT);
        }
    }

    /// Makes a replica the primary of a new timeline, and waits until it takes writes.
    ///
    /// # Errors
    /// When the server refuses or takes longer than 30 s.
    pub fn promote(&self) -> Result<(), LaunchError> {
        self.query("select pg_promote(false)")?;
        self.wait_for("select pg_is_in_recovery()", "f")
    }

    /// Stops a replica's replay, and waits until it stands still.
    ///
    /// # Errors
    /// When the server refuses or takes longer than 30 s.
    pub fn pause_replay(&self) -> Result<(), LaunchError> {
        self.query("select pg_wal_replay_pause()")?;
        match self.binaries.major {
            13 => self.wait_for("select pg_is_wal_replay_paused()", "t"),
            _ => self.wait_for("select pg_get_wal_replay_pause_state()", "paused"),
        }
    }

    /// Lets a replica's replay go on.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn resume_replay(&self) -> Result<(), LaunchError> {
        self.query("select pg_wal_replay_resume()").map(drop)
    }

    /// Waits until this replica has replayed all that `primary` has flushed by now.
    ///
    /// # Errors
    /// When that takes longer than 30 s.
    pub fn wait_caught_up(&self, primary: &Postgres) -> Result<(), LaunchError> {
        let lsn = primary.value("select pg_current_wal_flush_lsn()")?;
        self.wait_for(&format!("select pg_last_wal_replay_lsn() >= '{lsn}'"), "t")
    }

    /// Sets a setting by `ALTER SYSTEM` and reloads; settings that need a restart wait for it.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn configure(&self, setting: &str, value: &str) -> Result<(), LaunchError> {
        let value = value.replace('\'', "''");
        self.query(&format!("alter system set {setting} = '{value}'"))?;
        self.query("select pg_reload_conf()").map(drop)
    }

    /// Runs a query as superuser over the Unix socket, in database `postgres`.
    ///
    /// # Errors
    /// The server's error, or that it was not reached or took longer than 30 s.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, LaunchError> {
        self.query_in("postgres", sql)
    }

    /// As [`Postgres::query`], in a database of your choice.
    ///
    /// # Errors
    /// As [`Postgres::query`].
    pub fn query_in(
        &self,
        database: &str,
        sql: &str,
    ) -> Result<Vec<Vec<Option<String>>>, LaunchError> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.socket_dir).port(self.port).dbname(database).user(SUPERUSER);
        config.application_name("launcher");
        // A thread of its own: the caller may be inside a runtime, which cannot block on another.
        let answer =
            std::thread::scope(|scope| scope.spawn(|| blocking_query(&config, sql)).join());
        let answer = answer.unwrap_or_else(|_| Err("the query's thread panicked".into()));
        answer.map_err(|cause| LaunchError::Query {
            server: self.name.clone(),
            query: sql.into(),
            cause,
        })
    }

    /// The first value of the first row of a query.
    ///
    /// # Errors
    /// As [`Postgres::query`]; also when there is no row or the value is null.
    pub fn value(&self, sql: &str) -> Result<String, LaunchError> {
        let rows = self.query(sql)?;
        let first = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        first.ok_or_else(|| LaunchError::Query {
            server: self.name.clone(),
            query: sql.into(),
            cause: "no value".into(),
        })
    }

    /// Repeats a query until its first value is `want`.
    ///
    /// # Errors
    /// When it is not after 30 s, with the last value or error seen.
    pub fn wait_for(&self, sql: &str, want: &str) -> Result<(), LaunchError> {
        let mut last = String::new();
        let reached = wait_until(CONDITION_TIMEOUT, || {
            last = self.value(sql).unwrap_or_else(|error| error.to_string());
            last == want
        });
        match reached {
            true => Ok(()),
            false => Err(self.failed(&format!(
                "did not reach {want:?} for {sql:?} within {} s, only {last:?}",
                CONDITION_TIMEOUT.as_secs()
            ))),
        }
    }

    /// The end of the server's log, at most 3,000 bytes.
    pub fn log_tail(&self) -> String {
        process::tail(&self.log_path, 0)
    }

    /// The file of the server's log.
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The postmaster writes `ready` into its pid file once connections are accepted, on a hot
    /// standby too. Reading it costs no connection and no log line.
    fn is_ready(&self) -> bool {
        let text = std::fs::read_to_string(self.data_dir.join("postmaster.pid"));
        let text = text.unwrap_or_default();
        let ours = text.lines().next() == self.pid().map(|pid| pid.to_string()).as_deref();
        ours && text.lines().nth(7).is_some_and(|state| state.trim() == "ready")
    }

    fn log_length(&self) -> u64 {
        std::fs::metadata(&self.log_path).map_or(0, |metadata| metadata.len())
    }

    fn failed(&self, why: &str) -> LaunchError {
        LaunchError::Server { what: format!("{} {why}", self.name), log_tail: self.log_tail() }
    }
}

impl Drop for Postgres {
    /// Ends the server. SIGQUIT first, because only so does it remove its shared memory.
    fn drop(&mut self) {
        let Some(mut child) = self.process().take() else { return };
        signal_children(child.id(), Signal::CONT);
        signal(child.id(), Signal::CONT);
        signal(child.id(), Signal::QUIT);
        if !wait_exit(&mut child, STOP_TIMEOUT) {
            kill_tree(&mut child);
        }
    }
}

/// A value in libpq's keyword form.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A port nobody listens on now, never given out twice by this process.
fn free_port() -> Result<u16, LaunchError> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut last_error = std::io::ErrorKind::AddrInUse.into();
    for _ in 0..PORTS.len() {
        let port = rand::random_range(PORTS);
        if given.contains(&port) {
            continue;
        }
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => {
                given.insert(port);
                return Ok(port);
            }
            Err(error) => last_error = error,
        }
    }
    Err(LaunchError::Server {
        what: format!("no free port in {PORTS:?}: {last_error}"),
        log_tail: String::new(),
    })
}

fn blocking_query(
    config: &tokio_postgres::Config,
    sql: &str,
) -> Result<Vec<Vec<Option<String>>>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let answer = runtime
        .block_on(async { tokio::time::timeout(QUERY_TIMEOUT, simple_query(config, sql)).await });
    match answer {
        Ok(answer) => answer.map_err(|error| error_text(&error)),
        Err(_) => Err(format!("no answer within {} s", QUERY_TIMEOUT.as_secs())),
    }
}

async fn simple_query(
    config: &tokio_postgres::Config,
    sql: &str,
) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(sql).await;
    connection.abort();
    let rows = messages?.into_iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(rows.map(|row| (0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()).collect())
}

/// tokio-postgres prints only `db error`; the server's message is its source.
fn error_text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => error.to_string(),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}
