//! Owns what clients read, and what it must be: their own writes, and every row once. A read that
//! fails is counted; one that is wrong is a complaint.

use super::client::{Failure, Session, Worker, told};
use super::copying::Copying;
use super::latency::Class;
use super::ledger::{Presence, Told};
use rand::RngExt;
use std::time::{Duration, Instant};

impl Worker {
    fn complain(&self, what: &str) {
        self.shared.complain(format!("client {}: {what}", self.ledger.client));
    }

    /// A read ended. It has no doubt: what was not answered was not read.
    fn read<T>(
        &mut self,
        class: Class,
        key: Option<i64>,
        began: Instant,
        answer: &Result<T, Failure>,
    ) {
        let told = match told(answer) {
            Told::Unknown(text) => Told::Refused(text),
            told => told,
        };
        self.ended(class, key, began, &told);
    }

    /// One of its keys: the counters, or whether a row is there.
    pub(super) async fn read_own(&mut self, session: &Session) {
        let began = Instant::now();
        if self.random.random_bool(0.4) {
            return self.read_row(session, began).await;
        }
        let key = self.key();
        let answer = if self.random.random_bool(0.5) {
            session.bound("select count, steps from counters where customer = $1", key).await
        } else {
            let sql = format!("select count, steps from counters where customer = {key}");
            session.numbers(&sql).await
        };
        self.read(Class::PointRead, Some(key), began, &answer);
        if let Ok(answer) = answer {
            self.judge_counters(key, &answer);
        }
    }

    fn judge_counters(&self, key: i64, answer: &[Option<i64>]) {
        let wanted = (self.ledger.counts.get(&key), self.ledger.steps.get(&key));
        let right = match (answer, wanted) {
            ([Some(count), Some(steps)], (Some(counts), Some(known))) => {
                counts.allows(*count) && known.allows(*steps)
            }
            _ => false,
        };
        if !right {
            self.complain(&format!("counters of {key} are {answer:?} instead of {wanted:?}"));
        }
    }

    async fn read_row(&mut self, session: &Session, began: Instant) {
        let at = self.random.random_range(0..50);
        let Some(((key, number), presence)) =
            self.ledger.entries.iter().map(|(row, presence)| (*row, *presence)).nth(at)
        else {
            return;
        };
        let sql =
            format!("select count(*) from entries where customer = {key} and number = {number}");
        let answer = session.numbers(&sql).await;
        self.read(Class::PointRead, Some(key), began, &answer);
        let Ok(answer) = answer else { return };
        let right = match presence {
            Presence::Sure => answer == [Some(1)],
            Presence::Gone => answer == [Some(0)],
            Presence::Maybe => answer == [Some(0)] || answer == [Some(1)],
        };
        if !right {
            self.complain(&format!("row {key}/{number} is {presence:?} and is {answer:?} times"));
        }
    }

    /// All of its own rows, over all shards: nobody else changes them.
    pub(super) async fn count_own(&mut self, session: &Session) {
        let began = Instant::now();
        let client = self.ledger.client;
        if self.random.random_bool(0.5) {
            let answer = self.count_entries(session).await;
            self.read(Class::Scatter, None, began, &answer);
            return;
        }
        let sql = format!(
            "select count(*), sum(count), sum(steps) from counters where client = {client}"
        );
        let answer = session.numbers(&sql).await;
        self.read(Class::Scatter, None, began, &answer);
        let Ok(answer) = answer else { return };
        let sum = |sums: &mut dyn Iterator<Item = &super::ledger::Sum>| {
            sums.fold((0, 0), |(least, most), one| (least + one.sure, most + one.sure + one.maybe))
        };
        let counts = sum(&mut self.ledger.counts.values());
        let steps = sum(&mut self.ledger.steps.values());
        let keys = i64::try_from(self.ledger.keys.len()).unwrap_or(0);
        let allows = |range: (i64, i64), value: i64| (range.0..=range.1).contains(&value);
        let right = matches!(answer[..], [Some(all), Some(count), Some(step)]
            if all == keys && allows(counts, count) && allows(steps, step));
        if !right {
            self.complain(&format!(
                "its counters add up to {answer:?} instead of {keys}, {counts:?}, {steps:?}"
            ));
        }
    }

    /// How many rows of `entries` it has; wrong numbers are complained of.
    async fn count_entries(&self, session: &Session) -> Result<i64, Failure> {
        let client = self.ledger.client;
        let sql = format!("select count(*) from entries where client = {client}");
        let answer = session.numbers(&sql).await?;
        let count = answer.first().copied().flatten().unwrap_or(-1);
        if !self.ledger.allows_rows(count) {
            self.complain(&format!(
                "it has {count} entries instead of {:?} less at most {}",
                self.ledger.rows, self.ledger.maybe_deleted
            ));
        }
        Ok(count)
    }

    /// Tables whose number of rows never changes.
    pub(super) async fn count_all(&mut self, session: &Session) {
        let began = Instant::now();
        let keys = self.shared.load.keys;
        let table = ["counters", "accounts", "tags"][self.random.random_range(0..3)];
        let answer = session.numbers(&format!("select count(*) from {table}")).await;
        self.read(Class::Scatter, None, began, &answer);
        if let Ok(answer) = answer
            && answer != [Some(keys)]
        {
            self.complain(&format!("{table} has {answer:?} rows instead of {keys}"));
        }
        let still = format!("select count(*) from entries where client = {}", super::NOBODY);
        let answer = session.numbers(&still).await;
        self.read(Class::Scatter, None, began, &answer);
        if let Ok(answer) = answer
            && answer != [Some(self.shared.load.rows)]
        {
            self.complain(&format!("nobody's entries are {answer:?}"));
        }
    }

    /// A whole table by COPY.
    pub(super) async fn copy_out(&mut self) {
        let Some(mut copying) = Copying::connect(self.address(), &self.shared.database).await
        else {
            return;
        };
        let began = Instant::now();
        let (told, lines) = copying.query("copy tags to stdout").await;
        let told = match told {
            Told::Unknown(text) => Told::Refused(text),
            told => told,
        };
        if told == Told::Acknowledged && lines != self.shared.load.keys {
            let keys = self.shared.load.keys;
            self.complain(&format!("COPY of all tags has {lines} rows instead of {keys}"));
        }
        self.ended(Class::Scatter, None, began, &told);
    }

    /// A transaction that stays open and reads the same again.
    pub(super) async fn long_read(&mut self, session: &Session) {
        let began = Instant::now();
        let key = self.key();
        let longest = u64::try_from(self.shared.load.long_read.as_millis()).unwrap_or(0);
        let pause = Duration::from_millis(self.random.random_range(0..=longest));
        let answer = self.read_twice(session, key, pause).await;
        if answer.is_err() && !session.is_lost() {
            let _ = session.simple("rollback").await;
        }
        if let Err(error) = answer {
            let result: Result<(), Failure> = Err(error);
            self.read(Class::Scatter, None, began, &result);
        }
    }

    async fn read_twice(
        &self,
        session: &Session,
        key: i64,
        pause: Duration,
    ) -> Result<(), Failure> {
        session.simple("begin read only").await?;
        for last in [false, true] {
            let sql = format!("select count, steps from counters where customer = {key}");
            let counters = session.numbers(&sql).await?;
            self.judge_counters(key, &counters);
            self.count_entries(session).await?;
            if !last {
                tokio::time::sleep(pause).await;
            }
        }
        session.simple("commit").await?;
        Ok(())
    }
}
