//! Owns the rebalancer's own configuration file: who it is at the catalog and at the shards, and
//! its limits. Everything wrong with a file is told at once, with its line.

mod keys;
mod login;
mod read;

pub use keys::{Form, KEYS, Key};
pub(crate) use login::host_text;
pub use read::parse;

use crate::error::Error;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Largest configuration file, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads the file at `path`.
///
/// # Errors
/// Everything that is wrong with it, one line each: `file:line: key: message`.
pub fn load(path: &Path) -> Result<Config, Error> {
    let unreadable = |cause: String| Error::Usage(format!("{}: {cause}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(unreadable(format!("the file is larger than {MAX_FILE_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    parse(&text, path, &|name| std::env::var(name).ok())
}

/// What the file says.
#[derive(Debug, Clone)]
pub struct Config {
    /// The sharded database, by the name the proxies know it by.
    pub database: String,
    /// The catalog's database.
    pub catalog: Server,
    /// The shards, in the order of the file.
    pub shards: Vec<ShardConfig>,
    /// How far it may go.
    pub limits: Limits,
}

/// How a database is reached.
#[derive(Debug, Clone)]
pub struct Server {
    /// Hosts, login, database: as libpq's URL has them. The first host that is a primary is it.
    pub login: tokio_postgres::Config,
    /// Certificates that the server's must come from; without it none is checked.
    pub ca_file: Option<std::path::PathBuf>,
}

/// A shard.
#[derive(Clone)]
pub struct ShardConfig {
    /// The name it has in the map.
    pub name: String,
    /// Its primary and replicas: all of them are among the hosts.
    pub server: Server,
    /// How another shard's server reaches its primary for logical replication, as libpq's
    /// connection string. It may hold a password.
    pub subscription: String,
}

impl fmt::Debug for ShardConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardConfig")
            .field("name", &self.name)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The same for commands that move nothing: their sessions are not ended by a mover.
    #[must_use]
    pub fn for_looking(mut self) -> Self {
        for shard in &mut self.shards {
            shard.server.login.application_name(crate::connect::LOOKING_NAME);
        }
        self
    }

    /// The shard of this name.
    ///
    /// # Errors
    /// The file does not name it.
    pub fn shard(&self, name: &str) -> Result<&ShardConfig, Error> {
        self.shards.iter().find(|shard| shard.name == name).ok_or_else(|| {
            Error::Usage(format!("the configuration file has no [[shard]] with name = {name:?}"))
        })
    }
}

/// How far the rebalancer may go. A limit of `None` is none.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes copied per second.
    pub copy_bytes_per_s: Option<u64>,
    /// Copying waits while a replica of either shard is further behind, in bytes of WAL.
    pub replica_lag_bytes: u64,
    /// Copying waits while a trivial query of either primary takes longer.
    pub primary_latency: Duration,
    /// The move stops when the source keeps more WAL for it.
    pub retained_wal_bytes: u64,
    /// Disk that must be left on the target after the copy.
    pub free_disk_bytes: u64,
    /// Wait for proxies to end what they do by an older map, before they are cut off.
    pub acknowledge_timeout: Duration,
    /// Wait for proxies before the fence, while new writes to the keys wait.
    pub pause_timeout: Duration,
    /// One try for the locks of the fence.
    pub lock_timeout: Duration,
    /// Tries for the locks within one pause.
    pub lock_tries: u32,
    /// Pauses before the move stops.
    pub cutover_tries: u32,
    /// Transactions that hold up a cut-over longer are ended. `None`: none ever is.
    pub end_blockers_after: Option<Duration>,
    /// Sessions that copy at once.
    pub copy_workers: u32,
    /// Rows deleted in one transaction.
    pub cleanup_batch_rows: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            copy_bytes_per_s: None,
            replica_lag_bytes: 64 << 20,
            primary_latency: Duration::from_millis(50),
            retained_wal_bytes: 16 << 30,
            free_disk_bytes: 1 << 30,
            acknowledge_timeout: Duration::from_secs(30),
            pause_timeout: Duration::from_secs(1),
            lock_timeout: Duration::from_millis(100),
            lock_tries: 10,
            cutover_tries: 20,
            end_blockers_after: None,
            copy_workers: 2,
            cleanup_batch_rows: 5_000,
        }
    }
}
