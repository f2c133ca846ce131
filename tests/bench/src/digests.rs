//! Owns the cost of counting statements by their shape: user instructions per query with and
//! without it, of one binary, by the key that switches it off. What is done for it at any rate
//! (noting which statement is under way) is the same in both; compare two binaries for that.

use crate::error::Problems;
use crate::goals::{Verdict, at_most};
use crate::instructions::count_one;
use crate::report::Section;
use crate::target::{Kind, Launcher};
use crate::workload::{Mode, Script, Workload};

/// What is counted: a row's transactions of all clients in the warm-up, the short, the long run.
const RUNS: [(Workload, [usize; 3]); 3] = [
    (Workload { script: Script::Select, mode: Mode::Simple, clients: 1 }, [2000, 1000, 6000]),
    (Workload { script: Script::Select, mode: Mode::Prepared, clients: 1 }, [2000, 1000, 6000]),
    (Workload { script: Script::Select, mode: Mode::Prepared, clients: 10 }, [2000, 2000, 12000]),
];

/// 0.3 µs, at two instructions in a nanosecond: what a core does that finds its data in the cache.
const INSTRUCTIONS_MAX: f64 = 600.0;

/// User instructions per query of one workload.
#[derive(Debug, Clone)]
pub(crate) struct DigestCost {
    workload: Workload,
    without: f64,
    with: f64,
}

/// Counts all workloads without and with digests.
pub(crate) fn measure(launcher: &Launcher<'_>, problems: &mut Problems) -> Vec<DigestCost> {
    let mut costs = Vec::new();
    for (workload, counts) in RUNS {
        let mut counted = |general: &str| {
            let launcher = Launcher { general, ..*launcher };
            let count = || count_one(&launcher, Kind::Pgmanifold, workload, counts, None);
            problems.attempt(count)
        };
        let without = counted("statement_digests_max = 0\n");
        let with = counted("statement_digests_max = 1000\n");
        if let (Some(without), Some(with)) = (without, with) {
            costs.push(DigestCost { workload, without, with });
        }
    }
    costs
}

/// Holds the dearest against the goal.
pub(crate) fn judge(costs: &[DigestCost]) -> Verdict {
    let worst = costs.iter().map(|cost| cost.with - cost.without).max_by(f64::total_cmp);
    let goal = format!("digests: user instructions per query ≤ {INSTRUCTIONS_MAX:.0} (0.3 µs)");
    at_most(goal, worst, INSTRUCTIONS_MAX, 0, "")
}

/// All of them.
pub(crate) fn section(costs: &[DigestCost]) -> Section {
    let row = |cost: &DigestCost| {
        vec![
            cost.workload.name(),
            format!("{:.0}", cost.without),
            format!("{:.0}", cost.with),
            format!("{:.0}", cost.with - cost.without),
        ]
    };
    Section {
        title: "Statement digests: user instructions per query".to_owned(),
        remarks: vec!["`statement_digests_max` 0 and 1000.".to_owned()],
        header: vec!["workload", "without", "with", "difference"],
        rows: costs.iter().map(row).collect(),
    }
}
