//! Owns how figures are shown: the same sections as tables on a terminal and as Markdown.
//! It computes nothing but units.

use crate::error::Problems;
use crate::goals::{Figures, Verdict};
use crate::stats::Spread;
use crate::syscalls::Syscalls;
use crate::target::Kind;
use comfy_table::{Table, presets};
use std::fmt::Write;

/// A titled table with remarks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Section {
    /// Above it.
    pub(crate) title: String,
    /// Below it.
    pub(crate) remarks: Vec<String>,
    /// Names of the columns.
    pub(crate) header: Vec<&'static str>,
    /// Without any it is left out.
    pub(crate) rows: Vec<Vec<String>>,
}

/// All sections, for a terminal or as Markdown.
pub(crate) fn render(head: &[String], sections: &[Section], markdown: bool) -> String {
    let mut text = head.join("\n");
    text.push('\n');
    for section in sections.iter().filter(|section| !section.rows.is_empty()) {
        let mut table = Table::new();
        let style = if markdown { presets::ASCII_MARKDOWN } else { presets::NOTHING };
        table.load_style(style).set_header(&section.header).add_rows(&section.rows);
        let mark = if markdown { "## " } else { "" };
        let _ = write!(text, "\n{mark}{}\n\n{table}\n", section.title);
        if markdown && !section.remarks.is_empty() {
            text.push('\n');
        }
        for remark in &section.remarks {
            let _ = writeln!(text, "{remark}");
        }
    }
    text
}

/// CPU, context switches, system calls, fairness of each workload and target.
pub(crate) fn throughput(figures: &Figures<'_>, calls: &Syscalls, kinds: &[Kind]) -> Section {
    let mut rows = Vec::new();
    for (index, workload) in figures.workloads.iter().enumerate() {
        for kind in kinds.iter().copied() {
            let spread = |figure: fn(&crate::rounds::Sample) -> Option<f64>| {
                figures.rounds.spread(index, kind, figure)
            };
            let ratio = |by| figures.rounds.cpu_ratio(index, kind, by);
            rows.push(vec![
                workload.name(),
                kind.name().to_owned(),
                median(spread(|sample| Some(sample.tps)), 0),
                range(spread(|sample| sample.cpu_us), 1),
                median(ratio(Kind::PgBouncer), 2),
                median(ratio(Kind::Relay), 2),
                median(spread(|sample| sample.switches), 2),
                number(calls.per_query(index, kind), 2),
                median(spread(|sample| sample.fairness), 2),
            ]);
        }
    }
    let remarks = vec![
        "CPU is user and kernel time of the proxy process: median (least..most) over the rounds. \
         The ratios are medians of the ratios within each round."
            .to_owned(),
        "PgBouncer 1.18 has no protocol-level prepared statements in transaction pooling: its \
         prepared workloads run in session pooling, one server per client. The relay and the \
         direct connection have one server per client everywhere."
            .to_owned(),
    ];
    let header = vec![
        "workload",
        "target",
        "tps",
        "CPU µs/query",
        "× pgbouncer",
        "× relay",
        "switches/query",
        "calls/query",
        "slowest/mean",
    ];
    Section { title: "Cost per query".to_owned(), remarks, header, rows }
}

/// Latency at a fixed rate.
pub(crate) fn latency(figures: &Figures<'_>, kinds: &[Kind], rate_per_second: u32) -> Section {
    let row = |kind: Kind| {
        let rounds = figures.rounds;
        vec![
            kind.name().to_owned(),
            range(rounds.latency(kind, |sample| sample.p50_us), 0),
            range(rounds.latency(kind, |sample| sample.p99_us), 0),
            range(rounds.added_latency(kind, |sample| sample.p50_us), 0),
            range(rounds.added_latency(kind, |sample| sample.p99_us), 0),
        ]
    };
    let measured = |kind: &Kind| figures.rounds.latency(*kind, |sample| sample.p50_us).is_some();
    Section {
        title: format!("Latency at {rate_per_second} transactions per second"),
        remarks: vec![
            "Microseconds from the planned start of each transaction (select simple, 10 clients). \
             Added: minus the direct connection's figure of the same round."
                .to_owned(),
        ],
        header: vec!["target", "p50", "p99", "added p50", "added p99"],
        rows: kinds.iter().copied().filter(measured).map(row).collect(),
    }
}

/// Memory of each process.
pub(crate) fn memory(figures: &Figures<'_>) -> Section {
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let row = |figure: &crate::memory::MemoryFigures| {
        vec![
            figure.kind.name().to_owned(),
            mib(figure.start),
            mib(figure.peak),
            format!("{:.0}", figure.cpu_ms),
            format!("{:.1}", figure.seconds),
            number(figure.per_idle_client, 0),
        ]
    };
    Section {
        title: "Memory".to_owned(),
        remarks: vec![
            "Peak: the most that was ever resident in a fresh process after one result of 1 GB, \
             whose reader stood still for half a second. Idle client: the difference between \
             2,000 and 1,000 clients that have asked one query each."
                .to_owned(),
        ],
        header: vec![
            "target",
            "start MiB",
            "peak MiB",
            "CPU ms/GB",
            "seconds",
            "bytes/idle client",
        ],
        rows: figures.memory.iter().map(row).collect(),
    }
}

/// User instructions per query.
pub(crate) fn instructions(figures: &Figures<'_>) -> Section {
    let row = |figure: &crate::instructions::Instructions| {
        vec![
            figure.workload.name(),
            figure.kind.name().to_owned(),
            format!("{:.0}", figure.per_query),
        ]
    };
    Section {
        title: "User instructions per query".to_owned(),
        remarks: vec!["Counted by callgrind; the kernel's work is not in them.".to_owned()],
        header: vec!["workload", "target", "instructions/query"],
        rows: figures.instructions.iter().map(row).collect(),
    }
}

/// What failed.
pub(crate) fn problems(problems: &Problems) -> Section {
    Section {
        title: "Failed".to_owned(),
        remarks: vec!["The figures of these steps are missing.".to_owned()],
        header: vec!["step and cause"],
        rows: problems.list.iter().map(|words| vec![one_line(words)]).collect(),
    }
}

/// The goals.
pub(crate) fn goals(verdicts: &[Verdict]) -> Section {
    let row = |verdict: &Verdict| {
        let met = match verdict.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "not measured",
        };
        vec![verdict.goal.clone(), verdict.figure.clone(), met.to_owned()]
    };
    Section {
        title: "Goals of pgmanifold".to_owned(),
        remarks: Vec::new(),
        header: vec!["goal", "figure", "goal met?"],
        rows: verdicts.iter().map(row).collect(),
    }
}

/// A cell of a Markdown table is one line without bars.
fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/")
}

fn number(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| "—".to_owned(), |figure| format!("{figure:.digits$}"))
}

fn median(spread: Option<Spread>, digits: usize) -> String {
    number(spread.map(|spread| spread.median), digits)
}

fn range(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(
        || "—".to_owned(),
        |Spread { median, min, max }| format!("{median:.digits$} ({min:.digits$}..{max:.digits$})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_stays_in_its_cell() {
        assert_eq!(one_line("a\n\tb | c"), "a b / c");
    }

    #[test]
    fn markdown_has_a_row_per_verdict() {
        let verdict = Verdict { goal: "a".into(), figure: "1".into(), met: Some(false) };
        let text = render(&["# head".to_owned()], &[goals(&[verdict])], true);
        assert!(text.starts_with("# head\n\n## Goals"), "{text}");
        assert!(text.contains("| a    | 1      | NO        |"), "{text}");
    }
}
