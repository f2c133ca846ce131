//! Owns the way from a sub-range that differs to the keys that do.

use super::columns::{Compared, row_text};
use super::compare::{Sum, Sums, differing, sums};
use super::pair::Pair;
use super::report::{Difference, DifferingKey};
use crate::connect::Session;
use crate::error::Error;
use pgmanifold_router::ownership::{quote_name, quote_text};
use std::collections::BTreeMap;

/// Keys that a report names of one sub-range.
pub const MAX_KEYS_NAMED: usize = 10;
/// Rows whose keys are listed one by one; larger parts are cut further.
const LISTED_ROWS: u64 = 20_000;
/// Cuts into 64 parts, each of one that differs: enough for 5,000,000,000 rows of a sub-range.
const CUTS_MAX: u32 = 3;

/// The first keys of a sub-range that differ, and whether there may be more.
pub(super) async fn keys(
    pair: &Pair,
    compared: &Compared,
    part_sql: &str,
    part: &str,
    rows: [u64; 2],
) -> Result<(Vec<DifferingKey>, bool), Error> {
    let identity = compared.identity_text();
    let mut restriction = format!("{part_sql} = {}", quote_text(part));
    let mut rows = rows.into_iter().max().unwrap_or(0);
    let mut more = false;
    for cut in 1..=CUTS_MAX {
        if rows <= LISTED_ROWS {
            break;
        }
        // Each cut by a hash of its own.
        let class = format!("(pg_catalog.hashtextextended({identity}, {cut}) & 63)::text");
        let found = sums(pair, compared, &class, &restriction).await?;
        let classes = differing(&found, |one, other| one != other);
        let (taken, of_them) = listed(&classes, &found);
        if taken.is_empty() {
            break;
        }
        more |= taken.len() < classes.len();
        rows = of_them;
        restriction = format!("{restriction} and {class} in ({})", constants(taken));
    }
    let found = sums(pair, compared, &identity, &restriction).await?;
    let mut keys = differing(&found, |one, other| one != other);
    more |= keys.len() > MAX_KEYS_NAMED;
    keys.truncate(MAX_KEYS_NAMED);
    let columns = columns(pair, compared, &restriction, &keys).await?;
    let named = keys.into_iter().map(|key| {
        let [one, other] = found.each_ref().map(|side| side.get(&key));
        let difference = difference(pair, one, other, columns.get(&key));
        DifferingKey { key: name(compared, &key), difference }
    });
    Ok((named.collect(), more))
}

/// The first of the classes, and those after it that can be listed together with it; and how many
/// rows they have on the side that has more.
fn listed<'a>(classes: &'a [String], found: &[Sums; 2]) -> (&'a [String], u64) {
    let (mut taken, mut rows) = (0, [0, 0]);
    for class in classes {
        let more = found.each_ref().map(|side| side.get(class).map_or(0, |sum| sum.rows));
        let sum = [rows[0] + more[0], rows[1] + more[1]];
        if taken > 0 && sum.iter().any(|rows| *rows > LISTED_ROWS) {
            break;
        }
        (taken, rows) = (taken + 1, sum);
    }
    (&classes[..taken], rows.into_iter().max().unwrap_or(0))
}

fn constants(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quote_text(text)).collect();
    texts.join(", ")
}

fn difference(
    pair: &Pair,
    one: Option<&Sum>,
    other: Option<&Sum>,
    columns: Option<&Vec<String>>,
) -> Difference {
    match (one, other) {
        (_, None) => Difference::OnlyOn(pair.leader.place.clone()),
        (None, _) => Difference::OnlyOn(pair.follower.place.clone()),
        (Some(one), Some(other)) if one.rows != other.rows => {
            Difference::Rows([one.rows, other.rows])
        }
        _ => Difference::Contents(columns.cloned().unwrap_or_default()),
    }
}

/// `(customer, id) = (5,77)`
fn name(compared: &Compared, key: &str) -> String {
    format!("({}) = {key}", compared.identity.join(", "))
}

/// In which columns rows differ that both sides have once, by their identity.
async fn columns(
    pair: &Pair,
    compared: &Compared,
    restriction: &str,
    keys: &[String],
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    if !compared.identity_is_unique || keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let identity = compared.identity_text();
    let names = compared.columns.iter().map(|(name, _)| quote_name(name));
    let names: Vec<String> = names.collect();
    let hashes = names.iter().map(|name| {
        format!("pg_catalog.hashtextextended({}, 0)", row_text(std::slice::from_ref(name)))
    });
    let sql = format!(
        "select {identity}, {} from {} where {} and {restriction} and {identity} in ({})",
        hashes.collect::<Vec<_>>().join(", "),
        compared.table,
        compared.condition,
        constants(keys)
    );
    let one = hashes_of(&pair.leader, &sql).await?;
    let other = hashes_of(&pair.follower, &sql).await?;
    let both = one.into_iter().filter_map(|(key, hashes)| {
        let others = other.get(&key)?;
        let differing = names.iter().zip(hashes.iter().zip(others));
        let differing = differing.filter(|(_, (one, other))| one != other);
        let differing = differing.map(|(name, _)| name.clone()).collect();
        Some((key, differing))
    });
    Ok(both.collect())
}

/// Hashes of the columns of each row, by its identity.
async fn hashes_of(
    session: &Session,
    sql: &str,
) -> Result<BTreeMap<String, Vec<Option<String>>>, Error> {
    let rows = session.rows(sql).await?.into_iter().filter_map(|row| {
        let mut fields = row.into_iter();
        let key = fields.next().flatten()?;
        Some((key, fields.collect()))
    });
    Ok(rows.collect())
}
