//! Fills the tables of hosts and shards.

use super::Fill;
use crate::cluster::{Cluster, HostState, Lsn, Role};
use crate::console::time::utc_of;
use crate::metrics::HostTraffic;
use crate::pool::manager::{Running, UserPools};
use crate::pool::{PoolLimits, PoolNumbers};
use crate::server::Shared;
use pgmanifold_console::Value;
use pgmanifold_console::value::Row;
use std::sync::Arc;
use std::time::Duration;

pub(super) const FILLS: &[(&str, Fill)] = &[("hosts", hosts), ("shards", shards)];

fn hosts(shared: &Arc<Shared>) -> Vec<Row> {
    let state = shared.state();
    let pools = state.all_pools();
    let traffic = shared.metrics.traffic();
    let idle = HostTraffic::default();
    let mut rows = Vec::new();
    for cluster in state.clusters() {
        let own: Vec<&UserPools> = pools
            .iter()
            .filter(|pools| Arc::ptr_eq(&pools.cluster, cluster))
            .map(AsRef::as_ref)
            .collect();
        for (index, host) in cluster.hosts().iter().enumerate() {
            let key = (cluster.shard().name.clone(), host.host.address.to_string());
            let done = traffic.get(&key).unwrap_or(&idle);
            rows.push(host_row(cluster, (index, host), &own, done));
        }
    }
    rows
}

fn host_row(
    cluster: &Cluster,
    (index, host): (usize, &HostState),
    pools: &[&UserPools],
    done: &HostTraffic,
) -> Row {
    let generation = cluster.generation();
    let is_primary = cluster.primary().is_ok_and(|primary| primary == index);
    let lsn = match is_primary {
        true => cluster.flushed(),
        false => host.replay_lsn(generation).map(Lsn),
    };
    let replica = host.role() == Role::Replica;
    let lag = |lag: Option<u64>| lag.filter(|_| replica);
    let numbers: PoolNumbers =
        pools.iter().filter_map(|own| own.pools.get(index)).map(|pool| pool.numbers()).sum();
    let size: usize = pools.iter().map(|own| size_of(own)).sum();
    vec![
        cluster.shard().name.as_str().into(),
        host.host.address.to_string().into(),
        host.role().word().into(),
        standing(cluster, index, host).into(),
        host.breaker.circuit().word().into(),
        host.banned_until().filter(|_| host.is_banned()).map(utc_of).into(),
        host.is_fenced().into(),
        Some(host.timeline()).filter(|timeline| *timeline != 0).into(),
        lsn.map(|lsn| lsn.to_string()).into(),
        lag(host.lag_bytes(generation)).into(),
        lag(host.lag_ms(generation)).into(),
        Some(host.latency_us()).filter(|took| *took != 0).into(),
        int4(numbers.connecting),
        int4(numbers.idle),
        int4(numbers.in_use()),
        int4(size),
        int4(numbers.waiting),
        micros(numbers.oldest_wait),
        done.served.count().into(),
        done.errors.into(),
        micros(done.served.sum()),
        done.served.quantile_us(0.5).into(),
        done.served.quantile_us(0.99).into(),
        micros(done.pool_wait.sum()),
        host.failures().into(),
        int4(host.losses() as usize),
        host.last_error().into(),
    ]
}

/// Most connections of one pool.
fn size_of(pools: &UserPools) -> usize {
    let limits = PoolLimits::new(&pools.database, &pools.user);
    limits.size.saturating_add(limits.reserve_size)
}

/// The worst of what holds.
fn standing(cluster: &Cluster, index: usize, host: &HostState) -> &'static str {
    match () {
        () if host.is_fenced() => "fenced",
        () if !host.is_up() => "down",
        () if host.is_drained() => "drained",
        () if host.is_banned() => "banned",
        () if cluster.is_strange(index) => "not following",
        () => "up",
    }
}

fn micros(time: Duration) -> Value {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).into()
}

/// A count in a column of four bytes.
fn int4(count: usize) -> Value {
    i32::try_from(count).unwrap_or(i32::MAX).into()
}

fn shards(shared: &Arc<Shared>) -> Vec<Row> {
    let state = shared.state();
    let running = state.running();
    state.clusters().map(|cluster| shard_row(cluster, &running)).collect()
}

fn shard_row(cluster: &Arc<Cluster>, running: &[Running]) -> Row {
    let here = |known: &Arc<Cluster>| Arc::ptr_eq(known, cluster);
    let lives = |database: &&Running| database.clusters.iter().any(here);
    let databases: Vec<&str> =
        running.iter().filter(lives).map(|database| database.database.name.as_str()).collect();
    let primary = cluster.primary().ok().and_then(|index| cluster.hosts().get(index));
    let (mut in_doubt, mut readiness) = (0_u64, None);
    for database in running {
        let place = database.clusters.iter().position(here);
        let Some((two_phase, place)) = database.two_phase.as_ref().zip(place) else { continue };
        in_doubt += two_phase.in_doubt(place);
        // What keeps one database from it is told, whatever the others say.
        match (two_phase.readiness(place), &readiness) {
            (Some(Err(why)), _) => readiness = Some(why),
            (Some(Ok(())), None) => readiness = Some("ready".to_owned()),
            (Some(Ok(())), Some(_)) | (None, _) => {}
        }
    }
    vec![
        cluster.shard().name.as_str().into(),
        primary.map(|host| host.host.address.to_string()).into(),
        cluster.primary_word().into(),
        cluster.generation().into(),
        int4(cluster.hosts().len()),
        int4(cluster.hosts().iter().filter(|host| host.is_up()).count()),
        int4(cluster.usable_replicas()),
        databases.join(",").into(),
        int4(cluster.waiting()),
        in_doubt.into(),
        readiness.into(),
    ]
}
