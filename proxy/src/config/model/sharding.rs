//! Owns what the configuration says of sharded databases.

use super::{Host, MonitorLogin, Shard};
use pgmanifold_router::shard_map::{ShardId, ShardMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where a sharded database lives. Which keys live where is in its map, which may change while
/// this stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Sharding {
    /// The shards; an index into this is a [`ShardId`].
    pub shards: Vec<Arc<Shard>>,
    /// Where tables live that no distribution has.
    pub home: ShardId,
}

/// What the file says about the keys and tables of one sharded database.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredMap {
    /// Name of the database.
    pub database: String,
    /// Its map; the epoch is 1.
    pub map: Arc<ShardMap>,
    /// Distributions by hash whose ranges the file does not name.
    pub even: Vec<String>,
}

/// Where shard maps come from, when it is not the file.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogServers {
    /// A primary and its replicas.
    pub hosts: Vec<Arc<Host>>,
    /// Who logs in, and to which database.
    pub login: MonitorLogin,
    /// Period of looking at the epoch, and of reporting the own one.
    pub poll_interval: Duration,
    /// Copy of the maps.
    pub state_file: Option<PathBuf>,
}
