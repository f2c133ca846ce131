//! Owns what a client was told of what it did: what must be there, what must not, and what may.

use std::collections::{BTreeMap, HashMap};

/// What a client was told of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It is done.
    Acknowledged,
    /// It is not done.
    Refused(String),
    /// Nothing that can be relied upon.
    Unknown(String),
}

/// A number that has grown by what was acknowledged, and perhaps by what was not answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Of what was acknowledged.
    pub sure: i64,
    /// Of what was not answered.
    pub maybe: i64,
}

impl Sum {
    /// Adds what was told.
    pub fn add(&mut self, amount: i64, told: &Told) {
        match told {
            Told::Acknowledged => self.sure += amount,
            Told::Unknown(_) => self.maybe += amount,
            Told::Refused(_) => {}
        }
    }

    /// Whether this value can be.
    pub fn allows(self, value: i64) -> bool {
        (self.sure..=self.sure + self.maybe).contains(&value)
    }
}

/// Whether a row is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Its insert was acknowledged.
    Sure,
    /// Its insert or its delete was not answered.
    Maybe,
    /// Its insert was refused, or its delete acknowledged.
    Gone,
}

/// A transfer between two accounts.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// Unique in the run.
    pub number: i64,
    /// Whose balance shrinks by the amount, and whose grows.
    pub accounts: (i64, i64),
    /// How much.
    pub amount: i64,
    /// How it ended.
    pub told: Told,
}

/// What one client knows.
#[derive(Debug)]
pub struct Ledger {
    /// Its number, from 0.
    pub client: i64,
    /// Its keys.
    pub keys: Vec<i64>,
    /// `counters.count` of its keys.
    pub counts: HashMap<i64, Sum>,
    /// `counters.steps` of its keys.
    pub steps: HashMap<i64, Sum>,
    /// Rows of `entries` by key and number.
    pub entries: HashMap<(i64, i64), Presence>,
    /// How many rows of `entries` are there; `maybe` counts rows inserted without an answer.
    pub rows: Sum,
    /// Rows deleted without an answer.
    pub maybe_deleted: i64,
    /// Rows of one statement or transaction that was not answered: all are there, or none.
    pub groups: Vec<Vec<(i64, i64)>>,
    /// Its transfers.
    pub transfers: Vec<Transfer>,
    /// `tags.tag` of all keys; the first client changes it alone.
    pub tag: Sum,
    /// How often it was told what: acknowledged, refused, unknown.
    pub told: [u64; 3],
    /// Errors, by code and message.
    pub errors: BTreeMap<String, u64>,
    /// The next number it gives to something: unique in the run.
    next: i64,
}

impl Ledger {
    /// Of client `client` of `clients`, which has every so manieth key up to `keys`.
    pub fn new(client: i64, clients: i64, keys: i64) -> Self {
        let keys: Vec<i64> = (1..=keys).filter(|key| key % clients == client).collect();
        let zero = || keys.iter().map(|key| (*key, Sum::default())).collect();
        Self {
            client,
            counts: zero(),
            steps: zero(),
            keys,
            entries: HashMap::new(),
            rows: Sum::default(),
            maybe_deleted: 0,
            groups: Vec::new(),
            transfers: Vec::new(),
            tag: Sum::default(),
            told: [0; 3],
            errors: BTreeMap::new(),
            next: 1,
        }
    }

    /// A number that nothing else in the run has.
    pub fn number(&mut self) -> i64 {
        self.next += 1;
        self.next * 1000 + self.client
    }

    /// Counts an answer.
    pub fn count(&mut self, told: &Told) {
        let (at, error) = match told {
            Told::Acknowledged => (0, None),
            Told::Refused(text) => (1, Some(text)),
            Told::Unknown(text) => (2, Some(text)),
        };
        self.told[at] += 1;
        if let Some(text) = error {
            *self.errors.entry(text.clone()).or_default() += 1;
        }
    }

    /// Rows were inserted by one statement or transaction.
    pub fn inserted(&mut self, rows: &[(i64, i64)], told: &Told) {
        let presence = match told {
            Told::Acknowledged => Presence::Sure,
            Told::Refused(_) => Presence::Gone,
            Told::Unknown(_) => Presence::Maybe,
        };
        self.entries.extend(rows.iter().map(|row| (*row, presence)));
        self.rows.add(i64::try_from(rows.len()).unwrap_or(i64::MAX), told);
        if matches!(told, Told::Unknown(_)) {
            self.groups.push(rows.to_vec());
        }
    }

    /// A row that was there for sure was deleted.
    pub fn deleted(&mut self, row: (i64, i64), told: &Told) {
        match told {
            Told::Acknowledged => {
                self.entries.insert(row, Presence::Gone);
                self.rows.sure -= 1;
            }
            Told::Unknown(_) => {
                self.entries.insert(row, Presence::Maybe);
                self.maybe_deleted += 1;
            }
            Told::Refused(_) => {}
        }
    }

    /// Whether there can be so many rows of this client in `entries`.
    pub fn allows_rows(&self, count: i64) -> bool {
        let least = self.rows.sure - self.maybe_deleted;
        (least..=self.rows.sure + self.rows.maybe).contains(&count)
    }
}
