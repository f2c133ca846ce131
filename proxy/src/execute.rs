//! Owns the running of one statement on several servers at once, and making one answer of theirs.
//! What is sent where, and how answers become one, is decided by the router; which servers take
//! part, in which transactions, by the session.
//!
//! All servers are sent their texts before any is awaited. One poll function then reads them all,
//! merges whole rows without decoding them, and writes to the client. Each server is read up to a
//! bound: one whose rows are not needed yet waits, and a slow client stops them all.

mod array_types;
mod ask;
mod beside;
mod columns;
mod copy_in;
mod copy_out;
mod describe;
mod desk;
mod failing;
mod feed;
mod finish;
mod gather;
mod ordered;
mod portal;
mod sort_key;
mod straight;
mod tags;

use crate::backend::connection::Server;
use crate::backend::error::ServerError;
use crate::wire::error::SqlError;
use crate::wire::frame;
use crate::wire::stream::Stream;
use ask::Results;
use bytes::BytesMut;
pub use copy_in::{CopyIn, copy_in};
use copy_out::CopyOut;
pub use describe::{Description, describe};
use desk::Desk;
use feed::Feed;
use finish::Finish;
use ordered::Ordered;
use pgmanifold_router::shard_map::ShardId;
use pgmanifold_router::sharding::{Merge, Part, Spread};
pub use portal::{Given, Portal, open_portal};
use straight::Straight;

/// One shard's server while it takes part in a statement. It owes nothing when a function of this
/// module begins or ends; one that failed otherwise has `lost` set and must be closed.
pub struct Participant<'a> {
    /// The shard.
    pub shard: ShardId,
    /// Its name, for errors.
    pub name: &'a str,
    /// The server; its `status` is kept up to date.
    pub server: &'a mut Server,
    /// The connection broke, or is in an unknown state.
    pub lost: bool,
}

/// The client's side: what is written to it goes through here, with back-pressure.
pub struct ClientSide<'a> {
    /// The socket.
    pub stream: &'a mut Stream,
    /// Bytes received and not yet taken.
    pub input: &'a mut BytesMut,
    /// Bytes to be written before anything else. Short answers are left here, so that what the
    /// session adds goes with them in one write.
    pub output: &'a mut BytesMut,
}

/// How the client asked.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// A simple query: RowDescription goes before rows; all columns are text.
    Simple,
    /// An Execute of a portal.
    Portal {
        /// Everything of its Bind after the names: formats, values, result formats.
        bind: &'a [u8],
        /// Types declared by Parse, as OIDs.
        types: &'a [u32],
    },
}

/// Bounds of what one statement over several shards keeps in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of rows kept per server while the client or another server is awaited.
    pub buffer_bytes: usize,
    /// Longest row that is merged; it is kept until it is whole.
    pub row_bytes: usize,
    /// Bytes of partial rows collected for a server that computes the answer of them.
    pub gather_bytes: usize,
    /// Floating point numbers of several shards may be added in any order.
    pub inexact_floats: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            buffer_bytes: 64 * 1024,
            row_bytes: 256 << 20,
            gather_bytes: 16 << 20,
            inexact_floats: false,
        }
    }
}

/// How it ended on every participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The command tag for the client, empty for an empty query. CommandComplete is not sent yet:
    /// there may be a commit first.
    pub tag: String,
    /// Bytes that were written to the client at once, beside those left in its `output`.
    pub written_bytes: u64,
}

/// It did not end well. Whatever was written to the client stays written; the error is not
/// written yet.
#[derive(Debug)]
pub struct Failure {
    /// For the client.
    pub error: Box<SqlError>,
    /// The client itself is gone.
    pub client_gone: bool,
    /// The client was sent a part of the answer.
    pub answered: bool,
    /// The server's ErrorResponse, when a server said it and goes on living.
    response: Option<Box<Response>>,
}

/// The body of an ErrorResponse.
#[derive(Debug)]
struct Response(Vec<u8>);

impl Failure {
    /// For this reason.
    pub fn new(error: SqlError) -> Self {
        Self { error: Box::new(error), client_gone: false, answered: false, response: None }
    }

    /// The client cannot be written to any more.
    pub fn gone() -> Self {
        let error = SqlError::error("08006", "the connection to the client was lost");
        Self { client_gone: true, ..Self::new(error) }
    }

    /// What a server said, with all its fields. The Detail names the shard, if there is none.
    fn of_server(shard: &str, error: ServerError, body: &[u8]) -> Self {
        let fatal = matches!(&*error.severity, "FATAL" | "PANIC");
        let mut error = SqlError::from(error);
        let mut body = body.to_vec();
        if error.detail.is_none() {
            let detail = format!("Shard \"{shard}\".");
            if body.pop() == Some(0) {
                body.push(b'D');
                body.extend_from_slice(detail.as_bytes());
                body.extend_from_slice(&[0, 0]);
            }
            error = error.detail(detail);
        }
        // A client takes FATAL for the end of its own connection.
        Self { response: (!fatal).then(|| Box::new(Response(body))), ..Self::new(error) }
    }

    /// Appends the ErrorResponse for the client.
    pub fn encode(&self, out: &mut BytesMut) {
        match &self.response {
            Some(response) => frame::put(out, b'E', &[&response.0]),
            None => self.error.encode(out),
        }
    }
}

/// Shards do not have the same tables.
fn shards_differ(detail: impl Into<String>) -> Failure {
    Failure::new(
        SqlError::refused("shards-differ", "shards differ: their answers cannot become one")
            .detail(detail.into())
            .hint("Bring the definitions of tables and functions to the same state on all shards."),
    )
}

/// Runs a statement on its shards, and writes the rows to the client as they come. Not cancel
/// safe: participants of a statement that was not finished must be closed.
///
/// # Errors
/// The first error of any participant; the others have been cancelled. All owe nothing, or are
/// marked as lost.
pub async fn run(
    parts: &mut [Participant<'_>],
    spread: &Spread,
    call: &Call<'_>,
    client: &mut ClientSide<'_>,
    limits: &Limits,
) -> Result<Done, Failure> {
    let mut desk = Desk::new(client, *limits, matches!(spread.merge, Merge::Same));
    let result = run_at(&mut desk, parts, spread, call).await;
    let written_bytes = desk.written_bytes;
    match result {
        Ok(tag) => Ok(Done { tag, written_bytes }),
        Err(failure) => Err(Failure { answered: written_bytes > 0, ..failure }),
    }
}

/// Runs a statement. Gives the command tag.
async fn run_at(
    desk: &mut Desk<'_, '_>,
    parts: &mut [Participant<'_>],
    spread: &Spread,
    call: &Call<'_>,
) -> Result<String, Failure> {
    let results = match spread.merge {
        Merge::Ordered { .. } => Results::ClientAndHelper,
        Merge::Finish { .. } => Results::Binary,
        _ => Results::Client,
    };
    let mut feeds = open(parts, spread, call, results)?;
    let describes = matches!(call, Call::Simple);
    let merged = match &spread.merge {
        Merge::Ordered { keys, limits } => {
            let merger = Ordered::new(&feeds, keys, *limits, describes);
            desk.drive(&mut feeds, merger).await
        }
        Merge::Finish { sql, columns, parameters } => {
            let finish = Finish { sql, columns, parameters, original: &spread.original };
            finish::run(finish, &mut feeds, desk, call).await
        }
        Merge::CopyOut { header, binary } => {
            let merger = CopyOut::new(&feeds, *header, *binary);
            desk.drive(&mut feeds, merger).await
        }
        merge => {
            let merger = Straight::new(&feeds, merge, describes);
            desk.drive(&mut feeds, merger).await
        }
    };
    match merged {
        Ok(tag) => Ok(tag),
        Err(failure) => Err(failing::wind_up(&mut feeds, failure, &desk.limits).await),
    }
}

/// Puts every part's text on its way.
fn open<'p>(
    parts: &'p mut [Participant<'_>],
    spread: &Spread,
    call: &Call<'_>,
    results: Results,
) -> Result<Vec<Feed<'p>>, Failure> {
    let mut feeds: Vec<(Feed<'p>, &Part, BytesMut)> = Vec::with_capacity(spread.parts.len());
    for participant in parts {
        let Some(part) = spread.parts.iter().find(|part| part.shard == participant.shard) else {
            continue;
        };
        let mut request = BytesMut::with_capacity(part.sql.len() + 64);
        ask::put_call(&mut request, &part.sql, part.parameters.as_deref(), call, results)
            .map_err(Failure::new)?;
        feeds.push((Feed::new(participant), part, request));
    }
    if feeds.len() != spread.parts.len() {
        let error = SqlError::error("XX000", "a shard of the statement takes no part in it");
        return Err(Failure::new(error));
    }
    feeds.sort_by_key(|(feed, ..)| feed.shard);
    let begin = |(mut feed, _, request): (Feed<'p>, &Part, BytesMut)| {
        feed.out().unsplit(request);
        feed
    };
    Ok(feeds.into_iter().map(begin).collect())
}

#[cfg(test)]
mod tests;
