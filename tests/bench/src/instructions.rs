//! Owns the count of user instructions per query under callgrind: the figure without noise.
//! The kernel's part is not in it. A process is started for each workload; a short and a long
//! run are counted, and their difference has no cost of connecting.

use crate::error::{Context, Problems, Result, fail};
use crate::pgbench::{Length, run};
use crate::process::output;
use crate::target::{Kind, Launcher};
use crate::workload::{Mode, Script, Workload};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What is counted: a row's transactions of all clients in the warm-up, the short, the long run.
const RUNS: [(Workload, [usize; 3]); 5] = [
    (Workload { script: Script::Select, mode: Mode::Simple, clients: 1 }, [2000, 1000, 6000]),
    (Workload { script: Script::Select, mode: Mode::Simple, clients: 10 }, [2000, 2000, 12000]),
    (Workload { script: Script::Select, mode: Mode::Prepared, clients: 1 }, [2000, 1000, 6000]),
    (Workload { script: Script::Select, mode: Mode::Prepared, clients: 10 }, [2000, 2000, 12000]),
    (Workload { script: Script::Rows, mode: Mode::Simple, clients: 1 }, [200, 100, 1100]),
];
const ANNOTATE: [(&str, &str); 2] = [("self", "--inclusive=no"), ("inclusive", "--inclusive=yes")];

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Instructions {
    /// What was asked.
    pub(crate) workload: Workload,
    /// Of which target.
    pub(crate) kind: Kind,
    /// User instructions per query.
    pub(crate) per_query: f64,
}

/// Counts all workloads for these targets, only those of one client when `quick`; profiles of
/// pgmanifold go to `profile`.
pub(crate) fn count(
    launcher: &Launcher<'_>,
    kinds: &[Kind],
    quick: bool,
    profile: Option<&Path>,
    problems: &mut Problems,
) -> Vec<Instructions> {
    let mut figures = Vec::new();
    let runs = RUNS.into_iter().filter(|(workload, _)| !quick || workload.clients == 1);
    for (workload, counts) in runs {
        for kind in kinds.iter().copied().filter(|kind| *kind != Kind::Direct) {
            let profile = profile.filter(|_| kind == Kind::Pgmanifold);
            let counted = || count_one(launcher, kind, workload, counts, profile);
            if let Some(per_query) = problems.attempt(counted) {
                figures.push(Instructions { workload, kind, per_query });
            }
        }
    }
    figures
}

fn count_one(
    launcher: &Launcher<'_>,
    kind: Kind,
    workload: Workload,
    counts: [usize; 3],
    profile: Option<&Path>,
) -> Result<f64> {
    eprintln!("instructions of {}: {}", kind.name(), workload.name());
    let out = launcher.scratch.join(format!("callgrind-{}", kind.name()));
    let wrapper = [
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        "--instr-atstart=no".to_owned(),
        format!("--callgrind-out-file={}", out.display()),
    ];
    let target = launcher.start_under(kind, &wrapper)?;
    let Some(pid) = target.pid() else { return fail("no process") };
    let control = |words: &[&str]| {
        let mut command = launcher.account.command("/usr/bin/callgrind_control");
        command.args(words).arg(pid.to_string());
        output(command, "callgrind_control")
    };
    let [warm, short, long] = counts.map(|all| Length::Each(all / workload.clients));
    run(&target, workload, warm, launcher.site())?;
    control(&["-i", "on"])?;
    control(&["-z"])?;
    let mut done = [0.0_f64; 2];
    let mut spent = [0.0_f64; 2];
    for (index, length) in [short, long].into_iter().enumerate() {
        done[index] = run(&target, workload, length, launcher.site())?.transactions;
        control(&["-d"])?;
        let dump = out.with_extension((index + 1).to_string());
        spent[index] = totals(&dump)?;
    }
    if let Some(folder) = profile {
        annotate(&out.with_extension("2"), folder, workload)?;
    }
    drop(target);
    Ok((spent[1] - spent[0]) / (done[1] - done[0]) / workload.queries())
}

/// The sum line of a dump.
fn totals(dump: &Path) -> Result<f64> {
    let text = fs::read_to_string(dump).context(dump.display())?;
    let line = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    line.unwrap_or_default().trim().parse().context(format!("totals of {}", dump.display()))
}

fn annotate(dump: &Path, folder: &Path, workload: Workload) -> Result<()> {
    fs::create_dir_all(folder).context(folder.display())?;
    let name = workload.name().replace([' ', ','], "-");
    for (suffix, inclusive) in ANNOTATE {
        let mut command = Command::new("callgrind_annotate");
        command.args([inclusive, "--threshold=99", "--auto=no"]).arg(dump);
        let text = output(command, "callgrind_annotate")?;
        fs::write(folder.join(format!("{name}-{suffix}.txt")), text)?;
    }
    Ok(())
}
