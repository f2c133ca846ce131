//! Owns throw-away PostgreSQL servers: finds the binaries, makes the clusters, starts, breaks
//! and removes them. Blocking, for tests and the demo; it must never touch a server or a
//! directory it did not create.
//!
//! Servers run as direct children of this process (no daemonising), as an ordinary user even
//! when we are root, on 127.0.0.1 and on a Unix socket in a private directory. They end with us:
//! by `Drop`, and after a crash by the kernel's parent-death signal where `setpriv` offers it.

mod account;
mod binaries;
mod cluster;
mod directory;
mod process;
mod server;

pub use binaries::Binaries;
pub use cluster::{PgCluster, PgClusterOptions};
pub use server::{Postgres, Stop};

use std::path::PathBuf;
use std::time::Duration;

/// Longest run of `initdb` or `pg_basebackup`.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest wait for a server to accept connections.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a server to end after it was told to.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest run of one query of the launcher's own.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a condition: streaming, replay, promotion.
pub(super) const CONDITION_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two looks at a condition.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Bytes of a server's log shown with an error.
pub(super) const LOG_TAIL_BYTES: u64 = 3000;

/// Why a server could not be found, started, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No usable binaries.
    #[error(
        "no PostgreSQL server binaries (13 or newer) found; looked in: {looked}\n\
             install them, for example: apt-get install -y postgresql\n\
             or name their directory in PGMANIFOLD_PG_BIN"
    )]
    NoBinaries {
        /// Where the search went.
        looked: String,
    },
    /// PostgreSQL refuses to run as root, and no ordinary user was found to run it as.
    #[error(
        "running as root, and neither user postgres nor user nobody is in /etc/passwd; \
             PostgreSQL refuses to run as root"
    )]
    NoUser,
    /// A file or directory operation failed.
    #[error("could not {what} {}: {cause}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        cause: std::io::Error,
    },
    /// A program failed, a server ended early, or a wait ran out.
    #[error("{what}{}", tail_text(log_tail))]
    Server {
        /// What failed, with the server's name.
        what: String,
        /// The end of its log.
        log_tail: String,
    },
    /// A query of the launcher's own failed.
    #[error("{server}: {query}: {cause}")]
    Query {
        /// The server's name.
        server: String,
        /// The statement.
        query: String,
        /// The server's message, or why it was not reached.
        cause: String,
    },
}

fn tail_text(log_tail: &str) -> String {
    match log_tail.trim() {
        "" => String::new(),
        tail => format!("\n--- end of its log ---\n{tail}\n---"),
    }
}

impl LaunchError {
    fn file(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |cause| LaunchError::File { what, path, cause }
    }
}

#[cfg(test)]
mod tests;
