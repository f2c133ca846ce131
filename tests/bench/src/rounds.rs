//! Owns the interleaved rounds: every workload on every target in turn, in an order that rotates,
//! so that a slow minute of the machine falls on all of them alike.

use crate::accounting::Usage;
use crate::error::{Problems, Result};
use crate::pgbench::{Length, Site, Summary, run, run_logged};
use crate::stats::Spread;
use crate::target::{Kind, Target};
use crate::workload::{Mode, Script, Workload};
use std::collections::BTreeMap;

/// From so many clients on, the log is kept to see whether all of them were served alike.
const FAIRNESS_CLIENTS: usize = 100;
/// The load of the latency runs: far below saturation, so that no queue builds up.
const LATENCY: Workload = Workload { script: Script::Select, mode: Mode::Simple, clients: 10 };

/// One measured run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Transactions per second.
    pub(crate) tps: f64,
    /// CPU time of the proxy per query, microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// Context switches of the proxy per query.
    pub(crate) switches: Option<f64>,
    /// Slowest client's transactions divided by the mean.
    pub(crate) fairness: Option<f64>,
}

/// One run at a fixed rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LatencySample {
    /// Half of the transactions took no longer, microseconds.
    pub(crate) p50_us: f64,
    /// 99 of 100 took no longer, microseconds.
    pub(crate) p99_us: f64,
}

/// Everything measured in rounds; the n-th entry of each list is of the n-th round,
/// and empty when that run failed.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    samples: BTreeMap<(usize, Kind), Vec<Option<Sample>>>,
    latency: BTreeMap<Kind, Vec<Option<LatencySample>>>,
}

/// What the rounds need.
pub(crate) struct Plan<'a> {
    /// Workloads, in order.
    pub(crate) workloads: &'a [Workload],
    /// Rounds.
    pub(crate) rounds: usize,
    /// Seconds of each run.
    pub(crate) seconds: u64,
    /// Transactions per second of the latency runs.
    pub(crate) rate_per_second: u32,
}

impl Rounds {
    /// Runs all rounds. A run that fails leaves a gap.
    pub(crate) fn measure(
        plan: &Plan<'_>,
        targets: &[Target],
        site: Site<'_>,
        problems: &mut Problems,
    ) -> Self {
        let mut rounds = Rounds::default();
        for round in 0..plan.rounds {
            eprintln!("round {} of {}", round + 1, plan.rounds);
            for (index, workload) in plan.workloads.iter().enumerate() {
                for target in rotated(targets, round + index) {
                    let sample =
                        problems.attempt(|| measure(target, *workload, plan.seconds, site));
                    rounds.samples.entry((index, target.kind)).or_default().push(sample);
                }
            }
            for target in rotated(targets, round) {
                let sample = problems.attempt(|| measure_latency(target, plan, site));
                rounds.latency.entry(target.kind).or_default().push(sample);
            }
        }
        rounds
    }

    /// The middle and the ends of a figure over the rounds.
    pub(crate) fn spread(
        &self,
        workload: usize,
        kind: Kind,
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.samples.get(&(workload, kind))?.iter().flatten().filter_map(figure))
    }

    /// CPU per query of one target divided by that of another, round by round.
    pub(crate) fn cpu_ratio(&self, workload: usize, of: Kind, by: Kind) -> Option<Spread> {
        let of = self.samples.get(&(workload, of))?;
        let by = self.samples.get(&(workload, by))?;
        let ratio = |(a, b): (&Option<Sample>, &Option<Sample>)| {
            Some(a.as_ref()?.cpu_us? / b.as_ref()?.cpu_us?)
        };
        Spread::of(of.iter().zip(by).filter_map(ratio))
    }

    /// A latency figure over the rounds.
    pub(crate) fn latency(
        &self,
        kind: Kind,
        figure: impl Fn(&LatencySample) -> f64,
    ) -> Option<Spread> {
        Spread::of(self.latency.get(&kind)?.iter().flatten().map(figure))
    }

    /// What a target adds to the latency of the direct connection, round by round.
    pub(crate) fn added_latency(
        &self,
        kind: Kind,
        figure: impl Fn(&LatencySample) -> f64,
    ) -> Option<Spread> {
        let of = self.latency.get(&kind)?;
        let direct = self.latency.get(&Kind::Direct)?;
        let added = |(a, b): (&Option<LatencySample>, &Option<LatencySample>)| {
            Some(figure(a.as_ref()?) - figure(b.as_ref()?))
        };
        Spread::of(of.iter().zip(direct).filter_map(added))
    }
}

fn rotated(targets: &[Target], by: usize) -> impl Iterator<Item = &Target> {
    targets.iter().cycle().skip(by % targets.len().max(1)).take(targets.len())
}

/// Two runs: a shortest one and the measured one. Their difference has no cost of connecting.
fn measure(target: &Target, workload: Workload, seconds: u64, site: Site<'_>) -> Result<Sample> {
    // pgbench's clock runs while it connects, which takes a while for many clients.
    let connecting = u64::from(workload.clients >= FAIRNESS_CLIENTS);
    let length = Length::Seconds(seconds + connecting);
    let Some(pid) = target.pid() else {
        let (summary, fairness) = long_run(target, workload, length, site)?;
        return Ok(Sample { tps: summary.tps, cpu_us: None, switches: None, fairness });
    };
    let start = Usage::now(pid)?;
    let short = run(target, workload, Length::Each(1), site)?;
    let middle = Usage::now(pid)?;
    let (long, fairness) = long_run(target, workload, length, site)?;
    let end = Usage::now(pid)?;
    let (fixed, whole) = (middle.since(&start), end.since(&middle));
    let queries = (long.transactions - short.transactions) * workload.queries();
    Ok(Sample {
        tps: long.tps,
        cpu_us: Some((whole.cpu_ns - fixed.cpu_ns) / queries / 1000.0),
        switches: Some((whole.switches - fixed.switches) / queries),
        fairness,
    })
}

fn long_run(
    target: &Target,
    workload: Workload,
    length: Length,
    site: Site<'_>,
) -> Result<(Summary, Option<f64>)> {
    if workload.clients < FAIRNESS_CLIENTS {
        return Ok((run(target, workload, length, site)?, None));
    }
    let (summary, log) = run_logged(target, workload, length, None, site)?;
    Ok((summary, log.fairness()))
}

fn measure_latency(target: &Target, plan: &Plan<'_>, site: Site<'_>) -> Result<LatencySample> {
    let length = Length::Seconds(plan.seconds);
    let (_, log) = run_logged(target, LATENCY, length, Some(plan.rate_per_second), site)?;
    let figure = |share| log.percentile_us(share).unwrap_or(f64::NAN);
    Ok(LatencySample { p50_us: figure(0.5), p99_us: figure(0.99) })
}
