//! Owns the byte rate: when bytes that were copied have been paid for.

use tokio::time::Instant;

/// Bytes that may be copied at once after a rest, as a part of those of a second.
const BURST_PART: u64 = 10;

/// Fills by `rate` bytes each second, up to a tenth of that; what is taken beyond is waited for.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: u64,
    /// When all that was taken will have been paid for; in the past, when there is something left.
    paid_at: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), paid_at: None }
    }

    /// Takes bytes, and says when the next ones may be taken. `None`: at once.
    pub(super) fn take(&mut self, bytes: u64, now: Instant) -> Option<Instant> {
        if bytes == 0 {
            return None;
        }
        let burst = self.time(self.rate / BURST_PART);
        // What was saved up is no more than the burst.
        let earliest = now.checked_sub(burst).unwrap_or(now);
        let from = self.paid_at.map_or(earliest, |paid_at| paid_at.max(earliest));
        let paid_at = from + self.time(bytes);
        self.paid_at = Some(paid_at);
        (paid_at > now).then_some(paid_at)
    }

    /// Why somebody waits.
    pub(super) fn reason(&self, now: Instant) -> Option<String> {
        let waits = self.paid_at.is_some_and(|paid_at| paid_at > now);
        waits.then(|| format!("no more than {} bytes are copied per second", self.rate))
    }

    fn time(&self, bytes: u64) -> std::time::Duration {
        std::time::Duration::from_secs_f64(bytes as f64 / self.rate as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn bytes_over_time_are_the_rate() {
        let (mut bucket, begun) = (Bucket::new(1000), Instant::now());
        let mut now = begun;
        for _ in 0..100 {
            if let Some(paid_at) = bucket.take(70, now) {
                assert!(bucket.reason(now).is_some());
                now = paid_at;
            }
        }
        let took = (now - begun).as_secs_f64();
        assert!((6.89..6.91).contains(&took), "7000 bytes, of which 100 at once: {took}");
        assert_eq!(bucket.reason(now), None);
        // A rest saves up a tenth of a second only, and several workers share one rate.
        now += Duration::from_secs(60);
        assert_eq!(bucket.take(100, now), None);
        let first = bucket.take(500, now).unwrap();
        let second = bucket.take(500, now).unwrap();
        assert_eq!((first - now).as_millis(), 500);
        assert_eq!((second - now).as_millis(), 1000);
        assert_eq!(bucket.take(0, now), None, "what does not count waits for nobody");
    }
}
