//! Owns one run of pgbench: starting it, and reading its summary and its log of transactions.

use crate::error::{Context, Result, fail};
use crate::process::{Scratch, output};
use crate::servers::Servers;
use crate::stats::{fairness, percentile};
use crate::target::Target;
use crate::workload::Workload;
use std::fs;
use std::process::Command;

/// Where runs put their files, and whose pgbench they use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    /// Folder of the harness.
    pub(crate) scratch: &'a Scratch,
    /// The servers behind all targets.
    pub(crate) servers: &'a Servers,
}

/// How long a run lasts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// So many seconds.
    Seconds(u64),
    /// So many transactions of every client.
    Each(usize),
}

/// What pgbench says at the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summary {
    /// Transactions done by all clients.
    pub(crate) transactions: f64,
    /// Per second, without the time of connecting.
    pub(crate) tps: f64,
}

/// What its log of transactions says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    /// Transactions of each client.
    counts: Vec<u64>,
    /// Time of each transaction from its planned start, microseconds, sorted.
    times_us: Vec<u64>,
}

impl Log {
    /// Slowest client's transactions divided by the mean.
    pub(crate) fn fairness(&self) -> Option<f64> {
        fairness(&self.counts)
    }

    /// Latency that this share of the transactions did not exceed, microseconds.
    pub(crate) fn percentile_us(&self, share: f64) -> Option<f64> {
        percentile(&self.times_us, share).map(|time| time as f64)
    }

    fn parse(text: &str, clients: usize) -> Result<Self> {
        let mut log = Log { counts: vec![0; clients], times_us: Vec::new() };
        for line in text.lines() {
            let mut words = line.split(' ');
            let (client, time) = (words.next(), words.nth(1));
            let parsed = client.and_then(|word| word.parse::<usize>().ok());
            let Some(count) = parsed.and_then(|client| log.counts.get_mut(client)) else {
                return fail(format!("pgbench log: {line}"));
            };
            *count += 1;
            log.times_us.push(time.unwrap_or_default().parse().context("pgbench log")?);
        }
        log.times_us.sort_unstable();
        Ok(log)
    }
}

/// The command of a run, to be started alone or under `perf`.
pub(crate) fn command(
    target: &Target,
    workload: Workload,
    length: Length,
    site: Site<'_>,
) -> Command {
    let mut command = site.servers.pgbench(target.port);
    command.args(workload.arguments(site.scratch));
    match length {
        Length::Seconds(seconds) => command.args(["-T", &seconds.to_string()]),
        Length::Each(count) => command.args(["-t", &count.to_string()]),
    };
    command
}

/// Runs it.
pub(crate) fn run(
    target: &Target,
    workload: Workload,
    length: Length,
    site: Site<'_>,
) -> Result<Summary> {
    let mut command = command(target, workload, length, site);
    command.arg(target.kind.database(workload.mode));
    finish(command, target, workload)
}

/// Runs it with a log of every transaction; at a fixed rate when one is given.
pub(crate) fn run_logged(
    target: &Target,
    workload: Workload,
    length: Length,
    rate: Option<u32>,
    site: Site<'_>,
) -> Result<(Summary, Log)> {
    let folder = site.scratch.join("log");
    fs::create_dir(&folder).context(folder.display())?;
    let mut command = command(target, workload, length, site);
    command.arg("-l").arg(format!("--log-prefix={}/t", folder.display()));
    if let Some(rate) = rate {
        command.arg(format!("--rate={rate}"));
    }
    command.arg(target.kind.database(workload.mode));
    let summary = finish(command, target, workload);
    let mut text = String::new();
    for entry in fs::read_dir(&folder)? {
        text.push_str(&fs::read_to_string(entry?.path())?);
    }
    fs::remove_dir_all(&folder)?;
    Ok((summary?, Log::parse(&text, workload.clients)?))
}

fn finish(command: Command, target: &Target, workload: Workload) -> Result<Summary> {
    let step = format!("pgbench, {} on {}", workload.name(), target.kind.name());
    let text = output(command, &step)?;
    match Summary::parse(&text) {
        Some(summary) if summary.transactions > 0.0 => Ok(summary),
        _ => fail(format!("{step}: no transactions, or failed ones:\n{text}")),
    }
}

impl Summary {
    /// Reads it; nothing when transactions failed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = |prefix: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(prefix))?;
            line.split(['/', ' ']).next()?.parse::<f64>().ok()
        };
        let transactions = number("number of transactions actually processed: ")?;
        // Clients that fail are left out of the sums: a run with failures is no figure.
        match number("number of failed transactions: ") {
            None | Some(0.0) => Some(Summary { transactions, tps: number("tps = ")? }),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "number of transactions actually processed: 123/123\n\
        number of failed transactions: 0 (0.000%)\n\
        tps = 456.789 (without initial connection time)\n";

    #[test]
    fn summaries_are_read() {
        let summary = Summary::parse(TEXT).expect("summary");
        assert_eq!((summary.transactions, summary.tps), (123.0, 456.789));
        assert!(Summary::parse(&TEXT.replace(": 0 (", ": 1 (")).is_none());
        assert!(Summary::parse("").is_none());
    }

    #[test]
    fn logs_count_clients_that_did_nothing() {
        let log = Log::parse("0 1 250 0 1700000000 1\n0 2 150 0 1700000000 2\n", 2).expect("log");
        assert_eq!(log.fairness(), Some(0.0));
        assert_eq!(log.percentile_us(0.5), Some(150.0));
        assert!(Log::parse("2 1 250 0 1700000000 1\n", 2).is_err());
    }
}
