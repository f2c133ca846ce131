//! Owns the borders at which ranges of values may be divided: those that cut what a shard has into
//! pieces of about equal numbers of rows.

use super::super::narrow::key_alone;
use super::table::{sample, size};
use super::{Options, Shards};
use crate::error::Error;
use pgmanifold_router::key::KeyValue;
use pgmanifold_router::ownership::{belongs_sql, ordered, quote_name, table_sql};
use pgmanifold_router::shard_map::{Bound, Keys, ShardId, Table};

/// Pieces that what one shard has is cut into.
const PIECES: usize = 256;
/// A value that is this many borders on end is heavy, and gets borders of its own.
const HEAVY_PIECES: usize = 3;

/// Borders within the ranges of a distribution: of the table with the most rows, on each shard.
pub(super) async fn sampled(
    shards: &mut Shards<'_>,
    distribution: usize,
    options: Options,
) -> Result<Vec<Bound>, Error> {
    let map = shards.map;
    let tables: Vec<&Table> =
        map.tables.iter().filter(|table| table.distribution == distribution).collect();
    let mut borders = Vec::new();
    for shard in map.shards_with(distribution) {
        let mut largest = None;
        for table in &tables {
            let size = size(shards.session(shard).await?, table).await?;
            // A table that was never analyzed is taken by its size.
            let rows = size.rows.max(size.bytes / 1_000);
            if largest.as_ref().is_none_or(|(known, _, _)| rows > *known) {
                largest = Some((rows, *table, size));
            }
        }
        let Some((_, table, size)) = largest else { continue };
        let (sample, _) = sample(&size, options);
        let found = of_shard(shards, distribution, table, shard, &sample).await?;
        borders.extend(found);
    }
    Ok(borders)
}

async fn of_shard(
    shards: &mut Shards<'_>,
    distribution: usize,
    table: &Table,
    shard: ShardId,
    sample: &str,
) -> Result<Vec<Bound>, Error> {
    let map = shards.map;
    let Some(found) = map.distributions.get(distribution) else { return Ok(Vec::new()) };
    let columns: Vec<String> = table.key_columns.iter().map(|name| quote_name(name)).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let (Some(value), [ty]) = (ordered(found, &columns), found.key_types.as_slice()) else {
        return Ok(Vec::new());
    };
    let sql = format!(
        "select v::text from pg_catalog.unnest((select pg_catalog.percentile_disc(array( \
         select i / {PIECES}::float8 from pg_catalog.generate_series(1, {PIECES} - 1) i)) \
         within group (order by {value}) from {name}{sample} where {own})) v",
        name = table_sql(table),
        own = belongs_sql(map, table, shard),
    );
    let rows = shards.session(shard).await?.rows(&sql).await?;
    let texts = rows.iter().filter_map(|row| row.first()?.as_deref());
    let values: Vec<KeyValue> = texts.filter_map(|text| KeyValue::from_text(*ty, text)).collect();
    let mut borders = Vec::new();
    for same in values.chunk_by(|a, b| a == b) {
        let [value, ..] = same else { continue };
        borders.push(Bound::Value(value.clone()));
        if same.len() >= HEAVY_PIECES
            && let Keys::Between(_, Some(end)) = key_alone(found, std::slice::from_ref(value))?
        {
            borders.push(end);
        }
    }
    Ok(borders)
}
