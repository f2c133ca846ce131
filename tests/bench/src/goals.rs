//! Owns the goals: what pgmanifold's figures are held against. A goal without a figure is
//! reported as not measured, never as met.

use crate::instructions::Instructions;
use crate::memory::MemoryFigures;
use crate::rounds::Rounds;
use crate::target::Kind;
use crate::workload::{Mode, Script, Workload};

/// CPU per query against PgBouncer's, every workload.
const CPU_BY_PGBOUNCER_MAX: f64 = 1.0;
/// The same for 1,000-row results.
const ROWS_CPU_BY_PGBOUNCER_MAX: f64 = 0.65;
/// CPU per query against the bare relay's, select-only.
const CPU_BY_RELAY_MAX: f64 = 1.15;
/// Slowest client's transactions divided by the mean, 100 clients over 10 servers.
const FAIRNESS_MIN: f64 = 0.8;
/// Peak memory of the proxy while a gigabyte passes.
const PEAK_MIB_MAX: f64 = 32.0;
/// Memory of an idle client, bytes.
const IDLE_CLIENT_BYTES_MAX: f64 = 10.0 * 1024.0;
const SIMPLE_INSTRUCTIONS_MAX: f64 = 6_000.0;
const PREPARED_INSTRUCTIONS_MAX: f64 = 7_000.0;
const ROWS_INSTRUCTIONS_MAX: f64 = 50_000.0;

/// A goal and what came of it.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// The goal in words.
    pub(crate) goal: String,
    /// The figure.
    pub(crate) figure: String,
    /// Nothing when there is no figure.
    pub(crate) met: Option<bool>,
}

/// What the goals are held against.
pub(crate) struct Figures<'a> {
    /// The workloads of the rounds.
    pub(crate) workloads: &'a [Workload],
    /// The rounds.
    pub(crate) rounds: &'a Rounds,
    /// Memory, of every process measured.
    pub(crate) memory: &'a [MemoryFigures],
    /// Instructions, of every process measured.
    pub(crate) instructions: &'a [Instructions],
}

/// Judges all goals.
pub(crate) fn judge(figures: &Figures<'_>) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (index, workload) in figures.workloads.iter().enumerate() {
        cpu(figures, index, *workload, &mut verdicts);
    }
    memory(figures, &mut verdicts);
    for workload in [Mode::Simple, Mode::Prepared] {
        let limit = match workload {
            Mode::Prepared => PREPARED_INSTRUCTIONS_MAX,
            Mode::Simple | Mode::Extended => SIMPLE_INSTRUCTIONS_MAX,
        };
        instructions(figures, Script::Select, workload, limit, &mut verdicts);
    }
    let limit = ROWS_INSTRUCTIONS_MAX;
    instructions(figures, Script::Rows, Mode::Simple, limit, &mut verdicts);
    verdicts
}

fn cpu(figures: &Figures<'_>, index: usize, workload: Workload, verdicts: &mut Vec<Verdict>) {
    let limit = match workload.script {
        Script::Rows => ROWS_CPU_BY_PGBOUNCER_MAX,
        Script::Select | Script::TpcB => CPU_BY_PGBOUNCER_MAX,
    };
    let name = workload.name();
    let against = |other: Kind| {
        figures.rounds.cpu_ratio(index, Kind::Pgmanifold, other).map(|spread| spread.median)
    };
    let goal = format!("{name}: CPU ≤ {limit:.2} × PgBouncer");
    verdicts.push(at_most(goal, against(Kind::PgBouncer), limit, 2, "×"));
    if workload.script == Script::Select {
        let goal = format!("{name}: CPU ≤ {CPU_BY_RELAY_MAX:.2} × relay");
        verdicts.push(at_most(goal, against(Kind::Relay), CPU_BY_RELAY_MAX, 2, "×"));
    }
    if workload.clients == 100 {
        let spread = figures.rounds.spread(index, Kind::Pgmanifold, |sample| sample.fairness);
        let figure = spread.map(|spread| spread.median);
        verdicts.push(Verdict {
            goal: format!("{name}: slowest client ≥ {FAIRNESS_MIN:.1} × mean"),
            figure: figure.map_or_else(|| "—".to_owned(), |figure| format!("{figure:.2} ×")),
            met: figure.map(|figure| figure >= FAIRNESS_MIN),
        });
    }
}

fn memory(figures: &Figures<'_>, verdicts: &mut Vec<Verdict>) {
    let ours = figures.memory.iter().find(|figure| figure.kind == Kind::Pgmanifold);
    let peak = ours.map(|figure| figure.peak as f64 / f64::from(1 << 20));
    let goal = format!("1 GB result: peak memory < {PEAK_MIB_MAX} MiB");
    verdicts.push(at_most(goal, peak, PEAK_MIB_MAX, 1, "MiB"));
    let idle = ours.and_then(|figure| figure.per_idle_client);
    let goal = format!("idle client ≤ {IDLE_CLIENT_BYTES_MAX} bytes");
    verdicts.push(at_most(goal, idle, IDLE_CLIENT_BYTES_MAX, 0, "bytes"));
}

/// The worst of the client numbers counted.
fn instructions(
    figures: &Figures<'_>,
    script: Script,
    mode: Mode,
    limit: f64,
    verdicts: &mut Vec<Verdict>,
) {
    let ours = figures.instructions.iter().filter(|figure| {
        let workload = figure.workload;
        figure.kind == Kind::Pgmanifold && workload.script == script && workload.mode == mode
    });
    let worst = ours.map(|figure| figure.per_query).max_by(f64::total_cmp);
    let name = match (script, mode) {
        (Script::Rows, _) => "1000 rows",
        (_, Mode::Prepared) => "select prepared",
        _ => "select simple",
    };
    let goal = format!("{name}: user instructions per query ≤ {limit}");
    verdicts.push(at_most(goal, worst, limit, 0, ""));
}

/// A goal that is met by a figure up to a limit.
pub(crate) fn at_most(
    goal: String,
    figure: Option<f64>,
    limit: f64,
    digits: usize,
    unit: &str,
) -> Verdict {
    let words = |figure: f64| format!("{figure:.digits$} {unit}").trim_end().to_owned();
    Verdict {
        goal,
        figure: figure.map_or_else(|| "—".to_owned(), words),
        met: figure.map(|figure| figure <= limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_met() {
        let verdicts = judge(&Figures {
            workloads: &Workload::all(false, ""),
            rounds: &Rounds::default(),
            memory: &[],
            instructions: &[],
        });
        assert_eq!(verdicts.len(), 11 + 9 + 3 + 2 + 3);
        assert!(verdicts.iter().all(|verdict| verdict.met.is_none()));
    }

    #[test]
    fn limits_are_inclusive_and_judged() {
        assert_eq!(at_most(String::new(), Some(1.0), 1.0, 2, "×").met, Some(true));
        assert_eq!(at_most(String::new(), Some(1.01), 1.0, 2, "×").met, Some(false));
    }
}
