//! Owns what is remembered of the last hour: traffic, errors, latencies, waits, clients and lag, by
//! database and by host, as samples of the one registry at a fixed interval. Its memory has a bound.
//! It counts nothing itself and decides nothing.

mod before;
mod point;

pub use point::{DatabasePoint, HostPoint, Latency, Sample};

use crate::metrics::Samples;
use before::Before;
use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Time between two samples.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);
/// Most samples kept: those of an hour.
pub const SAMPLES_MAX: usize = 360;
/// Most databases that are told apart; all further ones are one, called [`OTHER`].
pub const DATABASES_MAX: usize = 32;
/// Most hosts that are told apart.
pub const HOSTS_MAX: usize = 64;
/// Name of the row that stands for all that are not told apart.
pub const OTHER: &str = "other";
/// Name of the row of all databases together.
pub const ALL: &str = "all";

/// Most memory of all samples, in bytes.
pub const SAMPLES_BYTES_MAX: usize = SAMPLES_MAX
    * (size_of::<Sample>()
        + (DATABASES_MAX + 2) * size_of::<DatabasePoint>()
        + (HOSTS_MAX + 1) * size_of::<HostPoint>());

// Beside it are two distributions per database and one per host, of 26 KiB each at most.
const _: () = assert!(SAMPLES_BYTES_MAX < 2 << 20);

/// The last hour.
#[derive(Debug, Default)]
pub struct History {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    samples: VecDeque<Arc<Sample>>,
    before: Before,
}

/// What was remembered at a moment.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    /// The samples, oldest first.
    pub samples: Vec<Arc<Sample>>,
    /// Names of the databases, by their place in a sample; the first is [`ALL`].
    pub databases: Vec<String>,
    /// Shards and addresses of the hosts, by their place in a sample.
    pub hosts: Vec<(String, String)>,
}

impl History {
    /// Remembers what was counted since the last call, `took` ago, under the time `at`.
    pub fn add(&self, gathered: &Samples, at: SystemTime, took: Duration) {
        let mut kept = self.kept();
        let sample = kept.before.next(gathered, at, took);
        if kept.samples.len() == SAMPLES_MAX {
            kept.samples.pop_front();
        }
        kept.samples.push_back(Arc::new(sample));
    }

    /// What is remembered now.
    pub fn recent(&self) -> Recent {
        let kept = self.kept();
        Recent {
            samples: kept.samples.iter().cloned().collect(),
            databases: kept.before.databases(),
            hosts: kept.before.hosts(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Samples stay meaningful after a panic elsewhere.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// The place of a host.
    pub fn host(&self, shard: &str, address: &str) -> Option<usize> {
        self.hosts.iter().position(|(s, a)| s == shard && a == address)
    }

    /// The newest point of a database.
    pub fn last(&self, database: usize) -> Option<(&Sample, &DatabasePoint)> {
        let sample = self.samples.last()?;
        Some((sample, sample.databases.get(database)?))
    }
}

/// Adds a sample at every interval, for ever. Runs on the control thread.
pub async fn keep(history: Arc<History>, metrics: Arc<crate::metrics::Metrics>) {
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    // The first tick is at once: nothing was counted yet.
    let mut last = ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = tokio::time::Instant::now();
        history.add(&metrics.gather(), SystemTime::now(), now - last);
        last = now;
    }
}

#[cfg(test)]
mod tests;
