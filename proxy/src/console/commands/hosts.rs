//! Owns the commands about hosts: BAN and UNBAN keep reads from a replica, DRAIN takes everything
//! from it. A primary is left alone: which host is the primary, and when, is the servers' business.

use crate::cluster::{Cluster, HostState, Role};
use crate::pool::Pool;
use crate::pool::manager::State;
use crate::server::Shared;
use crate::wire::error::SqlError;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Every shard that has the host, and the host's index there.
type Found = Vec<(Arc<Cluster>, usize)>;

/// `BAN host [seconds]`
pub(super) fn ban(shared: &Shared, host: &str, seconds: Option<u32>) -> Result<(), SqlError> {
    let found = replicas(shared, host, "banned")?;
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    for (cluster, host) in hosts(&found) {
        cluster.ban_by_hand(host, until);
    }
    Ok(())
}

/// `UNBAN host`
pub(super) fn unban(shared: &Shared, host: &str) -> Result<(), SqlError> {
    let found = find(shared, host)?;
    // Every shard that has the host, not only the first.
    let ended = hosts(&found).filter(|(cluster, host)| cluster.unban(host)).count();
    match ended {
        0 => Err(SqlError::error("55000", format!("host {host} is neither banned nor drained"))),
        _ => Ok(()),
    }
}

/// `DRAIN host`
pub(super) async fn drain(shared: &Shared, host: &str) -> Result<(), SqlError> {
    let found = replicas(shared, host, "drained")?;
    for (cluster, host) in hosts(&found) {
        cluster.drain(host);
    }
    let drained: Vec<_> = hosts(&found).map(|(_, host)| host.host.address.clone()).collect();
    let all = Arc::clone(shared.state().levers());
    let pools = || -> Vec<Arc<Pool>> {
        let pools = all.all().into_iter().flat_map(|lever| lever.pools());
        pools.filter(|pool| drained.contains(&pool.host().address)).collect()
    };
    // Those made from now on keep nothing of themselves.
    pools().iter().for_each(|pool| pool.drain());
    let is_drained = || hosts(&found).any(|(_, host)| host.is_drained());
    all.until(|| !is_drained() || pools().iter().all(|pool| pool.numbers().open == 0)).await;
    Ok(())
}

fn hosts(found: &Found) -> impl Iterator<Item = (&Arc<Cluster>, &HostState)> {
    found.iter().filter_map(|(cluster, index)| Some((cluster, cluster.hosts().get(*index)?)))
}

/// As `find`; refused when the host is a primary.
fn replicas(shared: &Shared, host: &str, what: &str) -> Result<Found, SqlError> {
    let found = find(shared, host)?;
    let is_primary = |(_, host): (&Arc<Cluster>, &HostState)| host.role() == Role::Primary;
    let primary = hosts(&found).any(is_primary);
    match primary {
        true => Err(SqlError::error("55000", format!("a primary cannot be {what}"))
            .detail(format!("Host {host} is a primary; its clients have nowhere else to go."))
            .hint("Promote a replica first. PAUSE lets clients wait meanwhile.")),
        false => Ok(found),
    }
}

/// The hosts with this address; without a port when it is the only one of that name.
fn find(shared: &Shared, name: &str) -> Result<Found, SqlError> {
    let state = shared.state();
    let exact = with(&state, |address| address == name);
    let found = match exact.is_empty() {
        true => with(&state, |address| address.rsplit_once(':').is_some_and(|(h, _)| h == name)),
        false => exact,
    };
    let mut addresses: Vec<String> =
        hosts(&found).map(|(_, h)| h.host.address.to_string()).collect();
    addresses.sort();
    addresses.dedup();
    match addresses.len() {
        0 => Err(SqlError::error("42704", format!("no such host: {name}"))
            .hint("SHOW HOSTS lists them.")),
        1 => Ok(found),
        _ => Err(SqlError::error("42702", format!("host \"{name}\" is ambiguous"))
            .detail(format!("It may be one of {}.", addresses.join(", ")))
            .hint("Give the port too.")),
    }
}

fn with(state: &State, is: impl Fn(&str) -> bool) -> Found {
    let clusters = state.clusters();
    let all = clusters.flat_map(|cluster| {
        let hosts = cluster.hosts().iter().enumerate();
        hosts.map(move |(index, host)| (cluster, index, host.host.address.to_string()))
    });
    let found = all.filter(|(_, _, address)| is(address));
    found.map(|(cluster, index, _)| (Arc::clone(cluster), index)).collect()
}
