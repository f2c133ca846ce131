//! Owns the comparison itself: sub-ranges of each table, by count and by hashes of their rows.

use super::columns::{self, Compared};
use super::narrow;
use super::pair::Pair;
use super::report::{Mismatch, Report, TableReport};
use crate::connect::Session;
use crate::error::Error;
use pgmanifold_router::ownership::{ordered, quote_name};
use pgmanifold_router::shard_map::{Bound, DistributionKind, Keys, ShardMap, Table};
use std::collections::BTreeMap;
use std::time::Instant;

/// Parts that keys are compared by.
pub const SUB_RANGES: u32 = 64;

/// Sub-ranges of a table that are narrowed down to keys; of more it is only said that they differ.
const NARROWED_MAX: usize = 4;

/// Which rows are meant: these keys of all tables of a distribution.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The map.
    pub map: &'a ShardMap,
    /// Index of the distribution.
    pub distribution: usize,
    /// Which keys.
    pub keys: &'a Keys,
}

impl<'a> Scope<'a> {
    /// The tables, in the order in which they are locked.
    pub fn tables(&self) -> impl Iterator<Item = &'a Table> + use<'a> {
        let distribution = self.distribution;
        self.map.tables.iter().filter(move |table| table.distribution == distribution)
    }

    /// All of them, for LOCK TABLE.
    pub(super) fn table_list(&self) -> String {
        let names = self.tables().map(pgmanifold_router::ownership::table_sql);
        names.collect::<Vec<_>>().join(", ")
    }
}

/// What is known of a part of a table's rows, as the server's text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sum {
    /// How many.
    pub(super) rows: u64,
    /// All their hashes, by exclusive or and by addition: two rows that are twice the same vanish
    /// from the first one only.
    hashes: [String; 2],
    /// Bytes hashed.
    bytes: u64,
}

/// Sums by part.
pub(super) type Sums = BTreeMap<String, Sum>;

/// Compares everything that both snapshots show of these keys. What differs is in the report; see
/// [`Report::verdict`].
///
/// # Errors
/// What the servers say; tables that are not alike.
pub async fn compare(pair: &Pair, scope: &Scope<'_>) -> Result<Report, Error> {
    let begun = Instant::now();
    let tables = columns::load(&pair.leader, &pair.follower, scope).await?;
    let mut report = Report {
        sides: [pair.leader.place.clone(), pair.follower.place.clone()],
        keys: scope.keys.to_string(),
        tables: Vec::new(),
        mismatches: Vec::new(),
        pause_us: u64::try_from(pair.pause.as_micros()).unwrap_or(u64::MAX),
        took_ms: 0,
    };
    for (compared, table) in tables.iter().zip(scope.tables()) {
        let begun = Instant::now();
        let parts = Parts::of(scope, table);
        let sums = sums(pair, compared, &parts.sql, "true").await?;
        report.mismatches.extend(mismatches(pair, compared, &parts, &sums).await?);
        let [leader, follower] = &sums;
        report.tables.push(TableReport {
            table: compared.table.clone(),
            rows: leader.values().map(|sum| sum.rows).sum(),
            bytes: leader.values().map(|sum| sum.bytes).sum(),
            sub_ranges: differing(&[leader.clone(), follower.clone()], |_, _| true).len() as u32,
            took_ms: millis(begun),
        });
    }
    report.took_ms = millis(begun);
    Ok(report)
}

fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What differs of a table.
async fn mismatches(
    pair: &Pair,
    compared: &Compared,
    parts: &Parts,
    sums: &[Sums; 2],
) -> Result<Vec<Mismatch>, Error> {
    let mut found = Vec::new();
    for part in differing(sums, |one, other| one != other) {
        let rows = sums.each_ref().map(|side| side.get(&part).map_or(0, |sum| sum.rows));
        let (keys, more) = match found.len() < NARROWED_MAX {
            true => narrow::keys(pair, compared, &parts.sql, &part, rows).await?,
            false => (Vec::new(), true),
        };
        let (table, sub_range) = (compared.table.clone(), parts.name(&part));
        found.push(Mismatch { table, sub_range, rows, keys, more });
    }
    Ok(found)
}

/// Parts for which the two sides' sums are as `which` wants them.
pub(super) fn differing(
    sums: &[Sums; 2],
    which: impl Fn(Option<&Sum>, Option<&Sum>) -> bool,
) -> Vec<String> {
    let [one, other] = sums;
    let mut parts: Vec<&String> = one.keys().chain(other.keys()).collect();
    // Numbers as text: shorter ones are smaller.
    parts.sort_by_key(|part| (part.len(), *part));
    parts.dedup();
    parts.retain(|part| which(one.get(*part), other.get(*part)));
    parts.into_iter().cloned().collect()
}

/// Sums of the table's rows by `part`, an SQL expression, on both sides at once; `restriction` is
/// on the rows that are meant.
pub(super) async fn sums(
    pair: &Pair,
    compared: &Compared,
    part: &str,
    restriction: &str,
) -> Result<[Sums; 2], Error> {
    // Without OFFSET the text would be made once for each of its uses.
    let sql = format!(
        "select part, count(*), pg_catalog.bit_xor(hash), pg_catalog.sum(hash), \
         pg_catalog.sum(bytes) from ( \
          select part, pg_catalog.hashtextextended(line, 0) as hash, \
           pg_catalog.octet_length(line) as bytes from ( \
           select {part} as part, {line} as line from {table} \
           where {condition} and {restriction} offset 0) l) h group by part",
        line = compared.row_text(),
        table = compared.table,
        condition = compared.condition,
    );
    let (one, other) = tokio::try_join!(side(&pair.leader, &sql), side(&pair.follower, &sql))?;
    Ok([one, other])
}

async fn side(session: &Session, sql: &str) -> Result<Sums, Error> {
    let rows = session.rows(sql).await?.into_iter().map(|row| {
        let mut fields = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || fields.next().unwrap_or_default();
        let (part, rows, xor, sum) = (next(), next(), next(), next());
        let (rows, bytes) = (rows.parse().ok()?, next().parse().ok()?);
        Some((part, Sum { rows, hashes: [xor, sum], bytes }))
    });
    let sums: Option<Sums> = rows.collect();
    sums.ok_or_else(|| Error::Server {
        place: session.place.clone(),
        message: "counts and hashes of rows are not numbers".to_owned(),
        sqlstate: None,
    })
}

/// How the keys are cut into sub-ranges.
struct Parts {
    /// The number of a row's sub-range, from 0.
    sql: String,
    /// Borders, when the sub-ranges are ranges of hashes: one more than there are sub-ranges.
    borders: Vec<i128>,
}

impl Parts {
    fn of(scope: &Scope<'_>, table: &Table) -> Self {
        let distribution = scope.map.distribution(table);
        let columns: Vec<String> = table.key_columns.iter().map(|name| quote_name(name)).collect();
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        let hash = match (distribution.kind, ordered(distribution, &names)) {
            (DistributionKind::Hash, Some(hash)) => hash,
            _ => {
                let key = columns::row_text(&columns);
                let sql =
                    format!("(pg_catalog.hashtextextended({key}, 0) & {})::text", SUB_RANGES - 1);
                return Self { sql, borders: Vec::new() };
            }
        };
        let borders = borders(scope.keys);
        let inner: Vec<String> = inner(&borders).iter().map(|b| format!("'{b}'")).collect();
        let sql =
            format!("pg_catalog.width_bucket({hash}, array[{}]::int8[])::text", inner.join(", "));
        Self { sql, borders }
    }

    fn name(&self, part: &str) -> String {
        let at: Option<usize> = part.parse().ok();
        let from = at.and_then(|at| self.borders.get(at));
        let to = at.and_then(|at| self.borders.get(at + 1));
        match (from, to) {
            (Some(from), Some(to)) => {
                let bound = |border: &i128| i64::try_from(*border).ok().map(Bound::Hash);
                format!("keys {}", Keys::Between(bound(from), bound(to)))
            }
            _ => format!("part {} of {SUB_RANGES}", at.map_or(0, |at| at + 1)),
        }
    }
}

/// Borders of the sub-ranges of hashes, ascending, without repetition: the first one is where the
/// keys begin, the last one where they end.
fn borders(keys: &Keys) -> Vec<i128> {
    let hash = |bound: &Option<Bound>| match bound {
        Some(Bound::Hash(hash)) => Some(i128::from(*hash)),
        _ => None,
    };
    let (from, to) = match keys {
        Keys::Between(from, to) => (hash(from), hash(to)),
        Keys::Values(_) => (None, None),
    };
    let from = from.unwrap_or(i128::from(i64::MIN));
    let to = to.unwrap_or(i128::from(i64::MAX) + 1);
    let parts = i128::from(SUB_RANGES);
    let mut borders: Vec<i128> = (0..=parts).map(|at| from + (to - from) * at / parts).collect();
    borders.dedup();
    borders
}

/// Those between two sub-ranges.
fn inner(borders: &[i128]) -> &[i128] {
    borders.get(1..borders.len().saturating_sub(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(from: Option<i64>, to: Option<i64>) -> Vec<i128> {
        borders(&Keys::Between(from.map(Bound::Hash), to.map(Bound::Hash)))
    }

    #[test]
    fn sub_ranges_cover_the_keys_exactly() {
        let all = between(None, None);
        assert_eq!(all.len(), 65);
        assert_eq!((all[0], all[64]), (i128::from(i64::MIN), i128::from(i64::MAX) + 1));
        assert!(inner(&all).iter().all(|border| i64::try_from(*border).is_ok()));
        let few = between(Some(-3), Some(2));
        assert_eq!(few, [-3, -2, -1, 0, 1, 2]);
        assert_eq!(inner(&few), [-2, -1, 0, 1]);
        assert_eq!(inner(&between(Some(7), Some(8))), [] as [i128; 0]);
    }

    #[test]
    fn parts_differ_when_one_side_has_none_or_other_sums() {
        let sum = |rows: u64, hash: &str| Sum {
            rows,
            hashes: [hash.to_owned(), hash.to_owned()],
            bytes: rows,
        };
        let side = |parts: &[(&str, Sum)]| -> Sums {
            parts.iter().map(|(part, sum)| ((*part).to_owned(), sum.clone())).collect()
        };
        let one = side(&[("2", sum(1, "5")), ("10", sum(1, "5")), ("3", sum(1, "5"))]);
        let other = side(&[("2", sum(1, "6")), ("10", sum(1, "5")), ("11", sum(1, "5"))]);
        assert_eq!(differing(&[one, other], |one, other| one != other), ["2", "3", "11"]);
    }
}
