//! Owns moves that are measured: some keys go to the other shard and back, again and again, under
//! the load of the demo, and nothing is said meanwhile.

use super::fleet::Fleet;
use super::load::{Load, Window, latencies};
use std::time::Duration;

/// Keys that go to and fro, a quarter of all: their first hash, and the one beyond the last.
const KEYS: (i64, i64) = (-(1 << 62), 0);
/// Orders of each customer: a million rows in all.
const ORDERS_EACH: i64 = 25;
/// A slow copy: about a third of what the benchmark's machine can do.
const SLOW: &str = "copy_bytes_per_s = 500000";
/// How long the clients work before the first move.
const BEFORE: Duration = Duration::from_secs(5);

/// Latencies of writes of one row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Latency {
    /// How many.
    pub writes: u64,
    /// Median, in microseconds.
    pub p50_us: u64,
    /// 99th percentile, in microseconds.
    pub p99_us: u64,
    /// The longest, in microseconds.
    pub max_us: u64,
}

/// What moves under load cost.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Rows of each move.
    pub rows: u64,
    /// How long writes to the keys waited, in milliseconds, for each change of hands.
    pub pauses_ms: Vec<f64>,
    /// The longest write of a client to those keys while they moved, in milliseconds, for each
    /// change of hands.
    pub longest_ms: Vec<f64>,
    /// Rows copied in a second, for each copy: from its first thought to its last row.
    pub rows_per_s: Vec<f64>,
    /// Writes before the first move.
    pub before: Latency,
    /// Writes to other keys while keys were copied and moved, as fast as it went.
    pub others: Latency,
    /// The same with a limit for the rate of copying.
    pub others_slow: Latency,
    /// Statements that clients were asked to repeat.
    pub refused: u64,
}

/// Moves the keys there and back, so many times as fast as it goes, and a quarter as often slowly.
///
/// # Errors
/// What a server, a proxy or the rebalancer says; that a client found other than it had written.
pub fn measure(times: usize) -> Result<Measured, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let fleet = Fleet::start().map_err(|error| error.to_string())?;
    runtime.block_on(all(&fleet, times))
}

async fn all(fleet: &Fleet, times: usize) -> Result<Measured, String> {
    fleet.write_map().await?;
    let inlets = fleet.open().await?;
    fleet.fill(ORDERS_EACH)?;
    let dsns: Vec<String> = inlets.iter().map(|inlet| fleet.dsn(inlet)).collect();
    let load = Load::begin(&dsns, ORDERS_EACH).await?;
    let mut measured = Measured::default();
    tokio::time::sleep(BEFORE).await;
    measured.before = latency(&load.take(), (i64::MIN, i64::MIN));
    let mut others = Window::new();
    for _ in 0..times.div_ceil(4) {
        others.extend(there(fleet, &load, SLOW).await?);
        fleet.rebalance_quietly("", &["rollback", &fleet.last_move()?]).await?;
    }
    measured.others_slow = latency(&std::mem::take(&mut others), KEYS);
    for _ in 0..times {
        let window = there(fleet, &load, "").await?;
        note_copy(fleet, &mut measured)?;
        note_pause(fleet, &window, &mut measured)?;
        others.extend(window);
        fleet.rebalance_quietly("", &["rollback", &fleet.last_move()?]).await?;
        note_pause(fleet, &load.take(), &mut measured)?;
    }
    measured.others = latency(&others, KEYS);
    let done = load.end().await?;
    measured.refused = done.refused;
    done.prove(&fleet.dsn(&inlets[0]), ORDERS_EACH).await?;
    Ok(measured)
}

/// The keys go to the other shard; what clients wrote meanwhile.
async fn there(fleet: &Fleet, load: &Load, limits: &str) -> Result<Window, String> {
    let (from, to) = (KEYS.0.to_string(), KEYS.1.to_string());
    let keys = ["--distribution", "customer", "--from", &from, "--to", &to];
    load.take();
    let arguments = [&["apply", "--target", "south"], &keys[..]].concat();
    fleet.rebalance_quietly(limits, &arguments).await?;
    Ok(load.take())
}

fn note_copy(fleet: &Fleet, measured: &mut Measured) -> Result<(), String> {
    measured.rows = fleet.number_of_last_move("rows_copied")? as u64;
    // Rows are on their way between the first event of one state and the first of the next.
    let first = |state| {
        format!("(select min(at) from pgm.move_event where move = move.id and state = '{state}')")
    };
    let (begin, end) = (first("copying"), first("catching_up"));
    let rate = format!("rows_copied / extract(epoch from {end} - {begin})");
    measured.rows_per_s.push(fleet.number_of_last_move(&rate)?);
    Ok(())
}

fn note_pause(fleet: &Fleet, window: &Window, measured: &mut Measured) -> Result<(), String> {
    measured.pauses_ms.push(fleet.number_of_last_move("write_pause_ms")?);
    measured.longest_ms.push(latencies(window, KEYS, true).max() as f64 / 1000.0);
    Ok(())
}

/// Of writes whose keys are not those.
fn latency(window: &Window, keys: (i64, i64)) -> Latency {
    let times = latencies(window, keys, false);
    let at = |quantile| times.value_at_quantile(quantile);
    Latency { writes: times.len(), p50_us: at(0.5), p99_us: at(0.99), max_us: at(1.0) }
}
