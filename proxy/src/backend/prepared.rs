//! Owns prepared statements: one `Statement` per text and parameter types in the whole process,
//! and the bounded set of them that each server connection knows by name.

use hashbrown::HashMap;
use hashbrown::HashTable;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

/// A statement text with its parameter types, under one name on every server.
#[derive(Debug)]
pub struct Statement {
    /// Unique in this process.
    pub id: u64,
    /// Name on the servers, with its terminator.
    pub name: Box<[u8]>,
    /// Body of its Parse message after the name: text, terminator, parameter types.
    pub body: Box<[u8]>,
    /// The `Acceptance` of the last Parse that a server has answered; 0 for none.
    accepted: AtomicU64,
}

/// Under which schema and names a statement was analysed.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// DDL seen in the database before.
    pub ddl: u64,
    /// What decides which objects names mean (`Settings::path`); `None` when that is not known.
    pub path: Option<Arc<str>>,
    /// When.
    pub at: Instant,
}

impl Stamp {
    /// True when what was analysed under one is good under the other.
    pub fn agrees(&self, other: &Stamp) -> bool {
        self.ddl == other.ddl && self.agrees_path(other)
    }

    /// True when names mean the same under both.
    pub fn agrees_path(&self, other: &Stamp) -> bool {
        match (&self.path, &other.path) {
            (Some(own), Some(path)) => Arc::ptr_eq(own, path) || own == path,
            _ => false,
        }
    }
}

impl Statement {
    /// True when a server has accepted the statement under the same circumstances: its Parse can be
    /// put off until a server is needed anyway.
    pub fn was_accepted(&self, acceptance: Acceptance) -> bool {
        self.accepted.load(Ordering::Relaxed) == acceptance.0
    }

    /// Notes that a server has accepted the statement.
    pub fn note_accepted(&self, acceptance: Acceptance) {
        if !self.was_accepted(acceptance) {
            self.accepted.store(acceptance.0, Ordering::Relaxed);
        }
    }

    /// A statement that is not to be found by others (the unnamed one).
    pub fn private(body: &[u8]) -> Arc<Self> {
        let name = Box::from(&b"\0"[..]);
        Arc::new(Self { id: 0, name, body: body.into(), accepted: AtomicU64::new(0) })
    }

    /// The statement's text.
    pub fn text(&self) -> &[u8] {
        let end = memchr::memchr(0, &self.body).unwrap_or(self.body.len());
        &self.body[..end]
    }
}

/// What decides whether PostgreSQL accepts a statement: database, schema, names, and who asks.
/// Only a hash of it: of two that are taken for one, the second client hears of an error at Bind
/// instead of at Parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acceptance(u64);

impl Acceptance {
    /// `path` is what `Settings::path` says; `user` logs in to the servers.
    pub fn new(database: usize, ddl: u64, user: &str, path: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (database, ddl, user, path).hash(&mut hasher);
        Self(hasher.finish().max(1))
    }
}

/// Finds the one `Statement` of a text and types; statements nobody uses any more are forgotten.
#[derive(Debug, Default)]
pub struct Interner {
    next_id: AtomicU64,
    hasher: rapidhash::fast::RandomState,
    table: Mutex<HashTable<(u64, Weak<Statement>)>>,
}

impl Interner {
    /// How many are remembered, and how many of them nobody uses any more.
    pub fn counts(&self) -> (usize, usize) {
        let table = self.table.lock().expect("invariant: no panic under this lock");
        let used = table.iter().filter(|(_, known)| known.strong_count() > 0).count();
        (table.len(), table.len() - used)
    }

    /// The statement for a Parse body (without name). Compares whole texts, not only hashes.
    pub fn intern(&self, body: &[u8]) -> Arc<Statement> {
        let hash = self.hasher.hash_one(body);
        let mut table = self.table.lock().expect("invariant: no panic under this lock");
        let mut found = None;
        let _ = table.find(hash, |(known, statement)| {
            if *known != hash {
                return false;
            }
            found = statement.upgrade().filter(|statement| *statement.body == *body);
            found.is_some()
        });
        if let Some(statement) = found {
            return statement;
        }
        if table.len() == table.capacity() {
            table.retain(|(_, statement)| statement.strong_count() > 0);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let name = format!("pgm_{id}\0").into_bytes().into_boxed_slice();
        let statement =
            Arc::new(Statement { id, name, body: body.into(), accepted: AtomicU64::new(0) });
        table.insert_unique(hash, (hash, Arc::downgrade(&statement)), |(hash, _)| *hash);
        statement
    }
}

/// The named statements one server connection knows; the least recently used one is evicted.
#[derive(Debug)]
pub struct ServerStatements {
    limit: usize,
    clock: u64,
    known: HashMap<u64, Known>,
    /// How many it knows, for others to see.
    count: Arc<AtomicU32>,
}

#[derive(Debug)]
struct Known {
    statement: Arc<Statement>,
    used: u64,
    stamp: Stamp,
}

impl ServerStatements {
    /// An empty set of at most `limit` statements.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), clock: 0, known: HashMap::new(), count: Arc::default() }
    }

    /// How many there are, now and later.
    pub fn counter(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.count)
    }

    fn publish(&self) {
        self.count.store(u32::try_from(self.known.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Under what the server analysed the statement, if it knows it; counts as a use.
    pub fn touch(&mut self, statement: &Statement) -> Option<&Stamp> {
        self.clock += 1;
        let known = self.known.get_mut(&statement.id)?;
        known.used = self.clock;
        Some(&known.stamp)
    }

    /// Adds a statement; returns the one that must be closed to make room.
    pub fn insert(&mut self, statement: Arc<Statement>, stamp: Stamp) -> Option<Arc<Statement>> {
        self.clock += 1;
        self.known.insert(statement.id, Known { statement, used: self.clock, stamp });
        if self.known.len() <= self.limit {
            self.publish();
            return None;
        }
        let oldest = self.known.iter().min_by_key(|(_, known)| known.used).map(|(&id, _)| id)?;
        let evicted = self.known.remove(&oldest).map(|known| known.statement);
        self.publish();
        evicted
    }

    /// A client that prepared the statement at this time uses it.
    pub fn note_use(&mut self, id: u64, at: Instant) {
        if let Some(known) = self.known.get_mut(&id) {
            known.stamp.at = at;
        }
    }

    /// The statement must be analysed anew before it is used again.
    pub fn outdate(&mut self, id: u64) {
        if let Some(known) = self.known.get_mut(&id) {
            known.stamp.path = None;
        }
    }

    /// Forgets a statement whose Parse failed.
    pub fn remove(&mut self, id: u64) {
        self.known.remove(&id);
        self.publish();
    }

    /// The server was not asked to forget a statement after all. Under what it was analysed is not
    /// known any more.
    pub fn put_back(&mut self, statement: Arc<Statement>) {
        let stamp = Stamp { ddl: 0, path: None, at: Instant::now() };
        let used = self.clock;
        self.known.entry(statement.id).or_insert(Known { statement, used, stamp });
        self.publish();
    }

    /// Forgets what is not among the names the server has. False when the server has a name that
    /// is not known here.
    pub fn keep_only(&mut self, names: &[Box<str>]) -> bool {
        let has = |statement: &Statement| {
            let name = statement.name.strip_suffix(b"\0").unwrap_or(&statement.name);
            names.iter().any(|known| known.as_bytes() == name)
        };
        self.known.retain(|_, known| has(&known.statement));
        self.publish();
        self.known.len() == names.iter().filter(|name| !name.is_empty()).count()
    }

    /// Forgets all that the server is asked to forget now, and tells which.
    pub fn take_all(&mut self) -> Vec<Arc<Statement>> {
        let all = self.known.drain().map(|(_, known)| known.statement).collect();
        self.publish();
        all
    }

    /// Forgets all (DEALLOCATE ALL, DISCARD ALL).
    pub fn clear(&mut self) {
        self.known.clear();
        self.publish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_per_text_and_types() {
        let interner = Interner::default();
        let first = interner.intern(b"select 1\0\0\0");
        assert!(Arc::ptr_eq(&first, &interner.intern(b"select 1\0\0\0")));
        assert_ne!(first.id, interner.intern(b"select 1\0\0\x01\0\0\0\x17").id);
        assert_eq!(first.text(), b"select 1");
    }

    #[test]
    fn what_was_accepted_for_one_is_not_for_another() {
        let statement = Interner::default().intern(b"select 1\0\0\0");
        let here = Acceptance::new(1, 7, "app", "a");
        assert!(!statement.was_accepted(here));
        statement.note_accepted(here);
        assert!(statement.was_accepted(Acceptance::new(1, 7, "app", "a")));
        for other in [(2, 7, "app", "a"), (1, 8, "app", "a"), (1, 7, "b", "a"), (1, 7, "app", "")] {
            let (database, ddl, user, path) = other;
            assert!(
                !statement.was_accepted(Acceptance::new(database, ddl, user, path)),
                "{other:?}"
            );
        }
    }

    #[test]
    fn unused_statements_are_forgotten() {
        let interner = Interner::default();
        for number in 0..10_000 {
            let _ = interner.intern(format!("select {number}\0\0\0").as_bytes());
        }
        let known = interner.table.lock().unwrap().len();
        assert!(known < 100, "{known} statements kept");
    }

    #[test]
    fn least_recently_used_is_evicted() {
        let interner = Interner::default();
        let statement = |text: &str| interner.intern(text.as_bytes());
        let (a, b, c) = (statement("a\0\0\0"), statement("b\0\0\0"), statement("c\0\0\0"));
        let mut known = ServerStatements::new(2);
        let stamp = || Stamp { ddl: 1, path: Some("".into()), at: Instant::now() };
        assert!(known.insert(a.clone(), stamp()).is_none());
        assert!(known.insert(b.clone(), stamp()).is_none());
        assert!(known.touch(&a).is_some());
        let evicted = known.insert(c.clone(), stamp()).unwrap();
        assert_eq!(evicted.id, b.id);
        assert!(known.touch(&b).is_none());
        assert!(known.touch(&a).is_some() && known.touch(&c).is_some());
    }
}
