//! Owns the built binary as a process: started, signalled, measured, and killed on Drop.

use pgmanifold::config::model::Address;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::process::{Child, Command};

/// Longest wait for the process to accept connections, and to end.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(40);

/// A running `pgmanifold run`.
#[derive(Debug)]
pub struct Process {
    child: Child,
    port: u16,
    config: PathBuf,
    log: PathBuf,
}

/// The binary that `cargo build` made beside this test, or the one that `PGM_BINARY` names.
///
/// # Panics
/// When it is not there: `make test` builds it first.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("PGM_BINARY") {
        return crate::driver::root().join(named);
    }
    let test = std::env::current_exe().expect("invariant: a running program has a path");
    let directory = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps");
    let binary = directory.join("pgmanifold");
    assert!(binary.exists(), "{} is missing: run cargo build first", binary.display());
    binary
}

/// A file of the test's own in `target/e2e`.
///
/// # Panics
/// When it cannot be made.
pub fn scratch_file(name: &str) -> PathBuf {
    let directory = crate::driver::root().join("target/e2e");
    std::fs::create_dir_all(&directory).expect("a directory for scratch files");
    directory.join(format!("{}-{name}", std::process::id()))
}

/// A port nobody listens on.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

impl Process {
    /// Starts the binary with `config`, whose first listener must be on port 0, and waits until it
    /// accepts connections.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(test: &str, config: &str) -> Process {
        let mut process = Process::spawn(test, config, free_port());
        process.wait_listening().await;
        process
    }

    /// Starts a process that has ended again, on the same port, and waits until it accepts
    /// connections. The log goes on.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start_again(&mut self) {
        self.child = launch(&self.config, &self.log);
        self.wait_listening().await;
    }

    /// Starts another process with the configuration of this one, on the same port, and waits
    /// until it has begun to listen.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start_beside(&self, test: &str) -> Process {
        let config = std::fs::read_to_string(&self.config).expect("the configuration file");
        let mut process = Process::spawn(test, &config, self.port);
        let deadline = std::time::Instant::now() + PROCESS_TIMEOUT;
        while !process.log().contains("listening") {
            let late = std::time::Instant::now() > deadline;
            assert!(process.is_running() && !late, "does not listen:\n{}", process.log_tail());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process
    }

    fn spawn(test: &str, config: &str, port: u16) -> Process {
        // Tests that run at the same time may have one name for their processes.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = scratch_file(&format!("{test}-{number}.toml"));
        let log = scratch_file(&format!("{test}-{number}.log"));
        std::fs::write(&path, on_port(config, port)).expect("the configuration file");
        std::fs::write(&log, "").expect("the log file");
        let child = launch(&path, &log);
        Process { child, port, config: path, log }
    }

    async fn wait_listening(&mut self) {
        let deadline = std::time::Instant::now() + PROCESS_TIMEOUT;
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let ended = self.child.try_wait().expect("invariant: our child");
            let late = std::time::Instant::now() > deadline;
            assert!(ended.is_none() && !late, "does not listen ({ended:?}):\n{}", self.log_tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The first listener.
    pub fn address(&self) -> Address {
        Address::Tcp("127.0.0.1".into(), self.port)
    }

    /// Writes another configuration file, for SIGHUP.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn rewrite_config(&self, config: &str) {
        std::fs::write(&self.config, on_port(config, self.port)).expect("the configuration file");
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("the process runs"), signal).expect("a signal is sent");
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// When it takes longer than 40 s.
    pub async fn exit(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PROCESS_TIMEOUT, self.child.wait()).await;
        ended.expect("the process ends in time").expect("invariant: our child")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A line of `/proc/PID/status` in KiB: `VmRSS`, `VmHWM`.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let pid = self.child.id().expect("the process runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let line = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        let number = line.and_then(|text| text.split_whitespace().next()?.parse().ok());
        number.expect("a number of KiB")
    }

    /// Open files of the process: sockets of clients and servers above all.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn open_files(&self) -> usize {
        let pid = self.child.id().expect("the process runs");
        std::fs::read_dir(format!("/proc/{pid}/fd")).expect("fd").count()
    }

    /// The whole log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of the log.
    pub fn log_tail(&self) -> String {
        crate::fixture::tail(&self.log())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- end of pgmanifold's log ---\n{}\n---", self.log_tail());
        }
        let _ = std::fs::remove_file(&self.config);
        let _ = std::fs::remove_file(&self.log);
    }
}

fn launch(config: &Path, log: &Path) -> Child {
    let log_file = std::fs::File::options().append(true).open(log).expect("the log file");
    let mut command = Command::new(binary());
    command.arg("run").arg("--config").arg(config).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(log_file).kill_on_drop(true);
    command.spawn().expect("the binary starts")
}

fn on_port(config: &str, port: u16) -> String {
    config.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1)
}
