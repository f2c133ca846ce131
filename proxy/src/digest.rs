//! Owns what is counted of statements by their shape, as `pg_stat_statements` does: each worker
//! and database has a table of its own, bounded, in which a finished statement is one uncontended
//! lock, one look-up by a number that came with its plan, and a few additions. What does not fit
//! is added up in one more row, so that sums stay those of all statements.
//!
//! It knows neither sessions nor servers: a `Call` says what there is to say. Readers get copies.

mod histogram;
mod merged;
mod options;
mod owed;
mod routes;
mod stats;

pub use merged::{Merged, Row, merge};
pub use options::{Logged, Options};
pub use owed::{Owed, Running, rows_of_tag};
pub use routes::RouteCount;
pub use stats::{Call, Stats};

use hashbrown::HashTable;
use pgmanifold_router::shape::Shape;
use routes::RouteCounts;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// When a table is full, one in so many shapes makes room for others.
const EVICTED_SHARE: usize = 20;

/// Uses fade by one in so many whenever shapes are evicted, so that what was used once upon a time
/// does not stay for ever.
const FADING_SHARE: u64 = 16;

/// Shapes copied under one lock.
const COPIED_AT_ONCE: usize = 128;

/// Copies begun anew because shapes were evicted in between; then one is made under one lock.
const COPIES_MAX: usize = 4;

/// The statements of one worker and database.
///
/// Memory: a shape takes its text (1 KiB at most), 200 bytes, and 64 bytes for each power of two
/// between the shortest and the longest time of it, 29 at most: 3 KiB at the very most, and
/// about 1 KiB as a rule.
#[derive(Debug, Default)]
pub struct Digests {
    /// Locked by the worker that owns this, and for a moment by who copies.
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// Places in `entries`, by fingerprint.
    index: HashTable<u32>,
    entries: Vec<Entry>,
    other: Stats,
    routes: RouteCounts,
    /// Grows when entries change their places.
    generation: u64,
    /// Calls so far: tells what was used last.
    now: u64,
}

#[derive(Debug)]
struct Entry {
    shape: Arc<Shape>,
    stats: Stats,
    /// Place of the last route among the routes.
    route: u16,
    uses: u64,
    used: u64,
}

/// The state of a table.
#[derive(Debug, Default)]
pub struct Copied {
    /// What is known of each shape.
    pub shapes: Vec<CopiedShape>,
    /// What was evicted, or has no shape.
    pub other: Stats,
    /// How often which route was taken, since the start.
    pub routes: Vec<RouteCount>,
}

/// What is known of a shape.
#[derive(Debug)]
pub struct CopiedShape {
    /// The shape.
    pub shape: Arc<Shape>,
    /// Its sums.
    pub stats: Stats,
    /// The last route: its place among the routes.
    pub route: u16,
}

impl Digests {
    /// Counts a statement that has ended. `limit` is how many shapes may be kept; with 0 only its
    /// route is counted.
    pub fn record(&self, limit: usize, call: &Call<'_>) {
        let mut table = self.lock();
        let table = &mut *table;
        table.now += 1;
        let place = match call.shape {
            Some(shape) if limit > 0 => Some(table.place(shape, limit)),
            _ => None,
        };
        let Some(entry) = place.and_then(|place| table.entries.get_mut(place)) else {
            let route = table.routes.place(call.kind, call.why);
            table.routes.count(route);
            if limit > 0 {
                table.other.add(call);
            }
            return;
        };
        if !table.routes.is(entry.route, call.kind, call.why) {
            entry.route = table.routes.place(call.kind, call.why);
        }
        table.routes.count(entry.route);
        entry.uses += 1;
        entry.used = table.now;
        entry.stats.add(call);
    }

    /// The shape as others have it already, so that there is one of each.
    pub fn share(&self, shape: Shape) -> Arc<Shape> {
        let table = self.lock();
        let known = table.find(shape.fingerprint).and_then(|place| table.entries.get(place));
        match known.filter(|entry| *entry.shape == shape) {
            Some(entry) => Arc::clone(&entry.shape),
            None => Arc::new(shape),
        }
    }

    /// A copy, made in pieces so that the worker is not held up.
    pub fn copy(&self) -> Copied {
        for _ in 1..COPIES_MAX {
            if let Some(copied) = self.copy_in_pieces(COPIED_AT_ONCE) {
                return copied;
            }
        }
        self.copy_in_pieces(usize::MAX).unwrap_or_default()
    }

    /// `None` when shapes have moved between two pieces.
    fn copy_in_pieces(&self, piece: usize) -> Option<Copied> {
        let mut copied = Copied::default();
        let mut generation = None;
        loop {
            let table = self.lock();
            if *generation.get_or_insert(table.generation) != table.generation {
                return None;
            }
            let rest = table.entries.iter().skip(copied.shapes.len());
            copied.shapes.extend(rest.take(piece).map(|entry| CopiedShape {
                shape: Arc::clone(&entry.shape),
                stats: entry.stats.clone(),
                route: entry.route,
            }));
            if copied.shapes.len() >= table.entries.len() {
                copied.other = table.other.clone();
                copied.routes = table.routes.all().to_vec();
                return Some(copied);
            }
        }
    }

    /// Forgets all statements. Routes are counters, and go on.
    pub fn reset(&self) {
        let mut table = self.lock();
        let generation = table.generation + 1;
        let routes = std::mem::take(&mut table.routes);
        *table = Table { generation, routes, ..Table::default() };
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Counters stay meaningful after a panic elsewhere.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn find(&self, fingerprint: u64) -> Option<usize> {
        let is = |place: &u32| {
            let entry = self.entries.get(*place as usize);
            entry.is_some_and(|entry| entry.shape.fingerprint == fingerprint)
        };
        self.index.find(fingerprint, is).map(|place| *place as usize)
    }

    /// The place of a shape, which is given one if it has none.
    #[inline]
    fn place(&mut self, shape: &Arc<Shape>, limit: usize) -> usize {
        match self.find(shape.fingerprint) {
            Some(place) => place,
            None => self.admit(shape, limit),
        }
    }

    #[cold]
    fn admit(&mut self, shape: &Arc<Shape>, limit: usize) -> usize {
        if self.entries.len() >= limit {
            self.evict(self.entries.len() - limit + (limit / EVICTED_SHARE).max(1));
        }
        let place = self.entries.len();
        let (stats, uses) = (Stats::default(), 0);
        let entry =
            Entry { shape: Arc::clone(shape), stats, route: u16::MAX, uses, used: self.now };
        self.entries.push(entry);
        self.put(place);
        place
    }

    fn put(&mut self, place: usize) {
        let (Some(entry), Ok(number)) = (self.entries.get(place), u32::try_from(place)) else {
            return;
        };
        let entries = &self.entries;
        let fingerprint =
            |place: &u32| entries.get(*place as usize).map_or(0, |entry| entry.shape.fingerprint);
        self.index.insert_unique(entry.shape.fingerprint, number, fingerprint);
    }

    /// Adds the least used shapes to the rest; of those used alike, the ones used longest ago.
    fn evict(&mut self, count: usize) {
        let count = count.min(self.entries.len());
        self.entries.sort_unstable_by_key(|entry| (entry.uses, entry.used));
        for entry in self.entries.drain(..count) {
            self.other.merge(&entry.stats);
        }
        self.entries.iter_mut().for_each(|entry| entry.uses -= entry.uses / FADING_SHARE);
        self.index.clear();
        (0..self.entries.len()).for_each(|place| self.put(place));
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests;
