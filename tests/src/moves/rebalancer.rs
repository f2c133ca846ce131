//! Owns the rebalancer as a process: its configuration file, its commands run to their end or
//! killed on the way.

use super::names;
use crate::process::scratch_file;
use pgmanifold::demo::postgres::{PgCluster, Postgres};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// Longest run of one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(240);
/// Names the place at which the program stops; see its module `checkpoint`.
const HALT: &str = "PGM_REBALANCER_HALT";

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit status; `None` when it was killed.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Ended {
    /// Standard output of a command that must have succeeded.
    ///
    /// # Panics
    /// When it has not.
    pub fn succeeds(self) -> String {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Everything it said.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// The rebalancer of a test.
#[derive(Debug)]
pub struct Rebalancer {
    file: PathBuf,
    runs: AtomicU32,
}

/// A command at work; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    what: String,
}

/// The binary beside this test, or the one that `PGM_REBALANCER_BINARY` names.
///
/// # Panics
/// When it is not there: `make e2e` builds it first.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("PGM_REBALANCER_BINARY") {
        return crate::driver::root().join(named);
    }
    let test = std::env::current_exe().expect("invariant: a running program has a path");
    let directory = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps");
    let binary = directory.join("pgmanifold-rebalancer");
    assert!(binary.exists(), "{} is missing: run cargo build first", binary.display());
    binary
}

impl Rebalancer {
    pub(super) fn new(
        database: &str,
        shards: &[Arc<PgCluster>],
        catalog: &PgCluster,
        catalog_database: &str,
        limits: &[String],
    ) -> Self {
        let text = config(database, shards, catalog, catalog_database, limits);
        let file = scratch_file(&format!("{database}.rebalancer.toml"));
        std::fs::write(&file, text).expect("the configuration file");
        Self { file, runs: AtomicU32::new(0) }
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it does not run, or takes longer than four minutes.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        self.spawn(arguments, None).end().await
    }

    /// Starts a command, which stops for good at `halt`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn spawn(&self, arguments: &[&str], halt: Option<&str>) -> Running {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let base = self.file.display().to_string();
        let (stdout, stderr) = (format!("{base}.{run}.out"), format!("{base}.{run}.err"));
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(&self.file).stdin(Stdio::null());
        command.stdout(std::fs::File::create(&stdout).expect("a file"));
        command.stderr(std::fs::File::create(&stderr).expect("a file"));
        command.env_remove(HALT);
        if let Some(halt) = halt {
            command.env(HALT, halt);
        }
        let child = command.kill_on_drop(true).spawn().expect("the rebalancer starts");
        let what = arguments.join(" ");
        Running { child, stdout: stdout.into(), stderr: stderr.into(), what }
    }
}

impl Drop for Rebalancer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Running {
    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer than four minutes.
    pub async fn end(mut self) -> Ended {
        let ended = tokio::time::timeout(COMMAND_TIMEOUT, self.child.wait()).await;
        let Ok(status) = ended else {
            panic!("{} takes too long:\n{}{}", self.what, self.stdout(), self.stderr())
        };
        let code = status.expect("invariant: our child").code();
        Ended { code, stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Kills it; returns how it ended, for it may have been quicker.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn kill(mut self) -> Ended {
        // It may have ended already.
        let _ = self.child.start_kill();
        self.end().await
    }

    /// Asks it to stop, as an operator or a service manager does.
    ///
    /// # Panics
    /// When it has ended.
    pub fn terminate(&self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), Signal::TERM).expect("a signal is sent");
    }

    /// Whether it has come to the place where it stops; false when it has ended before.
    ///
    /// # Panics
    /// When neither happens within four minutes.
    pub async fn halts(&mut self) -> bool {
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        loop {
            if self.stderr().contains("halted at ") {
                return true;
            }
            if !self.is_running() {
                return false;
            }
            let late = Instant::now() > deadline;
            assert!(!late, "{} neither halts nor ends:\n{}", self.what, self.stderr());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it has complained of so far.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- {} ---\n{}{}\n---", self.what, self.stdout(), self.stderr());
        }
        let _ = std::fs::remove_file(&self.stdout);
        let _ = std::fs::remove_file(&self.stderr);
    }
}

/// The text of its configuration file.
fn config(
    database: &str,
    shards: &[Arc<PgCluster>],
    catalog: &PgCluster,
    catalog_database: &str,
    limits: &[String],
) -> String {
    let url = |server: &Postgres, database: &str| {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", server.port())
    };
    let hosts = |cluster: &PgCluster| -> String {
        let hosts = cluster.servers().map(|server| format!("127.0.0.1:{}", server.port()));
        hosts.collect::<Vec<_>>().join(",")
    };
    let mut text = format!(
        "database = {database:?}\n\n[catalog]\nurl = {:?}\n\n",
        url(&catalog.primary, catalog_database)
    );
    for (name, shard) in names(shards.len()).iter().zip(shards) {
        let url = format!("postgresql://postgres@{}/{database}", hosts(shard));
        text += &format!("[[shard]]\nname = {name:?}\nurl = {url:?}\n\n");
    }
    text + "[limits]\n" + &limits.join("\n") + "\n"
}
