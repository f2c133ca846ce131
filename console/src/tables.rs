//! Owns the list of the console's tables. Each file below has those of one subject; what fills
//! them is in the proxy, under the same names.

mod advice;
mod clients;
mod cluster;
mod digests;
#[cfg(test)]
mod pgbouncer;
mod pins;
mod pools;
mod process;
mod sharding;
mod state;
mod stats;

use crate::schema::Table;

/// All tables, by subject.
pub static GROUPS: &[&[&Table]] = &[
    advice::TABLES,
    clients::TABLES,
    cluster::TABLES,
    digests::TABLES,
    pins::TABLES,
    pools::TABLES,
    process::TABLES,
    sharding::TABLES,
    state::TABLES,
    stats::TABLES,
];

/// All tables.
pub fn all() -> impl Iterator<Item = &'static Table> {
    GROUPS.iter().flat_map(|group| group.iter().copied())
}

/// The table of a name or alias, in any case.
pub fn find(name: &str) -> Option<&'static Table> {
    let is = |known: &&str| known.eq_ignore_ascii_case(name);
    all().find(|table| is(&table.name) || table.aliases.iter().any(is))
}
