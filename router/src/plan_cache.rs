//! Owns the map from normal forms to plans: one per worker and database, bounded, in two
//! generations. It must not hand out a plan for a text that merely hashes alike.

use crate::fingerprint::Scan;
use crate::plan::Plan;
use hashbrown::HashTable;
use std::sync::Arc;

#[derive(Debug)]
struct Entry {
    hash: u64,
    context: u64,
    normal: Box<[u8]>,
    plan: Arc<Plan>,
}

impl Entry {
    fn is(&self, scan: &Scan, context: u64) -> bool {
        self.hash == scan.hash() && self.context == context && *self.normal == *scan.normal()
    }
}

/// Plans by normal form and context.
///
/// New and used entries live in the young generation. When it is full it becomes the old one and
/// what was old and unused is dropped: statements in use survive, one-off statements pass through.
#[derive(Debug)]
pub struct PlanCache {
    young: HashTable<Entry>,
    old: HashTable<Entry>,
    young_bytes: usize,
    generation_entries: usize,
    generation_bytes: usize,
}

impl PlanCache {
    /// Default for the most plans held.
    pub const DEFAULT_ENTRIES: usize = 4_096;
    /// Default for the most bytes of normal forms held (4 MiB).
    pub const DEFAULT_BYTES: usize = 4 << 20;

    /// A cache for at most `max_entries` plans with `max_bytes` of normal forms in all.
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            young: HashTable::new(),
            old: HashTable::new(),
            young_bytes: 0,
            generation_entries: (max_entries / 2).max(1),
            generation_bytes: max_bytes / 2,
        }
    }

    /// The plan of the scanned text, if one was inserted under the same `context`.
    ///
    /// `context` holds whatever a plan depends on besides the text: dialect, facts version.
    pub fn get(&mut self, scan: &Scan, context: u64) -> Option<Arc<Plan>> {
        if !scan.cacheable() {
            return None;
        }
        let hash = mix(scan.hash(), context);
        if let Some(entry) = self.young.find(hash, |entry| entry.is(scan, context)) {
            return Some(Arc::clone(&entry.plan));
        }
        let found = self.old.find_entry(hash, |entry| entry.is(scan, context)).ok()?;
        let (entry, _) = found.remove();
        let plan = Arc::clone(&entry.plan);
        self.put(entry);
        Some(plan)
    }

    /// Keeps `plan` for the scanned text. Does nothing when scan or plan must not be cached, or
    /// when the text is larger than a generation.
    pub fn insert(&mut self, scan: &Scan, context: u64, plan: Arc<Plan>) {
        let normal = scan.normal();
        if !scan.cacheable() || !plan.cacheable || normal.len() > self.generation_bytes {
            return;
        }
        let hash = mix(scan.hash(), context);
        if let Ok(old) = self.old.find_entry(hash, |entry| entry.is(scan, context)) {
            old.remove();
        }
        if let Some(entry) = self.young.find_mut(hash, |entry| entry.is(scan, context)) {
            entry.plan = plan;
            return;
        }
        self.put(Entry { hash: scan.hash(), context, normal: normal.into(), plan });
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.young_bytes = 0;
    }

    /// Number of plans held.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put(&mut self, entry: Entry) {
        if self.young.len() >= self.generation_entries
            || self.young_bytes + entry.normal.len() > self.generation_bytes
        {
            self.old.clear();
            std::mem::swap(&mut self.old, &mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += entry.normal.len();
        let hash = mix(entry.hash, entry.context);
        self.young.insert_unique(hash, entry, |entry| mix(entry.hash, entry.context));
    }
}

impl Default for PlanCache {
    fn default() -> Self {
        Self::new(Self::DEFAULT_ENTRIES, Self::DEFAULT_BYTES)
    }
}

fn mix(hash: u64, context: u64) -> u64 {
    hash ^ context.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::Dialect;

    fn scan(sql: &str) -> Scan {
        let mut scan = Scan::new(1);
        scan.scan(sql.as_bytes(), Dialect::default()).unwrap();
        scan
    }

    fn plan(statements: u32) -> Arc<Plan> {
        Arc::new(Plan { statements, ..Plan::default() })
    }

    #[test]
    fn finds_by_text_and_context() {
        let mut cache = PlanCache::default();
        cache.insert(&scan("select 1"), 1, plan(1));
        assert_eq!(cache.get(&scan("select 2"), 1).unwrap().statements, 1);
        assert!(cache.get(&scan("select 2"), 2).is_none());
        assert!(cache.get(&scan("select a"), 1).is_none());
        cache.insert(&scan("select 3"), 1, plan(3));
        assert_eq!(cache.get(&scan("select 2"), 1).unwrap().statements, 3);
        assert_eq!(cache.len(), 1);
        cache.clear();
        assert!(cache.is_empty());
    }

    #[test]
    fn stays_bounded_and_keeps_what_is_used() {
        let mut cache = PlanCache::new(10, 10_000);
        let hot = scan("select hot");
        cache.insert(&hot, 0, plan(1));
        for i in 0..1_000 {
            cache.insert(&scan(&format!("select a{i}")), 0, plan(1));
            assert!(cache.len() <= 10);
            if i % 4 == 0 {
                assert!(cache.get(&hot, 0).is_some(), "lost at {i}");
            }
        }
        assert!(cache.get(&scan("select a0"), 0).is_none());
    }

    #[test]
    fn stays_bounded_in_bytes() {
        let mut cache = PlanCache::new(1_000, 2_000);
        for i in 0..100 {
            cache.insert(&scan(&format!("select {}{i}", "a".repeat(400))), 0, plan(1));
            assert!(cache.len() <= 4);
        }
        cache.insert(&scan(&format!("select {}", "b".repeat(3_000))), 0, plan(1));
        assert!(cache.get(&scan(&format!("select {}", "b".repeat(3_000))), 0).is_none());
    }

    #[test]
    fn uncacheable_plans_and_scans_are_not_kept() {
        let mut cache = PlanCache::default();
        let exact = Arc::new(Plan { cacheable: false, ..Plan::default() });
        cache.insert(&scan("select 1"), 0, exact);
        cache.insert(&scan("select \u{1}"), 0, plan(1));
        assert!(cache.is_empty());
    }
}
