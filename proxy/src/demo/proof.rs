//! Owns the proof of own-write visibility: with one replica's replay paused, sessions write and
//! read back, and every read that misses its session's write is counted.

use super::table::grouped;
use super::workload::{connect, describe};
use futures_util::future::try_join_all;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::Client;

/// Sessions that write and read back.
const SESSIONS: i32 = 4;
/// Writes per session.
const WRITES: i32 = 60;
/// The second read of each write comes this much later, when the healthy replica has the write
/// and the paused one does not.
const LATER: Duration = Duration::from_millis(30);

/// What was seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Proof {
    writes: u64,
    reads: u64,
    /// Reads through pgmanifold that missed the write.
    pub(super) stale: u64,
    by_server: BTreeMap<String, u64>,
    direct_reads: u64,
    direct_stale: u64,
}

/// Writes and reads through `dsn`; reads for contrast straight from the paused server.
pub(super) async fn run(dsn: &str, paused_dsn: &str) -> Result<Proof, String> {
    let sessions = try_join_all((1..=SESSIONS).map(|row| session(dsn, paused_dsn, row))).await?;
    let mut all = Proof::default();
    for one in sessions {
        all.writes += one.writes;
        all.reads += one.reads;
        all.stale += one.stale;
        all.direct_reads += one.direct_reads;
        all.direct_stale += one.direct_stale;
        for (server, count) in one.by_server {
            *all.by_server.entry(server).or_default() += count;
        }
    }
    Ok(all)
}

/// One session: it alone writes product `row`, so any other value it reads is stale.
async fn session(dsn: &str, paused_dsn: &str, row: i32) -> Result<Proof, String> {
    let (client, paused) = (connect(dsn).await?, connect(paused_dsn).await?);
    let mut proof = Proof::default();
    for number in 1..=WRITES {
        let value = 1_000_000 + number;
        let sql = "update products set stock = $2 where id = $1";
        let written = client.execute(sql, &[&row, &value]).await;
        written.map_err(|error| describe("write", &error))?;
        proof.writes += 1;
        proof.count(read(&client, row).await?, value);
        let (_, direct) = read(&paused, row).await?;
        proof.direct_reads += 1;
        proof.direct_stale += u64::from(direct != value);
        tokio::time::sleep(LATER).await;
        proof.count(read(&client, row).await?, value);
    }
    Ok(proof)
}

async fn read(client: &Client, row: i32) -> Result<(String, i32), String> {
    let sql = "select current_setting('launcher.server'), stock from products where id = $1";
    let row = client.query_one(sql, &[&row]).await;
    let row = row.map_err(|error| describe("read", &error))?;
    Ok((row.get(0), row.get(1)))
}

impl Proof {
    fn count(&mut self, (server, seen): (String, i32), written: i32) {
        self.reads += 1;
        self.stale += u64::from(seen != written);
        *self.by_server.entry(server).or_default() += 1;
    }

    /// The result in a few lines.
    pub(super) fn report(&self, servers: &[&str], paused: &str) -> String {
        let places: Vec<String> = servers
            .iter()
            .map(|name| format!("{name} {}", self.by_server.get(*name).copied().unwrap_or(0)))
            .collect();
        format!(
            "  {} writes, each read back by its own session at once and {} ms later:\n\
             \x20   through pgmanifold       {:>5} of {} reads stale   (read on {})\n\
             \x20   straight from {paused:10} {:>5} of {} reads stale",
            grouped(self.writes),
            LATER.as_millis(),
            self.stale,
            self.reads,
            places.join(", "),
            self.direct_stale,
            self.direct_reads,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_of_another_value_is_stale_and_the_report_says_where_reads_went() {
        let mut proof = Proof { writes: 2, ..Proof::default() };
        proof.count(("primary".into(), 7), 7);
        proof.count(("replica1".into(), 6), 7);
        assert_eq!((proof.reads, proof.stale), (2, 1));
        let report = proof.report(&["primary", "replica1", "replica2"], "replica2");
        assert!(
            report.contains("1 of 2 reads stale   (read on primary 1, replica1 1, replica2 0)")
        );
    }
}
