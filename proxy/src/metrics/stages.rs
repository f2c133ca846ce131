//! Owns latencies by route and stage: what a request waited for, and how long.
//!
//! Hardly any request waits for a server, so the hot path records one time, the total. Only those
//! that have waited are recorded by stage as well; what the others spent with their server is
//! their total, and is found by subtraction when somebody looks.

use super::Metrics;
use super::samples::Timings;
use super::worker::{ROUTES, RouteKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// A part of the time of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Between two requests of a transaction, while its server waits for the client.
    ClientWait,
    /// Waiting for a server connection.
    PoolWait,
    /// With a server.
    Server,
    /// From a request to the end of its answer.
    Total,
}

impl Stage {
    /// The stage as one lowercase word.
    pub fn word(self) -> &'static str {
        match self {
            Self::ClientWait => "client_wait",
            Self::PoolWait => "pool_wait",
            Self::Server => "server",
            Self::Total => "total",
        }
    }
}

/// Times of one worker and database.
#[derive(Debug, Default, Clone)]
pub(super) struct Latencies {
    pub(super) total: [Timings; ROUTES.len()],
    /// Each single wait.
    pub(super) pool_wait: Timings,
    pub(super) client_wait: Timings,
    waited: Option<Box<Waited>>,
}

/// Requests that have waited for a server.
#[derive(Debug, Default, Clone)]
struct Waited {
    pool: [Timings; ROUTES.len()],
    server: [Timings; ROUTES.len()],
    total: [Timings; ROUTES.len()],
}

impl Latencies {
    /// Adds a request that has `waited` for servers.
    pub(super) fn record(&mut self, kind: RouteKind, total: Duration, waited: Duration) {
        let kind = kind as usize;
        self.total[kind].record(total);
        let stages = self.waited.get_or_insert_default();
        stages.pool[kind].record(waited);
        stages.server[kind].record(total.saturating_sub(waited));
        stages.total[kind].record(total);
    }

    /// Times with a server, of the requests that had one.
    pub(super) fn server(&self, kind: RouteKind) -> Timings {
        if matches!(kind, RouteKind::Local | RouteKind::Refused) {
            return Timings::default();
        }
        let mut times = self.total[kind as usize].clone();
        if let Some(waited) = &self.waited {
            times.subtract(&waited.total[kind as usize]);
            times.merge(&waited.server[kind as usize]);
        }
        times
    }

    fn stages(&self, kind: RouteKind) -> [(Stage, Timings); 3] {
        let waited = self.waited.as_ref().map(|waited| waited.pool[kind as usize].clone());
        [
            (Stage::PoolWait, waited.unwrap_or_default()),
            (Stage::Server, self.server(kind)),
            (Stage::Total, self.total[kind as usize].clone()),
        ]
    }
}

/// Times of a database, route and stage; never empty.
#[derive(Debug)]
pub struct StageTimes {
    /// The database.
    pub database: String,
    /// Where the requests went.
    pub kind: RouteKind,
    /// Which part of their time.
    pub stage: Stage,
    /// The times.
    pub times: Timings,
}

impl Metrics {
    /// Latencies by database, route and stage, of all workers together.
    pub fn stages(&self) -> Vec<StageTimes> {
        let mut found: BTreeMap<(String, u8, Stage), (RouteKind, Timings)> = BTreeMap::new();
        let mut add = |database: &str, kind: RouteKind, stage, times: &Timings| {
            if times.count() > 0 {
                let key = (database.to_owned(), kind as u8, stage);
                found.entry(key).or_insert_with(|| (kind, Timings::default())).1.merge(times);
            }
        };
        for (database, worker) in self.by_database() {
            let latencies = worker.latencies();
            for kind in RouteKind::ALL {
                for (stage, times) in latencies.stages(kind) {
                    add(&database, kind, stage, &times);
                }
            }
            let (kind, wait) = (RouteKind::Transaction, &latencies.client_wait);
            add(&database, kind, Stage::ClientWait, wait);
        }
        let rows = found.into_iter().map(|((database, _, stage), (kind, times))| StageTimes {
            database,
            kind,
            stage,
            times,
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_and_what_did_not_are_both_in_the_stages() {
        let metrics = Metrics::new();
        let ms = Duration::from_millis;
        for worker in 0..2 {
            let counters = metrics.worker(worker, "app");
            for _ in 0..10 {
                counters.query(RouteKind::Write, ms(2));
            }
            counters.query_waited(RouteKind::Write, ms(90), ms(80));
            counters.query(RouteKind::Local, ms(1));
            counters.client_wait(ms(5));
        }
        let stages = metrics.stages();
        let of = |kind, stage| {
            let found = stages.iter().find(|row| row.kind == kind && row.stage == stage)?;
            let longest = found.times.quantile_us(1.0)?;
            Some((found.times.count(), found.times.sum().as_millis(), longest / 1_000))
        };
        let write = |stage| of(RouteKind::Write, stage);
        assert_eq!(write(Stage::Total), Some((22, 220, 90)));
        assert_eq!(write(Stage::PoolWait), Some((2, 160, 80)));
        assert_eq!(write(Stage::Server), Some((22, 60, 10)));
        assert_eq!(of(RouteKind::Local, Stage::Server), None, "there was no server");
        assert_eq!(of(RouteKind::Local, Stage::Total), Some((2, 2, 1)));
        assert_eq!(of(RouteKind::Transaction, Stage::ClientWait), Some((2, 10, 5)));
        assert_eq!(stages.len(), 5);
    }

    #[test]
    fn hosts_tell_what_they_have_done() {
        let metrics = Metrics::new();
        for worker in 0..2 {
            let host = metrics.host(worker, "main", "h:1");
            host.served(Duration::from_millis(3));
            host.waited(Duration::from_millis(7));
            host.failed();
        }
        let traffic = metrics.traffic();
        let [(key, host)] = traffic.iter().collect::<Vec<_>>()[..] else { panic!("{traffic:?}") };
        assert_eq!(*key, ("main".to_owned(), "h:1".to_owned()));
        assert_eq!((host.served.count(), host.pool_wait.count(), host.errors), (2, 2, 2));
        let text = metrics.scrape();
        let series =
            "pgmanifold_host_query_seconds_bucket{le=\"0.005\",shard=\"main\",host=\"h:1\"} 2";
        assert!(text.contains(series), "{text}");
        assert!(text.contains("pgmanifold_host_queries_total{shard=\"main\",host=\"h:1\"} 2"));
    }
}
