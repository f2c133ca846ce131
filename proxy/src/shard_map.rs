//! Owns the shard map each sharded database works by: the newest one, and which older ones are
//! still in use. What a map means belongs to the router.

pub mod admin;
mod copy;
mod gains;
mod link;
mod load;
mod rows;
mod store;

use load::Load;
pub(crate) use store::MapStore;

use crate::cluster::Cluster;
use crate::config::model::{Database, Shard, Sharding};
use crate::wire::error::SqlError;
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use gains::Gains;
use pgmanifold_router::catalog::MoveSeen;
use pgmanifold_router::shard_map::{MapParts, ShardId, ShardMap};
use pgmanifold_router::sharding::KeyHash;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Longest wait for the catalog, or a shard, to answer a question about the map.
const CATALOG_TIMEOUT: Duration = Duration::from_secs(10);

/// SQLSTATE of statements whose shard, or whose map, is not available.
pub const UNAVAILABLE: &str = "PGM05";

/// Longest wait of a login for the first map.
const FIRST_MAP_WAIT: Duration = Duration::from_secs(5);

/// A sharded database: its shards, and its map.
pub struct ShardedDatabase {
    name: String,
    sharding: Arc<Sharding>,
    /// What was before it had maps up to this epoch.
    last_epoch: u64,
    /// `None` while no map is known.
    map: ArcSwapOption<ShardMap>,
    /// Maps that were replaced while somebody used them, and when.
    replaced: Mutex<Vec<(Weak<ShardMap>, Instant)>>,
    /// Which catalog its maps are from.
    source: OnceLock<String>,
    /// The first attempt to have a map has ended.
    tried: watch::Sender<bool>,
    /// Epoch of the newest map, for who waits for it.
    newest: watch::Sender<u64>,
    /// The acknowledged epoch that the catalog was told last; the largest number before the first
    /// time.
    reported: AtomicU64,
    /// It works by a copy of a map, and the catalog does not know that it is there.
    unknown: AtomicBool,
    /// Moves of its keys, as the catalog told of them last.
    moves: ArcSwap<Vec<MoveSeen>>,
    /// Whoever reads the catalog listens here.
    ear: ArcSwapOption<Notify>,
    gains: Gains,
    /// Executions by the key that chose their shard.
    load: Load,
    /// What it was in earlier configurations, as long as sessions work with that.
    before: Vec<Weak<Self>>,
}

impl ShardedDatabase {
    /// A database without a map, or what it was `before` when its shards are the same; `None` for
    /// one that is not sharded.
    pub fn new(database: &Database, before: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let sharding = Arc::clone(database.sharding.as_ref()?);
        if let Some(before) = before.filter(|before| before.sharding == sharding) {
            return Some(Arc::clone(before));
        }
        let last_epoch = before.map_or(0, |before| before.epoch());
        let earlier = before.into_iter().flat_map(|before| {
            let alive = before.before.iter().filter(|one| one.strong_count() > 0).cloned();
            alive.chain([Arc::downgrade(before)])
        });
        let earlier = earlier.collect();
        let (map, replaced) = (ArcSwapOption::empty(), Mutex::default());
        let name = database.name.clone();
        let tried = watch::Sender::new(false);
        Some(Arc::new(Self {
            name,
            sharding,
            last_epoch,
            map,
            replaced,
            source: OnceLock::new(),
            tried,
            newest: watch::Sender::new(0),
            reported: AtomicU64::new(u64::MAX),
            unknown: AtomicBool::new(false),
            moves: ArcSwap::default(),
            ear: ArcSwapOption::empty(),
            gains: Gains::default(),
            load: Load::default(),
            before: earlier,
        }))
    }

    /// The newest map. Whoever works by it keeps it until his statement or transaction has ended,
    /// and no longer: a map that is kept counts as in use.
    ///
    /// # Errors
    /// PGM05 while no map is known.
    pub fn map(&self) -> Result<Arc<ShardMap>, SqlError> {
        self.map.load_full().ok_or_else(|| self.no_map())
    }

    /// The same for a short look, without counting; `None` while no map is known.
    pub fn guard(&self) -> Guard<Option<Arc<ShardMap>>> {
        self.map.load()
    }

    /// Why statements are refused while no map is known.
    pub fn no_map(&self) -> SqlError {
        SqlError::error(UNAVAILABLE, format!("the shard map of {:?} is not known", self.name))
            .detail("The catalog could not be read yet, and there is no copy of it on this disk.")
            .hint("Try again when the catalog database can be reached.")
    }

    /// Epoch of the newest map; 0 while none is known.
    pub fn epoch(&self) -> u64 {
        self.map.load().as_ref().map_or(0, |map| map.epoch)
    }

    /// Every statement and transaction under an older map has ended, those of sessions that have
    /// not followed a reload yet too. 0 while no map is known.
    pub fn acknowledged_epoch(&self) -> u64 {
        let newest = self.epoch();
        let earlier = self.before.iter().filter_map(Weak::upgrade);
        let epochs = earlier.filter_map(|before| before.oldest_in_use());
        epochs.chain(self.oldest_in_use()).min().unwrap_or(newest).min(newest)
    }

    /// The oldest map that somebody uses, or may take into use.
    fn oldest_in_use(&self) -> Option<u64> {
        let newest = self.map.load().as_ref().map(|map| map.epoch);
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.retain(|(old, _)| old.strong_count() > 0);
        let epochs = replaced.iter().filter_map(|(old, _)| old.upgrade().map(|old| old.epoch));
        epochs.chain(newest).min()
    }

    /// Sessions that have not followed a reload yet get the new map as well. Where it does not fit
    /// the configuration they began with, they get none until they follow.
    fn lead_earlier(&self, parts: &MapParts) {
        for before in self.before.iter().filter_map(Weak::upgrade) {
            match store::fit(parts, &before) {
                Ok(map) => drop(before.take(Arc::new(map))),
                Err(reason) => before.leave_map(parts.epoch, &reason),
            }
        }
    }

    /// Nothing new goes by a map below this epoch.
    fn leave_map(&self, epoch: u64, reason: &str) {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        if self.map.load().is_none() || self.epoch() >= epoch {
            return;
        }
        tracing::info!(
            database = self.name,
            epoch,
            reason,
            "sessions from before a reload have no shard map any more"
        );
        if let Some(old) = self.map.swap(None) {
            replaced.push((Arc::downgrade(&old), Instant::now()));
        }
    }

    /// How long a map has been in use already that was replaced; nothing when all are over.
    pub fn unacknowledged_for(&self) -> Duration {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.retain(|(old, _)| old.strong_count() > 0);
        replaced.iter().map(|(_, since)| since.elapsed()).max().unwrap_or_default()
    }

    /// Takes a map into use if it is newer than the one in use; false when it is not.
    pub fn take(&self, map: Arc<ShardMap>) -> bool {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = map.epoch;
        if self.epoch() >= epoch {
            return false;
        }
        // Before anybody reads by it.
        self.gains.note(self.map.load().as_deref(), &map);
        self.load.fit(&map);
        if let Some(old) = self.map.swap(Some(map)) {
            replaced.retain(|(old, _)| old.strong_count() > 0);
            replaced.push((Arc::downgrade(&old), Instant::now()));
        }
        drop(replaced);
        self.newest.send_if_modified(|newest| {
            let newer = epoch > *newest;
            *newest = epoch.max(*newest);
            newer
        });
        true
    }

    /// An execution went to one shard because of this key.
    #[inline]
    pub fn count(&self, key: KeyHash) {
        self.load.count(key);
    }

    /// Executions in this process that went to one shard because of a key with a hash from `from`
    /// to `to`, both included; `None` for distributions that are not counted.
    pub fn executions(&self, distribution: usize, from: i64, to: i64) -> Option<u64> {
        self.load.between(distribution, from, to)
    }

    /// Completes when there is a map of a later epoch. Cancel safe.
    pub async fn newer_than(&self, epoch: u64) {
        // The sender lives in `self`.
        let _ = self.newest.subscribe().wait_for(|newest| *newest > epoch).await;
    }

    /// Keys of the newest map are about to change hands.
    pub fn is_paused(&self) -> bool {
        self.map.load().as_ref().is_some_and(|map| map.is_paused())
    }

    /// The servers of each shard from now on; those before may still be in use.
    pub fn set_clusters<'a>(&self, clusters: impl Iterator<Item = &'a Arc<Cluster>>) {
        self.gains.add(clusters);
    }

    /// Epochs of maps as they are taken into use.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Below which epoch no statement runs in this process, as a shard may be told: nothing that
    /// the catalog has not been told before, once it was told anything. So whoever is let in by a
    /// shard has its row in the catalog, also when a mover had deleted it.
    pub fn epoch_for_shards(&self) -> u64 {
        self.acknowledged_epoch().min(self.reported.load(Ordering::Acquire))
    }

    /// The catalog was told of this epoch as acknowledged.
    fn set_reported(&self, acknowledged: u64) {
        self.reported.store(acknowledged, Ordering::Release);
        self.unknown.store(false, Ordering::Release);
    }

    /// It works by a copy of a map, and the catalog does not know that it is there. A mover that
    /// cuts off whoever has an old map knows it by its connections to primaries; replicas have no
    /// list of those.
    #[inline]
    pub fn is_unknown(&self) -> bool {
        self.unknown.load(Ordering::Relaxed)
    }

    fn set_unknown(&self) {
        self.unknown.store(true, Ordering::Release);
    }

    /// Moves of its keys that have not ended, or ended within the last hour, the newest one first.
    pub fn moves(&self) -> Arc<Vec<MoveSeen>> {
        self.moves.load_full()
    }

    fn set_moves(&self, moves: Vec<MoveSeen>) {
        if *self.moves.load_full() != moves {
            self.moves.store(Arc::new(moves));
        }
    }

    /// Has the catalog looked at as soon as possible: somebody has seen signs of a newer map.
    pub fn look_at_catalog(&self) {
        if let Some(ear) = self.ear.load().as_ref() {
            ear.notify_one();
        }
    }

    fn set_ear(&self, ear: &Arc<Notify>) {
        self.ear.store(Some(Arc::clone(ear)));
    }

    /// Takes the map of a configuration into use: under a new epoch, when it says something else
    /// than the one in use.
    pub fn declare(&self, map: &Arc<ShardMap>) {
        let next = match self.map.load().as_ref() {
            None => Arc::new(map.with_epoch(self.last_epoch + 1)),
            Some(old) => {
                if map.with_epoch(old.epoch) == **old {
                    return;
                }
                Arc::new(map.with_epoch(old.epoch + 1))
            }
        };
        self.take(next);
        self.set_tried();
    }

    /// Which catalog its maps are from, once one was taken from a catalog.
    fn source(&self) -> Option<&String> {
        self.source.get()
    }

    fn set_source(&self, catalog: &str) {
        // What was set stays: maps of another catalog are not taken.
        let _ = self.source.set(catalog.to_owned());
    }

    /// The first attempt to have a map has ended, well or not.
    fn set_tried(&self) {
        self.tried.send_if_modified(|tried| !std::mem::replace(tried, true));
    }

    /// Waits a short while for the first attempt to have a map: who logs in when the process has
    /// just started would be refused otherwise. Cancel safe.
    pub async fn tried(&self) {
        if self.epoch() > 0 {
            return;
        }
        let mut tried = self.tried.subscribe();
        // The sender lives in `self`; who waited long enough goes on without a map.
        let _ = crate::timer::timeout(FIRST_MAP_WAIT, tried.wait_for(|tried| *tried)).await;
    }

    /// Name of the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shards; an index into this is a [`ShardId`].
    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.sharding.shards
    }

    /// Where tables live that no distribution has.
    pub fn home(&self) -> ShardId {
        self.sharding.home
    }

    /// Name of a shard, for errors.
    pub fn shard_name(&self, shard: ShardId) -> &str {
        self.sharding.shards.get(usize::from(shard.0)).map_or("?", |shard| &shard.name)
    }

    /// The shard of this name.
    pub fn shard_named(&self, name: &str) -> Option<ShardId> {
        let index = self.sharding.shards.iter().position(|shard| shard.name == name)?;
        u16::try_from(index).ok().map(ShardId)
    }
}

impl std::fmt::Debug for ShardedDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardedDatabase")
            .field("name", &self.name)
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        listener = [{ address = "127.0.0.1:1" }]
        user = [{ name = "app", password = "x" }]
        shard = [{ name = "s0", hosts = ["h:1"], monitor_user = "m" },
                 { name = "s1", hosts = ["h:2"], monitor_user = "m" }]
        database = [{ name = "app", shards = ["s0", "s1"], home_shard = "s1" }]
    "#;

    fn sharded() -> (Arc<ShardedDatabase>, Arc<ShardMap>) {
        let config = crate::config::parse(CONFIG, "test.toml").unwrap();
        let sharded = ShardedDatabase::new(&config.databases[0], None).unwrap();
        (sharded, Arc::clone(&config.maps[0].map))
    }

    #[test]
    fn older_maps_are_acknowledged_when_nobody_uses_them() {
        let (sharded, map) = sharded();
        assert_eq!(sharded.map().unwrap_err().sqlstate, UNAVAILABLE);
        assert_eq!((sharded.epoch(), sharded.acknowledged_epoch()), (0, 0));
        let at = |epoch| Arc::new(map.with_epoch(epoch));
        assert!(sharded.take(at(3)));
        let (statement, transaction) = (sharded.map().unwrap(), sharded.map().unwrap());
        assert!(!sharded.take(at(3)) && !sharded.take(at(2)), "never back");
        assert!(sharded.take(at(4)));
        let newer = sharded.map().unwrap();
        assert!(sharded.take(at(5)));
        drop(statement);
        assert_eq!((sharded.epoch(), sharded.acknowledged_epoch()), (5, 3));
        drop(transaction);
        assert_eq!(sharded.acknowledged_epoch(), 4);
        drop(newer);
        assert_eq!(sharded.acknowledged_epoch(), 5);
    }

    #[test]
    fn a_short_look_counts_when_the_map_is_replaced_meanwhile() {
        let (sharded, map) = sharded();
        sharded.declare(&map);
        let look = sharded.guard();
        sharded.take(Arc::new(map.with_epoch(9)));
        assert_eq!(sharded.acknowledged_epoch(), 1);
        drop(look);
        assert_eq!(sharded.acknowledged_epoch(), 9);
    }

    #[test]
    fn sessions_from_before_a_reload_count_and_are_led_on() {
        let (old, map) = sharded();
        old.take(Arc::new(map.with_epoch(3)));
        let statement = old.map().unwrap();
        let more = CONFIG.replace("\"h:2\"", "\"h:3\"");
        let config = crate::config::parse(&more, "test.toml").unwrap();
        let new = ShardedDatabase::new(&config.databases[0], Some(&old)).unwrap();
        let take = |epoch| {
            let next = map.with_epoch(epoch);
            new.take(Arc::new(next.clone()));
            new.lead_earlier(&next.parts());
        };
        take(4);
        assert_eq!((old.epoch(), new.epoch(), new.acknowledged_epoch()), (4, 4, 3));
        drop(statement);
        assert_eq!(new.acknowledged_epoch(), 4);
        // A map with a shard that the old configuration does not have.
        let mut parts = map.with_epoch(5).parts();
        parts.shards.push("s2".into());
        let statement = old.map().unwrap();
        new.take(Arc::new(map.with_epoch(5)));
        new.lead_earlier(&parts);
        assert_eq!(old.map().unwrap_err().sqlstate, UNAVAILABLE);
        assert_eq!(new.acknowledged_epoch(), 4);
        drop(statement);
        assert_eq!(new.acknowledged_epoch(), 5);
        drop(old);
        take(6);
        assert_eq!(new.acknowledged_epoch(), 6);
    }

    #[test]
    fn a_declared_map_gets_a_new_epoch_when_it_says_something_new() {
        let (sharded, map) = sharded();
        sharded.declare(&map);
        sharded.declare(&map);
        assert_eq!(sharded.epoch(), 1);
        let other = map.next(|parts| *parts = parts.clone().reference("copies")).unwrap();
        sharded.declare(&Arc::new(other));
        assert_eq!(sharded.epoch(), 2);
        assert_eq!(sharded.shard_name(sharded.home()), "s1");
        assert_eq!(sharded.shard_named("s1"), Some(ShardId(1)));
    }
}
