//! Owns the count of user instructions per query under callgrind: the figure without noise.
//! The kernel's part is not in it. A process is started for each workload; a short and a long
//! run are counted, and their difference has no cost of connecting.

use crate::error::{Context, Problems, Result, fail};
use crate::pgbench::{Length, run};
use crate::process::output;
use crate::target::{Kind, Launcher};
use crate::workload::{Mode, Script, Workload};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
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

/// User instructions per query of one workload on one target.
pub(crate) fn count_one(
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
        "--separate-threads=yes".to_owned(),
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
    let mut spent = [BTreeMap::new(), BTreeMap::new()];
    for (index, length) in [short, long].into_iter().enumerate() {
        done[index] = run(&target, workload, length, launcher.site())?.transactions;
        control(&["-d"])?;
        spent[index] = totals_by_thread(&out, index + 1)?;
    }
    // Only the thread that did the work: what monitors do at their own pace is not a query's.
    let growth = |thread: &String| {
        let before = spent[0].get(thread).copied().unwrap_or_default();
        spent[1].get(thread).copied().unwrap_or_default() - before
    };
    let busiest = spent[1].keys().max_by(|a, b| growth(a).total_cmp(&growth(b)));
    let Some(thread) = busiest else { return fail("callgrind wrote no counts") };
    if let Some(folder) = profile {
        annotate(&PathBuf::from(format!("{}.2-{thread}", out.display())), folder, workload)?;
    }
    drop(target);
    Ok(growth(thread) / (done[1] - done[0]) / workload.queries())
}

/// The sums of dump number `number`, by thread. Threads that did nothing have none.
pub(crate) fn totals_by_thread(out: &Path, number: usize) -> Result<BTreeMap<String, f64>> {
    let folder = out.parent().unwrap_or(Path::new("."));
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{name}.{number}-");
    let mut totals = BTreeMap::new();
    for entry in fs::read_dir(folder).context(folder.display())? {
        let entry = entry.context(folder.display())?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some(thread) = file.strip_prefix(&prefix) else { continue };
        let text = fs::read_to_string(entry.path()).context(entry.path().display())?;
        let line = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
        if let Some(total) = line.and_then(|line| line.trim().parse().ok()) {
            totals.insert(thread.to_owned(), total);
        }
    }
    Ok(totals)
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
