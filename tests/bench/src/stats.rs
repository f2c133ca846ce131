//! Owns the arithmetic of the report: medians, spread, percentiles. Pure.

/// The middle of some figures, and their ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// The middle one; the mean of the two middle ones of an even number.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// Nothing, of no figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        };
        Some(Spread { median, min, max })
    }
}

/// The figure that `share` (0 to 1) of the sorted figures do not exceed.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Slowest client's transactions divided by the mean; clients that did none count too.
pub(crate) fn fairness(counts: &[u64]) -> Option<f64> {
    let least = *counts.iter().min()? as f64;
    let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    (mean > 0.0).then_some(least / mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_no_numbers() {
        let odd = Spread::of([3.0, 1.0, 2.0]).expect("figures");
        assert_eq!(odd, Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]).expect("figures").median, 2.5);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn percentiles_take_an_existing_figure() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&sorted, 0.5), Some(50));
        assert_eq!(percentile(&sorted, 0.99), Some(99));
        assert_eq!(percentile(&[7], 0.99), Some(7));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_starved_client_shows() {
        assert_eq!(fairness(&[10, 10]), Some(1.0));
        assert_eq!(fairness(&[0, 20]), Some(0.0));
        assert_eq!(fairness(&[]), None);
    }
}
