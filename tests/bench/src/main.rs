//! Owns the order of the benchmark: servers, targets, rounds, counts, report. Everything it
//! starts is stopped by the guards it holds, also when a step fails.

mod accounting;
mod client;
mod console;
mod digests;
mod error;
mod goals;
mod instructions;
mod interrupt;
mod memory;
mod moves;
mod options;
mod pgbench;
mod process;
mod report;
mod rounds;
mod servers;
mod shards;
mod stats;
mod syscalls;
mod target;
mod workload;

use accounting::MachineTime;
use clap::Parser;
use error::{Context, Problems, Result, fail};
use goals::Figures;
use instructions::Instructions;
use memory::MemoryFigures;
use options::Options;
use process::{Account, Scratch};
use rounds::{Plan, Rounds};
use rustix::process::{Resource, getrlimit, setrlimit};
use servers::Servers;
use shards::ShardFigures;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use syscalls::Syscalls;
use target::{Kind, Launcher, Target};
use workload::Workload;

/// Programs the benchmark runs, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 4] = [
    ("setpriv", "util-linux"),
    ("pgbouncer", "pgbouncer"),
    ("perf", "linux-perf"),
    ("valgrind", "valgrind"),
];

/// Moves there and back in a run of everything.
const MOVES: usize = 5;

fn main() -> ExitCode {
    match run(&Options::parse().resolved()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let (clock, machine_time) = (Instant::now(), MachineTime::now());
    let kinds = Kind::parse_all(&options.targets)?;
    let workloads = Workload::all(options.quick, &options.only);
    require_programs()?;
    raise_open_files_limit()?;
    interrupt::watch()?;
    let account = Account::find()?;
    let scratch = Scratch::new(&account)?;
    fs::write(scratch.join(workload::ROWS_FILE), workload::ROWS_SQL)?;
    let mut head = vec!["# Benchmark".to_owned(), String::new()];
    if let Some(ended) = run_one_part(options, &account, &scratch, &head) {
        return ended;
    }
    eprintln!("starting PostgreSQL");
    let servers = Servers::start()?;
    head.push(machine(&format!("{} (1 primary, 2 replicas)", servers.version()), options.workers));
    let launcher = Launcher {
        account: &account,
        scratch: &scratch,
        servers: &servers,
        workers: options.workers,
        general: "",
    };
    launcher.install(&binaries(options)?, &kinds)?;
    let mut problems = Problems::default();
    if let Some(sections) = measure_one_part(options, &launcher, &mut problems) {
        return finish(options, &head, sections, &problems);
    }
    let (rounds, calls) = measure_rounds(options, &launcher, &kinds, &workloads, &mut problems)?;
    let (memory, instructions) = measure_alone(options, &launcher, &kinds, &mut problems);
    let costs = match options.rounds_only || !kinds.contains(&Kind::Pgmanifold) {
        true => Vec::new(),
        false => digests::measure(&launcher, &mut problems),
    };
    let ours = kinds.contains(&Kind::Pgmanifold) && !options.rounds_only;
    let watching = || console::measure(&launcher, options.seconds);
    let watch = ours.then(|| problems.attempt(watching)).flatten();
    drop(servers);
    let on_shards = match ours {
        true => measure_shards(options, &account, &scratch, &mut problems)?,
        false => ShardFigures::default(),
    };
    let moved = ours.then(|| problems.attempt(|| moves::measure(MOVES))).flatten();
    if interrupt::requested() {
        return fail("stopped by a signal");
    }
    let (memory, instructions) = (&memory[..], &instructions[..]);
    let figures = Figures { workloads: &workloads, rounds: &rounds, memory, instructions };
    head.push(how_long(options, clock, machine_time));
    let mut verdicts = goals::judge(&figures);
    if ours {
        verdicts.push(digests::judge(&costs));
        verdicts.extend(shards::judge(&on_shards));
        verdicts.push(console::judge(watch.as_ref()));
        verdicts.extend(moves::judge(moved.as_ref()));
    }
    let mut sections = vec![
        report::goals(&verdicts),
        report::throughput(&figures, &calls, &kinds),
        report::latency(&figures, &kinds, options.rate_per_second),
        report::memory(&figures),
        report::instructions(&figures),
        digests::section(&costs),
    ];
    sections.extend(shards::sections(&on_shards));
    sections.extend(watch.as_ref().map(console::section));
    sections.extend(moved.as_ref().map(moves::section));
    finish(options, &head, sections, &problems)
}

/// Only what was asked for, when that is one part before these servers.
fn measure_one_part(
    options: &Options,
    launcher: &Launcher<'_>,
    problems: &mut Problems,
) -> Option<Vec<report::Section>> {
    if options.console {
        let watch = problems.attempt(|| console::measure(launcher, options.seconds));
        let goals = report::goals(&[console::judge(watch.as_ref())]);
        return Some([goals].into_iter().chain(watch.as_ref().map(console::section)).collect());
    }
    if options.digests {
        let costs = digests::measure(launcher, problems);
        return Some(vec![report::goals(&[digests::judge(&costs)]), digests::section(&costs)]);
    }
    None
}

/// Only what was asked for, when that is one part with servers of its own.
fn run_one_part(
    options: &Options,
    account: &Account,
    scratch: &Scratch,
    head: &[String],
) -> Option<Result<()>> {
    if options.shards {
        return Some(run_shards(options, account, scratch, head.to_vec()));
    }
    options.moves.map(|times| run_moves(options, times, head.to_vec()))
}

/// Only the part about moves of keys.
fn run_moves(options: &Options, times: usize, mut head: Vec<String>) -> Result<()> {
    let clock = Instant::now();
    head.push(machine("on two shards with a replica each, and a catalog", options.workers));
    let mut problems = Problems::default();
    let measured = problems.attempt(|| moves::measure(times));
    head.push(format!(
        "Only moves of keys: {times} there and back; whole run {:.0} s; {}.",
        clock.elapsed().as_secs_f64(),
        load_average("load at the end"),
    ));
    let mut sections = vec![report::goals(&moves::judge(measured.as_ref()))];
    sections.extend(measured.as_ref().map(moves::section));
    finish(options, &head, sections, &problems)
}

/// Only the part about shards.
fn run_shards(
    options: &Options,
    account: &Account,
    scratch: &Scratch,
    mut head: Vec<String>,
) -> Result<()> {
    let (clock, machine_time) = (Instant::now(), MachineTime::now());
    head.push(machine("on three primaries", options.workers));
    let mut problems = Problems::default();
    let figures = measure_shards(options, account, scratch, &mut problems)?;
    if interrupt::requested() {
        return fail("stopped by a signal");
    }
    head.push(format!(
        "Only what concerns shards: {} round(s) of {} s per run; whole run {:.0} s; {}; {:.1} % of \
         the CPU time stolen by the hypervisor.",
        options.rounds,
        options.seconds,
        clock.elapsed().as_secs_f64(),
        load_average("load at the end"),
        MachineTime::now().stolen_percent_since(machine_time),
    ));
    let mut sections = vec![report::goals(&shards::judge(&figures))];
    sections.extend(shards::sections(&figures));
    finish(options, &head, sections, &problems)
}

fn measure_shards(
    options: &Options,
    account: &Account,
    scratch: &Scratch,
    problems: &mut Problems,
) -> Result<ShardFigures> {
    let (rounds, seconds, workers) = (options.rounds, options.seconds, options.workers);
    let site = shards::Site { account, scratch, rounds, seconds, workers };
    Ok(shards::measure(&site, &binaries(options)?.join("pgmanifold"), problems))
}

fn finish(
    options: &Options,
    head: &[String],
    mut sections: Vec<report::Section>,
    problems: &Problems,
) -> Result<()> {
    sections.push(report::problems(problems));
    write_report(options, head, &sections)?;
    match problems.list.len() {
        0 => Ok(()),
        count => fail(format!("{count} steps failed")),
    }
}

fn write_report(options: &Options, head: &[String], sections: &[report::Section]) -> Result<()> {
    println!("{}", report::render(head, sections, false));
    if let Some(folder) = options.report.parent() {
        fs::create_dir_all(folder).context(folder.display())?;
    }
    let text = report::render(head, sections, true);
    fs::write(&options.report, text).context(options.report.display())?;
    eprintln!("written: {}", options.report.display());
    Ok(())
}

/// The rounds and the system calls, on targets that run all the time.
fn measure_rounds(
    options: &Options,
    launcher: &Launcher<'_>,
    kinds: &[Kind],
    workloads: &[Workload],
    problems: &mut Problems,
) -> Result<(Rounds, Syscalls)> {
    if options.no_rounds {
        return Ok((Rounds::default(), Syscalls::default()));
    }
    let started: Result<Vec<Target>> = kinds.iter().map(|kind| launcher.start(*kind)).collect();
    let targets = started?;
    let plan = Plan {
        workloads,
        rounds: options.rounds,
        seconds: options.seconds,
        rate_per_second: options.rate_per_second,
    };
    let rounds = Rounds::measure(&plan, &targets, launcher.site(), problems);
    let calls = if options.rounds_only {
        Syscalls::default()
    } else {
        Syscalls::count(workloads, &targets, launcher.site(), problems)
    };
    Ok((rounds, calls))
}

/// What needs processes of its own.
fn measure_alone(
    options: &Options,
    launcher: &Launcher<'_>,
    kinds: &[Kind],
    problems: &mut Problems,
) -> (Vec<MemoryFigures>, Vec<Instructions>) {
    if options.rounds_only {
        return (Vec::new(), Vec::new());
    }
    let proxies = kinds.iter().copied().filter(|kind| *kind != Kind::Direct);
    let memory =
        proxies.filter_map(|kind| problems.attempt(|| memory::measure(launcher, kind))).collect();
    let profile = options.profile.as_deref();
    (memory, instructions::count(launcher, kinds, options.quick, profile, problems))
}

/// Says what is missing before minutes are spent.
fn require_programs() -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let missing: Vec<&str> = PROGRAMS
        .into_iter()
        .filter(|(name, _)| !path.split(':').any(|dir| Path::new(dir).join(name).exists()))
        .map(|(_, package)| package)
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => fail(format!("install first: apt-get install {}", missing.join(" "))),
    }
}

/// Thousands of idle clients need thousands of sockets, here and in the proxies.
fn raise_open_files_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raise the limit of open files")
}

fn binaries(options: &Options) -> Result<PathBuf> {
    if let Some(folder) = &options.binaries {
        return Ok(folder.clone());
    }
    let own = std::env::current_exe()?;
    Ok(own.parent().map(PathBuf::from).unwrap_or_default())
}

/// How long all of it took, and what the machine did beside.
fn how_long(options: &Options, clock: Instant, machine_time: MachineTime) -> String {
    format!(
        "{} round(s) of {} s per run; whole run {:.0} s; {}; {:.1} % of the CPU time stolen by \
         the hypervisor.",
        options.rounds,
        options.seconds,
        clock.elapsed().as_secs_f64(),
        load_average("load at the end"),
        MachineTime::now().stolen_percent_since(machine_time),
    )
}

/// What the figures depend on.
fn machine(postgres: &str, workers: usize) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let mut version = Command::new("/usr/sbin/pgbouncer");
    version.arg("--version");
    let pgbouncer = process::output(version, "pgbouncer --version").unwrap_or_default();
    format!(
        "Machine: {cores} cores ({}), Linux {}, PostgreSQL {postgres}, {}, \
         pgmanifold with {workers} worker(s), {}.",
        model.unwrap_or("unknown"),
        kernel.trim(),
        pgbouncer.lines().next().unwrap_or("no PgBouncer"),
        load_average("load at the start"),
    )
}

fn load_average(name: &str) -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("{name} {}", text.split(' ').next().unwrap_or("unknown"))
}
