//! Owns what was counted until the last sample, and makes the next one: its difference to what is
//! counted now. It also gives databases and hosts their places, once and for all.

use super::point::{DatabasePoint, HostPoint, Latency, Sample, small};
use super::{ALL, DATABASES_MAX, HOSTS_MAX, OTHER};
use crate::metrics::{Samples, Timings, table};
use std::time::{Duration, SystemTime};

/// Counters of one database, since the start.
#[derive(Debug, Default, Clone)]
struct Counted {
    queries: f64,
    errors: f64,
    total: Timings,
    wait: Timings,
    /// Gauges: of now, not since the start.
    clients: [f64; 3],
}

/// Counters of one host, since the start, and its gauges.
#[derive(Debug, Default, Clone)]
struct CountedHost {
    queries: f64,
    errors: f64,
    failures: f64,
    total: Timings,
    active: f64,
    waiting: f64,
    lag_ms: Option<f64>,
}

/// Everything counted until the last sample.
#[derive(Debug, Default)]
pub(super) struct Before {
    databases: Places<String>,
    hosts: Places<(String, String)>,
    counted: Vec<Counted>,
    counted_hosts: Vec<CountedHost>,
}

impl Before {
    pub(super) fn databases(&self) -> Vec<String> {
        let names = self.databases.names.iter().cloned();
        let other = self.databases.overflown.then(|| OTHER.to_owned());
        std::iter::once(ALL.to_owned()).chain(names).chain(other).collect()
    }

    pub(super) fn hosts(&self) -> Vec<(String, String)> {
        let other = self.hosts.overflown.then(|| (OTHER.to_owned(), OTHER.to_owned()));
        self.hosts.names.iter().cloned().chain(other).collect()
    }

    /// The difference of `gathered` to what was gathered before.
    pub(super) fn next(&mut self, gathered: &Samples, at: SystemTime, took: Duration) -> Sample {
        let now = self.count(gathered);
        let mut databases = Vec::with_capacity(now.len() + 1);
        let (mut all, mut all_total, mut all_wait) = <(DatabasePoint, Timings, Timings)>::default();
        let nothing = Counted::default();
        for (place, counted) in now.iter().enumerate() {
            let before = self.counted.get(place).unwrap_or(&nothing);
            let (total, wait) =
                (counted.total.since(&before.total), counted.wait.since(&before.wait));
            let [clients, active, waiting] = counted.clients.map(small);
            let mut point = DatabasePoint {
                queries: small(counted.queries - before.queries),
                errors: small(counted.errors - before.errors),
                clients,
                active,
                waiting,
                ..DatabasePoint::default()
            };
            add(&mut all, &point);
            time(&mut point, &total, &wait);
            all_total.merge(&total);
            all_wait.merge(&wait);
            databases.push(point);
        }
        time(&mut all, &all_total, &all_wait);
        databases.insert(0, all);
        self.counted = now;
        Sample { at, took, databases: databases.into(), hosts: self.host_points(gathered) }
    }

    /// What is counted now, by place.
    fn count(&mut self, gathered: &Samples) -> Vec<Counted> {
        let mut now: Vec<Counted> = Vec::new();
        let mut at = |labels: &[String], change: &mut dyn FnMut(&mut Counted)| {
            let Some(name) = labels.first() else { return };
            let place = self.databases.place(name, DATABASES_MAX);
            if now.len() <= place {
                now.resize_with(place + 1, Counted::default);
            }
            now.get_mut(place).into_iter().for_each(change);
        };
        for (labels, value) in gathered.values(&table::QUERIES) {
            at(labels, &mut |counted| counted.queries += value);
        }
        for (labels, value) in gathered.values(&table::ERRORS) {
            at(labels, &mut |counted| counted.errors += value);
        }
        for (labels, timings) in gathered.distributions(&table::QUERY_SECONDS) {
            at(labels, &mut |counted| counted.total.merge(timings));
        }
        for (labels, timings) in gathered.distributions(&table::POOL_WAIT_SECONDS) {
            at(labels, &mut |counted| counted.wait.merge(timings));
        }
        for (labels, value) in gathered.values(&table::CLIENTS) {
            let state = labels.get(1).map_or("", String::as_str);
            at(labels, &mut |counted| {
                let [all, active, waiting] = &mut counted.clients;
                *all += value;
                match state {
                    "active" => *active += value,
                    "waiting" => *waiting += value,
                    _ => {}
                }
            });
        }
        now
    }

    fn host_points(&mut self, gathered: &Samples) -> Box<[HostPoint]> {
        let now = self.count_hosts(gathered);
        let nothing = CountedHost::default();
        let point = |(place, counted): (usize, &CountedHost)| {
            let before = self.counted_hosts.get(place).unwrap_or(&nothing);
            HostPoint {
                queries: small(counted.queries - before.queries),
                errors: small(counted.errors - before.errors),
                latency: latency(&counted.total.since(&before.total)),
                failures: small(counted.failures - before.failures),
                active: small(counted.active),
                waiting: small(counted.waiting),
                lag_ms: counted.lag_ms.map(small),
            }
        };
        let points = now.iter().enumerate().map(point).collect();
        self.counted_hosts = now;
        points
    }

    /// What is counted now of each host, by place.
    fn count_hosts(&mut self, gathered: &Samples) -> Vec<CountedHost> {
        let mut now: Vec<CountedHost> = Vec::new();
        let mut at = |labels: &[String], change: &mut dyn FnMut(&mut CountedHost)| {
            let [shard, host, ..] = labels else { return };
            let place = self.hosts.place(&(shard.clone(), host.clone()), HOSTS_MAX);
            if now.len() <= place {
                now.resize_with(place + 1, CountedHost::default);
            }
            now.get_mut(place).into_iter().for_each(change);
        };
        for (labels, value) in gathered.values(&table::SERVERS) {
            if labels.get(2).is_some_and(|state| state == "active") {
                at(labels, &mut |host| host.active += value);
            }
        }
        for (labels, value) in gathered.values(&table::POOL_WAITING) {
            at(labels, &mut |host| host.waiting += value);
        }
        for (labels, value) in gathered.values(&table::REPLICA_LAG_SECONDS) {
            // Of several hosts in one place the worst is shown.
            let worst = |host: &CountedHost| host.lag_ms.unwrap_or(0.0).max(value * 1e3);
            at(labels, &mut |host| host.lag_ms = Some(worst(host)));
        }
        for (labels, value) in gathered.values(&table::SERVER_CONNECT_FAILURES) {
            at(labels, &mut |host| host.failures += value);
        }
        for (labels, value) in gathered.values(&table::HOST_QUERIES) {
            at(labels, &mut |host| host.queries += value);
        }
        for (labels, value) in gathered.values(&table::HOST_ERRORS) {
            at(labels, &mut |host| host.errors += value);
        }
        for (labels, timings) in gathered.distributions(&table::HOST_QUERY_SECONDS) {
            at(labels, &mut |host| host.total.merge(timings));
        }
        now
    }
}

/// Adds what adds up.
fn add(all: &mut DatabasePoint, point: &DatabasePoint) {
    all.queries = all.queries.saturating_add(point.queries);
    all.errors = all.errors.saturating_add(point.errors);
    all.clients = all.clients.saturating_add(point.clients);
    all.active = all.active.saturating_add(point.active);
    all.waiting = all.waiting.saturating_add(point.waiting);
}

/// Sets what comes from distributions.
fn time(point: &mut DatabasePoint, total: &Timings, wait: &Timings) {
    point.latency = latency(total);
    point.total_sum_us = total.sum().as_secs_f32() * 1e6;
    point.waits = u32::try_from(wait.count()).unwrap_or(u32::MAX);
    point.wait_sum_us = wait.sum().as_secs_f32() * 1e6;
    point.wait_p95_us = quantile_us(wait, 0.95).unwrap_or(0);
}

fn latency(timings: &Timings) -> Option<Latency> {
    Some(Latency {
        p50_us: quantile_us(timings, 0.5)?,
        p95_us: quantile_us(timings, 0.95)?,
        p99_us: quantile_us(timings, 0.99)?,
    })
}

fn quantile_us(timings: &Timings, quantile: f64) -> Option<u32> {
    Some(u32::try_from(timings.quantile_us(quantile)?).unwrap_or(u32::MAX))
}

/// Places given to names in the order they came, up to a bound; all further ones share one.
#[derive(Debug)]
struct Places<N> {
    names: Vec<N>,
    overflown: bool,
}

impl<N> Default for Places<N> {
    fn default() -> Self {
        Self { names: Vec::new(), overflown: false }
    }
}

impl<N: PartialEq + Clone> Places<N> {
    fn place(&mut self, name: &N, max: usize) -> usize {
        if let Some(place) = self.names.iter().position(|known| known == name) {
            return place;
        }
        if self.names.len() < max {
            self.names.push(name.clone());
            return self.names.len() - 1;
        }
        self.overflown = true;
        max
    }
}
