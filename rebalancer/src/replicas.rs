//! Owns waiting for replicas: until they have replayed what their primary has written.

use crate::config::ShardConfig;
use crate::connect::{self, Reached, Session};
use crate::error::Error;
use std::time::{Duration, Instant};

/// Longest wait for one replica, and pause between two looks.
const REPLAY_WAIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// The replicas of a shard.
///
/// # Errors
/// One of the hosts cannot be reached; not exactly one of them is a primary.
pub async fn of(shard: &ShardConfig) -> Result<Vec<Session>, Error> {
    let hosts = connect::hosts(&shard.server, &format!("shard {}", shard.name)).await;
    let hosts = hosts.into_iter().collect::<Result<Vec<Reached>, Error>>()?;
    let primaries = hosts.iter().filter(|host| !host.is_replica).count();
    if primaries != 1 {
        return Err(Error::Stopped(format!(
            "shard {}: {primaries} of its hosts are primaries, and there must be one",
            shard.name
        )));
    }
    let replicas = hosts.into_iter().filter(|host| host.is_replica);
    Ok(replicas.map(|host| host.session).collect())
}

/// How far a primary has written for good: everything that was committed.
///
/// # Errors
/// What it says.
pub async fn position(primary: &Session) -> Result<String, Error> {
    let position = primary.value("select pg_catalog.pg_current_wal_flush_lsn()").await?;
    Ok(position.unwrap_or_default())
}

/// The question whether a replica of that primary has replayed as much. It says nothing of one that
/// does not follow it any more; proxies read on none of those.
pub fn has_replayed(position: &str) -> String {
    format!("select pg_catalog.pg_last_wal_replay_lsn() >= '{position}'")
}

/// Waits until a replica answers this question with yes.
///
/// # Errors
/// What it says; that it takes too long: `otherwise` says what could happen.
pub async fn wait(replica: &Session, question: &str, otherwise: &str) -> Result<(), Error> {
    let begun = Instant::now();
    while replica.value(question).await?.as_deref() != Some("t") {
        if begun.elapsed() > REPLAY_WAIT {
            return Err(Error::Stopped(format!(
                "{} has not replayed for {} s what its primary wrote: {otherwise}; mend its \
                 replication, or take it out of the configuration of proxies and rebalancer",
                replica.place,
                REPLAY_WAIT.as_secs()
            )));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
