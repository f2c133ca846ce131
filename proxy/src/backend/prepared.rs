//! Owns prepared statements: one `Statement` per text and parameter types in the whole process,
//! and the bounded set of them that each server connection knows by name.

use hashbrown::HashMap;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// A statement text with its parameter types, under one name on every server.
#[derive(Debug)]
pub struct Statement {
    /// Unique in this process.
    pub id: u64,
    /// Name on the servers, with its terminator.
    pub name: Box<[u8]>,
    /// Body of its Parse message after the name: text, terminator, parameter types.
    pub body: Box<[u8]>,
    /// Databases (by number, up to 63) in which a server has accepted it: a bit each.
    accepted: AtomicU64,
}

impl Statement {
    /// True when a server of the database has accepted the statement: its Parse can be put off
    /// until a server is needed anyway.
    pub fn was_accepted(&self, database: usize) -> bool {
        self.accepted.load(Ordering::Relaxed) & database_bit(database) != 0
    }

    /// Notes that a server of the database has accepted the statement.
    pub fn note_accepted(&self, database: usize) {
        if !self.was_accepted(database) {
            self.accepted.fetch_or(database_bit(database), Ordering::Relaxed);
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

fn database_bit(database: usize) -> u64 {
    u32::try_from(database).ok().and_then(|shift| 1u64.checked_shl(shift)).unwrap_or(0)
}

/// Finds the one `Statement` of a text and types; statements nobody uses any more are forgotten.
#[derive(Debug, Default)]
pub struct Interner {
    next_id: AtomicU64,
    hasher: rapidhash::fast::RandomState,
    table: Mutex<HashTable<(u64, Weak<Statement>)>>,
}

impl Interner {
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
    known: HashMap<u64, (Arc<Statement>, u64)>,
}

impl ServerStatements {
    /// An empty set of at most `limit` statements.
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), clock: 0, known: HashMap::new() }
    }

    /// True when the server knows the statement; counts as a use.
    pub fn touch(&mut self, statement: &Statement) -> bool {
        self.clock += 1;
        match self.known.get_mut(&statement.id) {
            Some((_, used)) => {
                *used = self.clock;
                true
            }
            None => false,
        }
    }

    /// Adds a statement; returns the one that must be closed to make room.
    pub fn insert(&mut self, statement: Arc<Statement>) -> Option<Arc<Statement>> {
        self.clock += 1;
        self.known.insert(statement.id, (statement, self.clock));
        if self.known.len() <= self.limit {
            return None;
        }
        let oldest = self.known.iter().min_by_key(|(_, (_, used))| *used).map(|(&id, _)| id)?;
        self.known.remove(&oldest).map(|(statement, _)| statement)
    }

    /// Forgets a statement whose Parse failed.
    pub fn remove(&mut self, id: u64) {
        self.known.remove(&id);
    }

    /// Forgets what is not among the names the server has. False when the server has a name that
    /// is not known here.
    pub fn keep_only(&mut self, names: &[Box<str>]) -> bool {
        let has = |statement: &Statement| {
            let name = statement.name.strip_suffix(b"\0").unwrap_or(&statement.name);
            names.iter().any(|known| known.as_bytes() == name)
        };
        self.known.retain(|_, (statement, _)| has(statement));
        self.known.len() == names.iter().filter(|name| !name.is_empty()).count()
    }

    /// Forgets all (DEALLOCATE ALL, DISCARD ALL).
    pub fn clear(&mut self) {
        self.known.clear();
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
        assert!(known.insert(a.clone()).is_none());
        assert!(known.insert(b.clone()).is_none());
        assert!(known.touch(&a));
        let evicted = known.insert(c.clone()).unwrap();
        assert_eq!(evicted.id, b.id);
        assert!(!known.touch(&b) && known.touch(&a) && known.touch(&c));
    }
}
