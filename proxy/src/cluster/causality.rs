//! Owns the causality keys: the newest write of all sessions that share a key, on this proxy.
//! Only sessions that set a key come here; it takes a lock.

use super::freshness::WriteMark;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shards of the table, to keep sessions of different keys apart.
const TABLE_SHARDS: usize = 16;
/// Longest key in bytes; longer ones share the fate of being cut here.
const KEY_BYTES_MAX: usize = 256;

/// The newest write under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyMark {
    /// Covered when every write under the key is.
    pub mark: WriteMark,
    /// One of them may have been committed with `synchronous_commit = off`.
    pub async_commit: bool,
}

impl KeyMark {
    fn latest(self, other: Self) -> Self {
        Self {
            mark: self.mark.latest(other.mark),
            async_commit: self.async_commit || other.async_commit,
        }
    }
}

/// Keys and their newest writes, bounded. A key that was forgotten for room counts as written
/// when the newest of all forgotten ones was: reads may then take the primary for a moment too
/// long, but never see too little.
#[derive(Debug)]
pub struct CausalityKeys {
    shards: Vec<Mutex<Table>>,
    hasher: std::hash::RandomState,
}

/// Two halves: what is used moves to `young`; when that is full it becomes `old`, and what is
/// still in `old` by then is forgotten. Both operations are a hash look-up or two.
#[derive(Debug)]
struct Table {
    young: HashMap<Box<str>, KeyMark>,
    old: HashMap<Box<str>, KeyMark>,
    half_max: usize,
    forgotten: Option<KeyMark>,
}

impl CausalityKeys {
    /// At least half of `keys_max` keys are remembered, at most all (rounded up a little).
    pub fn new(keys_max: usize) -> Self {
        let half_max = keys_max.div_ceil(TABLE_SHARDS * 2).max(1);
        let shard = || {
            Mutex::new(Table {
                young: HashMap::new(),
                old: HashMap::new(),
                half_max,
                forgotten: None,
            })
        };
        let shards = std::iter::repeat_with(shard).take(TABLE_SHARDS).collect();
        Self { shards, hasher: std::hash::RandomState::new() }
    }

    /// Notes a write under the key.
    pub fn record(&self, key: &str, mark: WriteMark, async_commit: bool) {
        let key = cut(key);
        let new = KeyMark { mark, async_commit };
        let mut table = self.table(key);
        let old = table.take(key).or(table.forgotten);
        let mark = old.map_or(new, |old| old.latest(new));
        table.put(key, mark);
    }

    /// The newest write under the key; `None` when there was none.
    pub fn get(&self, key: &str) -> Option<KeyMark> {
        let key = cut(key);
        let mut table = self.table(key);
        match table.take(key) {
            Some(mark) => {
                table.put(key, mark);
                Some(mark)
            }
            None => table.forgotten,
        }
    }

    /// Number of keys remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).young.len() + lock(shard).old.len()).sum()
    }

    /// No key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self, key: &str) -> MutexGuard<'_, Table> {
        let hash = std::hash::BuildHasher::hash_one(&self.hasher, key);
        lock(&self.shards[hash as usize % TABLE_SHARDS])
    }
}

impl Table {
    fn take(&mut self, key: &str) -> Option<KeyMark> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    fn put(&mut self, key: &str, mark: KeyMark) {
        if self.young.len() >= self.half_max {
            for (_, lost) in std::mem::replace(&mut self.old, std::mem::take(&mut self.young)) {
                let newest = self.forgotten.map_or(lost, |forgotten| forgotten.latest(lost));
                self.forgotten = Some(newest);
            }
        }
        self.young.insert(key.into(), mark);
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two keys that differ only behind the cut count as one, which is safe.
fn cut(key: &str) -> &str {
    &key[..key.floor_char_boundary(KEY_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    fn mark(sample: u64) -> WriteMark {
        WriteMark { generation: 1, sample }
    }

    #[test]
    fn a_key_keeps_its_newest_write() {
        let keys = CausalityKeys::new(100);
        assert!(keys.is_empty());
        assert_eq!(keys.get("a"), None);
        keys.record("a", mark(7), false);
        keys.record("a", mark(5), true);
        assert_eq!(keys.get("a"), Some(KeyMark { mark: mark(7), async_commit: true }));
        assert_eq!(keys.get("b"), None);
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn long_keys_are_cut_at_a_character() {
        let keys = CausalityKeys::new(100);
        keys.record(&"ü".repeat(1000), mark(3), false);
        assert_eq!(keys.get(&"ü".repeat(999)).map(|found| found.mark.sample), Some(3));
    }

    #[test]
    fn a_forgotten_key_never_counts_as_older_than_it_was() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let keys = CausalityKeys::new(64);
        let mut model: HashMap<String, u64> = HashMap::new();
        for sample in 1..20_000 {
            let key = format!("user:{}", random.random_range(0..500));
            if random.random_bool(0.5) {
                keys.record(&key, mark(sample), false);
                model.insert(key, sample);
            } else if let Some(written) = model.get(&key) {
                let found = keys.get(&key).map(|found| found.mark.sample);
                assert!(found.is_some_and(|found| found >= *written), "{key}: {found:?}");
            }
            assert!(keys.len() <= 64 + 2 * TABLE_SHARDS, "{}", keys.len());
        }
    }
}
