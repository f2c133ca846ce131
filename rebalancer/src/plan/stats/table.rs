//! Owns the question how many rows and bytes of one table lie in which part, on one shard.

use super::super::parts::{Parts, Place as PartPlace};
use super::{Options, scaled};
use crate::connect::Session;
use crate::error::Error;
use pgmanifold_router::ownership::{belongs_sql, ordered, quote_name, quote_text, table_sql};
use pgmanifold_router::shard_map::{
    Bound, Distribution, DistributionKind, ShardId, ShardMap, Table,
};

/// Rows of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) place: Place,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// Where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the part of this index.
    Part(usize),
    /// They have this value of a list.
    Value(String),
}

/// A table on a shard.
#[derive(Debug, Clone)]
pub(super) struct Size {
    /// With indexes and TOAST.
    pub(super) bytes: u64,
    /// Its pages alone, which a sample is taken of.
    heap_bytes: u64,
    /// Rows, as the server estimates them.
    pub(super) rows: u64,
    /// What a row has without columns of variable length.
    fixed: String,
    /// An expression for the rest.
    variable: String,
}

/// What stands behind a table's name so that it is read in part, and of how many percent.
pub(super) fn sample(size: &Size, options: Options) -> (String, f64) {
    if options.exact || size.heap_bytes <= options.sample_bytes {
        return (String::new(), 100.0);
    }
    let percent = options.sample_bytes as f64 / size.heap_bytes as f64 * 100.0;
    let percent = (percent * 1e4).ceil() / 1e4;
    (format!(" tablesample system ({percent})"), percent)
}

/// How large a table is on the session's shard, with its partitions.
pub(super) async fn size(session: &Session, table: &Table) -> Result<Size, Error> {
    let name = quote_text(&table_sql(table));
    let sql = format!(
        "with t (oid) as (select {name}::regclass::oid), \
         every (oid) as (select oid from t union select p.relid from t, \
          pg_catalog.pg_partition_tree(t.oid) p) \
         select coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::int8, \
          coalesce(sum(pg_catalog.pg_relation_size(c.oid)), 0)::int8, \
          coalesce(sum(greatest(c.reltuples, 0)) filter (where c.relkind = 'r'), 0)::int8, \
          (select 28 + coalesce(sum(a.attlen) filter (where a.attlen > 0), 0) \
           from pg_catalog.pg_attribute a, t \
           where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped), \
          (select pg_catalog.string_agg(pg_catalog.format( \
            'coalesce(pg_catalog.pg_column_size(%I), 0)', a.attname), ' + ') \
           from pg_catalog.pg_attribute a, t \
           where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped and a.attlen < 0) \
         from pg_catalog.pg_class c join every using (oid)"
    );
    let rows = session.rows(&sql).await?;
    let field = |at: usize| rows.first().and_then(|row| row.get(at)).and_then(Option::as_deref);
    let number = |at: usize| field(at).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    Ok(Size {
        bytes: number(0),
        heap_bytes: number(1),
        rows: number(2),
        fixed: number(3).to_string(),
        variable: field(4).unwrap_or("0").to_owned(),
    })
}

/// Counts rows by part. Bytes are the part of the table's size that its rows' bytes are of those
/// of all rows that were read; what is out of line counts as it is stored.
pub(super) async fn measure(
    session: &Session,
    map: &ShardMap,
    table: &Table,
    shard: ShardId,
    parts: &Parts,
    options: Options,
) -> Result<Vec<Measured>, Error> {
    let found = map.distribution(table);
    let size = size(session, table).await?;
    let (sample, percent) = sample(&size, options);
    let sql = format!(
        "select case when {own} then ({place})::text end, count(*), \
         sum({fixed} + {variable})::int8 from {name}{sample} group by 1",
        own = belongs_sql(map, table, shard),
        place = place_sql(found, table, parts),
        fixed = size.fixed,
        variable = size.variable,
        name = table_sql(table),
    );
    let rows = session.rows(&sql).await?;
    let number = |field: &Option<String>| {
        field.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0_u64)
    };
    let read: Vec<(Option<&str>, u64, u64)> = rows
        .iter()
        .filter_map(|row| match row.as_slice() {
            [place, rows, bytes] => Some((place.as_deref(), number(rows), number(bytes))),
            _ => None,
        })
        .collect();
    let all: u64 = read.iter().map(|(_, _, bytes)| bytes).sum();
    let is_list = found.kind == DistributionKind::List;
    let measured = read.iter().filter_map(|(place, rows, bytes)| {
        let place = match is_list {
            true => Place::Value((*place)?.to_owned()),
            false => Place::Part((*place)?.parse().ok()?),
        };
        // A sample is of pages; what it has is that much of the whole.
        let rows = (*rows as f64 * 100.0 / percent).round() as u64;
        Some(Measured { place, rows, bytes: scaled(size.bytes, *bytes, all) })
    });
    Ok(measured.collect())
}

/// The index of the part a row is in, or for a list its key.
pub(super) fn place_sql(found: &Distribution, table: &Table, parts: &Parts) -> String {
    let columns: Vec<String> = table.key_columns.iter().map(|name| quote_name(name)).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    if found.kind == DistributionKind::List {
        return columns.first().map_or_else(|| "null".to_owned(), |column| (*column).to_owned());
    }
    let Some(value) = ordered(found, &columns) else { return "null".to_owned() };
    let ty = element_type(found);
    let borders = parts.parts.iter().filter_map(|part| match &part.place {
        PartPlace::From(Some(bound)) => Some(bound),
        _ => None,
    });
    let borders: Vec<String> = borders.map(border_sql).collect();
    // The number of borders that are not beyond the value is the index of its part.
    format!("pg_catalog.width_bucket(({value})::{ty}, array[{}]::{ty}[])", borders.join(", "),)
}

fn element_type(found: &Distribution) -> String {
    use pgmanifold_router::key::KeyType;
    match (found.kind, found.key_types.first()) {
        (DistributionKind::Hash, _) => "int8".to_owned(),
        (_, Some(KeyType::Int2 | KeyType::Int4 | KeyType::Int8)) | (_, None) => "int8".to_owned(),
        (_, Some(KeyType::Text | KeyType::Varchar)) => "text".to_owned(),
        (_, Some(other)) => other.to_string(),
    }
}

fn border_sql(bound: &Bound) -> String {
    match bound {
        Bound::Hash(hash) => format!("'{hash}'"),
        Bound::Value(value) => quote_text(&value.to_string()),
    }
}
