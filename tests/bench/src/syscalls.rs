//! Owns the count of system calls per query, by the kernel's own tracepoint. Counting slows the
//! process a little, so it has runs of its own.

use crate::error::{Context, Problems, Result};
use crate::pgbench::{Length, Site, command};
use crate::process::output;
use crate::target::{Kind, Target};
use crate::workload::Workload;
use std::collections::BTreeMap;
use std::process::Command;

/// Transactions of all clients in the short and in the long run; their difference counts.
const TRANSACTIONS: [usize; 2] = [200, 4200];

/// System calls per query.
#[derive(Debug, Default)]
pub(crate) struct Syscalls {
    per_query: BTreeMap<(usize, Kind), f64>,
}

impl Syscalls {
    /// Counts them for every workload and every target that is a process.
    pub(crate) fn count(
        workloads: &[Workload],
        targets: &[Target],
        site: Site<'_>,
        problems: &mut Problems,
    ) -> Self {
        eprintln!("system calls");
        let mut counts = Syscalls::default();
        for (index, workload) in workloads.iter().enumerate() {
            for target in targets {
                let Some(pid) = target.pid() else { continue };
                if let Some(figure) = problems.attempt(|| count(target, pid, *workload, site)) {
                    counts.per_query.insert((index, target.kind), figure);
                }
            }
        }
        counts
    }

    /// The figure of a workload and a target.
    pub(crate) fn per_query(&self, workload: usize, kind: Kind) -> Option<f64> {
        self.per_query.get(&(workload, kind)).copied()
    }
}

fn count(target: &Target, pid: u32, workload: Workload, site: Site<'_>) -> Result<f64> {
    let [short, long] = TRANSACTIONS.map(|all| (all / workload.clients).max(1));
    let queries = (long - short) as f64 * workload.clients as f64 * workload.queries();
    let calls = counted_run(target, pid, workload, long, site)?
        - counted_run(target, pid, workload, short, site)?;
    Ok(calls / queries)
}

/// `perf stat -p` counts the process until the command after `--` ends.
fn counted_run(
    target: &Target,
    pid: u32,
    workload: Workload,
    each: usize,
    site: Site<'_>,
) -> Result<f64> {
    let pgbench = command(target, workload, Length::Each(each), site);
    let file = site.scratch.join("perf.csv");
    let mut perf = Command::new("perf");
    perf.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &pid.to_string()]);
    perf.arg("-o").arg(&file).arg("--").arg(pgbench.get_program()).args(pgbench.get_args());
    perf.arg(target.kind.database(workload.mode));
    for (key, value) in pgbench.get_envs() {
        perf.env(key, value.unwrap_or_default());
    }
    output(perf, "perf stat")?;
    let text = std::fs::read_to_string(&file)?;
    let line = text.lines().find(|line| line.contains("sys_enter")).unwrap_or_default();
    let first = line.split(',').next().unwrap_or_default();
    first.parse().context(format!("perf stat said `{line}`"))
}
