//! Fills the tables of PgBouncer's statistics.

use super::{CONSOLE, Fill};
use crate::metrics::Totals;
use crate::metrics::periods::{ByDatabase, sum};
use crate::server::Shared;
use pgmanifold_console::value::Row;
use std::sync::Arc;
use std::time::Instant;

pub(super) const FILLS: &[(&str, Fill)] = &[
    ("stats", |shared| rows(shared, true, true)),
    ("stats_averages", |shared| rows(shared, false, true)),
    ("stats_totals", |shared| rows(shared, true, false)),
    ("totals", totals),
];

/// The numbers as TOTALS calls them.
const NAMES: [&str; Totals::COUNT] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
    "client_login_count",
];

/// A row for every database that is configured, was used, or is the console.
fn rows(shared: &Arc<Shared>, with_totals: bool, with_averages: bool) -> Vec<Row> {
    let all = counted(shared);
    let averages = shared.metrics.periods.averages(Instant::now(), &all);
    let row = |(name, totals): (&String, &Totals)| {
        let mut row: Row = vec![name.as_str().into()];
        if with_totals {
            row.extend(totals.numbers().map(Into::into));
        }
        if with_averages {
            let averages = averages.get(name).copied().unwrap_or_default();
            row.extend(averages.numbers().map(Into::into));
        }
        row
    };
    all.iter().map(row).collect()
}

fn counted(shared: &Arc<Shared>) -> ByDatabase {
    let mut all = shared.metrics.totals();
    for database in &shared.state().config.databases {
        all.entry(database.name.clone()).or_default();
    }
    all.entry(CONSOLE.to_owned()).or_default();
    all
}

fn totals(shared: &Arc<Shared>) -> Vec<Row> {
    let all = shared.metrics.totals();
    let averages = shared.metrics.periods.average_of_all(Instant::now(), &all);
    let named = |prefix: &'static str, totals: Totals| {
        let numbers = NAMES.into_iter().zip(totals.numbers());
        numbers.map(move |(name, number)| vec![format!("{prefix}_{name}").into(), number.into()])
    };
    named("total", sum(&all)).chain(named("avg", averages)).collect()
}
