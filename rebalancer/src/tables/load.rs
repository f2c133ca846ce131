//! Owns the questions to a shard's catalogs about tables.

use super::MovedTable;
use crate::connect::Session;
use crate::error::Error;
use pgmanifold_router::shard_map::ShardMap;

/// What the shard says of all tables of the distribution, by schema and name.
///
/// # Errors
/// What the server says; that tables are not there.
pub async fn load(
    session: &Session,
    map: &ShardMap,
    distribution: usize,
) -> Result<Vec<MovedTable>, Error> {
    Ok(load_present(session, map, distribution).await?.0)
}

/// The same of those that are there, and the names of those that are not.
///
/// # Errors
/// What the server says.
pub async fn load_present(
    _session: &Session,
    _map: &ShardMap,
    _distribution: usize,
) -> Result<(Vec<MovedTable>, Vec<String>), Error> {
    Err(Error::Stopped("unfinished".into()))
}
