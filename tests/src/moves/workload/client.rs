//! Owns one client: its connection, the choice of what it does next, and what follows from an
//! error.

use super::Shared;
use super::latency::Class;
use super::ledger::{Ledger, Told};
use crate::client;
use crate::cluster::USER;
use pgmanifold::config::model::Address;
use rand::RngExt;
use rand::rngs::StdRng;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

/// A client gives a call up after this time, and its connection with it.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// The same for a login.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A failed call; `None` when it took too long.
pub(super) type Failure = Option<Error>;

/// A client at work. It stays with one proxy: what another one knows may be older.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) ledger: Ledger,
    pub(super) random: StdRng,
}

/// Its connection.
pub(super) struct Session {
    pub(super) client: Client,
    /// A call was given up: nothing is known of the connection.
    lost: AtomicBool,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, ledger: Ledger, random: StdRng) -> Self {
        Self { shared, ledger, random }
    }

    pub(super) async fn work(mut self) -> Ledger {
        while !self.is_over() {
            let Some(session) = self.connect().await else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            // Connections change now and then, also without a fault.
            for _ in 0..self.random.random_range(20..300) {
                if self.is_over() || session.is_lost() {
                    break;
                }
                self.step(&session).await;
                let pace = u64::try_from(self.shared.load.pace.as_micros()).unwrap_or(0);
                let pause = self.random.random_range(0..=pace);
                tokio::time::sleep(Duration::from_micros(pause)).await;
            }
        }
        self.ledger
    }

    fn is_over(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Its proxy.
    pub(super) fn address(&self) -> &Address {
        let own = usize::try_from(self.ledger.client).unwrap_or(0);
        &self.shared.addresses[own % self.shared.addresses.len()]
    }

    async fn connect(&self) -> Option<Session> {
        let config = client::config(self.address(), USER, &self.shared.database);
        let login = tokio::time::timeout(LOGIN_TIMEOUT, config.connect(NoTls)).await;
        let (client, connection) = login.ok()?.ok()?;
        tokio::spawn(async move {
            // How a connection ended is seen by the client's next call.
            let _ = connection.await;
        });
        let session = Session { client, lost: AtomicBool::new(false) };
        self.see_all(&session).await;
        Some(session)
    }

    /// From now on the session sees what others have written in this client's name: a write on
    /// every shard is as good as all those before it.
    async fn see_all(&self, session: &Session) {
        let own = self.ledger.client;
        let sql = format!("update counters set steps = steps where client = {own}");
        if self.shared.load.replicas && session.simple(&sql).await.is_err() {
            session.lost.store(true, Ordering::Relaxed);
        }
    }

    async fn step(&mut self, session: &Session) {
        match self.random.random_range(0..100) {
            0..25 => self.increment(session).await,
            25..40 => self.append(session).await,
            40..46 => self.batch(session).await,
            46..52 => self.delete(session).await,
            52..62 => self.transfer(session).await,
            62..70 => self.key_transaction(session).await,
            70..72 => {
                self.copy_in().await;
                self.see_all(session).await;
            }
            72..75 => self.tag(session).await,
            75..90 => self.read_own(session).await,
            90..96 => self.count_own(session).await,
            96..98 => self.count_all(session).await,
            98 => self.copy_out().await,
            _ => self.long_read(session).await,
        }
    }

    /// One of its own keys.
    pub(super) fn key(&mut self) -> i64 {
        let at = self.random.random_range(0..self.ledger.keys.len());
        self.ledger.keys[at]
    }

    /// Writes down how an operation ended.
    pub(super) fn ended(&mut self, class: Class, key: Option<i64>, began: Instant, told: &Told) {
        match told {
            Told::Acknowledged => self.shared.latencies.record(class, key, began.elapsed()),
            Told::Refused(text) => self.shared.latencies.failed(class, text),
            Told::Unknown(text) => self.shared.latencies.failed(class, &format!("? {text}")),
        }
        self.ledger.count(told);
    }
}

impl Session {
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed) || self.client.is_closed()
    }

    /// Waits for an answer, but not for ever.
    pub(super) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(result) => result.map_err(Some),
            Err(_) => {
                self.lost.store(true, Ordering::Relaxed);
                Err(None)
            }
        }
    }

    /// Runs a simple query; how many rows its last statement wrote or returned.
    pub(super) async fn simple(&self, sql: &str) -> Result<i64, Failure> {
        let messages = self.within(self.client.simple_query(sql)).await?;
        let counts = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(count) => i64::try_from(*count).ok(),
            _ => None,
        });
        Ok(counts.last().unwrap_or_default())
    }

    /// Runs a statement with parameters; how many rows it wrote.
    pub(super) async fn extended(&self, sql: &str, values: &[i64]) -> Result<i64, Failure> {
        let values = values.iter().map(|value| value as &(dyn tokio_postgres::types::ToSql + Sync));
        let values: Vec<_> = values.collect();
        let count = self.within(self.client.execute(sql, &values)).await?;
        Ok(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// The numbers in the first row of a simple query.
    pub(super) async fn numbers(&self, sql: &str) -> Result<Vec<Option<i64>>, Failure> {
        let rows = self.within(client::rows(&self.client, sql)).await?;
        let row = rows.into_iter().next().unwrap_or_default();
        Ok(row.into_iter().map(|value| value.and_then(|text| text.parse().ok())).collect())
    }

    /// The same with parameters, for statements whose columns are all of type bigint.
    pub(super) async fn bound(&self, sql: &str, key: i64) -> Result<Vec<Option<i64>>, Failure> {
        let rows = self.within(self.client.query(sql, &[&key])).await?;
        let Some(row) = rows.first() else { return Ok(Vec::new()) };
        (0..row.len()).map(|at| row.try_get(at).map_err(Some)).collect()
    }
}

/// What follows from the answer to a statement that commits. A COMMIT that is answered by an error
/// that does not speak of doubt is not done.
pub(super) fn told<T>(result: &Result<T, Failure>) -> Told {
    let Err(error) = result else { return Told::Acknowledged };
    let text = short(error);
    match error.as_ref().and_then(Error::code) {
        Some(code) if !leaves_doubt(code.code()) => Told::Refused(text),
        _ => Told::Unknown(text),
    }
}

/// What a server says of its end is passed on; what it did before is not known. 08006 says that
/// nothing was changed.
pub(super) fn leaves_doubt(code: &str) -> bool {
    matches!(code, "PGM06" | "08007" | "57P01" | "57P02")
}

/// Code and message, without what differs every time.
pub(super) fn short(error: &Failure) -> String {
    let Some(error) = error else { return "no answer".into() };
    match error.as_db_error() {
        Some(db) => shortened(db.code().code(), db.message()),
        None => "connection lost".into(),
    }
}

/// Code and message, without what differs every time.
pub(super) fn shortened(code: &str, message: &str) -> String {
    format!("{code} {}", message.replace(|letter: char| letter.is_ascii_digit(), ""))
}
