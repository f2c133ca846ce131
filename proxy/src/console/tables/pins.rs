//! Fills the table of sessions that keep a server, or the primary.

use super::Fill;
use crate::cluster::Cluster;
use crate::console::time::{utc_of, utc_of_ms};
use crate::pool::manager::Running;
use crate::server::{ClientHandle, Shared};
use pgmanifold_console::Value;
use pgmanifold_console::value::Row;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) const FILLS: &[(&str, Fill)] = &[("pins", pins)];

fn pins(shared: &Arc<Shared>) -> Vec<Row> {
    let running = shared.state().running();
    let rows = Mutex::new(Vec::new());
    shared.clients.for_each(|handle| {
        let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
        held(handle, &mut rows);
        rows.extend(waits_for_replicas(handle, &running));
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|row| match row.first() {
        Some(Value::Int(id)) => *id,
        _ => 0,
    });
    rows
}

/// Why the session keeps its server.
fn held(handle: &ClientHandle, rows: &mut Vec<Row>) {
    let reasons = handle.pins.get();
    let since = utc_of_ms(handle.pins.since_ms());
    rows.extend(reasons.iter().map(|reason| {
        let mut row = who(handle);
        row.extend(["server".into(), reason.as_str().into(), Value::Null]);
        row.extend([since.as_str().into(), Value::Null]);
        row
    }));
}

/// The session's reads go to the primary until a replica has its last write.
fn waits_for_replicas(handle: &ClientHandle, running: &[Running]) -> Option<Row> {
    let write = handle.last_write.get()?;
    let database = running.iter().find(|known| known.database.name == handle.database())?;
    let cluster: &Arc<Cluster> = database.clusters.get(usize::from(write.shard.0))?;
    let reads_there = database.database.read_replicas;
    if !reads_there || !cluster.is_uncovered(write.sample, write.async_commit) {
        return None;
    }
    let awaited = cluster.awaited(write.sample, write.async_commit);
    let mut row = who(handle);
    row.extend(["primary".into(), "own write".into(), cluster.shard().name.as_str().into()]);
    row.push(awaited.map(|awaited| utc_of(awaited.since)).into());
    row.push(awaited.map(|awaited| awaited.lsn.to_string()).into());
    Some(row)
}

fn who(handle: &ClientHandle) -> Row {
    let user = handle.sight.user.name.as_str();
    vec![i64::from(handle.id).into(), handle.database().into(), user.into()]
}
