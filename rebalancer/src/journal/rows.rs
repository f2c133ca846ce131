//! Owns what a row of `pgm.move` means.

use super::{Mode, Move, Times, Wish};
use crate::error::Error;
use crate::state::State;
use pgmanifold_router::key::KeyValue;
use pgmanifold_router::shard_map::{Bound, Distribution, DistributionKind, Keys, ShardMap};
use tokio_postgres::Row;

/// All moves of database `$1`.
pub(super) const MOVES_SQL: &str = "\
select id, distribution, mode, starts, ends, list_values, source, target, state, wish, journal, \
 rows_total, rows_copied, bytes_copied, rows_per_s, lag_bytes, write_pause_ms, attempts, \
 last_error, created_at::text, started_at::text, changed_at::text, ended_at::text \
from pgm.move where database = $1 order by id";

/// Move `$1` goes from state `$2` to `$3`; whether that is an end (`$4`), and another one (`$5`).
/// A wish is fulfilled where there is none after it.
pub(super) const ADVANCE_SQL: &str = "\
update pgm.move set state = $3, last_error = null, attempts = 0, \
 changed_at = case when $5 then pg_catalog.clock_timestamp() else changed_at end, \
 started_at = coalesce(started_at, pg_catalog.clock_timestamp()), \
 ended_at = case when $4 then pg_catalog.clock_timestamp() end, \
 wish = case when $4 or ($5 and $3 in ('aborting', 'rolling_back', 'cleaning')) \
  then null else wish end \
where id = $1 and state = $2 returning id";

/// Reads a row of [`MOVES_SQL`].
pub(super) fn read(row: &Row, map: &ShardMap) -> Result<Move, Error> {
    let id: i64 = get(row, 0)?;
    let strange = |what: &str| Error::Stopped(format!("move {id} in the catalog: {what}"));
    let distribution: String = get(row, 1)?;
    let found = map.distributions.iter().find(|one| *one.name == *distribution);
    let found =
        found.ok_or_else(|| strange(&format!("the map has no distribution {distribution:?}")))?;
    let (mode, state, wish): (String, String, Option<String>) =
        (get(row, 2)?, get(row, 8)?, get(row, 9)?);
    let keys = keys_from_columns(found, get(row, 3)?, get(row, 4)?, get(row, 5)?)
        .ok_or_else(|| strange("its keys are not keys of the distribution"))?;
    Ok(Move {
        id,
        distribution,
        keys,
        source: get(row, 6)?,
        target: get(row, 7)?,
        mode: [Mode::Online, Mode::Offline]
            .into_iter()
            .find(|known| known.as_str() == mode)
            .ok_or_else(|| strange(&format!("its mode is {mode:?}")))?,
        state: State::from_name(&state)
            .ok_or_else(|| strange(&format!("this program does not know the state {state:?}")))?,
        wish: wish.as_deref().and_then(Wish::from_name),
        journal: get(row, 10)?,
        rows_total: get(row, 11)?,
        rows_copied: get(row, 12)?,
        bytes_copied: get(row, 13)?,
        rows_per_s: get(row, 14)?,
        lag_bytes: get(row, 15)?,
        write_pause_ms: get(row, 16)?,
        attempts: get(row, 17)?,
        last_error: get(row, 18)?,
        times: Times {
            created_at: get(row, 19)?,
            started_at: get(row, 20)?,
            changed_at: get(row, 21)?,
            ended_at: get(row, 22)?,
        },
    })
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, Error> {
    row.try_get(at).map_err(|error| Error::server("catalog", &error))
}

type Columns = (Option<String>, Option<String>, Option<Vec<String>>);

/// The columns `starts`, `ends` and `list_values`.
pub(super) fn keys_to_columns(keys: &Keys) -> Columns {
    match keys {
        Keys::Between(from, to) => {
            (from.as_ref().map(Bound::to_string), to.as_ref().map(Bound::to_string), None)
        }
        Keys::Values(values) => {
            (None, None, Some(values.iter().map(ToString::to_string).collect()))
        }
    }
}

fn keys_from_columns(
    distribution: &Distribution,
    starts: Option<String>,
    ends: Option<String>,
    values: Option<Vec<String>>,
) -> Option<Keys> {
    if let Some(values) = values {
        let values = values.iter().map(|text| key_value(distribution, text));
        return values.collect::<Option<_>>().map(Keys::Values);
    }
    let bound = |text: Option<String>| match text {
        Some(text) => border(distribution, &text).map(Some),
        None => Some(None),
    };
    Some(Keys::Between(bound(starts)?, bound(ends)?))
}

/// A border between ranges of the distribution, from its text.
pub fn border(distribution: &Distribution, text: &str) -> Option<Bound> {
    match distribution.kind {
        DistributionKind::Hash => text.parse().ok().map(Bound::Hash),
        _ => key_value(distribution, text).map(Bound::Value),
    }
}

/// A key of the distribution, from its text.
pub fn key_value(distribution: &Distribution, text: &str) -> Option<KeyValue> {
    KeyValue::from_text(*distribution.key_types.first()?, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgmanifold_router::key::KeyType;
    use pgmanifold_router::shard_map::MapParts;

    #[test]
    fn keys_are_read_as_they_were_written() {
        let int = |key| Some(KeyValue::Int(key));
        let text = |text: &str| KeyValue::Text(text.into());
        let parts = MapParts::new(&["s0", "s1"])
            .hash("customer", &[KeyType::Int8])
            .range("tenant", KeyType::Int4, &[(None, "s0"), (int(5), "s1")])
            .list("country", KeyType::Text, &[(text("de"), "s1"), (text("f,r"), "s1")]);
        let map = ShardMap::build(parts).unwrap();
        let hash = |n| Some(Bound::Hash(n));
        for (at, keys) in [
            (0, Keys::Between(hash(i64::MIN), hash(-5))),
            (0, Keys::Between(None, None)),
            (1, Keys::Between(Some(Bound::Value(KeyValue::Int(5))), None)),
            (2, Keys::Values(vec![text("de"), text("f,r")])),
        ] {
            let (starts, ends, values) = keys_to_columns(&keys);
            let read = keys_from_columns(&map.distributions[at], starts, ends, values);
            assert_eq!(read.as_ref(), Some(&keys), "{keys}");
        }
        let wrong = keys_from_columns(&map.distributions[0], Some("x".into()), None, None);
        assert_eq!(wrong, None);
    }
}
