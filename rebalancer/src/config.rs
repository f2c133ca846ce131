//! Owns the rebalancer's own configuration file: who it is at the catalog and at the shards, and
//! its limits. Everything wrong with a file is told at once, with its line.

use std::time::Duration;

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
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// The name it has in the map.
    pub name: String,
    /// Its primary and replicas: all of them are among the hosts.
    pub server: Server,
    /// How another shard's server reaches its primary for logical replication, as libpq's
    /// connection string.
    pub subscription: String,
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
