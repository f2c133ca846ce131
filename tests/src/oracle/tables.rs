//! Owns the comparison of whole tables, directly on the servers: the rows of all shards together
//! are those of the oracle, and every row lies on the shard it belongs to.

use crate::shards::Shards;
use crate::shards::layout::Kind;
use crate::shards::servers::SHARDS;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Differing rows shown.
const SHOWN_ROWS: usize = 6;

/// Number of rows and sum of their hashes.
type Digest = (i128, i128);

/// Digests of all tables on the oracle.
pub type Digests = Vec<Digest>;

/// Digests of the oracle's tables; an error when the shards have something else.
///
/// # Errors
/// What differs.
pub fn compare(shards: &Shards, tables: &[String]) -> Result<Digests, String> {
    let oracle = digests(shards, None, tables)?;
    let parts: Vec<Vec<(Digest, i128)>> = (0..SHARDS)
        .map(|number| digests(shards, Some(number), tables))
        .collect::<Result<_, String>>()?;
    let mut faults = String::new();
    for (at, table) in tables.iter().enumerate() {
        let expected = oracle[at].0;
        for (number, part) in parts.iter().enumerate().filter(|(_, part)| part[at].1 != 0) {
            let count = part[at].1;
            let _ = write!(faults, "\n{count} rows of {table} do not belong to s{number}");
        }
        let copied = shards.layout.of_table(table).map(|(distribution, _)| &distribution.kind);
        let equal = match copied {
            Some(Kind::Reference) => parts.iter().all(|part| part[at].0 == expected),
            _ => sum(parts.iter().map(|part| part[at].0)) == expected,
        };
        if !equal {
            faults += &detail(shards, table);
        }
    }
    let digests = oracle.into_iter().map(|(digest, _)| digest).collect();
    if faults.is_empty() { Ok(digests) } else { Err(faults) }
}

/// Only that the shards have the same copies of reference tables, where the oracle's rows differ by
/// nature.
///
/// # Errors
/// Which table has different copies.
pub fn compare_copies(shards: &Shards, tables: &[String]) -> Result<(), String> {
    let copied = |table: &&String| {
        let of = shards.layout.of_table(table);
        of.is_some_and(|(distribution, _)| matches!(distribution.kind, Kind::Reference))
    };
    let names: Vec<String> = tables.iter().filter(copied).cloned().collect();
    if names.is_empty() {
        return Ok(());
    }
    let first = digests(shards, Some(0), &names)?;
    for number in 1..SHARDS {
        if digests(shards, Some(number), &names)? != first {
            return Err(format!("\ns{number} and s0 have different copies of {names:?}"));
        }
    }
    Ok(())
}

fn sum(digests: impl Iterator<Item = Digest>) -> Digest {
    digests.fold((0, 0), |(count, hash), more| (count + more.0, hash + more.1))
}

/// By table: its digest, and how many rows lie on the wrong shard.
fn digests(
    shards: &Shards,
    number: Option<usize>,
    tables: &[String],
) -> Result<Vec<(Digest, i128)>, String> {
    let part = |table: &String| {
        let own = number.map_or("true".into(), |n| shards.layout.belongs(table, n, SHARDS));
        let hidden = number.map_or("false".into(), |n| shards.layout.hides(table, n));
        format!(
            "select count(*), coalesce(sum(hashtextextended(x::text, 0)::numeric), 0), \
             count(*) filter (where ({own}) is not true) from {table} x \
             where ({hidden}) is not true"
        )
    };
    read(shards, number, &tables.iter().map(part).collect::<Vec<_>>())
}

/// Digests of what each shard hides of each table: rows of keys that are another shard's now.
///
/// # Errors
/// A shard cannot be read.
pub fn hidden(shards: &Shards, tables: &[String]) -> Result<Digests, String> {
    let of_shard = |number: usize| {
        let part = |table: &String| {
            let hidden = shards.layout.hides(table, number);
            format!(
                "select count(*), coalesce(sum(hashtextextended(x::text, 0)::numeric), 0), 0 \
                 from {table} x where {hidden}"
            )
        };
        read(shards, Some(number), &tables.iter().map(part).collect::<Vec<_>>())
    };
    let parts = (0..SHARDS).map(of_shard).collect::<Result<Vec<_>, String>>()?;
    Ok(parts.into_iter().flatten().map(|(digest, _)| digest).collect())
}

fn read(
    shards: &Shards,
    number: Option<usize>,
    queries: &[String],
) -> Result<Vec<(Digest, i128)>, String> {
    let sql = queries.join(" union all ");
    let server = number.map_or(shards.oracle(), |number| shards.shard(number));
    let rows = server.query_in(&shards.database, &sql);
    let rows =
        rows.map_err(|error| format!("\nthe tables of {number:?} cannot be read: {error}"))?;
    let number = |value: &Option<String>| -> i128 {
        value.as_deref().and_then(|text| text.parse().ok()).expect("a number")
    };
    let digest = |row: &Vec<Option<String>>| ((number(&row[0]), number(&row[1])), number(&row[2]));
    Ok(rows.iter().map(digest).collect())
}

fn detail(shards: &Shards, table: &str) -> String {
    let rows = |server: &pgmanifold::demo::postgres::Postgres, hidden: &str| -> Vec<String> {
        let sql = format!("select x::text from {table} x where ({hidden}) is not true");
        let rows = server.query_in(&shards.database, &sql).expect("a table can be read");
        rows.into_iter().flatten().flatten().collect()
    };
    let mut counts: BTreeMap<String, (i64, String)> = BTreeMap::new();
    for number in 0..SHARDS {
        for row in rows(shards.shard(number), &shards.layout.hides(table, number)) {
            let entry = counts.entry(row).or_default();
            entry.0 += 1;
            let _ = write!(entry.1, "s{number} ");
        }
    }
    for row in rows(shards.oracle(), "false") {
        counts.entry(row).or_default().0 -= 1;
    }
    let mut text = format!("\n{table} differs:");
    for (row, (count, places)) in
        counts.iter().filter(|(_, (count, _))| *count != 0).take(SHOWN_ROWS)
    {
        let who = if *count > 0 { "too many" } else { "missing" };
        let _ = write!(text, "\n  {who} ({count}) {row} {places}");
    }
    text
}
