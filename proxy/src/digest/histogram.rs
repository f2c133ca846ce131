//! Owns the small histogram of a statement's times: sixteen steps in each power of two, from one
//! microsecond to 71 minutes, kept only where something was recorded. A value read from it is
//! within 1/32 (3.2 %) of the one recorded, or within half a microsecond.

/// Steps in each power of two.
const STEPS: usize = 16;

/// Bits of a step.
const STEP_BITS: u32 = 4;

/// The longest time told from longer ones, in microseconds.
const LONGEST_US: u64 = u32::MAX as u64;

type Octave = [u32; STEPS];

/// How often which time was taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram {
    /// The power of two that `octaves` begins with.
    first: usize,
    octaves: Vec<Octave>,
}

/// Power of two and step of a time.
fn place(micros: u64) -> (usize, usize) {
    let micros = micros.min(LONGEST_US);
    let log = micros.max(1).ilog2();
    match log.checked_sub(STEP_BITS) {
        None => (0, micros as usize % STEPS),
        Some(shift) => (shift as usize + 1, (micros >> shift) as usize % STEPS),
    }
}

/// The middle of the times that share a place.
fn middle(octave: usize, step: usize) -> u64 {
    match octave.checked_sub(1) {
        None => step as u64,
        Some(shift) => (((STEPS + step) as u64) << shift) + ((1 << shift) / 2),
    }
}

impl Histogram {
    /// Adds one time.
    #[inline]
    pub(super) fn record(&mut self, micros: u64) {
        let (octave, step) = place(micros);
        let count = self.count_at(octave, step);
        match count.checked_add(1) {
            Some(more) => *count = more,
            None => {
                // Shares are what is read from it, and those stay.
                self.octaves.iter_mut().flatten().for_each(|count| *count /= 2);
                *self.count_at(octave, step) += 1;
            }
        }
    }

    #[inline]
    fn count_at(&mut self, octave: usize, step: usize) -> &mut u32 {
        let here = octave.wrapping_sub(self.first);
        if here >= self.octaves.len() {
            self.reach(octave);
        }
        &mut self.octaves[octave - self.first][step]
    }

    #[cold]
    fn reach(&mut self, octave: usize) {
        if self.octaves.is_empty() {
            self.first = octave;
        }
        while octave < self.first {
            self.octaves.insert(0, Octave::default());
            self.first -= 1;
        }
        while octave >= self.first + self.octaves.len() {
            self.octaves.push(Octave::default());
        }
    }

    /// Adds all times of another.
    pub(super) fn merge(&mut self, other: &Histogram) {
        for (octave, counts) in (other.first..).zip(&other.octaves) {
            for (step, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let sum = self.count_at(octave, step);
                *sum = sum.saturating_add(*count);
            }
        }
    }

    /// The time that `share` (0 to 1) of all have not exceeded; `None` when there are none.
    pub(super) fn percentile(&self, share: f64) -> Option<u64> {
        let total: u64 = self.octaves.iter().flatten().map(|count| u64::from(*count)).sum();
        let wanted = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (octave, counts) in (self.first..).zip(&self.octaves) {
            for (step, count) in counts.iter().enumerate() {
                seen += u64::from(*count);
                if seen >= wanted {
                    return Some(middle(octave, step));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn places_are_within_the_stated_error() {
        let mut value = 1_u64;
        while value < LONGEST_US {
            for near in [value - 1, value, value + 1] {
                let (octave, step) = place(near);
                let off = middle(octave, step).abs_diff(near) as f64;
                assert!(off <= 0.5 || off / near as f64 <= 1.0 / 32.0, "{near}");
            }
            value = value * 17 / 16 + 1;
        }
        assert_eq!(place(LONGEST_US), place(u64::MAX));
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = SmallRng::seed_from_u64(seed);
        let mut values = Vec::new();
        let mut parts = [Histogram::default(), Histogram::default()];
        for index in 0..20_000 {
            let value = 2_f64.powf(random.random_range(0.0..24.0)) as u64;
            values.push(value);
            parts[index % 2].record(value);
        }
        values.sort_unstable();
        let mut all = Histogram::default();
        parts.iter().for_each(|part| all.merge(part));
        for share in [0.001, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
            let rank = (values.len() as f64 * share).ceil() as usize - 1;
            let (raw, read) = (values[rank] as f64, all.percentile(share).unwrap() as f64);
            assert!((raw - read).abs() <= (raw / 32.0).max(0.5), "{share}: {raw} {read}");
        }
        assert!(all.octaves.len() <= 29);
    }

    #[test]
    fn a_full_count_keeps_shares() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        for _ in 0..4 {
            histogram.record(1_000);
        }
        *histogram.count_at(0, 1) = u32::MAX;
        histogram.record(1);
        assert_eq!(*histogram.count_at(0, 1), u32::MAX / 2 + 1);
        assert_eq!(histogram.percentile(0.5), Some(1));
    }
}
