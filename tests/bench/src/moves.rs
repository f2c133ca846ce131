//! Owns what is measured of moves of keys: how long writes wait while keys change hands, what
//! clients of other keys feel, and how fast rows are copied.

use crate::error::{BenchError, Result};
use crate::goals::{Verdict, at_most};
use crate::report::Section;
use crate::stats::Spread;
use pgmanifold::demo::moving::measure::{self, Latency, Measured};

/// Write pause: median and 99th percentile, in milliseconds.
const PAUSE_P50_MS_MAX: f64 = 50.0;
const PAUSE_P99_MS_MAX: f64 = 150.0;
/// 99th percentile of writes to other keys, against that before the first move.
const OTHERS_P99_MAX: f64 = 2.0;
/// Rows copied in a second.
const ROWS_PER_S_MIN: f64 = 100_000.0;

/// Measures so many moves there and back.
pub(crate) fn measure(times: usize) -> Result<Measured> {
    eprintln!("moves of keys");
    measure::measure(times).map_err(BenchError)
}

/// The goals, held against the figures.
pub(crate) fn judge(measured: Option<&Measured>) -> Vec<Verdict> {
    let quantile = |share| measured.and_then(|all| self::quantile(&all.pauses_ms, share));
    let ratio = |all: &Measured| all.others_slow.p99_us as f64 / all.before.p99_us.max(1) as f64;
    let rate = measured.and_then(|all| Spread::of(all.rows_per_s.iter().copied()));
    let rate = rate.map(|rate| rate.median);
    let pause = |share, limit: f64, name| {
        at_most(format!("write pause, {name} ≤ {limit} ms"), quantile(share), limit, 1, "ms")
    };
    vec![
        pause(0.5, PAUSE_P50_MS_MAX, "p50"),
        pause(0.99, PAUSE_P99_MS_MAX, "p99"),
        at_most(
            format!("other keys while keys move slowly: p99 ≤ {OTHERS_P99_MAX} × before"),
            measured.map(ratio),
            OTHERS_P99_MAX,
            2,
            "×",
        ),
        Verdict {
            goal: format!("rows are copied at ≥ {ROWS_PER_S_MIN} rows/s"),
            figure: rate.map_or_else(|| "—".to_owned(), |rate| format!("{rate:.0} rows/s")),
            met: rate.map(|rate| rate >= ROWS_PER_S_MIN),
        },
    ]
}

/// The value that `share` (0 to 1) of the figures do not exceed.
fn quantile(figures: &[f64], share: f64) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The table of the report.
pub(crate) fn section(measured: &Measured) -> Section {
    let of = |name: &str, figures: &[f64]| {
        let at = |share| quantile(figures, share).map_or_else(String::new, |ms| format!("{ms:.1}"));
        vec![name.to_owned(), figures.len().to_string(), at(0.5), at(0.99), at(1.0)]
    };
    let writes = |name: &str, all: &Latency| {
        let ms = |us: u64| format!("{:.2}", us as f64 / 1000.0);
        let figures = [ms(all.p50_us), ms(all.p99_us), ms(all.max_us)];
        [name.to_owned(), all.writes.to_string()].into_iter().chain(figures).collect()
    };
    Section {
        title: "Moves of keys between two shards, ms".to_owned(),
        remarks: vec![
            format!(
                "{} rows went there and back each time, under 8 sessions over two proxies; no \
                 acknowledged write was lost, and {} statements were to be repeated.",
                measured.rows, measured.refused
            ),
            "Longest write: the longest that a client waited for a write of one row to the keys \
             that moved, for each change of hands."
                .to_owned(),
            "The slow copy is throttled to 500 kB/s (copy_bytes_per_s); writes to other keys are \
             those of the whole command, comparison and change of hands included."
                .to_owned(),
            format!(
                "Rows copied in a second, fast: {}.",
                Spread::of(measured.rows_per_s.iter().copied()).map_or_else(
                    || "none".to_owned(),
                    |rate| format!("{:.0} ({:.0}..{:.0})", rate.median, rate.min, rate.max)
                )
            ),
        ],
        header: vec!["", "count", "p50", "p99", "max"],
        rows: vec![
            of("write pause", &measured.pauses_ms),
            of("longest write", &measured.longest_ms),
            writes("writes before", &measured.before),
            writes("writes to other keys, slow copy", &measured.others_slow),
            writes("writes to other keys, fast copy", &measured.others),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_judged_by_their_quantiles() {
        let pauses_ms: Vec<f64> = (1..=100).map(f64::from).collect();
        let slow = Measured { pauses_ms, ..Measured::default() };
        let met: Vec<Option<bool>> = judge(Some(&slow)).iter().map(|one| one.met).collect();
        assert_eq!(met, [Some(true), Some(true), Some(true), None]);
        assert!(judge(None).iter().all(|verdict| verdict.met.is_none()));
    }
}
