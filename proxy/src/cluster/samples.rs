//! Owns the recent samples of the primary's WAL position: which of them a replay position covers,
//! and how old a replica is by them. Pure: time comes in as an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most samples kept. When full, every second one of the older half is dropped, so that a replica
/// hours behind still finds one; dropping a sample only makes covers more cautious.
const SAMPLES_MAX: usize = 512;

/// The primary's WAL position, seen by a query that was sent after `started`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) number: u64,
    pub(super) started: Instant,
    /// `pg_current_wal_flush_lsn()`: covers every synchronous commit before `started`.
    pub(super) flush: u64,
    /// `pg_current_wal_insert_lsn()`: covers every commit before `started`.
    pub(super) insert: u64,
}

/// What a replay position amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Covered {
    /// Newest sample whose flushed position was replayed; 0 for none.
    pub(super) sample: u64,
    /// Newest sample whose insert position was replayed; 0 for none.
    pub(super) insert_sample: u64,
    /// Distance to the newest flushed position.
    pub(super) lag_bytes: u64,
    /// Start of the newest covered sample, unless that is the newest of all (then nothing newer
    /// is known to exist). When not even the oldest kept sample is covered, the start of that one:
    /// the replica is at least so old.
    pub(super) behind_since: Option<Instant>,
}

impl Covered {
    /// Age of the data, as far as the samples tell.
    pub(super) fn lag(&self, now: Instant) -> Duration {
        self.behind_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// Samples of one generation, oldest first; numbers and flushed positions only grow.
#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<Sample>);

impl Samples {
    /// Adds the newest sample. False (and nothing added) when the flushed position went backwards,
    /// which one timeline of one server never does.
    pub(super) fn push(&mut self, sample: Sample) -> bool {
        if let Some(last) = self.0.back_mut() {
            if sample.flush < last.flush {
                return false;
            }
            // Nothing was written between the two: whoever covers one covers the other.
            if (sample.flush, sample.insert) == (last.flush, last.insert) {
                *last = sample;
                return true;
            }
        }
        if self.0.len() >= SAMPLES_MAX {
            self.thin();
        }
        self.0.push_back(sample);
        true
    }

    fn thin(&mut self) {
        let mut index = 0;
        self.0.retain(|_| {
            index += 1;
            index > SAMPLES_MAX / 2 || index % 2 == 1
        });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn newest(&self) -> Option<&Sample> {
        self.0.back()
    }

    /// The first of those after this number.
    pub(super) fn after(&self, number: u64) -> Option<&Sample> {
        self.0.get(self.0.partition_point(|sample| sample.number <= number))
    }

    /// What a replica on this timeline that replayed up to `replay` has. `None` before the first
    /// sample.
    pub(super) fn covered(&self, replay: u64) -> Option<Covered> {
        let newest = self.0.back()?;
        let count = self.0.partition_point(|sample| sample.flush <= replay);
        let last = count.checked_sub(1).and_then(|index| self.0.get(index));
        let behind_since = match last {
            Some(last) if last.number == newest.number => None,
            Some(last) => Some(last.started),
            None => self.0.front().map(|oldest| oldest.started),
        };
        // The insert position is never behind the flushed one, so this looks back from there.
        let insert_sample =
            self.0.range(..count).rev().find(|sample| sample.insert <= replay).map(|s| s.number);
        Some(Covered {
            sample: last.map_or(0, |last| last.number),
            insert_sample: insert_sample.unwrap_or(0),
            lag_bytes: newest.flush.saturating_sub(replay),
            behind_since,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: u64, start: Instant, flush: u64, insert: u64) -> Sample {
        let started = start + Duration::from_millis(10 * number);
        Sample { number, started, flush, insert }
    }

    #[test]
    fn covers_by_flush_and_by_insert_position() {
        let start = Instant::now();
        let mut samples = Samples::default();
        assert_eq!(samples.covered(100), None);
        assert!(samples.push(sample(1, start, 100, 100)));
        assert!(samples.push(sample(2, start, 200, 250)));
        assert!(samples.push(sample(3, start, 300, 300)));
        let at = |replay| {
            let covered = samples.covered(replay).unwrap();
            let lag = covered.lag(start + Duration::from_millis(100)).as_millis();
            (covered.sample, covered.insert_sample, covered.lag_bytes, lag)
        };
        assert_eq!(at(99), (0, 0, 201, 90));
        assert_eq!(at(100), (1, 1, 200, 90));
        assert_eq!(at(249), (2, 1, 51, 80));
        assert_eq!(at(250), (2, 2, 50, 80));
        assert_eq!(at(300), (3, 3, 0, 0));
        assert_eq!(at(1000), (3, 3, 0, 0));
    }

    #[test]
    fn an_unchanged_position_moves_the_sample_on() {
        let start = Instant::now();
        let mut samples = Samples::default();
        assert!(samples.push(sample(1, start, 100, 100)));
        assert!(samples.push(sample(2, start, 100, 100)));
        assert_eq!(samples.covered(100).map(|covered| covered.sample), Some(2));
        assert_eq!(samples.0.len(), 1);
        assert!(!samples.push(sample(3, start, 99, 99)));
        assert_eq!(samples.newest().map(|newest| newest.number), Some(2));
        assert_eq!(samples.after(1).map(|next| next.number), Some(2));
        assert_eq!(samples.after(2), None);
    }

    #[test]
    fn thinning_keeps_the_newest_and_never_covers_too_much() {
        let start = Instant::now();
        let mut samples = Samples::default();
        for number in 1..=10_000 {
            assert!(samples.push(sample(number, start, number * 10, number * 10)));
            assert!(samples.0.len() <= SAMPLES_MAX);
        }
        for replay in (0..100_100).step_by(7) {
            let covered = samples.covered(replay).unwrap();
            assert!(covered.sample <= replay / 10, "{replay}: {covered:?}");
        }
        assert_eq!(samples.covered(100_000).unwrap().sample, 10_000);
        assert!(samples.covered(10_000).unwrap().behind_since.is_some());
    }
}
