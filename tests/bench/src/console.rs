//! Owns the price of being watched: a thousand clients, a few of them busy all the time, and once a
//! second everything an agent reads, from the console and from the HTTP port.

use crate::accounting::cpu_by_thread;
use crate::client::Client;
use crate::error::{Context, Result, fail};
use crate::goals::Verdict;
use crate::process::free_port;
use crate::report::Section;
use crate::servers::{DATABASE, USER};
use crate::target::Launcher;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Clients that are connected.
const CLIENTS: usize = 1000;
/// So many of them work at a time, each thread asking in the name of its share in turn.
const LOAD_THREADS: usize = 4;
/// Time between two readings.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest phase worth looking at.
const PHASE_SECONDS_MIN: u64 = 10;
/// What an agent asks the console.
const SHOWS: [&str; 4] = ["SHOW CLIENTS", "SHOW SERVERS", "SHOW POOLS", "SHOW STATS"];
/// Share of the proxy's CPU time that watching may take.
const SHARE_PERCENT_MAX: f64 = 2.0;

/// One phase.
#[derive(Debug, Clone, Default)]
struct Phase {
    queries: u64,
    seconds: f64,
    /// By name of the thread.
    cpu_ns: BTreeMap<String, u64>,
    readings: u64,
    bytes: u64,
}

/// Both phases: without readings, and with.
#[derive(Debug, Clone, Default)]
pub(crate) struct WatchFigures {
    alone: Phase,
    watched: Phase,
}

impl Phase {
    fn total_ns(&self) -> u64 {
        self.cpu_ns.values().sum()
    }

    /// CPU time of the threads that only watch: console, HTTP, and what they hand work to.
    fn watching_ns(&self) -> u64 {
        let serves = |name: &str| {
            name.starts_with("worker-")
                || ["login", "control", "timer", "pgmanifold"].contains(&name)
        };
        self.cpu_ns.iter().filter(|(name, _)| !serves(name)).map(|(_, cpu)| cpu).sum()
    }

    fn percent_of_core(&self, cpu_ns: u64) -> f64 {
        cpu_ns as f64 / 1e7 / self.seconds.max(f64::MIN_POSITIVE)
    }

    fn row(&self, name: &str) -> Vec<String> {
        let percent = |cpu_ns| format!("{:.2} %", self.percent_of_core(cpu_ns));
        let of = |names: &[&str]| -> u64 {
            let own = self.cpu_ns.iter().filter(|(name, _)| names.contains(&name.as_str()));
            own.map(|(_, cpu)| cpu).sum()
        };
        vec![
            name.to_owned(),
            format!("{:.0}", self.queries as f64 / self.seconds.max(f64::MIN_POSITIVE)),
            percent(self.total_ns()),
            percent(of(&["console"])),
            percent(of(&["http"])),
            percent(self.watching_ns()),
            format!("{}", self.readings),
            format!("{:.0}", self.bytes as f64 / 1024.0 / self.readings.max(1) as f64),
        ]
    }
}

/// Measures both phases on a process of its own.
pub(crate) fn measure(launcher: &Launcher<'_>, seconds: u64) -> Result<WatchFigures> {
    eprintln!("price of being watched");
    let http = free_port()?;
    let more =
        format!("[http]\naddress = \"127.0.0.1:{http}\"\n[console]\nadmin_users = [\"{USER}\"]\n");
    let target = launcher.start_pgmanifold(&more)?;
    let Some(pid) = target.pid() else { return fail("no process") };
    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let client = Client::connect(target.port, USER, DATABASE);
        clients.push(client.context(format!("client {}", number + 1))?);
    }
    let mut console = Client::connect(target.port, USER, "pgmanifold").context("console")?;
    let (stop, queries) = (AtomicBool::new(false), AtomicU64::new(0));
    let length = Duration::from_secs(seconds.max(PHASE_SECONDS_MIN));
    std::thread::scope(|scope| {
        for share in clients.chunks_mut(CLIENTS.div_ceil(LOAD_THREADS)) {
            let (stop, queries) = (&stop, &queries);
            scope.spawn(move || load(share, stop, queries));
        }
        let mut run = || -> Result<WatchFigures> {
            phase(pid, length / 4, &queries, || Ok(0))?;
            let alone = phase(pid, length, &queries, || Ok(0))?;
            let watched = phase(pid, length, &queries, || read_all(&mut console, http))?;
            Ok(WatchFigures { alone, watched })
        };
        let figures = run();
        stop.store(true, Ordering::Relaxed);
        figures
    })
}

/// Asks in the name of one client after the other, until it is told to stop or one fails.
fn load(clients: &mut [Client], stop: &AtomicBool, queries: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        for client in &mut *clients {
            if let Err(error) = client.query("select 1") {
                eprintln!("a client of the load: {error}");
                return;
            }
            queries.fetch_add(1, Ordering::Relaxed);
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// `read` gives the bytes it has read; 0 when nothing is to be read.
fn phase(
    pid: u32,
    length: Duration,
    queries: &AtomicU64,
    mut read: impl FnMut() -> Result<u64>,
) -> Result<Phase> {
    let (began, asked) = (Instant::now(), queries.load(Ordering::Relaxed));
    let before = cpu_by_thread(pid)?;
    let mut phase = Phase::default();
    let mut next = began;
    while began.elapsed() < length {
        next += READ_INTERVAL.min(length);
        let bytes = read()?;
        phase.bytes += bytes;
        phase.readings += u64::from(bytes > 0);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let after = cpu_by_thread(pid)?;
    phase.seconds = began.elapsed().as_secs_f64();
    phase.queries = queries.load(Ordering::Relaxed) - asked;
    let since = |(name, cpu): (String, u64)| {
        let earlier = before.get(&name).copied().unwrap_or(0);
        (name, cpu.saturating_sub(earlier))
    };
    phase.cpu_ns = after.into_iter().map(since).collect();
    Ok(phase)
}

/// Everything an agent reads, once.
fn read_all(console: &mut Client, http: u16) -> Result<u64> {
    let mut bytes = 0;
    for show in SHOWS {
        bytes += console.discard(show, Duration::ZERO).context(show)?;
    }
    let mut socket = TcpStream::connect(("127.0.0.1", http)).context("http")?;
    let ask = "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
    socket.write_all(ask.as_bytes())?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    if !answer.ends_with(b"# EOF\n") {
        return fail("/metrics was not answered");
    }
    Ok(bytes + answer.len() as u64)
}

/// The goal.
pub(crate) fn judge(figures: Option<&WatchFigures>) -> Verdict {
    let share = figures.map(|figures| {
        let watched = &figures.watched;
        100.0 * watched.watching_ns() as f64 / watched.total_ns().max(1) as f64
    });
    Verdict {
        goal: format!(
            "{CLIENTS} clients, read every second: console and HTTP < {SHARE_PERCENT_MAX} % of the \
             proxy's CPU"
        ),
        figure: share.map_or_else(|| "—".to_owned(), |share| format!("{share:.2} %")),
        met: share.map(|share| share < SHARE_PERCENT_MAX),
    }
}

/// The table of the report.
pub(crate) fn section(figures: &WatchFigures) -> Section {
    Section {
        title: "Price of being watched".to_owned(),
        remarks: vec![format!(
            "{CLIENTS} clients connected, {LOAD_THREADS} of them busy at a time. A reading is {} \
             and /metrics. CPU in percent of one core.",
            SHOWS.join(", ")
        )],
        header: vec![
            "phase",
            "queries/s",
            "CPU of all",
            "console",
            "http",
            "all that watches",
            "readings",
            "KiB each",
        ],
        rows: vec![figures.alone.row("not read"), figures.watched.row("read every second")],
    }
}
