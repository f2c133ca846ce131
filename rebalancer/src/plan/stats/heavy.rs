//! Owns the search for keys that make a part heavy: each becomes a part of its own.

use super::super::narrow::key_alone;
use super::super::parts::{By, Part, Parts, Place, Weight};
use super::table::{sample, size};
use super::{Options, Shards, scaled};
use crate::error::Error;
use pgmanifold_router::key::KeyValue;
use pgmanifold_router::ownership::{keys_sql, quote_name, table_sql};
use pgmanifold_router::shard_map::{Bound, DistributionKind, Keys, Table};

/// Parts that are looked into.
const MAX_PARTS: usize = 16;
/// Parts with less than this part of an equal share are not.
const MIN_SHARE: f64 = 0.05;
/// A key with less than this part of its part's rows stays in it.
const MIN_OF_PART: f64 = 0.25;

/// Divides heavy parts around keys that have much of them.
pub(super) async fn single_out(
    shards: &mut Shards<'_>,
    parts: &mut Parts,
    tables: &[&Table],
    by: By,
    options: Options,
) -> Result<(), Error> {
    if !parts.ordered {
        return Ok(());
    }
    let even = parts.total().by(by) as f64 / shards.map.shards.len().max(1) as f64;
    let weight = |at: &usize| parts.parts[*at].weight.by(by) as f64;
    let mut heavy: Vec<usize> = (0..parts.parts.len()).collect();
    heavy.retain(|at| even > 0.0 && weight(at) > even * MIN_SHARE && !parts.parts[*at].fixed);
    heavy.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then(a.cmp(b)));
    heavy.truncate(MAX_PARTS);
    // From the last one, so that the places of the others stay.
    heavy.sort_unstable_by(|a, b| b.cmp(a));
    for at in heavy {
        if let Some(key) = heaviest(shards, parts, at, tables, options).await? {
            divide(shards, parts, at, &key)?;
        }
    }
    Ok(())
}

/// A key with its rows.
struct Key {
    values: Vec<KeyValue>,
    rows: u64,
}

/// The key with the most rows of a part, when these are many of them.
async fn heaviest(
    shards: &mut Shards<'_>,
    parts: &Parts,
    at: usize,
    tables: &[&Table],
    options: Options,
) -> Result<Option<Key>, Error> {
    let map = shards.map;
    let (Some(found), Some(part)) =
        (map.distributions.get(parts.distribution), parts.parts.get(at))
    else {
        return Ok(None);
    };
    let Some(keys) = parts.keys(&[at]) else { return Ok(None) };
    let mut best: Option<Key> = None;
    for table in tables {
        let session = shards.session(part.owner).await?;
        let size = size(session, table).await?;
        let (sample, percent) = sample(&size, options);
        let columns: Vec<String> = table.key_columns.iter().map(|c| quote_name(c)).collect();
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        let texts: Vec<String> = names.iter().map(|column| format!("{column}::text")).collect();
        let sql = format!(
            "select {}, count(*) from {}{sample} where {} group by {} \
             order by count(*) desc limit 1",
            texts.join(", "),
            table_sql(table),
            keys_sql(found, &keys, &names),
            columns.join(", "),
        );
        for row in session.rows(&sql).await? {
            let Some((Some(count), texts)) = row.split_last() else { continue };
            let pairs = found.key_types.iter().zip(texts);
            let values = pairs.map(|(ty, text)| KeyValue::from_text(*ty, text.as_deref()?));
            let (Some(values), Ok(count)) = (values.collect::<Option<Vec<_>>>(), count.parse())
            else {
                continue;
            };
            let count: u64 = count;
            let rows = (count as f64 * 100.0 / percent).round() as u64;
            match &mut best {
                // The same key in another table: together they are as heavy as that.
                Some(known) if known.values == values => known.rows += rows,
                Some(known) if known.rows >= rows => {}
                _ => best = Some(Key { values, rows }),
            }
        }
    }
    let enough = part.weight.rows as f64 * MIN_OF_PART;
    Ok(best.filter(|key| key.rows as f64 >= enough && !key.values.is_empty()))
}

/// Makes a part of the key, and one of what is before and after it each.
fn divide(shards: &Shards<'_>, parts: &mut Parts, at: usize, key: &Key) -> Result<(), Error> {
    let Some(found) = shards.map.distributions.get(parts.distribution) else { return Ok(()) };
    let Keys::Between(from, to) = key_alone(found, &key.values)? else { return Ok(()) };
    let end = parts.end(at).cloned();
    let Some(part) = parts.parts.get(at).cloned() else { return Ok(()) };
    let Place::From(start) = &part.place else { return Ok(()) };
    let alone = scale(part.weight, key.rows.min(part.weight.rows), part.weight.rows);
    let rest = Weight {
        rows: part.weight.rows - alone.rows,
        bytes: part.weight.bytes - alone.bytes,
        executions: part.weight.executions - alone.executions,
    };
    let texts: Vec<String> = key.values.iter().map(ToString::to_string).collect();
    let piece = |from: Option<Bound>, weight: Weight, key: Option<String>| Part {
        place: Place::From(from),
        weight,
        key,
        ..part.clone()
    };
    let before = (from != *start).then(|| start.clone());
    let after = to.filter(|to| Some(to) != end.as_ref()).map(Some);
    let share = match (&before, &after) {
        (Some(_), Some(after)) if found.kind == DistributionKind::Hash => {
            before_share(start.as_ref(), after.as_ref(), end.as_ref())
        }
        (Some(_), Some(_)) => 0.5,
        (Some(_), None) => 1.0,
        (None, _) => 0.0,
    };
    let first = scale(rest, (share * 1e6) as u64, 1_000_000);
    let second = Weight {
        rows: rest.rows - first.rows,
        bytes: rest.bytes - first.bytes,
        executions: rest.executions - first.executions,
    };
    let mut pieces = Vec::new();
    let nothing_else = before.is_none() && after.is_none();
    if let Some(before) = before {
        pieces.push(piece(before, first, None));
    }
    let own = if nothing_else { part.weight } else { alone };
    pieces.push(piece(from, own, Some(texts.join(", "))));
    if let Some(after) = after {
        pieces.push(piece(after, second, None));
    }
    parts.parts.splice(at..=at, pieces);
    Ok(())
}

/// How much of the hashes of a part are before the key, by the width.
fn before_share(start: Option<&Bound>, key: Option<&Bound>, end: Option<&Bound>) -> f64 {
    let hash = |bound: Option<&Bound>, open: i64| match bound {
        Some(Bound::Hash(hash)) => *hash as f64,
        _ => open as f64,
    };
    let (start, end) = (hash(start, i64::MIN), hash(end, i64::MAX));
    let key = hash(key, i64::MAX);
    if end > start { ((key - start) / (end - start)).clamp(0.0, 1.0) } else { 0.5 }
}

fn scale(weight: Weight, own: u64, all: u64) -> Weight {
    Weight {
        rows: scaled(weight.rows, own, all),
        bytes: scaled(weight.bytes, own, all),
        executions: scaled(weight.executions, own, all),
    }
}
