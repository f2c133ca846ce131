//! Owns how fast something goes, from the last ten seconds, and how long it will take. It reads no
//! clock.

use super::Now;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is looked back at.
const WINDOW: Duration = Duration::from_secs(10);
/// Looks that are remembered at most; of more than that in the window every new one replaces the
/// newest.
const LOOKS_MAX: usize = 64;

/// How fast.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) rows_per_s: f64,
    pub(super) bytes_per_s: f64,
    /// Until all rows are done; not known without rows of late, or without their number.
    pub(super) left: Option<Duration>,
}

/// What was seen of late: when, rows, bytes.
#[derive(Debug, Default)]
pub(super) struct Window {
    looks: VecDeque<(Instant, u64, u64)>,
}

impl Window {
    /// Notes what is seen at this moment.
    pub(super) fn rate(&mut self, at: Instant, now: &Now) -> Rate {
        if self.looks.back().is_some_and(|(_, rows, bytes)| *rows > now.rows || *bytes > now.bytes)
        {
            // It begins again.
            self.looks.clear();
        }
        if self.looks.len() >= LOOKS_MAX {
            self.looks.pop_back();
        }
        self.looks.push_back((at, now.rows, now.bytes));
        // The last look before the window is its beginning.
        while self.looks.get(1).is_some_and(|(seen, ..)| at.duration_since(*seen) >= WINDOW) {
            self.looks.pop_front();
        }
        let Some((first, rows, bytes)) = self.looks.front() else { return Rate::default() };
        let seconds = at.duration_since(*first).as_secs_f64();
        if seconds <= 0.0 {
            return Rate::default();
        }
        let rows_per_s = (now.rows - rows) as f64 / seconds;
        let bytes_per_s = (now.bytes - bytes) as f64 / seconds;
        let left = now.rows_total.filter(|_| rows_per_s > 0.0);
        let left = left.map(|total| total.saturating_sub(now.rows) as f64 / rows_per_s);
        let left = left.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Rate { rows_per_s, bytes_per_s, left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ten_seconds_count() {
        let (mut window, begun) = (Window::default(), Instant::now());
        let mut look = |second: u64, rows: u64| {
            let now = Now { rows, rows_total: Some(10_000), bytes: rows * 10, ..Now::default() };
            window.rate(begun + Duration::from_secs(second), &now)
        };
        assert_eq!(look(0, 0), Rate::default());
        for second in 1..=20 {
            look(second, second * 100);
        }
        let rate = look(21, 2100);
        assert_eq!((rate.rows_per_s, rate.bytes_per_s), (100.0, 1000.0));
        assert_eq!(rate.left, Some(Duration::from_secs(79)));
        // It stands still.
        let mut rate = Rate::default();
        for second in 22..=40 {
            rate = look(second, 2100);
        }
        assert_eq!((rate.rows_per_s, rate.left), (0.0, None));
        // It goes on, ten times as fast: five of ten seconds.
        for second in 41..=45 {
            rate = look(second, 2100 + (second - 40) * 1000);
        }
        assert_eq!(rate.rows_per_s, 500.0);
        assert_eq!(look(46, 10), Rate::default(), "another one begins");
    }

    #[test]
    fn many_looks_are_few() {
        let (mut window, begun) = (Window::default(), Instant::now());
        let mut rate = Rate::default();
        for at in 0..1000 {
            let now = Now { rows: at, ..Now::default() };
            rate = window.rate(begun + Duration::from_millis(at), &now);
        }
        assert_eq!(window.looks.len(), LOOKS_MAX);
        assert!((999.0..1001.0).contains(&rate.rows_per_s), "{rate:?}");
    }
}
