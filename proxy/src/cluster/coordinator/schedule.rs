//! Owns when each host is probed next: often while a reader waits, rarely otherwise.

use super::{ASKED_LINGER, BACK_OFF_PART, Coordinator, PROBE_SPACING, SEARCH_PART, UNASKED_FACTOR};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Failures after which the time between checks does not grow further, whatever the interval is.
const BACK_OFF_DOUBLINGS_MAX: u32 = 16;

impl Coordinator {
    /// `None` while a probe is on its way.
    pub(super) fn due_at(&self, index: usize, now: Instant) -> Option<Instant> {
        let record = &self.records[index];
        if record.busy {
            return None;
        }
        let Some(last) = record.last_poll else { return Some(now) };
        let mut period = self.period(index, now);
        if self.cluster.hosts[index].probe_asked() {
            let up = record.seen.is_some();
            let sample_interval = self.cluster.shard.health.sample_interval;
            period = period.min(if up { sample_interval } else { PROBE_SPACING });
        }
        Some(last + period)
    }

    fn period(&self, index: usize, now: Instant) -> Duration {
        if self.primary() == Some(index) {
            let pending = self.cluster.clock.pending();
            let newest = self.cluster.history().newest().map_or(0, |sample| sample.number);
            return match pending.written || self.needed > newest {
                _ if pending.wanted => Duration::ZERO,
                true if self.has_followers() => self.waiting_period(now),
                _ => self.idle_period(),
            };
        }
        let record = &self.records[index];
        if record.follows && (self.was_asked(now) || self.is_behind(index)) {
            let back_off = now.saturating_duration_since(self.last_event) / BACK_OFF_PART;
            return back_off.max(self.waiting_period(now)).min(self.idle_period());
        }
        match record.seen {
            None => self.return_period(index),
            Some(_) if self.primary().is_none() => self.search_period(now),
            Some(_) => self.idle_period(),
        }
    }

    /// Period while there is no primary: any host that is up may be promoted. Often while a
    /// statement waits for it, else less and less.
    fn search_period(&self, now: Instant) -> Duration {
        let missing = self.missing_since.map_or(Duration::ZERO, |since| now - since);
        let waiting = self.cluster.waiting() > 0;
        let back_off = if waiting { Duration::ZERO } else { missing / SEARCH_PART };
        back_off.max(PROBE_SPACING).min(self.idle_period())
    }

    /// Period of checks of a host that is down: twice as long after each failure, up to that of
    /// all health checks, with jitter.
    fn return_period(&self, index: usize) -> Duration {
        let interval = self.cluster.shard.health.interval;
        let failures = self.cluster.hosts[index].failures_in_row();
        let doublings = failures.saturating_sub(1).min(BACK_OFF_DOUBLINGS_MAX);
        let period = (PROBE_SPACING * (1 << doublings)).min(interval);
        period.mul_f64(self.records[index].jitter)
    }

    /// A reader was refused a replica not long ago.
    fn was_asked(&self, now: Instant) -> bool {
        let linger = self.cluster.shard.health.sample_interval * ASKED_LINGER;
        self.last_asked.is_some_and(|asked| now < asked + linger)
    }

    /// Period while a write is not covered. Sessions that only write do not wait for replicas, so
    /// samples hurry only when a reader was refused.
    fn waiting_period(&self, now: Instant) -> Duration {
        let hurry = self.cluster.shard.health.sample_interval;
        if self.was_asked(now) { hurry } else { hurry * UNASKED_FACTOR }
    }

    /// Period while nobody waits: that of health checks, or shorter for lag figures.
    pub(super) fn idle_period(&self) -> Duration {
        let cluster = &self.cluster;
        let lag_ms = cluster.lag_required_ms.load(Ordering::Acquire);
        let lag_ms = lag_ms.min(cluster.lag_wanted_ms.load(Ordering::Acquire));
        let lag = Duration::from_millis(lag_ms.min(self.lag_wanted_before_ms));
        lag.max(cluster.shard.health.sample_interval).min(cluster.shard.health.interval)
    }

    fn is_behind(&self, index: usize) -> bool {
        self.cluster.hosts[index].covered_sample(self.generation, false) < self.needed
    }

    fn has_followers(&self) -> bool {
        self.records.iter().any(|record| record.follows)
    }
}
