//! Fills the tables of statements, routes and latencies.

use super::Fill;
use crate::digest::{Copied, Merged, Row as Digest, Stats, merge};
use crate::metrics::RouteKind;
use crate::server::Shared;
use pgmanifold_console::Value;
use pgmanifold_console::value::Row;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Names the row of what has no row of its own.
const OTHER: &str = "other";

pub(super) const FILLS: &[(&str, Fill)] =
    &[("statements", statements), ("latency", latency), ("routes", routes)];

/// What all workers have counted, by database.
fn merged(shared: &Shared) -> BTreeMap<String, Merged> {
    let mut copies: BTreeMap<String, Vec<Copied>> = BTreeMap::new();
    for (database, worker) in shared.metrics.by_database() {
        copies.entry(database).or_default().push(worker.digests.copy());
    }
    let limit = shared.statements.shapes_max();
    copies.into_iter().map(|(database, copies)| (database, merge(copies, limit))).collect()
}

fn statements(shared: &Arc<Shared>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (database, merged) in merged(shared) {
        rows.extend(merged.rows.iter().map(|digest| statement(&database, digest)));
        if merged.other.calls > 0 {
            let who = [OTHER.into(), database.into(), Value::Null, Value::Null, Value::Null];
            rows.push(who.into_iter().chain(numbers(&merged.other)).collect());
        }
    }
    rows
}

fn statement(database: &str, digest: &Digest) -> Row {
    let (route, reason) = match &digest.route {
        Some((kind, why)) => (Value::from(kind.word()), Value::from(&**why)),
        None => (Value::Null, Value::Null),
    };
    let fingerprint = format!("{:016x}", digest.shape.fingerprint);
    let who = [fingerprint.into(), database.into(), (*digest.shape.text).into(), route, reason];
    who.into_iter().chain(numbers(&digest.stats)).collect()
}

fn micros(time: Duration) -> Value {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).into()
}

fn numbers(stats: &Stats) -> [Value; 19] {
    [
        stats.calls.into(),
        stats.errors.into(),
        stats.rows.into(),
        stats.bytes.into(),
        micros(stats.total),
        stats.mean_us().into(),
        stats.min_us.into(),
        stats.max_us.into(),
        stats.percentile_us(0.5).into(),
        stats.percentile_us(0.95).into(),
        stats.percentile_us(0.99).into(),
        micros(stats.server),
        micros(stats.pool_wait),
        stats.shards_max.into(),
        stats.shards_mean().into(),
        stats.single.into(),
        stats.scatter.into(),
        stats.local.into(),
        stats.refused.into(),
    ]
}

fn latency(shared: &Arc<Shared>) -> Vec<Row> {
    let rows = shared.metrics.stages().into_iter().map(|found| {
        let times = &found.times;
        let quantile = |share| Value::from(times.quantile_us(share));
        vec![
            found.database.into(),
            found.kind.word().into(),
            found.stage.word().into(),
            times.count().into(),
            micros(times.sum()),
            times.mean_us().into(),
            quantile(0.5),
            quantile(0.9),
            quantile(0.95),
            quantile(0.99),
            quantile(0.999),
            quantile(1.0),
        ]
    });
    rows.collect()
}

fn routes(shared: &Arc<Shared>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (database, merged) in merged(shared) {
        for kind in RouteKind::ALL {
            let taken = merged.routes.iter().filter(|route| route.kind == kind && route.count > 0);
            rows.extend(taken.map(|route| {
                let (kind, why) = (kind.word().into(), (*route.why).into());
                vec![database.as_str().into(), kind, why, route.count.into()]
            }));
        }
    }
    rows
}
