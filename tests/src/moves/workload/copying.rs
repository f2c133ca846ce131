//! Owns COPY over the simple protocol, on a connection of its own: tokio-postgres knows only the
//! extended one, by which the proxy does not copy into sharded tables.

use super::client::{leaves_doubt, shortened};
use super::ledger::Told;
use crate::cluster::USER;
use crate::raw::{Message, Raw, V3_0, copy_data, copy_done, field, query, startup};
use pgmanifold::config::model::Address;
use std::time::Duration;

/// Longest wait for the end of a COPY, below that of the connection itself.
const COPY_TIMEOUT: Duration = Duration::from_secs(18);
/// The same for the login.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection.
pub(super) struct Copying(Raw);

impl Copying {
    /// Logs in; `None` when that fails.
    pub(super) async fn connect(address: &Address, database: &str) -> Option<Self> {
        let login = async {
            let mut raw = Raw::try_open(address).await.ok()?;
            let parameters = [("user", USER), ("database", database)];
            raw.try_send(&startup(V3_0, &parameters)).await.ok()?;
            let answer = raw.until_ready().await;
            answer.last().is_some_and(|last| last.tag == b'Z').then_some(Self(raw))
        };
        tokio::time::timeout(LOGIN_TIMEOUT, login).await.ok()?
    }

    /// Sends rows; how many the server says it has taken.
    pub(super) async fn copy_in(&mut self, sql: &str, data: &[u8]) -> (Told, i64) {
        let copying = async {
            self.0.try_send(&query(sql)).await.ok()?;
            let ready = self.0.until_any(b"GEZ").await;
            if ready.last().is_some_and(|last| last.tag == b'G') {
                let data = [copy_data(data), copy_done()].concat();
                self.0.try_send(&data).await.ok()?;
                return Some(self.0.until_ready().await);
            }
            Some(ready)
        };
        let answer = tokio::time::timeout(COPY_TIMEOUT, copying).await;
        outcome(&answer.ok().flatten().unwrap_or_default())
    }

    /// Runs a query; how many rows came back, or lines of COPY.
    pub(super) async fn query(&mut self, sql: &str) -> (Told, i64) {
        let asking = async {
            self.0.try_send(&query(sql)).await.ok()?;
            Some(self.0.until_ready().await)
        };
        let answer = tokio::time::timeout(COPY_TIMEOUT, asking).await.ok().flatten();
        let answer = answer.unwrap_or_default();
        let lines = |message: &Message| message.body.iter().filter(|byte| **byte == b'\n').count();
        let data = answer.iter().filter(|message| message.tag == b'd');
        let count = data.map(lines).sum::<usize>();
        (outcome(&answer).0, i64::try_from(count).unwrap_or(i64::MAX))
    }
}

fn outcome(answer: &[Message]) -> (Told, i64) {
    if let Some(error) = answer.iter().find(|message| message.tag == b'E') {
        let part = |code| field(&error.body, code).unwrap_or_default();
        let text = shortened(&part(b'C'), &part(b'M'));
        let is_unknown = leaves_doubt(&part(b'C'));
        return (if is_unknown { Told::Unknown(text) } else { Told::Refused(text) }, 0);
    }
    match answer.iter().find(|message| message.tag == b'C') {
        // "COPY 20"
        Some(done) => {
            let text = String::from_utf8_lossy(&done.body).into_owned();
            let count = text.trim_end_matches('\0').rsplit(' ').next().map(str::parse);
            (Told::Acknowledged, count.and_then(Result::ok).unwrap_or_default())
        }
        None => (Told::Unknown("connection lost".into()), 0),
    }
}
