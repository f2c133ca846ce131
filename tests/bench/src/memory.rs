//! Owns the memory figures, each of a process started for it alone: the peak while a gigabyte
//! passes to a client that stops reading for a while, and what an idle client costs.

use crate::accounting::{Usage, memory};
use crate::client::Client;
use crate::error::{Context, Result, fail};
use crate::servers::{DATABASE, USER};
use crate::target::{Kind, Launcher};
use std::time::{Duration, Instant};

/// A million rows of a thousand bytes.
const GIGABYTE_SQL: &str = "select repeat('x', 1000) from generate_series(1, 1000000)";
/// The client stands still so long: what lies between must not fill up meanwhile.
const READER_PAUSE: Duration = Duration::from_millis(500);
/// Idle clients at the first and the second look; the difference counts.
const IDLE_CLIENTS: [usize; 2] = [1000, 2000];
/// Time for a process to settle before it is looked at.
const SETTLE: Duration = Duration::from_millis(300);

/// One target's figures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryFigures {
    /// Which target.
    pub(crate) kind: Kind,
    /// Resident after start, bytes.
    pub(crate) start: u64,
    /// Most ever resident after the gigabyte, bytes.
    pub(crate) peak: u64,
    /// CPU time for the gigabyte, milliseconds.
    pub(crate) cpu_ms: f64,
    /// Wall time of it, seconds, with the pause.
    pub(crate) seconds: f64,
    /// Resident bytes per idle client; only where clients share servers.
    pub(crate) per_idle_client: Option<f64>,
}

/// Measures one target.
pub(crate) fn measure(launcher: &Launcher<'_>, kind: Kind) -> Result<MemoryFigures> {
    eprintln!("memory of {}", kind.name());
    let target = launcher.start(kind)?;
    let Some(pid) = target.pid() else { return fail("the direct target has no process") };
    let mut client = Client::connect(target.port, USER, DATABASE)?;
    client.query("select 1")?;
    let start = memory(pid)?.resident;
    let (before, clock) = (Usage::now(pid)?, Instant::now());
    let bytes = client.discard(GIGABYTE_SQL, READER_PAUSE).context("1 GB result")?;
    let seconds = clock.elapsed().as_secs_f64();
    let cpu_ms = Usage::now(pid)?.since(&before).cpu_ns / 1e6;
    if bytes < 1_000_000_000 {
        return fail(format!("the 1 GB result had only {bytes} bytes"));
    }
    let peak = memory(pid)?.peak;
    drop((client, target));
    let per_idle_client = if kind.pools() { Some(idle_clients(launcher, kind)?) } else { None };
    Ok(MemoryFigures { kind, start, peak, cpu_ms, seconds, per_idle_client })
}

/// Clients that have asked one query each and then keep silent.
fn idle_clients(launcher: &Launcher<'_>, kind: Kind) -> Result<f64> {
    let target = launcher.start(kind)?;
    let Some(pid) = target.pid() else { return fail("no process") };
    let mut clients = Vec::new();
    let mut resident = [0_u64; 2];
    for (count, seen) in IDLE_CLIENTS.into_iter().zip(&mut resident) {
        while clients.len() < count {
            let mut client = Client::connect(target.port, USER, DATABASE)
                .context(format!("idle client {}", clients.len() + 1))?;
            client.query("select 1")?;
            clients.push(client);
        }
        std::thread::sleep(SETTLE);
        *seen = memory(pid)?.resident;
    }
    Ok(resident[1].saturating_sub(resident[0]) as f64 / (IDLE_CLIENTS[1] - IDLE_CLIENTS[0]) as f64)
}
