//! Owns what is seen from outside beyond plain counters: readiness, and the state of hosts and
//! pools at the moment of a scrape.

use super::Shared;
use crate::cluster::{Cluster, Role, WAIT_ENDS};
use crate::http::Ready;
use crate::metrics::{Samples, SourceGuard, table};
use crate::notify::Hub;
use crate::pool::manager::State;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What may be said of a shard's primary.
const PRIMARY_WORDS: [&str; 6] =
    ["up", "missing", "conflict", "outdated", "foreign", "not_checked"];

/// Adds hosts and pools to every scrape.
pub(super) fn register(shared: &Arc<Shared>) -> SourceGuard {
    let observed = Arc::downgrade(shared);
    shared.metrics.register_source(move |samples| {
        let Some(shared) = observed.upgrade() else { return };
        for (name, handle) in shared.loops.get().into_iter().flatten() {
            let tasks = handle.metrics().num_alive_tasks();
            samples.gauge(&table::TASKS, &[name], tasks as f64);
        }
        shared.tracer.collect(samples);
        let state = shared.state();
        let limit = state.config.general.max_clients as f64;
        samples.gauge(&table::CLIENTS_LIMIT, &[], limit);
        for cluster in state.clusters() {
            collect_cluster(&state, cluster, samples);
        }
        for sharded in state.sharded() {
            let labels = [sharded.name()];
            samples.gauge(&table::SHARD_MAP_EPOCH, &labels, sharded.epoch() as f64);
            let acknowledged = sharded.acknowledged_epoch() as f64;
            samples.gauge(&table::SHARD_MAP_ACKNOWLEDGED, &labels, acknowledged);
            let late = sharded.unacknowledged_for().as_secs_f64();
            samples.gauge(&table::SHARD_MAP_UNACKNOWLEDGED, &labels, late);
            let active = sharded.moves().iter().filter(|one| one.is_active()).count();
            samples.gauge(&table::MOVES_ACTIVE, &labels, active as f64);
        }
        for hub in state.hubs() {
            collect_hub(hub, samples);
        }
        for two_phase in state.two_phases() {
            two_phase.collect(samples);
        }
    })
}

fn collect_cluster(state: &State, cluster: &Arc<Cluster>, samples: &mut Samples) {
    let shard = cluster.shard().name.as_str();
    let generation = cluster.generation();
    collect_failover(cluster, samples);
    for (index, host) in cluster.hosts().iter().enumerate() {
        let address = host.host.address.to_string();
        let labels = [shard, address.as_str()];
        samples.gauge(&table::HOST_UP, &labels, f64::from(u8::from(host.is_up())));
        samples.gauge(&table::HOST_BANNED, &labels, f64::from(u8::from(host.is_banned())));
        samples.gauge(&table::HOST_FENCED, &labels, f64::from(u8::from(host.is_fenced())));
        samples.counter(&table::HOST_LOSSES, &labels, u64::from(host.losses()));
        for word in ["closed", "open", "half_open"] {
            let is = f64::from(u8::from(host.breaker.circuit().word() == word));
            samples.gauge(&table::HOST_CIRCUIT, &[shard, &address, word], is);
        }
        for (role, word) in [(Role::Primary, "primary"), (Role::Replica, "replica")] {
            let is = f64::from(u8::from(host.role() == role));
            samples.gauge(&table::HOST_ROLE, &[shard, &address, word], is);
        }
        if host.role() == Role::Replica {
            if let Some(bytes) = host.lag_bytes(generation) {
                samples.gauge(&table::REPLICA_LAG_BYTES, &labels, bytes as f64);
            }
            if let Some(lag_ms) = host.lag_ms(generation) {
                samples.gauge(&table::REPLICA_LAG_SECONDS, &labels, lag_ms as f64 / 1000.0);
            }
        }
        let numbers = state.host_numbers(cluster, index);
        for (count, word) in [
            (numbers.connecting, "connecting"),
            (numbers.idle, "idle"),
            (numbers.in_use(), "active"),
        ] {
            samples.gauge(&table::SERVERS, &[shard, &address, word], count as f64);
        }
        samples.gauge(&table::POOL_WAITING, &labels, numbers.waiting as f64);
        let oldest_wait = numbers.oldest_wait.as_secs_f64();
        samples.gauge(&table::POOL_OLDEST_WAIT, &labels, oldest_wait);
    }
}

fn collect_hub(hub: &Hub, samples: &mut Samples) {
    let numbers = hub.numbers();
    let labels = [hub.database_name()];
    let connected = f64::from(u8::from(numbers.connected));
    samples.gauge(&table::LISTENER_CONNECTIONS, &labels, connected);
    samples.gauge(&table::LISTENING_SESSIONS, &labels, numbers.sessions as f64);
    samples.gauge(&table::LISTENING_CHANNELS, &labels, numbers.channels as f64);
    samples.counter(&table::NOTIFICATIONS, &labels, numbers.delivered);
}

fn collect_failover(cluster: &Cluster, samples: &mut Samples) {
    let shard = cluster.shard().name.as_str();
    for word in PRIMARY_WORDS {
        let is = f64::from(u8::from(cluster.primary_word() == word));
        samples.gauge(&table::PRIMARY_STATE, &[shard, word], is);
    }
    samples.counter(&table::PRIMARY_CHANGES, &[shard], cluster.generation());
    samples.gauge(&table::FAILOVER_WAITING, &[shard], cluster.waiting() as f64);
    for (end, word) in WAIT_ENDS {
        samples.counter(&table::FAILOVER_WAITS, &[shard, word], cluster.waits_ended(end));
    }
}

/// Ends a period of the console's averages every `stats_period_s`.
pub(super) async fn take_averages(shared: Arc<Shared>) {
    loop {
        shared.metrics.periods.turn(Instant::now(), shared.metrics.totals());
        let period = shared.state().config.general.stats_period;
        tokio::time::sleep(period).await;
    }
}

/// What is missing before every client can be served, and which shards only some statements miss.
pub(super) fn readiness(shared: &Shared) -> Ready {
    let state = shared.state();
    let mut ready = Ready::default();
    if shared.draining.load(Ordering::Relaxed) {
        ready.missing.push("draining".to_owned());
    }
    for cluster in state.clusters() {
        if !cluster.hosts().iter().any(|host| host.is_up()) {
            let name = &cluster.shard().name;
            let lines =
                if state.is_needed(cluster) { &mut ready.missing } else { &mut ready.notes };
            lines.push(format!("shard {name}: no server is reachable"));
        }
    }
    let unmapped = state.sharded().filter(|sharded| sharded.epoch() == 0);
    let unmapped = unmapped.map(|s| format!("database {}: its shard map is not known", s.name()));
    ready.missing.extend(unmapped);
    ready
}
