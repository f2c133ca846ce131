//! Owns what the shards and the catalog say about how much lies in which keys. It reads, in
//! read-only sessions, and writes nothing. Rows that a shard hides while keys move are not counted.

mod borders;
mod heavy;
mod table;

use super::parts::{By, HASH_PARTS, Part, Parts, Place, Weight};
use crate::config::Config;
use crate::connect::{self, Session};
use crate::error::Error;
use pgmanifold_router::catalog::{LOAD_PARTS, READ_LOAD_SQL, load_part};
use pgmanifold_router::key::KeyValue;
use pgmanifold_router::ownership::quote_text;
use pgmanifold_router::shard_map::{
    Bound, Distribution, DistributionKind, ShardId, ShardMap, Table,
};
use table::Measured;

/// How sessions on shards are set.
const READING_SQL: &str = "set default_transaction_read_only = on";

/// How shards are asked.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Every row is read, however large the table is.
    pub exact: bool,
    /// Tables beyond this are read in part, as much as this.
    pub sample_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { exact: false, sample_bytes: 64 << 20 }
    }
}

/// A session on the primary of each shard that is asked, opened when it is first needed.
pub(super) struct Shards<'a> {
    config: &'a Config,
    map: &'a ShardMap,
    sessions: Vec<Option<Session>>,
}

impl<'a> Shards<'a> {
    pub(super) fn new(config: &'a Config, map: &'a ShardMap) -> Self {
        let sessions = map.shards.iter().map(|_| None).collect();
        Self { config, map, sessions }
    }

    async fn session(&mut self, shard: ShardId) -> Result<&Session, Error> {
        let name = self.map.name(shard);
        let unknown = || Error::Usage(format!("shard {name:?} is not in the map"));
        let place = self.sessions.get_mut(usize::from(shard.0)).ok_or_else(unknown)?;
        if place.is_none() {
            let server = &self.config.shard(name)?.server;
            let session = connect::primary(server, &format!("shard {name}")).await?;
            // A session of a mover's would be ended by the next one.
            session.run(&format!("set application_name = '{}'", connect::LOOKING_NAME)).await?;
            session.run(READING_SQL).await?;
            *place = Some(session);
        }
        place.as_ref().ok_or_else(unknown)
    }
}

/// What lies in the parts of a distribution, which are divided at `borders` too. `None` for kinds
/// whose keys cannot be moved.
///
/// # Errors
/// What a shard or the catalog says.
pub async fn measure(
    config: &Config,
    catalog: &Session,
    map: &ShardMap,
    distribution: usize,
    borders: &[Bound],
    by: By,
    options: Options,
) -> Result<Option<Parts>, Error> {
    let Some(found) = map.distributions.get(distribution) else { return Ok(None) };
    let mut shards = Shards::new(config, map);
    let mut all = match found.kind {
        DistributionKind::Hash => Parts::hash_borders(HASH_PARTS),
        DistributionKind::Range => borders::sampled(&mut shards, distribution, options).await?,
        _ => Vec::new(),
    };
    all.extend_from_slice(borders);
    let Some(mut parts) = Parts::of(map, distribution, &all) else { return Ok(None) };
    let tables: Vec<&Table> =
        map.tables.iter().filter(|table| table.distribution == distribution).collect();
    for shard in map.shards_with(distribution) {
        for table in &tables {
            let session = shards.session(shard).await?;
            let measured = table::measure(session, map, table, shard, &parts, options).await?;
            add(&mut parts, found, &measured);
        }
    }
    if found.kind == DistributionKind::Hash {
        add_load(&mut parts, &load(catalog, config, &found.name).await?);
    }
    heavy::single_out(&mut shards, &mut parts, &tables, by, options).await?;
    Ok(Some(parts))
}

fn add(parts: &mut Parts, found: &Distribution, measured: &[Measured]) {
    for one in measured {
        let at = match &one.place {
            table::Place::Part(at) => Some(*at),
            table::Place::Value(text) => found.key_types.first().and_then(|ty| {
                let value = KeyValue::from_text(*ty, text)?;
                parts.find_key(found, &[value])
            }),
        };
        if let Some(part) = at.and_then(|at| parts.parts.get_mut(at)) {
            part.weight += Weight { rows: one.rows, bytes: one.bytes, executions: 0 };
        }
    }
}

/// Executions by part of the hash space, as all processes have counted them.
async fn load(catalog: &Session, config: &Config, name: &str) -> Result<Vec<u64>, Error> {
    let sql =
        READ_LOAD_SQL.replace("$1", &quote_text(&config.database)).replace("$2", &quote_text(name));
    let mut load = vec![0; LOAD_PARTS];
    for row in catalog.rows(&sql).await? {
        let [Some(part), Some(executions)] = row.as_slice() else { continue };
        let place = part.parse::<usize>().ok().and_then(|part| load.get_mut(part));
        if let (Some(place), Ok(executions)) = (place, executions.parse()) {
            *place = executions;
        }
    }
    Ok(load)
}

/// Executions are counted by larger parts than rows: each gets as much of them as it has rows.
fn add_load(parts: &mut Parts, load: &[u64]) {
    let counted = |part: &Part| match &part.place {
        Place::From(Some(Bound::Hash(hash))) => load_part(*hash),
        _ => 0,
    };
    let of: Vec<usize> = parts.parts.iter().map(counted).collect();
    let mut sums = vec![(0_u64, 0_u64); LOAD_PARTS];
    for (part, at) in parts.parts.iter().zip(&of) {
        let (rows, count) = &mut sums[*at];
        *rows = rows.saturating_add(part.weight.rows);
        *count += 1;
    }
    for (part, at) in parts.parts.iter_mut().zip(&of) {
        let (rows, count) = sums[*at];
        let (own, all) = if rows == 0 { (1, count) } else { (part.weight.rows, rows) };
        let executions = load.get(*at).copied().unwrap_or(0);
        part.weight.executions = scaled(executions, own, all);
    }
}

/// `whole * own / all`, without overflow.
pub(super) fn scaled(whole: u64, own: u64, all: u64) -> u64 {
    let product = u128::from(whole) * u128::from(own) / u128::from(all.max(1));
    u64::try_from(product).unwrap_or(u64::MAX)
}
