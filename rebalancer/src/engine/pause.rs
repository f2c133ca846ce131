//! Owns the pause: new writes to the keys wait in the proxies. Nothing depends on it but how long
//! clients wait, and how many of them are told to repeat.

use super::planned::id;
use super::{Engine, Sides};
use crate::connect::{self, Session};
use crate::error::Error;
use crate::journal::Move;
use pgmanifold_router::ownership::quote_text;
use pgmanifold_router::shard_map::ShardMap;
use serde_json::json;
use std::time::{Duration, Instant};

/// A proxy that has not been heard of for longer is not waited for.
const SILENT_S: u32 = 30;
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(1);
/// Where the journal keeps since when writes wait, in milliseconds of the catalog's clock.
const PAUSED_AT: &str = "paused_at_ms";

/// Proxies whose acknowledgement of a pause is worth waiting for.
#[derive(Debug)]
pub(super) struct Proxies {
    catalog: Session,
    database: String,
    names: Vec<String>,
}

impl Proxies {
    /// A session of its own for the waits.
    pub(super) async fn open(engine: &Engine) -> Result<Self, Error> {
        let config = engine.journal.config();
        let catalog = connect::primary(&config.catalog, "catalog").await?;
        let database = config.database.clone();
        Ok(Self { catalog, database, names: Vec::new() })
    }

    /// Those that are heard of, and have acknowledged this epoch: who is behind already, with a
    /// long transaction or without a connection, will not have caught up within a pause.
    pub(super) async fn look(&mut self, epoch: u64) -> Result<(), Error> {
        let sql = format!(
            "select name from pgm.proxy where database = {} and acked_epoch >= {epoch} \
             and heartbeat > pg_catalog.clock_timestamp() - interval '{SILENT_S} s'",
            quote_text(&self.database)
        );
        let rows = self.catalog.rows(&sql).await?;
        self.names = rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        Ok(())
    }

    /// Waits until they all have this epoch's map, by which new writes to the keys wait, and then
    /// for `more` until they have acknowledged it; altogether no longer than `limit`.
    /// Returns when they all had the map.
    pub(super) async fn wait(
        &self,
        epoch: u64,
        limit: Duration,
        more: Duration,
    ) -> Result<Option<Duration>, Error> {
        let names: Vec<String> = self.names.iter().map(|name| quote_text(name)).collect();
        if names.is_empty() {
            return Ok(None);
        }
        let sql = format!(
            "select pg_catalog.min(seen_epoch) >= {epoch}, pg_catalog.min(acked_epoch) >= {epoch} \
             from pgm.proxy where database = {} and name in ({})",
            quote_text(&self.database),
            names.join(", ")
        );
        let begun = Instant::now();
        let mut seen = None;
        loop {
            let rows = self.catalog.rows(&sql).await?;
            let is = |at: usize| {
                let value = rows.first().and_then(|row| row.get(at)).and_then(Option::as_deref);
                // Without a row they have all gone.
                value != Some("f")
            };
            if is(0) {
                seen.get_or_insert_with(|| begun.elapsed());
            }
            let all = is(1);
            let enough = seen.is_some_and(|seen| begun.elapsed() >= seen + more);
            if all || enough || begun.elapsed() >= limit {
                return Ok(seen);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Whether the map says that new writes to the keys wait.
pub(super) fn is_paused(map: &ShardMap, the_move: &Move) -> bool {
    let id = u64::try_from(the_move.id).unwrap_or_default();
    map.moving(id).is_some_and(|(_, moving)| moving.paused)
}

/// New writes to the keys wait from now on, until the keys change hands or [`end`]. For moves whose
/// source refuses writes for long: clients hear soon enough that they cannot wait.
pub(super) async fn begin(
    engine: &Engine,
    the_move: &mut Move,
    sides: &Sides,
) -> Result<(), Error> {
    if is_paused(&sides.map, the_move) {
        return Ok(());
    }
    let mut proxies = Proxies::open(engine).await?;
    proxies.look(sides.map.epoch).await?;
    let now = now_ms(engine).await?;
    engine.journal.remember(the_move, PAUSED_AT, json!(now)).await?;
    let (id, state) = (id(the_move)?, the_move.state);
    let pause = |map: &ShardMap| map.pause(id, true);
    let journal = &engine.journal;
    let map = journal.advance_with_map(the_move, state, pause, "writes to the keys wait").await?;
    let limit = engine.limits().pause_timeout;
    proxies.wait(map.epoch, limit, limit).await.map(drop)
}

/// Writes to the keys go on, if they wait.
pub(super) async fn end(engine: &Engine, the_move: &mut Move) -> Result<(), Error> {
    if !is_paused(&engine.journal.map().await?, the_move) {
        return Ok(());
    }
    let (id, state) = (id(the_move)?, the_move.state);
    let go_on = |map: &ShardMap| map.pause(id, false);
    let journal = &engine.journal;
    journal.advance_with_map(the_move, state, go_on, "writes to the keys go on").await.map(drop)
}

/// How long writes have waited since [`begin`], in milliseconds.
pub(super) async fn since(engine: &Engine, the_move: &Move) -> Result<f64, Error> {
    let then = the_move.journal.get(PAUSED_AT).and_then(serde_json::Value::as_f64);
    Ok(then.map_or(0.0, |then| -then) + now_ms(engine).await?)
}

async fn now_ms(engine: &Engine) -> Result<f64, Error> {
    let sql = "select extract(epoch from pg_catalog.clock_timestamp()) * 1000";
    let now = engine.journal.session.value(sql).await?;
    now.and_then(|now| now.parse().ok())
        .ok_or_else(|| Error::Stopped("the catalog does not say what time it is".to_owned()))
}
