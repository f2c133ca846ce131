//! Owns the cost of statements over all shards: latency against the slowest shard's own, and memory
//! and CPU while a gigabyte comes from all of them.

use super::fleet::{Fleet, SHARDED, SHARDS, USER};
use crate::accounting::{Usage, memory};
use crate::client::Client;
use crate::error::{Context, Problems, Result, fail};
use crate::interrupt;
use crate::report::Section;
use crate::stats::percentile;
use std::time::{Duration, Instant};

/// Name, text, and how often it is asked of each.
const STATEMENTS: [(&str, &str, usize); 2] = [
    (
        "ORDER BY … LIMIT 10 by an index",
        "select aid, abalance from accounts order by abalance desc, aid limit 10",
        3000,
    ),
    (
        "ORDER BY … LIMIT 10 that sorts",
        "select aid, abalance from accounts where abalance % 7 = 3 \
         order by abalance + aid, aid limit 10",
        40,
    ),
];
/// A million rows of a thousand bytes and a little.
const GIGABYTE_SQL: &str = "select aid, repeat('x', 1000) from accounts";
/// The client stands still so long: what lies between must not fill up meanwhile.
const READER_PAUSE: Duration = Duration::from_millis(500);

/// Latency of one statement.
#[derive(Debug)]
pub(super) struct Latency {
    pub(super) name: &'static str,
    /// Median through the proxy, microseconds.
    pub(super) proxy_us: f64,
    /// Median of what each shard is sent, asked of it directly.
    shards_us: Vec<f64>,
}

impl Latency {
    /// The slowest shard's median.
    pub(super) fn slowest_us(&self) -> f64 {
        self.shards_us.iter().copied().fold(0.0, f64::max)
    }
}

/// A gigabyte from three shards.
#[derive(Debug)]
pub(super) struct BigScatter {
    start: u64,
    pub(super) peak: u64,
    cpu_ms: f64,
    seconds: f64,
    bytes: u64,
}

/// Measures all statements.
pub(super) fn latencies(fleet: &Fleet<'_>, problems: &mut Problems) -> Vec<Latency> {
    let measure = |(name, sql, times)| problems.attempt(|| latency(fleet, name, sql, times));
    STATEMENTS.into_iter().filter_map(measure).collect()
}

fn latency(fleet: &Fleet<'_>, name: &'static str, sql: &str, times: usize) -> Result<Latency> {
    eprintln!("shards: {name}");
    let front = fleet.front(&[])?;
    let mut proxy = Client::connect(front.port, USER, SHARDED)?;
    proxy.query(sql)?;
    let sent = sent_text(fleet, sql)?;
    let mut direct = Vec::new();
    for cluster in &fleet.clusters {
        direct.push(Client::connect(cluster.primary.port(), USER, SHARDED)?);
    }
    let mut proxy_us = Vec::new();
    let mut shards_us = vec![Vec::new(); SHARDS.len()];
    // In turns: a slow moment of the machine falls on all alike.
    for round in 0..times + times / 10 {
        let warm = round < times / 10;
        let time = timed(&mut proxy, sql)?;
        proxy_us.extend((!warm).then_some(time));
        for (client, times) in direct.iter_mut().zip(&mut shards_us) {
            let time = timed(client, &sent)?;
            times.extend((!warm).then_some(time));
        }
        if interrupt::requested() {
            return fail("stopped by a signal");
        }
    }
    let median = |mut times: Vec<u64>| {
        times.sort_unstable();
        percentile(&times, 0.5).map(|time| time as f64 / 1e3).unwrap_or_default()
    };
    let shards_us = shards_us.into_iter().map(median).collect();
    Ok(Latency { name, proxy_us: median(proxy_us), shards_us })
}

/// Nanoseconds.
fn timed(client: &mut Client, sql: &str) -> Result<u64> {
    let clock = Instant::now();
    client.query(sql)?;
    u64::try_from(clock.elapsed().as_nanos()).context("a duration")
}

/// What a shard was sent for this statement, as its own list of sessions says.
fn sent_text(fleet: &Fleet<'_>, sql: &str) -> Result<String> {
    let begin: String = sql.chars().take("select aid".len()).collect();
    let look = format!(
        "select query from pg_stat_activity where usename = '{USER}' and datname = '{SHARDED}' \
         and query like '{begin}%' order by query_start desc limit 1"
    );
    let Some(first) = fleet.clusters.first() else { return fail("no shards") };
    let text = first.primary.value(&look).context("pg_stat_activity")?;
    match text.len() > sql.len() {
        true => Ok(text),
        false => fail(format!("a shard was sent: {text}")),
    }
}

/// A gigabyte, with a reader that stands still for a while.
pub(super) fn gigabyte(fleet: &Fleet<'_>) -> Result<BigScatter> {
    eprintln!("shards: a gigabyte");
    let front = fleet.front(&[])?;
    let pid = front.pid();
    let mut client = Client::connect(front.port, USER, SHARDED)?;
    client.query("select 1")?;
    let start = memory(pid)?.resident;
    let (before, clock) = (Usage::now(pid)?, Instant::now());
    let bytes = client.discard(GIGABYTE_SQL, READER_PAUSE).context("1 GB of three shards")?;
    let seconds = clock.elapsed().as_secs_f64();
    let cpu_ms = Usage::now(pid)?.since(&before).cpu_ns / 1e6;
    if bytes < 1_000_000_000 {
        return fail(format!("the gigabyte of three shards had only {bytes} bytes"));
    }
    Ok(BigScatter { start, peak: memory(pid)?.peak, cpu_ms, seconds, bytes })
}

impl BigScatter {
    pub(super) fn section(&self) -> Section {
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        let gigabytes = self.bytes as f64 / 1e9;
        let row = vec![
            mib(self.start),
            mib(self.peak),
            format!("{:.0}", self.cpu_ms / gigabytes),
            format!("{:.1}", self.seconds),
        ];
        Section {
            title: "Shards: a result of 1 GB from three shards".to_owned(),
            remarks: vec![
                "A fresh process; the reader stood still for half a second near the beginning."
                    .to_owned(),
            ],
            header: vec!["start MiB", "peak MiB", "CPU ms/GB", "seconds"],
            rows: vec![row],
        }
    }
}

/// The table.
pub(super) fn latency_section(all: &[Latency]) -> Section {
    let row = |latency: &Latency| {
        let slowest = latency.slowest_us();
        let each: Vec<String> = latency.shards_us.iter().map(|time| format!("{time:.0}")).collect();
        vec![
            latency.name.to_owned(),
            each.join(", "),
            format!("{:.0}", latency.proxy_us),
            format!("{:.2}", latency.proxy_us / slowest),
            format!("{:.0}", latency.proxy_us - slowest),
        ]
    };
    Section {
        title: "Shards: latency of a statement over three shards".to_owned(),
        remarks: vec![
            "Medians in microseconds, one client, in turns. Each shard was asked alone for what \
             pgmanifold sends it; through pgmanifold all three work at once, on the same cores."
                .to_owned(),
        ],
        header: vec!["statement", "each shard alone", "through pgmanifold", "× slowest", "added"],
        rows: all.iter().map(row).collect(),
    }
}
