//! Owns the look whether every row of a shard is where the map wants it, or is hidden while its
//! keys are on their way.

use crate::connect::Session;
use crate::error::Error;
use pgmanifold_router::ownership::{belongs_sql, keyless_sql, keys_sql, quote_name, table_sql};
use pgmanifold_router::shard_map::{Keys, ShardId, ShardMap, Table};
use serde::Serialize;

/// Keys that are named of those that are nobody's business here.
const MAX_KEYS_NAMED: u32 = 10;

/// What a shard has of a table's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The shard.
    pub shard: String,
    /// `schema.table`, quoted.
    pub table: String,
    /// Rows of the shard's own keys.
    pub own: u64,
    /// Rows of keys that are on their way from or to it: another shard has them.
    pub hidden: u64,
    /// Rows that should not be there.
    pub misplaced: u64,
    /// Keys of the first of those.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misplaced_keys: Vec<String>,
}

/// Counts what a shard has of these keys of the tables of a distribution; without `keys`, of all of
/// them, and of rows without a key.
///
/// # Errors
/// What the server says.
pub(super) async fn placed(
    session: &Session,
    map: &ShardMap,
    (distribution, keys): (usize, Option<&Keys>),
    shard: ShardId,
) -> Result<Vec<Placed>, Error> {
    let mut all = Vec::new();
    for table in map.tables.iter().filter(|table| table.distribution == distribution) {
        let Conditions { meant, own, hidden } = Conditions::of(map, table, keys, shard);
        let name = table_sql(table);
        let sql = format!(
            "select count(*) filter (where own), count(*) filter (where hidden and not own), \
              count(*) filter (where not own and not hidden) from ( \
              select {own} as own, {hidden} as hidden from {name} where {meant}) r"
        );
        let row = session.rows(&sql).await?.into_iter().next().unwrap_or_default();
        let count = |at: usize| -> Option<u64> { row.get(at)?.as_ref()?.parse().ok() };
        let (Some(own_rows), Some(hidden_rows), Some(misplaced)) = (count(0), count(1), count(2))
        else {
            let message = "counts of rows are not numbers".to_owned();
            return Err(Error::Server { place: session.place.clone(), message, sqlstate: None });
        };
        let mut misplaced_keys = Vec::new();
        if misplaced > 0 {
            let columns: Vec<String> =
                table.key_columns.iter().map(|name| quote_name(name)).collect();
            let sql = format!(
                "select distinct row({})::text from {name} where {meant} and not {own} \
                 and not {hidden} order by 1 limit {MAX_KEYS_NAMED}",
                columns.join(", ")
            );
            misplaced_keys = session.rows(&sql).await?.into_iter().flatten().flatten().collect();
        }
        all.push(Placed {
            shard: map.name(shard).to_owned(),
            table: name,
            own: own_rows,
            hidden: hidden_rows,
            misplaced,
            misplaced_keys,
        });
    }
    Ok(all)
}

/// Which rows of a table are looked at, are the shard's, are hidden there. None is ever unknown.
struct Conditions {
    meant: String,
    own: String,
    hidden: String,
}

impl Conditions {
    fn of(map: &ShardMap, table: &Table, keys: Option<&Keys>, shard: ShardId) -> Self {
        let distribution = map.distribution(table);
        let columns: Vec<String> = table.key_columns.iter().map(|name| quote_name(name)).collect();
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let of = |keys: &Keys| format!("({}) is true", keys_sql(distribution, keys, &columns));
        let hidden: Vec<String> =
            distribution.hidden_on(shard).map(|moving| of(&moving.keys)).collect();
        let hidden = if hidden.is_empty() { "false".to_owned() } else { hidden.join(" or ") };
        let hidden = format!("(({hidden}) and not {})", keyless_sql(table));
        let own = format!("(({}) is true)", belongs_sql(map, table, shard));
        Self { meant: keys.map_or("true".to_owned(), of), own, hidden }
    }
}
