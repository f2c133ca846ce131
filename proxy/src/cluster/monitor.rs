//! Owns the monitor's I/O: one task per host that sends probes, and the loop that gives the
//! coordinator its time and reports. It decides nothing.

use super::Cluster;
use super::control::{ControlPool, ControlTarget};
use super::coordinator::{Coordinator, Poll, Report};
use crate::backend::connect::Connector;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Watches the hosts of a cluster until `shutdown` completes. To be run on a runtime of its own:
/// sessions rely on its being on time.
pub async fn monitor(
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    shutdown: impl Future<Output = ()>,
) {
    let hosts = cluster.hosts.len();
    // A host has at most one probe on its way, so neither side ever waits.
    let (report_sender, mut reports) = mpsc::channel(hosts.max(1));
    let mut tasks = JoinSet::new();
    let mut senders = Vec::with_capacity(hosts);
    for index in 0..hosts {
        let (sender, polls) = mpsc::channel(1);
        let pool = control_pool(&cluster, &connector, index);
        let timeout = cluster.shard.health.timeout;
        tasks.spawn(watch_host(pool, timeout, polls, report_sender.clone()));
        senders.push(sender);
    }
    let mut coordinator = Coordinator::new(Arc::clone(&cluster), Instant::now());
    let mut polls = Vec::with_capacity(hosts);
    tokio::pin!(shutdown);
    loop {
        let now = Instant::now();
        coordinator.polls(now, &mut polls);
        for poll in polls.drain(..) {
            if senders.get(poll.host).is_none_or(|sender| sender.try_send(poll).is_err()) {
                tracing::error!(host = poll.host, "the watcher of a host does not listen");
            }
        }
        let wake = coordinator.sleep(now);
        tokio::select! {
            () = &mut shutdown => break,
            () = tokio::time::sleep_until(wake.into()) => {}
            () = cluster.wake.notified() => {}
            report = reports.recv() => {
                if let Some(report) = report {
                    coordinator.report(report, Instant::now());
                }
            }
        }
        coordinator.awake();
    }
    tasks.shutdown().await;
}

fn control_pool(cluster: &Arc<Cluster>, connector: &Arc<Connector>, index: usize) -> ControlPool {
    let shard = cluster.shard();
    let target = ControlTarget {
        host: Arc::clone(&cluster.hosts[index].host),
        login: shard.monitor.clone(),
        database: shard.monitor.database.clone(),
        timeout: shard.health.timeout,
    };
    let lost = Arc::downgrade(cluster);
    ControlPool::new(Arc::clone(connector), target, move || {
        if let Some(cluster) = lost.upgrade() {
            cluster.connection_lost(index);
        }
    })
}

/// Sends the probes of one host. All of connecting, logging in and asking is limited by `timeout`.
async fn watch_host(
    pool: ControlPool,
    timeout: Duration,
    mut polls: mpsc::Receiver<Poll>,
    reports: mpsc::Sender<Report>,
) {
    while let Some(poll) = polls.recv().await {
        let started = Instant::now();
        let result = probe(&pool, timeout).await;
        let report = Report { poll, took: started.elapsed(), result };
        if reports.send(report).await.is_err() {
            return;
        }
    }
}

async fn probe(pool: &ControlPool, timeout: Duration) -> Result<super::probe::Seen, String> {
    let deadline = tokio::time::Instant::now() + timeout;
    let late = |_| format!("no answer within {} ms", timeout.as_millis());
    let connection = tokio::time::timeout_at(deadline, pool.get()).await.map_err(late)?;
    let mut connection = connection.map_err(|error| error.to_string())?;
    match tokio::time::timeout_at(deadline, connection.probe()).await {
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(error)) => {
            connection.abandon();
            Err(error.to_string())
        }
        Err(elapsed) => {
            connection.abandon();
            Err(late(elapsed))
        }
    }
}
