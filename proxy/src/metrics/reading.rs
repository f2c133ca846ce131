//! Owns the reading of what was gathered by those who keep it for later: values by label, and the
//! difference of two distributions. It counts nothing.

use super::samples::{Sample, Samples, Timings};
use super::table::Family;
use std::time::Duration;

impl Samples {
    /// The values of a family of counters or gauges, with those of their labels in the family's
    /// order.
    pub fn values(&self, family: &'static Family) -> impl Iterator<Item = (&[String], f64)> {
        let samples = self.families.get(family.name).into_iter().flatten();
        samples.filter_map(|(labels, sample)| match sample {
            // Counters stay far below 2^53, up to which this is exact.
            Sample::Counter(value) => Some((labels.as_slice(), *value as f64)),
            Sample::Gauge(value) => Some((labels.as_slice(), *value)),
            Sample::Timings(_) => None,
        })
    }

    /// The same of a family of histograms.
    pub fn distributions(
        &self,
        family: &'static Family,
    ) -> impl Iterator<Item = (&[String], &Timings)> {
        let samples = self.families.get(family.name).into_iter().flatten();
        samples.filter_map(|(labels, sample)| match sample {
            Sample::Timings(timings) => Some((labels.as_slice(), timings)),
            Sample::Counter(_) | Sample::Gauge(_) => None,
        })
    }
}

impl Timings {
    /// What was recorded after `before` was taken of the same distribution.
    pub fn since(&self, before: &Timings) -> Timings {
        let Some(mut histogram) = self.histogram.clone() else { return Timings::default() };
        if let Some(before) = &before.histogram
            && histogram.subtract(before).is_err()
        {
            // It began again in between: all of it is new.
            return self.clone();
        }
        Timings { histogram: Some(histogram), sum: self.sum.saturating_sub(before.sum) }
    }

    /// The time that a share of `quantile` did not exceed, in microseconds; `None` of nothing.
    pub fn quantile_us(&self, quantile: f64) -> Option<u64> {
        let histogram = self.histogram.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(histogram.value_at_quantile(quantile))
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_holds_what_came_between() {
        let mut timings = Timings::default();
        (0..100).for_each(|_| timings.record(Duration::from_millis(900)));
        let before = timings.clone();
        (1..=100).for_each(|ms| timings.record(Duration::from_millis(ms)));
        let between = timings.since(&before);
        assert_eq!(between.count(), 100);
        assert_eq!(between.sum(), Duration::from_millis(5050));
        for (quantile, ms) in [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0)] {
            let found = between.quantile_us(quantile).unwrap() as f64 / 1000.0;
            assert!((found - ms).abs() <= ms * 0.01, "{quantile}: {found} ms");
        }
        assert_eq!(before.since(&timings).count(), 100, "began again");
        assert_eq!(timings.since(&timings).quantile_us(0.5), None);
        assert_eq!(Timings::default().since(&before).quantile_us(0.5), None);
    }
}
