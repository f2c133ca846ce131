//! Owns the rate of COPY FROM that is split over the shards, against COPY of the same rows straight
//! to one server.

use super::fleet::{Fleet, SHARDED, USER};
use crate::accounting::Usage;
use crate::client::Client;
use crate::error::{Context, Result, fail};
use crate::report::Section;
use crate::stats::Spread;
use std::fmt::Write;
use std::time::Instant;

/// Rows of one COPY.
const ROWS: u32 = 500_000;
/// Rounds.
const ROUNDS: usize = 3;
const SQL: &str = "copy copied from stdin";

/// Rates and cost.
#[derive(Debug)]
pub(super) struct CopyFigures {
    bytes: usize,
    /// Rows per second, in rounds: direct, through the proxy.
    rates: Vec<(f64, f64)>,
    /// CPU of the proxy per row, microseconds.
    cpu_us: f64,
}

/// Measures it.
pub(super) fn measure(fleet: &Fleet<'_>) -> Result<CopyFigures> {
    eprintln!("shards: COPY FROM");
    let front = fleet.front(&[])?;
    let data = rows();
    let Some(first) = fleet.clusters.first() else { return fail("no shards") };
    let mut rates = Vec::new();
    let mut cpu_us = Vec::new();
    for _ in 0..ROUNDS {
        empty(fleet)?;
        let direct = rate(first.primary.port(), &data)?;
        empty(fleet)?;
        let before = Usage::now(front.pid())?;
        let split = rate(front.port, &data)?;
        let used = Usage::now(front.pid())?.since(&before);
        cpu_us.push(used.cpu_ns / 1e3 / f64::from(ROWS));
        check(fleet)?;
        rates.push((direct, split));
    }
    empty(fleet)?;
    let cpu_us = Spread::of(cpu_us).map(|spread| spread.median).unwrap_or_default();
    Ok(CopyFigures { bytes: data.len(), rates, cpu_us })
}

/// Rows per second of one COPY.
fn rate(port: u16, data: &str) -> Result<f64> {
    let mut client = Client::connect(port, USER, SHARDED)?;
    let clock = Instant::now();
    client.copy_in(SQL, data.as_bytes())?;
    Ok(f64::from(ROWS) / clock.elapsed().as_secs_f64())
}

fn empty(fleet: &Fleet<'_>) -> Result<()> {
    fleet.clusters.iter().try_for_each(|cluster| {
        cluster.primary.query_in(SHARDED, "truncate copied").map(drop).context("truncate")
    })
}

/// All rows must be there, and each shard must have some.
fn check(fleet: &Fleet<'_>) -> Result<()> {
    let mut all = 0;
    for cluster in &fleet.clusters {
        let rows = cluster.primary.query_in(SHARDED, "select count(*) from copied");
        let rows = rows.context("count")?;
        let count = rows.first().and_then(|row| row.first().cloned().flatten());
        let count: u32 = count.unwrap_or_default().parse().context("count")?;
        if count == 0 {
            return fail("a shard got no rows of the COPY");
        }
        all += count;
    }
    if all == ROWS { Ok(()) } else { fail(format!("{all} rows of {ROWS} arrived")) }
}

fn rows() -> String {
    let mut text = String::new();
    for aid in 0..ROWS {
        let balance = u64::from(aid) * 7919 % 1_000_003;
        let _ = writeln!(text, "{aid}\t{balance}\t{:084}", u64::from(aid) * 104_729);
    }
    text
}

impl CopyFigures {
    /// Median over the rounds of split divided by direct.
    pub(super) fn share(&self) -> f64 {
        let shares = self.rates.iter().map(|(direct, split)| split / direct);
        Spread::of(shares).map(|spread| spread.median).unwrap_or_default()
    }

    pub(super) fn section(&self) -> Section {
        let median = |pick: fn(&(f64, f64)) -> f64| {
            Spread::of(self.rates.iter().map(pick))
                .map_or_else(|| "—".to_owned(), |spread| format!("{:.0}", spread.median))
        };
        let row = vec![
            format!("{ROWS} rows, {:.0} MB", self.bytes as f64 / 1e6),
            median(|pair| pair.0),
            median(|pair| pair.1),
            format!("{:.2}", self.share()),
            format!("{:.2}", self.cpu_us),
        ];
        Section {
            title: "Shards: COPY FROM split over three shards".to_owned(),
            remarks: vec![
                "Rows per second, medians of three rounds in turns; text format, a table without \
                 indexes."
                    .to_owned(),
            ],
            header: vec![
                "data",
                "direct to one server",
                "split",
                "ratio",
                "CPU µs/row of the proxy",
            ],
            rows: vec![row],
        }
    }
}
