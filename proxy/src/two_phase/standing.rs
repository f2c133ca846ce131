//! Owns what is asked of each participant before a commit, and what follows from the answers: who
//! has written, who can be committed last, and under which name.

use super::step::{Answer, Failed};
use crate::execute::Participant;
use crate::wire::error::SqlError;
use pgmanifold_router::dtx;
use pgmanifold_router::shard_map::ShardId;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Asks for all of `Standing`. The client's search_path may have other operators. A backend keeps
/// its temporary schema for good, so what counts is whether there is something in it.
pub(super) const ASK: &str = "select pg_catalog.txid_current_if_assigned(), \
     pg_catalog.current_setting('transaction_isolation'), \
     pg_catalog.current_setting('synchronous_commit'), \
     case when pg_catalog.pg_my_temp_schema() operator(pg_catalog.=) 0 then 0 else \
      (select pg_catalog.count(*) from pg_catalog.pg_class \
       where relnamespace operator(pg_catalog.=) pg_catalog.pg_my_temp_schema()) end, \
     extract(epoch from pg_catalog.clock_timestamp())";

/// Where a participant stands before the commit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standing {
    /// Its transaction's number on its server; `None` when it has written nothing.
    pub xid: Option<String>,
    /// Its COMMIT may fail although it has only read.
    pub serializable: bool,
    /// Its COMMIT is not durable when it is acknowledged.
    pub asynchronous: bool,
    /// Its session has temporary tables: using one makes PREPARE TRANSACTION fail.
    pub temporary: bool,
    /// Its clock, in milliseconds since 1970.
    pub clock_ms: u64,
}

impl Standing {
    pub(super) fn read(answer: &Answer) -> Result<Self, Failed> {
        let [xid, isolation, synchronous, temporary, clock] = answer.row.as_slice() else {
            return Err(strange());
        };
        let seconds = clock.as_deref().unwrap_or_default();
        let (whole, rest) = seconds.split_once('.').unwrap_or((seconds, "0"));
        let millis = rest.chars().chain("000".chars()).take(3).collect::<String>();
        let clock_ms = match (whole.parse::<u64>(), millis.parse::<u64>()) {
            (Ok(whole), Ok(millis)) => whole.saturating_mul(1000).saturating_add(millis),
            _ => return Err(strange()),
        };
        if xid.as_ref().is_some_and(|xid| xid.parse::<u64>().is_err()) {
            return Err(strange());
        }
        Ok(Self {
            xid: xid.clone(),
            serializable: isolation.as_deref() == Some("serializable"),
            asynchronous: synchronous.as_deref() == Some("off"),
            temporary: temporary.as_deref() != Some("0"),
            clock_ms,
        })
    }
}

fn strange() -> Failed {
    Failed::Lost(SqlError::error("08P01", "the server's answer is not understood"))
}

/// Which of the writers is committed last. Only the others are prepared, so it is one that could
/// not be: one with temporary tables, or the shard that NOTIFY goes to.
pub(super) fn choose_home(
    writers: &[usize],
    standings: &[Standing],
    parts: &[Participant<'_>],
    preferred: ShardId,
) -> Option<usize> {
    let temporary = |at: &usize| standings.get(*at).is_some_and(|standing| standing.temporary);
    let is_preferred = |at: &usize| parts.get(*at).is_some_and(|part| part.shard == preferred);
    let mut ranked = writers.iter().copied();
    let first = ranked.next()?;
    let rank = |at: &usize| (temporary(at), is_preferred(at));
    Some(ranked.fold(first, |best, at| if rank(&at) > rank(&best) { at } else { best }))
}

/// A transaction's name, and the secret that decides it.
#[derive(Debug)]
pub(super) struct Name {
    /// `pgm:HOME:ID`
    pub transaction: String,
    /// Hexadecimal.
    pub secret: String,
}

impl Name {
    /// A name nobody had before. It begins with the clock of its home, so that decisions lie in
    /// order in their index.
    pub(super) fn new(home: &str, clock_ms: u64, secret: [u8; 16]) -> Self {
        let hash = hexadecimal(&Sha256::digest(secret)[..16]);
        let id = format!("{:012x}{hash}", clock_ms & 0xffff_ffff_ffff);
        Self { transaction: dtx::transaction_name(home, &id), secret: hexadecimal(&secret) }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The command that decides: the home's own part and the decision are one commit.
pub(super) fn decision(name: &Name, standing: &Standing, parts: &str) -> String {
    let durable = match standing.asynchronous {
        true => "set local synchronous_commit to on; ",
        false => "",
    };
    let Name { transaction, secret } = name;
    format!("{durable}select pgm.decide('{transaction}', '{secret}', '{parts}'); commit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(row: [Option<&str>; 5]) -> Answer {
        let mut answer = Answer::default();
        answer.row = row.into_iter().map(|value| value.map(str::to_owned)).collect();
        answer
    }

    #[test]
    fn answers_are_read() {
        let row = [Some("7340"), Some("serializable"), Some("off"), Some("16401")];
        let [a, b, c, d] = row;
        let read = Standing::read(&answer([a, b, c, d, Some("1795356724.0421")])).unwrap();
        let expected = Standing {
            xid: Some("7340".into()),
            serializable: true,
            asynchronous: true,
            temporary: true,
            clock_ms: 1_795_356_724_042,
        };
        assert_eq!(read, expected);
        let row = [None, Some("read committed"), Some("local"), Some("0"), Some("1795356724")];
        let read = Standing::read(&answer(row)).unwrap();
        assert_eq!((read.xid, read.clock_ms), (None, 1_795_356_724_000));
        assert!(!read.serializable && !read.asynchronous && !read.temporary);
        let row = [Some("x'"), Some("read committed"), Some("on"), Some("0"), Some("1.5")];
        assert!(Standing::read(&answer(row)).is_err());
        assert!(Standing::read(&Answer::default()).is_err());
    }

    #[test]
    fn names_carry_time_and_a_hash() {
        // The hash is PostgreSQL's encode(sha256('\x00…'), 'hex').
        let name = Name::new("s0", 1_795_356_724_042, [0; 16]);
        assert_eq!(name.secret, "0".repeat(32));
        assert_eq!(name.transaction, "pgm:s0:01a203998b4a374708fff7719dd5979ec875d56cd228");
        let part = dtx::part_name(&name.transaction, "s1");
        assert_eq!(dtx::PartName::parse(&part).unwrap().transaction, name.transaction);
    }
}
