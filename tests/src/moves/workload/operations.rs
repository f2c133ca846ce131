//! Owns what clients write. Each operation ends with what was told, in the ledger; a count of rows
//! that cannot be is a complaint.

use super::client::{Failure, Session, Worker, short, told};
use super::copying::Copying;
use super::latency::Class;
use super::ledger::{Presence, Told, Transfer};
use rand::RngExt;
use std::time::Instant;

/// Rows of one INSERT and of one COPY.
const BATCH_ROWS: usize = 6;
const COPY_ROWS: usize = 20;

impl Worker {
    /// What a statement says it has written must be `wanted`.
    fn expect_rows(&self, what: &str, wanted: i64, result: &Result<i64, Failure>) {
        if let Ok(count) = result
            && *count != wanted
        {
            self.shared.complain(format!(
                "client {}: {what} says {count} rows instead of {wanted}",
                self.ledger.client
            ));
        }
    }

    /// One row of one key, in one statement.
    pub(super) async fn increment(&mut self, session: &Session) {
        let key = self.key();
        let began = Instant::now();
        let result = if self.random.random_bool(0.5) {
            let sql = "update counters set count = count + 1 where customer = $1";
            session.extended(sql, &[key]).await
        } else {
            let sql = format!("update counters set count = count + 1 where customer = {key}");
            session.simple(&sql).await
        };
        self.expect_rows(&format!("increment of {key}"), 1, &result);
        let told = told(&result);
        self.ledger.counts.entry(key).or_default().add(1, &told);
        self.ended(Class::PointWrite, Some(key), began, &told);
    }

    /// A new row of one key.
    pub(super) async fn append(&mut self, session: &Session) {
        let (key, number) = (self.key(), self.ledger.number());
        let client = self.ledger.client;
        let began = Instant::now();
        let result = if self.random.random_bool(0.5) {
            let sql = format!("insert into entries values ($1, $2, {client}, 'p')");
            session.extended(&sql, &[key, number]).await
        } else {
            let sql = format!("insert into entries values ({key}, {number}, {client}, 's')");
            session.simple(&sql).await
        };
        self.expect_rows("append", 1, &result);
        let told = told(&result);
        self.ledger.inserted(&[(key, number)], &told);
        self.ended(Class::PointWrite, Some(key), began, &told);
    }

    fn new_rows(&mut self, count: usize) -> Vec<(i64, i64)> {
        (0..count).map(|_| (self.key(), self.ledger.number())).collect()
    }

    /// New rows of many keys, in one statement.
    pub(super) async fn batch(&mut self, session: &Session) {
        let rows = self.new_rows(BATCH_ROWS);
        let client = self.ledger.client;
        let values = rows.iter().map(|(key, number)| format!("({key}, {number}, {client}, 'b')"));
        let values = values.collect::<Vec<_>>().join(", ");
        let began = Instant::now();
        let result = session.simple(&format!("insert into entries values {values}")).await;
        self.expect_rows("batch", i64::try_from(BATCH_ROWS).unwrap_or(0), &result);
        let told = told(&result);
        self.ledger.inserted(&rows, &told);
        self.ended(Class::ManyKeys, None, began, &told);
    }

    /// New rows of many keys, by COPY.
    pub(super) async fn copy_in(&mut self) {
        let rows = self.new_rows(COPY_ROWS);
        let client = self.ledger.client;
        let lines = rows.iter().map(|(key, number)| format!("{key}\t{number}\t{client}\tc\n"));
        let data = lines.collect::<String>();
        let Some(mut copying) = Copying::connect(self.address(), &self.shared.database).await
        else {
            return;
        };
        let began = Instant::now();
        let (told, count) = copying.copy_in("copy entries from stdin", data.as_bytes()).await;
        if told == Told::Acknowledged {
            let wanted = i64::try_from(COPY_ROWS).unwrap_or(0);
            self.expect_rows("COPY", wanted, &Ok(count));
            // Another session might not see the rows of all shards yet; this one waits for them.
            copying.query("select count(*) from entries").await;
        }
        self.ledger.inserted(&rows, &told);
        self.ended(Class::ManyKeys, None, began, &told);
    }

    /// A row that is there is deleted.
    pub(super) async fn delete(&mut self, session: &Session) {
        let sure = |presence: &Presence| *presence == Presence::Sure;
        let rows = self.ledger.entries.iter().filter(|(_, presence)| sure(presence));
        // A map has no order that could be relied upon: any of the first ones.
        let Some((key, number)) = rows.map(|(row, _)| *row).nth(self.random.random_range(0..20))
        else {
            return;
        };
        let began = Instant::now();
        let sql = format!("delete from entries where customer = {key} and number = {number}");
        let result = session.simple(&sql).await;
        self.expect_rows(&format!("delete of {key}/{number}"), 1, &result);
        let told = told(&result);
        self.ledger.deleted((key, number), &told);
        self.ended(Class::PointWrite, Some(key), began, &told);
    }

    /// All rows of a table; only the first client does it.
    pub(super) async fn tag(&mut self, session: &Session) {
        if self.ledger.client != 0 {
            return;
        }
        let began = Instant::now();
        let result = session.simple("update tags set tag = tag + 1").await;
        self.expect_rows("UPDATE of all tags", self.shared.load.keys, &result);
        let told = told(&result);
        self.ledger.tag.add(1, &told);
        self.ended(Class::WholeTable, None, began, &told);
    }

    /// Several statements; what of them was answered with an error is not done.
    async fn transaction(&self, session: &Session, statements: &[(String, i64)]) -> Told {
        for (sql, rows) in statements {
            let result = session.simple(sql).await;
            if *rows >= 0 {
                self.expect_rows(sql, *rows, &result);
            }
            if let Err(error) = result {
                // An error leaves the transaction failed, and a lost connection rolls it back.
                if !session.is_lost() {
                    let _ = session.simple("rollback").await;
                }
                let verb = sql.split(' ').next().unwrap_or_default();
                return Told::Refused(format!("{} at {verb}", short(&error)));
            }
        }
        told(&session.simple("commit").await)
    }

    /// A transaction on one key: two steps and a row, together or not at all.
    pub(super) async fn key_transaction(&mut self, session: &Session) {
        let (key, number) = (self.key(), self.ledger.number());
        let client = self.ledger.client;
        let step = format!("update counters set steps = steps + 1 where customer = {key}");
        let statements = [
            ("begin".to_owned(), -1),
            (step.clone(), 1),
            (format!("insert into entries values ({key}, {number}, {client}, 't')"), 1),
            (step, 1),
        ];
        let began = Instant::now();
        let told = self.transaction(session, &statements).await;
        self.ledger.steps.entry(key).or_default().add(2, &told);
        self.ledger.inserted(&[(key, number)], &told);
        self.ended(Class::KeyTransaction, Some(key), began, &told);
    }

    /// From the account with the smaller number to the other, or back: always locked in the same
    /// order, for nobody sees deadlocks over shards.
    pub(super) async fn transfer(&mut self, session: &Session) {
        let keys = self.shared.load.keys;
        let one = self.random.random_range(1..keys);
        let other = self.random.random_range(one + 1..=keys);
        let (amount, number) = (self.random.random_range(-50..50), self.ledger.number());
        let statements = [
            ("begin".to_owned(), -1),
            (format!("update accounts set balance = balance - {amount} where customer = {one}"), 1),
            (
                format!(
                    "update accounts set balance = balance + {amount} where customer = {other}"
                ),
                1,
            ),
            (
                format!(
                    "insert into transfers values ({one}, {number}, -({amount})), \
                     ({other}, {number}, {amount})"
                ),
                2,
            ),
        ];
        let began = Instant::now();
        let told = self.transaction(session, &statements).await;
        self.ended(Class::Transfer, None, began, &told);
        self.ledger.transfers.push(Transfer { number, accounts: (one, other), amount, told });
    }
}
