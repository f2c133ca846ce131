//! Owns the order of what is measured on shards: the price of a sharded database for statements of
//! one shard, and what statements over several cost. All of it on three primaries without
//! replicas, through one process that also has an unsharded database on the first of them.

mod copy;
mod fleet;
mod points;
mod scatter;

use crate::error::{Problems, Result};
use crate::goals::Verdict;
use crate::process::{Account, Scratch};
use crate::report::Section;
use copy::CopyFigures;
use fleet::Fleet;
use points::{Lookups, PointFigures};
use scatter::{BigScatter, Latency};
use std::path::Path;

/// What this part needs.
pub(crate) struct Site<'a> {
    /// As whom.
    pub(crate) account: &'a Account,
    /// Where its files go; the binary `pgmanifold` is there too.
    pub(crate) scratch: &'a Scratch,
    /// Rounds.
    pub(crate) rounds: usize,
    /// Seconds of each pgbench run.
    pub(crate) seconds: u64,
    /// Worker threads of pgmanifold.
    pub(crate) workers: usize,
}

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct ShardFigures {
    points: Vec<PointFigures>,
    lookups: Option<Lookups>,
    latency: Vec<Latency>,
    big: Option<BigScatter>,
    copy: Option<CopyFigures>,
}

/// CPU and instructions of a point query on a shard, against an unsharded database.
const POINT_MAX: f64 = 1.10;
/// Share of texts that were planned before.
const HITS_MIN_PERCENT: f64 = 99.0;
/// Latency of a scatter against the slowest shard's own.
const SCATTER_MAX: f64 = 1.5;
/// And this much on top, microseconds.
const SCATTER_EXTRA_US: f64 = 200.0;
/// Peak memory while a gigabyte comes from three shards.
const PEAK_MIB_MAX: f64 = 64.0;
/// Rate of a COPY that is split, against a COPY to one server.
const COPY_MIN: f64 = 0.60;

/// Measures everything; what fails leaves a gap.
pub(crate) fn measure(site: &Site<'_>, binary: &Path, problems: &mut Problems) -> ShardFigures {
    let mut figures = ShardFigures::default();
    let Some(()) = problems.attempt(|| copy_binary(binary, site.scratch)) else { return figures };
    let Some(fleet) = problems.attempt(|| Fleet::start(site)) else { return figures };
    figures.points = points::measure(&fleet, problems);
    figures.lookups = problems.attempt(|| points::lookups(&fleet));
    figures.latency = scatter::latencies(&fleet, problems);
    figures.big = problems.attempt(|| scatter::gigabyte(&fleet));
    figures.copy = problems.attempt(|| copy::measure(&fleet));
    figures
}

fn copy_binary(from: &Path, scratch: &Scratch) -> Result<()> {
    use crate::error::Context;
    let to = scratch.join("pgmanifold");
    if !to.exists() {
        std::fs::copy(from, &to).context(from.display())?;
    }
    Ok(())
}

/// The goals, held against the figures.
pub(crate) fn judge(figures: &ShardFigures) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for point in &figures.points {
        for (what, ratio) in
            [("CPU", point.cpu_ratio()), ("instructions", point.instruction_ratio())]
        {
            let Some(ratio) = ratio else { continue };
            verdicts.push(Verdict {
                goal: format!("{}: {what} ≤ {POINT_MAX:.2} × unsharded", point.name()),
                figure: format!("{ratio:.3} ×"),
                met: Some(ratio <= POINT_MAX),
            });
        }
    }
    let percent = figures.lookups.as_ref().map(Lookups::percent);
    verdicts.push(Verdict {
        goal: format!("texts with literals found planned ≥ {HITS_MIN_PERCENT} %"),
        figure: percent.map_or_else(|| "—".to_owned(), |percent| format!("{percent:.3} %")),
        met: percent.map(|percent| percent >= HITS_MIN_PERCENT),
    });
    for latency in &figures.latency {
        let limit = latency.slowest_us() * SCATTER_MAX + SCATTER_EXTRA_US;
        verdicts.push(Verdict {
            goal: format!(
                "{}: p50 ≤ {SCATTER_MAX} × slowest shard + {SCATTER_EXTRA_US} µs",
                latency.name
            ),
            figure: format!("{:.0} µs of {limit:.0}", latency.proxy_us),
            met: Some(latency.proxy_us <= limit),
        });
    }
    let peak = figures.big.as_ref().map(|big| big.peak as f64 / f64::from(1 << 20));
    verdicts.push(Verdict {
        goal: format!("1 GB of three shards: peak memory < {PEAK_MIB_MAX} MiB"),
        figure: peak.map_or_else(|| "—".to_owned(), |peak| format!("{peak:.1} MiB")),
        met: peak.map(|peak| peak < PEAK_MIB_MAX),
    });
    let share = figures.copy.as_ref().map(CopyFigures::share);
    verdicts.push(Verdict {
        goal: format!("COPY FROM over three shards ≥ {COPY_MIN:.2} × direct to one server"),
        figure: share.map_or_else(|| "—".to_owned(), |share| format!("{share:.2} ×")),
        met: share.map(|share| share >= COPY_MIN),
    });
    verdicts
}

/// The tables of the report.
pub(crate) fn sections(figures: &ShardFigures) -> Vec<Section> {
    let mut sections = vec![points::section(&figures.points)];
    sections.extend(figures.lookups.as_ref().map(Lookups::section));
    sections.push(scatter::latency_section(&figures.latency));
    sections.extend(figures.big.as_ref().map(BigScatter::section));
    sections.extend(figures.copy.as_ref().map(CopyFigures::section));
    sections
}
