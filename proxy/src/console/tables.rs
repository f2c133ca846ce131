//! Owns the filling of the console's tables: one file per subject, one function per table. They run
//! on the console's thread and take locks that sessions take; they copy and leave.

mod advice;
mod clients;
mod cluster;
mod digests;
mod pins;
mod pools;
mod process;
mod sharding;
mod state;
mod stats;

use crate::server::Shared;
use pgmanifold_console::value::Row;
use pgmanifold_console::{Source, Table, Value};
use std::sync::Arc;

/// Fills one table.
type Fill = fn(&Arc<Shared>) -> Vec<Row>;

/// All tables by name, subject by subject.
const FILLS: &[&[(&str, Fill)]] = &[
    advice::FILLS,
    clients::FILLS,
    cluster::FILLS,
    digests::FILLS,
    pins::FILLS,
    pools::FILLS,
    process::FILLS,
    sharding::FILLS,
    state::FILLS,
    stats::FILLS,
];

/// Name of the console's own database and user where agents know PgBouncer's, and leave it out.
pub const CONSOLE: &str = "pgbouncer";

/// A count for a column of `int4`; one that does not fit is shown as the largest that does.
fn int4(count: usize) -> Value {
    i32::try_from(count).unwrap_or(i32::MAX).into()
}

/// A time as PgBouncer shows it: whole seconds, and the microseconds beside them.
fn seconds_and_micros(micros: u128) -> (Value, Value) {
    let seconds = usize::try_from(micros / 1_000_000).unwrap_or(usize::MAX);
    (int4(seconds), int4((micros % 1_000_000) as usize))
}

/// What the tables of this process hold now.
pub struct ProcessSource(pub Arc<Shared>);

impl Source for ProcessSource {
    fn rows(&self, table: &'static Table) -> Vec<Row> {
        let fills = FILLS.iter().flat_map(|group| group.iter());
        let fill = fills.into_iter().find(|(name, _)| *name == table.name);
        let (_, fill) = fill.expect("invariant: every table is filled");
        let rows = fill(&self.0);
        debug_assert!(rows.iter().all(|row| row.len() == table.columns.len()), "{}", table.name);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_filled_once() {
        let fills: Vec<&str> =
            FILLS.iter().flat_map(|group| group.iter()).map(|(n, _)| *n).collect();
        for table in pgmanifold_console::tables::all() {
            let count = fills.iter().filter(|name| **name == table.name).count();
            assert_eq!(count, 1, "{}", table.name);
        }
        assert_eq!(fills.len(), pgmanifold_console::tables::all().count());
    }
}
