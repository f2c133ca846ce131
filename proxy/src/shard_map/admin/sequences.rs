//! Owns the sequences of sharded tables: each shard's gives other numbers, so that `nextval` on one
//! never gives what another has given.
//!
//! With n shards the sequence of shard i counts in steps of [`STEP`] through the numbers that
//! leave i when divided by [`STEP`]. So shards can be added without looking at any sequence.

use super::{Admin, AdminError, ShardServer, moving};
use pgmanifold_router::ownership::{quote_name, quote_text};
use pgmanifold_router::shard_map::{DistributionKind, ShardMap, Table};
use std::collections::BTreeMap;

/// Distance between two numbers of one shard; as many shards can be told apart.
pub const STEP: i64 = 1024;

/// A sequence that was changed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Name of the shard.
    pub shard: String,
    /// The sequence, quoted.
    pub sequence: String,
    /// The next number it gives.
    pub next: i64,
}

/// A sequence that belongs to a column of a sharded table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sequence {
    /// `schema.name`, quoted.
    name: String,
    column: String,
    increment: i64,
    cycles: bool,
    largest: i64,
}

/// Sequences of one table on one shard, by the name of their column.
type Owned = BTreeMap<String, Sequence>;

/// Whether rows of the table get their numbers on several shards.
fn is_spread(map: &ShardMap, table: &Table) -> bool {
    let kind = map.distribution(table).kind;
    map.shards.len() > 1
        && matches!(kind, DistributionKind::Hash | DistributionKind::Range | DistributionKind::List)
}

/// Names what is wrong with the sequences of a table.
///
/// # Errors
/// When a shard cannot be asked.
pub(super) async fn check(
    map: &ShardMap,
    table: &Table,
    servers: &[ShardServer],
    problems: &mut Vec<String>,
) -> Result<(), AdminError> {
    if !is_spread(map, table) {
        return Ok(());
    }
    for (server, index) in servers.iter().zip(0_i64..) {
        for sequence in owned(server, table).await?.values() {
            let last = server.rows(&last_sql(&sequence.name)).await?;
            let next = number(&last, 0).saturating_add(sequence.increment * number(&last, 1));
            if sequence.increment != STEP || next.rem_euclid(STEP) != index {
                problems.push(format!(
                    "shard {}: sequence {} gives numbers that another shard's gives too; \
                     `pgmanifold map sequences` sets it",
                    server.name, sequence.name
                ));
            }
        }
    }
    Ok(())
}

/// Sets the sequences of all sharded tables, unless `dry`; says what was changed. Whoever asks one
/// of them for a number meanwhile waits.
///
/// # Errors
/// When a shard cannot be reached or refuses, or a sequence cannot be set. Shards that were done
/// stay so; the command can be given again.
pub async fn set(admin: &Admin, dry: bool) -> Result<Vec<Change>, AdminError> {
    let map = admin.map().await?;
    for table in map.tables.iter().filter(|table| is_spread(&map, table)) {
        moving::sequences_at_rest(&map, table)?;
    }
    let servers = admin.shards().await?;
    let mut changes = Vec::new();
    for table in map.tables.iter().filter(|table| is_spread(&map, table)) {
        for server in &servers {
            server.run("begin").await?;
        }
        changes.extend(set_table(table, &servers).await?);
        for server in &servers {
            server.run(if dry { "rollback" } else { "commit" }).await?;
        }
    }
    Ok(changes)
}

async fn set_table(table: &Table, servers: &[ShardServer]) -> Result<Vec<Change>, AdminError> {
    let mut found: Vec<Owned> = Vec::with_capacity(servers.len());
    for server in servers {
        let owned = owned(server, table).await?;
        for sequence in owned.values() {
            if sequence.increment < 0 || sequence.cycles {
                let what = if sequence.cycles { "cycles" } else { "counts down" };
                return Err(AdminError::at(
                    &server.place(),
                    format!("sequence {} {what}: it cannot be shared out", sequence.name),
                ));
            }
            // From here to the end of the transaction nobody gets a number from it.
            let lock = format!("alter sequence {} increment by {STEP}", sequence.name);
            server.run(&lock).await?;
        }
        found.push(owned);
    }
    let columns: Vec<String> = found.iter().flat_map(Owned::keys).cloned().collect();
    let mut changes = Vec::new();
    for column in columns {
        if changes.iter().any(|(known, _)| *known == column) {
            continue;
        }
        let changed = set_column(table, &column, servers, &found).await?;
        changes.push((column, changed));
    }
    Ok(changes.into_iter().flat_map(|(_, changed)| changed).collect())
}

/// Sets the sequences of one column on all shards.
async fn set_column(
    table: &Table,
    column: &str,
    servers: &[ShardServer],
    found: &[Owned],
) -> Result<Vec<Change>, AdminError> {
    // Whether each shard's is as it should be, and the largest number that any has given or has
    // in its table.
    let (mut is_set, mut used) = (true, 0_i64);
    for ((server, owned), index) in servers.iter().zip(found).zip(0_i64..) {
        let Some(sequence) = owned.get(column) else { continue };
        let last = server.rows(&last_sql(&sequence.name)).await?;
        let (last, called) = (number(&last, 0), number(&last, 1));
        let next = last.saturating_add(STEP * called);
        let sql = format!(
            "select coalesce(pg_catalog.max({}), 0) from {}",
            quote_name(column),
            pgmanifold_router::ownership::table_sql(table)
        );
        let rows = number(&server.rows(&sql).await?, 0);
        is_set &= sequence.increment == STEP && next.rem_euclid(STEP) == index && next > rows;
        used = used.max(rows).max(if called > 0 { last } else { last.saturating_sub(1) });
    }
    if is_set {
        return Ok(Vec::new());
    }
    let mut changes = Vec::new();
    for ((server, owned), index) in servers.iter().zip(found).zip(0_i64..) {
        let Some(sequence) = owned.get(column) else { continue };
        let next = next_free(used, index);
        let next = next.filter(|next| *next <= sequence.largest).ok_or_else(|| {
            let name = &sequence.name;
            AdminError::at(&server.place(), format!("sequence {name} has no numbers left"))
        })?;
        server.run(&format!("alter sequence {} restart with {next}", sequence.name)).await?;
        let (shard, sequence) = (server.name.clone(), sequence.name.clone());
        changes.push(Change { shard, sequence, next });
    }
    Ok(changes)
}

/// The smallest number above `used` that leaves `index`.
fn next_free(used: i64, index: i64) -> Option<i64> {
    let first = used.checked_add(1)?;
    first.checked_add((index - first).rem_euclid(STEP))
}

/// The last number, and 1 when it was given, 0 when it is the next one.
fn last_sql(sequence: &str) -> String {
    format!("select last_value, is_called::int from {sequence}")
}

async fn owned(server: &ShardServer, table: &Table) -> Result<Owned, AdminError> {
    let sql = format!(
        "{OWNED} and tn.nspname = {} and t.relname = {}",
        quote_text(&table.schema),
        quote_text(&table.name)
    );
    let rows = server.rows(&sql).await?;
    let read = |row: &Vec<Option<String>>| {
        let text = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        let sequence = Sequence {
            name: format!("{}.{}", quote_name(&text(1)), quote_name(&text(2))),
            column: text(0),
            increment: text(3).parse().unwrap_or_default(),
            cycles: text(4) == "t",
            largest: text(5).parse().unwrap_or_default(),
        };
        (sequence.column.clone(), sequence)
    };
    Ok(rows.iter().map(read).collect())
}

/// Sequences owned by columns, by SERIAL or as identities.
const OWNED: &str = "\
select a.attname, sn.nspname, s.relname, q.seqincrement, q.seqcycle, q.seqmax \
from pg_catalog.pg_depend d \
join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S' \
join pg_catalog.pg_namespace sn on sn.oid = s.relnamespace \
join pg_catalog.pg_sequence q on q.seqrelid = s.oid \
join pg_catalog.pg_class t on t.oid = d.refobjid \
join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace \
join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid \
where d.classid = 'pg_catalog.pg_class'::regclass \
 and d.refclassid = 'pg_catalog.pg_class'::regclass and d.deptype in ('a', 'i')";

fn number(rows: &[Vec<Option<String>>], column: usize) -> i64 {
    let value = rows.first().and_then(|row| row.get(column)).cloned().flatten();
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_number_of_a_shard_is_free_and_its_own() {
        for (used, index, wanted) in [
            (0, 0, 1024),
            (0, 1, 1),
            (0, 2, 2),
            (1, 1, 1025),
            (1023, 0, 1024),
            (1024, 0, 2048),
            (5000, 3, 5123),
            (-5, 1, 1),
        ] {
            assert_eq!(next_free(used, index), Some(wanted), "{used} {index}");
        }
        assert_eq!(next_free(i64::MAX, 0), None);
        assert_eq!(next_free(i64::MAX - 1, 5), None);
    }
}
