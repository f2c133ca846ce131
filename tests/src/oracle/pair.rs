//! Owns one client on two connections, to the proxy and to the oracle. Requests go to the proxy
//! first: what it refuses is not asked of the oracle, so that both sides stay equal.

use super::answer::{Answer, Piece};
use super::compare::{self, Check, Verdict, are_within};
use super::request::Request;
use crate::cluster::USER;
use crate::raw::{self, Message, Raw};
use crate::shards::Shards;
use pgmanifold::config::model::Address;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The first OID of types that are not PostgreSQL's own.
const FIRST_USER_OID: u32 = 16384;

/// Names of types that tests made: their OIDs differ from server to server.
#[derive(Debug)]
pub struct Types<'a> {
    shards: &'a Shards,
    names: RefCell<Option<Names>>,
}

/// Names by OID.
type Named = HashMap<u32, String>;

#[derive(Debug)]
struct Names {
    shards: Vec<Named>,
    oracle: Named,
}

impl<'a> Types<'a> {
    /// Of these servers.
    pub fn new(shards: &'a Shards) -> Self {
        Self { shards, names: RefCell::new(None) }
    }

    /// Whether the proxy's type is the oracle's.
    pub fn are_equal(&self, ours: u32, theirs: u32) -> bool {
        if ours < FIRST_USER_OID || theirs < FIRST_USER_OID {
            return ours == theirs;
        }
        self.are_named_alike(ours, theirs) || {
            *self.names.borrow_mut() = None;
            self.are_named_alike(ours, theirs)
        }
    }

    fn are_named_alike(&self, ours: u32, theirs: u32) -> bool {
        let mut names = self.names.borrow_mut();
        let names = names.get_or_insert_with(|| self.read());
        let name = names.oracle.get(&theirs);
        name.is_some() && names.shards.iter().any(|shard| shard.get(&ours) == name)
    }

    fn read(&self) -> Names {
        let sql = format!("select oid, typname from pg_type where oid >= {FIRST_USER_OID}");
        let of = |cluster: &pgmanifold::demo::postgres::PgCluster| -> Named {
            let rows = cluster.primary.query_in(&self.shards.database, &sql).expect("types");
            let pair = |row: &Vec<Option<String>>| {
                Some((row.first()?.as_ref()?.parse().ok()?, row.get(1)?.clone()?))
            };
            rows.iter().filter_map(pair).collect()
        };
        let mut all: Vec<Named> = self.shards.clusters().map(of).collect();
        let oracle = all.pop().unwrap_or_default();
        Names { shards: all, oracle }
    }
}

/// The two connections.
#[derive(Debug)]
pub struct Pair<'a> {
    shards: &'a Shards,
    /// Where the first one goes: the proxy, or a server that is compared with itself.
    front: Address,
    through: Raw,
    plain: Raw,
    types: Types<'a>,
    /// State of the transaction after the last step.
    pub status: char,
}

impl<'a> Pair<'a> {
    /// Logs in at both.
    pub async fn new(shards: &'a Shards, front: &Address) -> Pair<'a> {
        let through = Raw::connect(front, USER, &shards.database).await;
        let plain = shards.raw_oracle().await;
        let types = Types::new(shards);
        Pair { shards, front: front.clone(), through, plain, types, status: 'I' }
    }

    /// Leaves both connections and logs in again.
    pub async fn reconnect(&mut self) {
        self.through = Raw::connect(&self.front, USER, &self.shards.database).await;
        self.plain = self.shards.raw_oracle().await;
        self.status = 'I';
    }

    /// One request to both, compared.
    pub async fn step(&mut self, request: &Request, check: &Check) -> Verdict {
        let ours = match play(&mut self.through, request).await {
            Ok(answer) => answer,
            Err(what) => {
                self.status = 'X';
                return Verdict::Different(format!("the proxy: {what}"));
            }
        };
        self.status = ours.status;
        if let Some(fault) = compare::refusal(&ours) {
            // PostgreSQL has this code too: then it is no refusal when the oracle has it.
            let refused = Verdict::Refused(compare::construct(fault));
            return if fault.state == "0A000" {
                self.doubt(request, &ours, refused).await
            } else {
                refused
            };
        }
        let theirs = match play(&mut self.plain, request).await {
            Ok(answer) => answer,
            Err(what) => {
                self.status = 'X';
                return Verdict::Different(format!("the oracle: {what}"));
            }
        };
        match compare::compare(&ours, &theirs, check, &self.types) {
            Verdict::Right(None) => self.within(&ours, check).await,
            verdict => verdict,
        }
    }

    /// Asks the oracle in a transaction that is given up, whether it fails too.
    async fn doubt(&mut self, request: &Request, ours: &Answer, refused: Verdict) -> Verdict {
        if ours.status == 'E' {
            // In a failed transaction both may go on only when the oracle fails too.
            let theirs = play(&mut self.plain, request).await;
            return match theirs {
                Ok(theirs) if theirs.status == 'E' => compare_faults(ours, &theirs, refused),
                _ => refused,
            };
        }
        let begin = Request::Simple("begin".into());
        let _ = play(&mut self.plain, &begin).await;
        let theirs = play(&mut self.plain, request).await;
        let _ = play(&mut self.plain, &Request::Simple("rollback".into())).await;
        match theirs {
            Ok(theirs) => compare_faults(ours, &theirs, refused),
            Err(_) => refused,
        }
    }

    async fn within(&mut self, ours: &Answer, check: &Check) -> Verdict {
        let Some(query) = &check.within else { return Verdict::Right(None) };
        let all = play(&mut self.plain, &Request::Simple(query.clone())).await;
        let all = match all {
            Ok(all) if all.fault().is_none() => all,
            other => return Verdict::Different(format!("{query} fails on the oracle: {other:?}")),
        };
        let (rows, all_rows): (Vec<_>, Vec<_>) = (ours.rows().collect(), all.rows().collect());
        match are_within(&rows, &all_rows) {
            true => Verdict::Right(None),
            false => Verdict::Different(format!(
                "rows that {query} does not have\n    proxy:  {}\n    oracle: {}",
                ours.text(),
                all.text()
            )),
        }
    }

    /// Ends an open transaction on both sides.
    pub async fn roll_back(&mut self) {
        let rollback = Request::Simple("rollback".into());
        let ours = play(&mut self.through, &rollback).await;
        let theirs = play(&mut self.plain, &rollback).await;
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) if ours.status == 'I' && theirs.status == 'I' => {
                self.status = 'I';
            }
            _ => self.reconnect().await,
        }
    }

    /// What the oracle copies out for a query, with the options of COPY given.
    ///
    /// # Panics
    /// When it fails.
    pub async fn copy_of(&mut self, query: &str, options: &str) -> Vec<u8> {
        let sql = format!("copy ({query}) to stdout {options}");
        let answer = play(&mut self.plain, &Request::Simple(sql.clone())).await.expect("an answer");
        match answer.pieces.into_iter().next() {
            Some(Piece::CopyOut { data, .. }) => data,
            other => panic!("{sql}: {other:?}"),
        }
    }
}

fn compare_faults(ours: &Answer, theirs: &Answer, refused: Verdict) -> Verdict {
    let state = |answer: &Answer| answer.fault().map(|fault| fault.state.clone());
    if state(ours) == state(theirs) { Verdict::Right(state(ours)) } else { refused }
}

/// Sends a request and reads its answer.
async fn play(raw: &mut Raw, request: &Request) -> Result<Answer, String> {
    raw.try_send(&request.bytes()).await.map_err(|error| format!("closed: {error}"))?;
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, read(raw, request)).await;
    let messages = answer.map_err(|_| "no answer".to_owned())?;
    let answer = Answer::read(&messages);
    match answer.status {
        'X' => Err(format!("closed: {}", answer.text())),
        _ => Ok(answer),
    }
}

async fn read(raw: &mut Raw, request: &Request) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(message) = raw.next().await {
        let tag = message.tag;
        messages.push(message);
        if let (b'G', Request::CopyIn(_, data)) = (tag, request) {
            let data: Vec<u8> = data.chunks(1000).flat_map(raw::copy_data).collect();
            let _ = raw.try_send(&[data, raw::copy_done()].concat()).await;
        }
        if tag == b'Z' {
            break;
        }
    }
    messages
}
