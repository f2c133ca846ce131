//! Owns how long operations took: by what they were, and by whether their key is one of those
//! that are watched.

use super::super::ownership::hash;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Longest time that is told from longer ones, in microseconds.
const LONGEST_US: u64 = 120_000_000;

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// One statement that writes rows of one key.
    PointWrite,
    /// A transaction on one key.
    KeyTransaction,
    /// A statement that reads one key.
    PointRead,
    /// One statement, or COPY, that writes rows of many keys.
    ManyKeys,
    /// A transaction over two keys.
    Transfer,
    /// One statement that changes all rows of a table.
    WholeTable,
    /// A read over all shards.
    Scatter,
}

/// Which keys an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// One of those watched.
    Inside,
    /// Another one.
    Outside,
    /// Several.
    Several,
}

type Times = BTreeMap<(Class, Side), Histogram<u64>>;

/// Times of all clients.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    /// First and last hash.
    watched: Mutex<Option<(i64, i64)>>,
    times: Mutex<Times>,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Latencies {
    pub(super) fn watch(&self, hashes: Option<(i64, i64)>) {
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner) = hashes;
    }

    /// An operation was acknowledged after so long.
    pub(super) fn record(&self, class: Class, key: Option<i64>, took: Duration) {
        let watched = *self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let side = match (key, watched) {
            (None, _) => Side::Several,
            (Some(key), Some((from, to))) if (from..=to).contains(&hash(key)) => Side::Inside,
            (Some(_), _) => Side::Outside,
        };
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_US);
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let histogram = times.entry((class, side)).or_insert_with(|| {
            Histogram::new_with_max(LONGEST_US, 3).expect("invariant: three digits up to minutes")
        });
        histogram.saturating_record(us);
    }

    /// An operation failed.
    pub(super) fn failed(&self, class: Class, code: &str) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        *errors.entry(format!("{class:?} {code}")).or_default() += 1;
    }

    pub(super) fn take(&self) -> Report {
        let times = std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner));
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        Report { times, errors: std::mem::take(&mut *errors) }
    }
}

/// Times of a while.
#[derive(Debug)]
pub struct Report {
    times: Times,
    /// How many operations failed, by class and code.
    pub errors: BTreeMap<String, u64>,
}

impl Report {
    /// Operations that were acknowledged.
    pub fn operations(&self) -> u64 {
        self.times.values().map(Histogram::len).sum()
    }

    /// A quantile of one kind of operation; none were done: zero.
    pub fn quantile(&self, class: Class, side: Side, quantile: f64) -> Duration {
        let histogram = self.times.get(&(class, side));
        Duration::from_micros(histogram.map_or(0, |times| times.value_at_quantile(quantile)))
    }

    /// The longest write of one statement to a watched key: what a client felt of a pause.
    pub fn longest_write_inside(&self) -> Duration {
        self.quantile(Class::PointWrite, Side::Inside, 1.0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16} {:<8} {:>7} {:>9} {:>9} {:>9}",
            "ms", "keys", "n", "p50", "p99", "max"
        )?;
        for ((class, side), times) in &self.times {
            let ms = |us: u64| f64::from(u32::try_from(us).unwrap_or(u32::MAX)) / 1000.0;
            writeln!(
                f,
                "{:<16} {:<8} {:>7} {:>9.2} {:>9.2} {:>9.2}",
                format!("{class:?}"),
                format!("{side:?}"),
                times.len(),
                ms(times.value_at_quantile(0.5)),
                ms(times.value_at_quantile(0.99)),
                ms(times.max()),
            )?;
        }
        for (what, count) in &self.errors {
            writeln!(f, "{count} x {what}")?;
        }
        Ok(())
    }
}
