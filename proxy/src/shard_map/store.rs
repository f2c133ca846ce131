//! Owns the keeping of maps: reads them from the catalog, takes newer ones into use, keeps a copy
//! on disk, and reports which epoch is in use. What the catalog's rows mean belongs to `rows`.
//!
//! A map is never replaced by an older one, or by one of another catalog: both can only be a
//! mistake (a restored backup, a changed address), and statements under a map that is too old
//! would run on the wrong shards. It is said in the log until somebody mends it.

use super::copy::{self, Copy};
use super::link::Link;
use super::load::Reports;
use super::rows;
use super::{CATALOG_TIMEOUT, ShardedDatabase};
use crate::backend::connect::Connector;
use crate::cluster::control::ControlError;
use crate::config::model::CatalogServers;
use pgmanifold_router::catalog::{Loaded, MoveSeen};
use pgmanifold_router::shard_map::{MapParts, ShardMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How the connection calls itself in `pg_stat_activity`.
const APPLICATION_NAME: &str = "pgmanifold map";
/// First and longest pause between attempts to reach the catalog.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Period of looking whether older maps are still in use, while one is.
const ACKNOWLEDGE_INTERVAL: Duration = Duration::from_millis(20);
/// The same while keys are about to change hands: writes to them wait meanwhile.
const PAUSED_ACKNOWLEDGE_INTERVAL: Duration = Duration::from_millis(1);

/// Longest time between two reports, however seldom maps are looked at: a process that reports
/// less often is taken for one that is gone.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Period of looking how far moves have come, while there is one.
const MOVES_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the maps of all sharded databases of a process.
pub(crate) struct MapStore {
    /// Where they come from.
    pub(crate) catalog: Arc<CatalogServers>,
    /// Whose maps.
    pub(crate) databases: Vec<Arc<ShardedDatabase>>,
    /// Name of this process.
    pub(crate) process: Arc<str>,
    /// The way to the catalog.
    pub(crate) connector: Arc<Connector>,
}

/// What the loop remembers.
#[derive(Default)]
struct Memory {
    /// Name and epoch of the newest maps, also of those that were not taken.
    epochs: Vec<(String, u64)>,
    /// The copy on disk was looked at, or is not needed.
    restored: bool,
    /// What was last said of a problem, so that it is said once.
    last_error: Option<String>,
    /// The last report, by database: epoch seen and acknowledged.
    reported: Vec<(u64, u64)>,
    /// When the last report was made.
    reported_at: Option<Instant>,
    /// When moves were looked at last, and whether there was one that had not ended.
    moves_at: Option<Instant>,
    moving: bool,
    /// What was last said of moves that cannot be read.
    moves_error: Option<String>,
    /// What was told of load.
    load: Reports,
}

/// What is left of an interval that began then; nothing when it never began.
fn left_of(interval: Duration, since: Option<Instant>) -> Duration {
    since.map_or(Duration::ZERO, |since| interval.saturating_sub(since.elapsed()))
}

impl MapStore {
    /// Keeps the maps new until `shutdown` completes. To be run on the control runtime.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut memory = Memory::default();
        tokio::select! {
            () = shutdown => {}
            () = self.keep(&mut memory) => {}
        }
    }

    async fn keep(&self, memory: &mut Memory) {
        let mut pause = RETRY_MIN;
        loop {
            match timeout(CATALOG_TIMEOUT, self.begin(memory)).await {
                Ok(Ok(link)) => {
                    pause = RETRY_MIN;
                    let error = self.serve(&link, memory).await;
                    self.complain(memory, &error.0);
                }
                Ok(Err(error)) => self.complain(memory, &error.0),
                Err(_) => {
                    let limit_ms = CATALOG_TIMEOUT.as_millis();
                    self.complain(memory, &format!("not answered within {limit_ms} ms"));
                }
            }
            if !memory.restored {
                memory.restored = true;
                self.restore(memory).await;
            }
            self.databases.iter().for_each(|database| database.set_tried());
            tokio::time::sleep(pause + pause.mul_f32(rand::random::<f32>() / 4.0)).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Connects, listens, and loads for the first time: what changes after that is heard.
    async fn begin(&self, memory: &mut Memory) -> Result<Link, ControlError> {
        let link = Link::to_catalog(&self.connector, &self.catalog, APPLICATION_NAME).await?;
        rows::listen(&link.client).await?;
        // The row first, then the map: whoever changes the map after this one was read finds a row
        // of this process, be it the first one or one anew after a mover has cut the process off.
        self.report(&link, memory, true).await?;
        self.load(&link, memory).await?;
        self.report(&link, memory, false).await?;
        memory.restored = true;
        self.databases.iter().for_each(|database| database.set_tried());
        if memory.last_error.take().is_some() {
            tracing::info!("the catalog is read again");
        }
        self.databases.iter().for_each(|database| database.set_ear(&link.heard));
        self.look_at_moves(&link, memory).await;
        Ok(link)
    }

    /// Works until the connection fails; says why.
    async fn serve(&self, link: &Link, memory: &mut Memory) -> ControlError {
        let mut looked = Instant::now();
        loop {
            // What ended since the last report is to be reported too.
            let now = self.in_use();
            let waits = memory.reported != now || now.iter().any(|(seen, old)| old < seen);
            let mut pause = left_of(self.catalog.poll_interval, Some(looked))
                .min(left_of(HEARTBEAT_INTERVAL, memory.reported_at));
            if waits {
                pause = pause.min(self.acknowledge_interval());
            }
            if memory.moving {
                pause = pause.min(left_of(MOVES_INTERVAL, memory.moves_at));
            }
            let heard = timeout(pause, link.heard.notified()).await.is_ok();
            let due = heard || looked.elapsed() >= self.catalog.poll_interval;
            let step = async {
                if due {
                    self.look(link, memory).await?;
                }
                let beat = left_of(HEARTBEAT_INTERVAL, memory.reported_at).is_zero();
                self.report(link, memory, due || beat).await?;
                if due || (memory.moving && left_of(MOVES_INTERVAL, memory.moves_at).is_zero()) {
                    self.look_at_moves(link, memory).await;
                }
                if due {
                    memory.load.make(&link.client, &self.process, &self.databases).await;
                }
                Ok(())
            };
            match timeout(CATALOG_TIMEOUT, step).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(_) => {
                    let limit_ms = CATALOG_TIMEOUT.as_millis();
                    return ControlError(format!("not answered within {limit_ms} ms"));
                }
            }
            if due {
                looked = Instant::now();
            }
        }
    }

    fn acknowledge_interval(&self) -> Duration {
        match self.databases.iter().any(|database| database.is_paused()) {
            true => PAUSED_ACKNOWLEDGE_INTERVAL,
            false => ACKNOWLEDGE_INTERVAL,
        }
    }

    /// Loads when an epoch is another than that of the map in use.
    async fn look(&self, link: &Link, memory: &mut Memory) -> Result<(), ControlError> {
        let epochs = rows::epochs(&link.client).await?;
        let known = |name: &str| {
            let found = memory.epochs.iter().find(|(known, _)| known == name);
            found.map(|(_, epoch)| *epoch)
        };
        if epochs.iter().any(|(name, epoch)| known(name) != Some(*epoch)) {
            self.load(link, memory).await?;
        }
        Ok(())
    }

    /// How far moves have come. It is for people: that they cannot be read stops nothing.
    async fn look_at_moves(&self, link: &Link, memory: &mut Memory) {
        memory.moves_at = Some(Instant::now());
        let moves = match rows::moves(&link.client).await {
            Ok(moves) => moves,
            Err(ControlError(error)) => {
                if memory.moves_error.as_ref() != Some(&error) {
                    tracing::warn!(error, "moves of keys cannot be read from the catalog");
                }
                memory.moves_error = Some(error);
                memory.moving = false;
                return;
            }
        };
        memory.moves_error = None;
        memory.moving = false;
        for database in &self.databases {
            let own = moves.iter().filter(|(name, _)| name == database.name());
            let own: Vec<MoveSeen> = own.map(|(_, one)| one.clone()).collect();
            memory.moving |= own.iter().any(MoveSeen::is_active);
            database.set_moves(own);
        }
    }

    async fn load(&self, link: &Link, memory: &mut Memory) -> Result<(), ControlError> {
        let loaded = rows::load(&link.client).await?;
        if self.take(&loaded, memory) {
            self.save(loaded).await;
        }
        Ok(())
    }

    /// Takes what is newer into use; false when nothing was.
    fn take(&self, loaded: &Loaded, memory: &mut Memory) -> bool {
        let catalog = &loaded.catalog;
        let others = self.databases.iter().filter_map(|database| database.source());
        if let Some(before) = others.into_iter().find(|before| *before != catalog) {
            tracing::error!(
                before,
                now = catalog,
                "the catalog is another one than before: its maps are not taken"
            );
            return false;
        }
        let mut taken = false;
        for database in &self.databases {
            let found = loaded.maps.iter().find(|(name, _)| name == database.name());
            let Some((_, parts)) = found else {
                tracing::error!(database = database.name(), "the catalog has no map of it");
                continue;
            };
            let map = match fit(parts, database) {
                Ok(map) => map,
                Err(reason) => {
                    tracing::error!(database = database.name(), reason, "shard map not taken");
                    continue;
                }
            };
            let (epoch, before) = (map.epoch, database.epoch());
            database.set_source(catalog);
            let newer = database.take(Arc::new(map));
            database.lead_earlier(parts);
            if newer {
                tracing::info!(database = database.name(), epoch, "shard map taken into use");
                taken = true;
            } else if epoch < before {
                tracing::error!(
                    database = database.name(),
                    epoch,
                    before,
                    "the catalog's shard map is older than the one in use: it is not taken"
                );
            }
        }
        let maps = loaded.maps.iter();
        memory.epochs = maps.map(|(name, parts)| (name.clone(), parts.epoch)).collect();
        taken
    }

    /// Of each database the epoch seen, and the one acknowledged.
    fn in_use(&self) -> Vec<(u64, u64)> {
        let databases = self.databases.iter();
        // In this order: what is acknowledged is never more than what was seen.
        let epochs = databases.map(|one| (one.acknowledged_epoch(), one.epoch()));
        epochs.map(|(acknowledged, seen)| (seen, acknowledged)).collect()
    }

    /// Tells the catalog which epochs are in use, when that has changed or it is `due`.
    async fn report(
        &self,
        link: &Link,
        memory: &mut Memory,
        due: bool,
    ) -> Result<(), ControlError> {
        let now = self.in_use();
        if !due && memory.reported == now {
            return Ok(());
        }
        for (database, (seen, acknowledged)) in self.databases.iter().zip(&now) {
            let name = database.name();
            rows::report(&link.client, &self.process, name, *seen, *acknowledged).await?;
            database.set_reported(*acknowledged);
        }
        memory.reported = now;
        memory.reported_at = Some(Instant::now());
        Ok(())
    }

    async fn save(&self, loaded: Loaded) {
        let Some(path) = self.catalog.state_file.clone() else { return };
        let own = |name: &str| self.databases.iter().any(|database| database.name() == name);
        let maps = loaded.maps.into_iter().filter(|(name, _)| own(name));
        let maps = maps.filter_map(|(name, parts)| Some((name, ShardMap::build(parts).ok()?)));
        let copy = Copy { catalog: loaded.catalog, maps: maps.collect() };
        let shown = path.display().to_string();
        let written = tokio::task::spawn_blocking(move || copy::write(&path, &copy)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(file = shown, %error, "the copy of the shard maps cannot be written");
        }
    }

    /// Takes the copy on disk into use, as long as there is nothing better.
    async fn restore(&self, memory: &mut Memory) {
        let Some(path) = self.catalog.state_file.clone() else { return };
        let shown = path.display().to_string();
        let read = tokio::task::spawn_blocking(move || copy::read(&path)).await;
        match read {
            Ok(Ok(Some(copy))) => {
                tracing::warn!(file = shown, "shard maps are taken from the copy on disk");
                self.databases.iter().for_each(|database| database.set_unknown());
                let maps = copy.maps.into_iter().map(|(name, map)| (name, map.parts())).collect();
                self.take(&Loaded { catalog: copy.catalog, maps }, memory);
                // What the catalog says is looked at when it can be asked again.
                memory.epochs.clear();
            }
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::error!(file = shown, error, "the copy of the shard maps is not usable");
            }
        }
    }

    fn complain(&self, memory: &mut Memory, error: &str) {
        if memory.last_error.as_deref() != Some(error) {
            tracing::warn!(error, "the catalog of shard maps cannot be read");
        }
        memory.last_error = Some(error.to_owned());
    }
}

/// The map with its shards numbered as the configuration numbers them.
pub(super) fn fit(parts: &MapParts, database: &ShardedDatabase) -> Result<ShardMap, String> {
    let own = database.shards().iter().map(|shard| shard.name.as_str());
    let names: Vec<&str> = own.take(parts.shards.len()).collect();
    if let Some(strange) = parts.shards.iter().find(|name| !names.contains(&&***name)) {
        let names = names.join(", ");
        return Err(format!(
            "it has a shard {strange:?}, but the configuration begins with: {names}"
        ));
    }
    let home = database.shard_name(database.home());
    if *parts.home != *home {
        return Err(format!("its home is {:?}, but the configuration's {home:?}", parts.home));
    }
    let shards = names.into_iter().map(Box::from).collect();
    ShardMap::build(MapParts { shards, ..parts.clone() }).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        errors.join("; ")
    })
}
