//! Clients of the soak: each does one kind of thing, over and over, with sessions that come and
//! go. Errors are counted, not asserted: servers are broken meanwhile. Wrong answers and calls
//! that never end are failures.

use pgmanifold::config::model::Address;
use pgmanifold_tests::client::{self, code};
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::raw::{self, Raw};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio_postgres::{Client, Error, NoTls};

/// No call takes longer, whatever is broken.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Accounts of the transfers; their sum never changes.
pub(super) const ACCOUNTS: i32 = 50;

/// Kinds of clients.
pub(super) const KINDS: [&str; 11] = [
    "transfer",
    "prepared",
    "settings",
    "listen",
    "advisory",
    "temporary",
    "copy",
    "cancel",
    "vanish",
    "slow",
    "silent",
];

/// What all clients share.
pub(super) struct Crowd {
    pub(super) address: Address,
    pub(super) database: String,
    pub(super) stop: AtomicBool,
    pub(super) done: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) errors: Mutex<BTreeMap<String, u64>>,
}

impl Crowd {
    /// Errors so far.
    pub(super) fn error_count(&self) -> u64 {
        self.errors.lock().expect("invariant: no panic under this lock").values().sum()
    }

    fn note(&self, kind: &str, error: &Error) {
        let mut errors = self.errors.lock().expect("invariant: no panic under this lock");
        *errors.entry(format!("{kind} {}", code(error))).or_default() += 1;
    }

    /// Runs clients of one kind until told to stop.
    pub(super) async fn play(self: Arc<Self>, kind: &'static str, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        while !self.stop.load(Ordering::Relaxed) {
            self.connects.fetch_add(1, Ordering::Relaxed);
            let session = self.session(kind, &mut random);
            let ended = tokio::time::timeout(20 * CALL_TIMEOUT, session).await;
            if let Err(error) = ended.unwrap_or_else(|_| panic!("a {kind} session never ends")) {
                self.note(kind, &error);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn session(&self, kind: &'static str, random: &mut StdRng) -> Result<(), Error> {
        match kind {
            "vanish" => self.vanish(random).await,
            "slow" => self.read_slowly(random).await,
            "silent" => self.keep_silent(random).await,
            _ => {
                let config = client::config(&self.address, USER, &self.database);
                let client = client::try_connect(&config).await?;
                // Only once: after DDL all reads stay on the primary for a moment.
                if kind == "temporary" {
                    client.batch_execute("create temp table scratch (n int)").await?;
                }
                for _ in 0..random.random_range(1..40) {
                    if self.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let call = self.call(kind, &client, random);
                    let ended = tokio::time::timeout(CALL_TIMEOUT, call).await;
                    ended.unwrap_or_else(|_| panic!("a {kind} call never ends"))?;
                    self.done.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
                }
                return Ok(());
            }
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn call(&self, kind: &str, client: &Client, random: &mut StdRng) -> Result<(), Error> {
        let number = random.random_range(1..=ACCOUNTS);
        match kind {
            "transfer" => transfer(client, number, random.random_range(1..=ACCOUNTS)).await,
            "prepared" => {
                let statement = client.prepare("select $1::int + count(*) from accounts").await?;
                let row = client.query_one(&statement, &[&number]).await?;
                assert_eq!(row.get::<_, i64>(0), i64::from(number) + i64::from(ACCOUNTS));
                Ok(())
            }
            "settings" => {
                let name = format!("soak {number}");
                let sql = format!("set application_name = '{name}'; set extra_float_digits = 1");
                client.batch_execute(&sql).await?;
                let row = client.query_one("select current_setting('application_name')", &[]);
                assert_eq!(row.await?.get::<_, String>(0), name, "another session's setting");
                Ok(())
            }
            "listen" => {
                let sql = format!("listen soak_{number}; notify soak_{number}; unlisten *");
                client.batch_execute(&sql).await
            }
            "advisory" => {
                let key = i64::from(number);
                let row = client.query_one("select pg_try_advisory_lock($1)", &[&key]).await?;
                if row.get::<_, bool>(0) {
                    let row = client.query_one("select pg_advisory_unlock($1)", &[&key]).await?;
                    assert!(row.get::<_, bool>(0), "the lock was lost");
                }
                Ok(())
            }
            "temporary" => {
                let sql = "insert into scratch select generate_series(1, 10)";
                client.batch_execute(sql).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
                let row = client.query_one("select count(*) % 10 from scratch", &[]).await?;
                assert_eq!(row.get::<_, i64>(0), 0, "another session's table");
                Ok(())
            }
            "copy" => copy(client, number).await,
            _ => cancel(client, random).await,
        }
    }

    /// Leaves without a goodbye, in the middle of something.
    async fn vanish(&self, random: &mut StdRng) {
        let Some(mut raw) = self.open(true).await else { return };
        let begun = match random.random_range(0..4) {
            0 => raw::query("begin; update accounts set amount = amount + 1000 where n = 1"),
            1 => raw::query("copy soak_copied from stdin"),
            2 => raw::query("select pg_sleep(5)"),
            _ => [raw::parse("s", "select $1::int"), raw::bind("", "s", &[Some("1")])].concat(),
        };
        let _ = raw.try_send(&begun).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..30))).await;
        match random.random_bool(0.5) {
            true => raw.vanish(),
            false => drop(raw),
        }
    }

    /// Reads a large result with pauses, and perhaps not to its end.
    async fn read_slowly(&self, random: &mut StdRng) {
        let Some(mut raw) = self.open(true).await else { return };
        let sql = "select repeat('x', 10000) from generate_series(1, 500)";
        let _ = raw.try_send(&raw::query(sql)).await;
        let end = random.random_range(1..700);
        for row in 0..end {
            match raw.next().await {
                Some(message) if message.tag != b'Z' => {}
                _ => break,
            }
            if row % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Connects and says nothing, or half of something.
    async fn keep_silent(&self, random: &mut StdRng) {
        let Some(mut raw) = self.open(false).await else { return };
        if random.random_bool(0.5) {
            let _ = raw.try_send(&[0, 0, 0, 40, 0, 3]).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(1..500))).await;
    }

    /// The byte-exact client; `None` when it is not let in.
    async fn open(&self, log_in: bool) -> Option<Raw> {
        let mut raw = Raw::open(&self.address).await;
        if log_in {
            let parameters = [("user", USER), ("database", self.database.as_str())];
            raw.try_send(&raw::startup(raw::V3_0, &parameters)).await.ok()?;
            let answer = raw.until_ready().await;
            answer.last().filter(|message| message.tag == b'Z')?;
        }
        Some(raw)
    }
}

async fn transfer(client: &Client, from: i32, to: i32) -> Result<(), Error> {
    // In one order, so that nobody waits for each other.
    let (first, second, sign) = if from <= to { (from, to, 1) } else { (to, from, -1) };
    client.batch_execute("begin").await?;
    let sql = "update accounts set amount = amount + $2 where n = $1";
    for (account, amount) in [(first, -sign), (second, sign)] {
        client.execute(sql, &[&account, &amount]).await?;
    }
    client.batch_execute("commit").await
}

async fn copy(client: &Client, number: i32) -> Result<(), Error> {
    use futures_util::SinkExt;
    let mut sink = Box::pin(client.copy_in("copy soak_copied from stdin").await?);
    for line in 0..number {
        sink.send(bytes::Bytes::from(format!("{line}\n"))).await?;
    }
    let copied = sink.as_mut().finish().await?;
    assert_eq!(copied, u64::try_from(number).unwrap_or_default());
    client.batch_execute("delete from soak_copied").await
}

async fn cancel(client: &Client, random: &mut StdRng) -> Result<(), Error> {
    let token = client.cancel_token();
    let after = Duration::from_millis(random.random_range(1..40));
    let cancelling = async {
        tokio::time::sleep(after).await;
        let _ = token.cancel_query(NoTls).await;
    };
    let (result, ()) = tokio::join!(client.batch_execute("select pg_sleep(0.03)"), cancelling);
    match result {
        Err(error) if code(&error) == "57014" => Ok(()),
        result => result,
    }
}
