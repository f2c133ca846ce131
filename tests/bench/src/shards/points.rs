//! Owns the price of a sharded database for statements of one shard: CPU and user instructions per
//! point query against an unsharded database of the same process, and how often a text with
//! literals is found planned.

use super::fleet::{ACCOUNTS, Fleet, Front, PLAIN, SHARDED};
use crate::accounting::Usage;
use crate::error::{Context, Problems, Result, fail};
use crate::instructions::totals_by_thread;
use crate::pgbench::Summary;
use crate::process::output;
use crate::report::Section;
use crate::stats::Spread;
use crate::workload::Mode;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Transactions of all clients in the warm-up, the short, the long run under callgrind.
const COUNTED: [usize; 3] = [2000, 1000, 6000];
/// Modes and numbers of clients.
const RUNS: [(Mode, usize); 4] =
    [(Mode::Simple, 1), (Mode::Simple, 10), (Mode::Prepared, 1), (Mode::Prepared, 10)];
/// Transactions of the run that plans are counted in.
const LOOKUP_TRANSACTIONS: usize = 5000;
/// Longest metrics page.
const METRICS_BYTES_MAX: u64 = 16 << 20;

/// One mode and number of clients.
#[derive(Debug)]
pub(super) struct PointFigures {
    mode: Mode,
    clients: usize,
    /// CPU per query: unsharded, sharded; one pair per round.
    cpu_us: Vec<(f64, f64)>,
    /// User instructions per query: unsharded, sharded.
    instructions: Option<(f64, f64)>,
}

impl PointFigures {
    /// Its name in the report.
    pub(super) fn name(&self) -> String {
        let s = if self.clients == 1 { "" } else { "s" };
        format!("one row of one shard, {}, {} client{s}", mode_name(self.mode), self.clients)
    }

    /// Median over the rounds of sharded divided by unsharded.
    pub(super) fn cpu_ratio(&self) -> Option<f64> {
        Spread::of(self.cpu_us.iter().map(|(plain, sharded)| sharded / plain))
            .map(|spread| spread.median)
    }

    pub(super) fn instruction_ratio(&self) -> Option<f64> {
        self.instructions.map(|(plain, sharded)| sharded / plain)
    }
}

/// Plans found and not found.
#[derive(Debug)]
pub(super) struct Lookups {
    hits: f64,
    misses: f64,
}

impl Lookups {
    pub(super) fn percent(&self) -> f64 {
        100.0 * self.hits / (self.hits + self.misses).max(1.0)
    }

    pub(super) fn section(&self) -> Section {
        let row = vec![
            format!(
                "{LOOKUP_TRANSACTIONS} × (SELECT, UPDATE, SELECT, INSERT, DELETE) with literals"
            ),
            format!("{:.0}", self.hits),
            format!("{:.0}", self.misses),
            format!("{:.3}", self.percent()),
        ];
        Section {
            title: "Shards: texts found planned".to_owned(),
            remarks: vec!["pgbench's simple protocol writes every value into the text.".to_owned()],
            header: vec!["load", "hits", "misses", "hits %"],
            rows: vec![row],
        }
    }
}

/// Measures all runs.
pub(super) fn measure(fleet: &Fleet<'_>, problems: &mut Problems) -> Vec<PointFigures> {
    let Some(front) = problems.attempt(|| fleet.front(&[])) else { return Vec::new() };
    let mut all = Vec::new();
    for (mode, clients) in RUNS {
        eprintln!("shards: point queries, {}, {clients} clients", mode_name(mode));
        let mut cpu_us = Vec::new();
        for round in 0..fleet.site.rounds {
            let pair = problems.attempt(|| round_of(fleet, &front, mode, clients, round));
            cpu_us.extend(pair);
        }
        all.push(PointFigures { mode, clients, cpu_us, instructions: None });
    }
    drop(front);
    for figures in &mut all {
        let (mode, clients) = (figures.mode, figures.clients);
        figures.instructions = problems.attempt(|| {
            Ok((count(fleet, PLAIN, mode, clients)?, count(fleet, SHARDED, mode, clients)?))
        });
    }
    all
}

/// CPU per query on both databases, in an order that changes by the round.
fn round_of(
    fleet: &Fleet<'_>,
    front: &Front,
    mode: Mode,
    clients: usize,
    round: usize,
) -> Result<(f64, f64)> {
    let of = |database| -> Result<f64> {
        // A run of one transaction each shows what connecting costs.
        let (connect, _) = used(fleet, front, database, (mode, clients), &["-t", "1"])?;
        let seconds = fleet.site.seconds.to_string();
        let (cpu, done) = used(fleet, front, database, (mode, clients), &["-T", &seconds])?;
        Ok((cpu - connect) / 1e3 / (done - clients as f64))
    };
    match round % 2 {
        0 => Ok((of(PLAIN)?, of(SHARDED)?)),
        _ => {
            let sharded = of(SHARDED)?;
            Ok((of(PLAIN)?, sharded))
        }
    }
}

/// CPU of the proxy in nanoseconds, and transactions, of one run.
fn used(
    fleet: &Fleet<'_>,
    front: &Front,
    database: &str,
    load: (Mode, usize),
    length: &[&str],
) -> Result<(f64, f64)> {
    let before = Usage::now(front.pid())?;
    let done = select(fleet, front, database, load, length)?;
    Ok((Usage::now(front.pid())?.since(&before).cpu_ns, done))
}

fn select(
    fleet: &Fleet<'_>,
    front: &Front,
    database: &str,
    (mode, clients): (Mode, usize),
    length: &[&str],
) -> Result<f64> {
    let script = format!(
        "\\set aid random(1, {ACCOUNTS})\nselect abalance from accounts where aid = :aid;\n"
    );
    let mut command = fleet.pgbench(front.port, &script)?;
    command.args(["-M", mode_name(mode), "-c", &clients.to_string()]).args(length).arg(database);
    match Summary::parse(&output(command, "pgbench")?) {
        Some(summary) => Ok(summary.transactions),
        None => fail(format!("pgbench on {database}: no transactions, or failed ones")),
    }
}

/// User instructions per query under callgrind.
fn count(fleet: &Fleet<'_>, database: &str, mode: Mode, clients: usize) -> Result<f64> {
    eprintln!("shards: instructions, {database}, {}, {clients} clients", mode_name(mode));
    let out = fleet.site.scratch.join("callgrind-shards");
    let wrapper = [
        "valgrind".to_owned(),
        "--tool=callgrind".to_owned(),
        "--instr-atstart=no".to_owned(),
        "--separate-threads=yes".to_owned(),
        format!("--callgrind-out-file={}", out.display()),
    ];
    let front = fleet.front(&wrapper)?;
    let control = |words: &[&str]| {
        let mut command = fleet.site.account.command("/usr/bin/callgrind_control");
        command.args(words).arg(front.pid().to_string());
        output(command, "callgrind_control")
    };
    let run = |all: usize| {
        let each = (all / clients).to_string();
        select(fleet, &front, database, (mode, clients), &["-t", &each])
    };
    let [warm, short, long] = COUNTED;
    run(warm)?;
    control(&["-i", "on"])?;
    control(&["-z"])?;
    let few = run(short)?;
    control(&["-d"])?;
    let before = totals_by_thread(&out, 1)?;
    let many = run(long)?;
    control(&["-d"])?;
    let after = totals_by_thread(&out, 2)?;
    // The thread that did the work is the one that grew most.
    let growth = after.iter().map(|(thread, total)| total - before.get(thread).unwrap_or(&0.0));
    match growth.max_by(f64::total_cmp) {
        Some(growth) => Ok(growth / (many - few)),
        None => fail("callgrind wrote no counts"),
    }
}

/// How often texts with literals are found planned.
pub(super) fn lookups(fleet: &Fleet<'_>) -> Result<Lookups> {
    eprintln!("shards: texts found planned");
    let front = fleet.front(&[])?;
    let script = format!(
        "\\set aid random(1, {ACCOUNTS})\n\\set delta random(-5000, 5000)\n\
         select abalance from accounts where aid = :aid;\n\
         update accounts set abalance = abalance + :delta where aid = :aid;\n\
         select aid, filler from accounts where aid = :aid and abalance <> :delta;\n\
         insert into copied values (:aid, :delta, 'a text of :delta');\n\
         delete from copied where aid = :aid;\n"
    );
    let before = counts(&front)?;
    let mut command = fleet.pgbench(front.port, &script)?;
    let each = (LOOKUP_TRANSACTIONS / 10).to_string();
    command.args(["-M", "simple", "-c", "10", "-t", &each, SHARDED]);
    if Summary::parse(&output(command, "pgbench")?).is_none() {
        return fail("pgbench: failed transactions");
    }
    let after = counts(&front)?;
    Ok(Lookups { hits: after.0 - before.0, misses: after.1 - before.1 })
}

/// Hits and misses so far.
fn counts(front: &Front) -> Result<(f64, f64)> {
    let mut socket = TcpStream::connect(("127.0.0.1", front.http_port)).context("metrics")?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    socket.take(METRICS_BYTES_MAX).read_to_string(&mut page)?;
    let of = |result: &str| -> f64 {
        let start = format!("pgmanifold_plan_lookups_total{{database=\"{SHARDED}\"");
        let label = format!("result=\"{result}\"");
        let lines = page.lines().filter(|line| line.starts_with(&start) && line.contains(&label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    Ok((of("hit"), of("miss")))
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Simple => "simple",
        Mode::Extended => "extended",
        Mode::Prepared => "prepared",
    }
}

/// The table.
pub(super) fn section(figures: &[PointFigures]) -> Section {
    let row = |figures: &PointFigures| {
        let cpu = |pick: fn(&(f64, f64)) -> f64| {
            Spread::of(figures.cpu_us.iter().map(pick))
                .map_or_else(|| "—".to_owned(), |spread| format!("{:.1}", spread.median))
        };
        let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "—".into(), |r| format!("{r:.3}"));
        let count = |pick: fn((f64, f64)) -> f64| {
            figures.instructions.map_or_else(|| "—".to_owned(), |pair| format!("{:.0}", pick(pair)))
        };
        vec![
            figures.name(),
            cpu(|pair| pair.0),
            cpu(|pair| pair.1),
            ratio(figures.cpu_ratio()),
            count(|pair| pair.0),
            count(|pair| pair.1),
            ratio(figures.instruction_ratio()),
        ]
    };
    Section {
        title: "Shards: point queries".to_owned(),
        remarks: vec![
            "One process with two databases: one on a single server, one over three. Medians over \
             the rounds; the CPU ratio is the median of the ratios within each round."
                .to_owned(),
        ],
        header: vec![
            "load",
            "CPU µs, unsharded",
            "CPU µs, sharded",
            "ratio",
            "instructions, unsharded",
            "sharded",
            "ratio",
        ],
        rows: figures.iter().map(row).collect(),
    }
}
