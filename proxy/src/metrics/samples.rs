//! Owns what one scrape gathers, and its text form (OpenMetrics).

use super::table::{BUCKETS_US, FAMILIES, Family, Kind};
use hdrhistogram::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest duration a histogram tells apart from longer ones, in microseconds: one hour.
const LONGEST_US: u64 = 3_600_000_000;

/// A distribution of durations. Takes no memory until something was recorded, and then as much as
/// its longest duration needs: 8 KiB for one second, 26 KiB at most.
#[derive(Debug, Default, Clone)]
pub struct Timings {
    /// In microseconds, with two significant digits.
    pub(super) histogram: Option<Histogram<u64>>,
    pub(super) sum: Duration,
}

impl Timings {
    /// Adds one duration.
    pub(super) fn record(&mut self, time: Duration) {
        let micros = time.as_secs().saturating_mul(1_000_000);
        let micros = micros.saturating_add(u64::from(time.subsec_micros()));
        self.sum = self.sum.saturating_add(time);
        // A histogram that grows by itself refuses nothing.
        let _ = self.histogram().record(micros.min(LONGEST_US));
    }

    fn histogram(&mut self) -> &mut Histogram<u64> {
        self.histogram
            .get_or_insert_with(|| Histogram::new(2).expect("invariant: two digits are possible"))
    }

    /// Adds all durations of another.
    pub fn merge(&mut self, other: &Timings) {
        if let Some(histogram) = &other.histogram {
            self.sum = self.sum.saturating_add(other.sum);
            self.histogram().add(histogram).expect("invariant: all histograms grow");
        }
    }

    /// Takes durations out that are all among these.
    pub(super) fn subtract(&mut self, other: &Timings) {
        if let (Some(histogram), Some(others)) = (&mut self.histogram, &other.histogram)
            && histogram.subtract(others).is_ok()
        {
            self.sum = self.sum.saturating_sub(other.sum);
        }
    }

    /// Their mean, in microseconds.
    pub fn mean_us(&self) -> f64 {
        self.sum.as_secs_f64() * 1e6 / self.count().max(1) as f64
    }

    /// How many durations it holds.
    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// Upper bounds in seconds with the number of durations in each bucket.
    fn buckets(&self) -> Vec<(f64, u64)> {
        let mut counts = [0; BUCKETS_US.len() + 1];
        if let Some(histogram) = &self.histogram {
            for step in histogram.iter_recorded() {
                let value = histogram.lowest_equivalent(step.value_iterated_to());
                let bucket = BUCKETS_US.partition_point(|bound| *bound < value);
                counts[bucket] += step.count_since_last_iteration();
            }
        }
        let bounds = BUCKETS_US.iter().map(|micros| *micros as f64 / 1e6);
        bounds.chain([f64::INFINITY]).zip(counts).collect()
    }
}

#[derive(Debug, Clone)]
pub(super) enum Sample {
    Counter(u64),
    Gauge(f64),
    Timings(Timings),
}

/// What one scrape gathers. Two samples of one family with the same labels add up, so that every
/// worker can bring its own share.
#[derive(Debug, Default)]
pub struct Samples {
    pub(super) families: BTreeMap<&'static str, BTreeMap<Vec<String>, Sample>>,
}

impl Samples {
    /// Adds `value` to a gauge. `labels` are the values of the family's labels, in its order.
    pub fn gauge(&mut self, family: &'static Family, labels: &[&str], value: f64) {
        debug_assert_eq!(family.kind, Kind::Gauge, "{}", family.name);
        if let Sample::Gauge(total) = self.sample(family, labels, Sample::Gauge(0.0)) {
            *total += value;
        }
    }

    /// Adds `value` to a counter.
    pub fn counter(&mut self, family: &'static Family, labels: &[&str], value: u64) {
        debug_assert_eq!(family.kind, Kind::Counter, "{}", family.name);
        if let Sample::Counter(total) = self.sample(family, labels, Sample::Counter(0)) {
            *total += value;
        }
    }

    /// Adds durations to a histogram; one without any is left out.
    pub(super) fn timings(&mut self, family: &'static Family, labels: &[&str], value: &Timings) {
        debug_assert_eq!(family.kind, Kind::Histogram, "{}", family.name);
        if value.count() == 0 {
            return;
        }
        let start = Sample::Timings(Timings::default());
        if let Sample::Timings(total) = self.sample(family, labels, start) {
            total.merge(value);
        }
    }

    fn sample(&mut self, family: &'static Family, labels: &[&str], start: Sample) -> &mut Sample {
        debug_assert_eq!(family.labels.len(), labels.len(), "labels of {}", family.name);
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.families.entry(family.name).or_default().entry(labels).or_insert(start)
    }

    /// The OpenMetrics text of everything gathered.
    pub(super) fn into_text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        text::encode(&mut out, &registry).expect("invariant: a String takes everything");
        out
    }
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for family in FAMILIES {
            let Some(samples) = self.families.get(family.name) else { continue };
            // The encoder adds the suffix of counters itself.
            let name = family.name.strip_suffix("_total").unwrap_or(family.name);
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let help = family.help.trim_end_matches('.');
            let mut encoder = encoder.encode_descriptor(name, help, None, kind)?;
            for (values, sample) in samples {
                let pairs: Vec<(&str, &str)> =
                    family.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
                if pairs.is_empty() {
                    encode_sample(sample, &mut encoder)?;
                } else {
                    encode_sample(sample, &mut encoder.encode_family(&pairs)?)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_sample(sample: &Sample, encoder: &mut MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
    match sample {
        Sample::Counter(value) => encoder.encode_counter::<NoLabelSet, u64, u64>(value, None),
        Sample::Gauge(value) => encoder.encode_gauge(value),
        Sample::Timings(timings) => {
            let sum = timings.sum.as_secs_f64();
            encoder.encode_histogram::<NoLabelSet>(sum, timings.count(), &timings.buckets(), None)
        }
    }
}
