//! Owns the limit of open files of the process: each client and each server connection is one.

use crate::config::Config;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Files beside connections: event loops, logs, the HTTP port, control connections.
const OTHER_FILES: u64 = 128;

/// Raises the limit as far as the system allows, and says when that is too little for the
/// configuration.
pub(super) fn raise_limit(config: &Config) {
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    if limit.current != before
        && let Err(error) = setrlimit(Resource::Nofile, limit)
    {
        limit.current = before;
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let (needed, allowed) = (needed(config), limit.current.unwrap_or(u64::MAX));
    if needed > allowed {
        let max_clients = config.general.max_clients;
        tracing::warn!(
            allowed,
            needed,
            max_clients,
            "max_clients cannot be reached: the limit of open files (ulimit -n) is too low"
        );
    }
}

/// Files open when every limit of the configuration is reached, with one user per database.
fn needed(config: &Config) -> u64 {
    let servers = config.databases.iter().map(|database| {
        let pool = database.pool_size.saturating_add(database.waiting.reserve_size);
        let hosts = match &database.sharding {
            Some(sharding) => sharding.shards.iter().map(|shard| shard.hosts.len()).sum(),
            None => database.shard.hosts.len(),
        };
        pool.min(database.waiting.max_db_connections).saturating_mul(hosts)
    });
    let general = &config.general;
    let clients = general.max_clients.saturating_add(general.network.max_logins);
    let all = servers.fold(clients, usize::saturating_add);
    u64::try_from(all).unwrap_or(u64::MAX).saturating_add(OTHER_FILES)
}
