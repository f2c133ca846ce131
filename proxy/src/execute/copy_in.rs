//! Owns `COPY … FROM STDIN` over several shards: the client's data is split by key, and every
//! server is given its rows at the speed at which it takes them.

mod fields;
mod lines;
mod splitter;
mod tuples;

use super::desk::Desk;
use super::feed::{Feed, Front, Head};
use super::{ClientSide, Done, Failure, Limits, Participant, failing, shards_differ, tags};
use crate::wire::error::SqlError;
use crate::wire::frame::{self, HEADER_BYTES};
use bytes::Buf;
use pgmanifold_router::lexer::Encoding;
use pgmanifold_router::shard_map::ShardMap;
use pgmanifold_router::sharding::CopyPlan;
use splitter::Splitter;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::AsyncReadExt;

/// Bytes on their way to one server from which on the client is not read.
const OUT_BYTES: usize = 256 * 1024;

/// Bytes read from the client at once.
const READ_BYTES: usize = 64 * 1024;

/// How far the client's data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Comes,
    /// CopyDone came, or CopyFail, which the servers answer.
    Ended,
}

/// What a COPY from the client is.
#[derive(Debug, Clone, Copy)]
pub struct CopyIn<'c> {
    /// The text, which every shard is sent.
    pub sql: &'c [u8],
    /// How its data is split.
    pub plan: &'c CopyPlan,
    /// Who has which key.
    pub map: &'c ShardMap,
}

/// Copies the client's data to the participants, who are all the shards that may get rows.
/// CopyInResponse is written; the messages of the client up to CopyDone or CopyFail are taken from
/// its input. After an error they are not: the client does not know of it yet, and what it goes on
/// sending is to be ignored. Not cancel safe.
///
/// # Errors
/// The first error of any participant, or of the data. None of them has kept a row that its
/// transaction does not keep.
pub async fn copy_in(
    parts: &mut [Participant<'_>],
    copy: CopyIn<'_>,
    client: &mut ClientSide<'_>,
    limits: &Limits,
) -> Result<Done, Failure> {
    let mut feeds: Vec<Feed<'_>> = parts.iter_mut().map(Feed::new).collect();
    for feed in &mut feeds {
        frame::put_query(feed.out(), copy.sql);
    }
    let mut desk = Desk::new(client, *limits, copy.plan.keys.is_empty());
    let copied = match begin(&mut feeds, &mut desk).await {
        Ok(()) => transfer(copy, &mut feeds, &mut desk).await,
        Err(failure) => Err(failure),
    };
    match copied {
        Ok(tag) => Ok(Done { tag, written_bytes: desk.written_bytes }),
        Err(failure) => {
            for feed in feeds.iter_mut().filter(|feed| !feed.ended) {
                // A server that copies nothing ignores it.
                frame::put(feed.out(), b'f', &[b"another shard failed\0"]);
            }
            Err(failing::wind_up(&mut feeds, failure, limits).await)
        }
    }
}

/// Waits until all servers are ready for data, and tells the client.
async fn begin(feeds: &mut [Feed<'_>], desk: &mut Desk<'_, '_>) -> Result<(), Failure> {
    poll_fn(|cx| poll_begin(feeds, desk, cx)).await?;
    let mut heads = feeds.iter().filter_map(|feed| match &feed.head {
        Head::CopyIn(head) => Some(head),
        _ => None,
    });
    let Some(first) = heads.next() else { return Ok(()) };
    if heads.any(|head| head != first) {
        return Err(shards_differ("They copy other columns or in other formats."));
    }
    frame::put(desk.output(), b'G', &[first]);
    poll_fn(|cx| desk.poll_write_all(cx)).await
}

fn poll_begin(
    feeds: &mut [Feed<'_>],
    desk: &mut Desk<'_, '_>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Failure>> {
    let mut ready = true;
    for feed in feeds {
        if matches!(feed.head, Head::CopyIn(_)) {
            continue;
        }
        loop {
            let moved = feed.poll_move(cx, &desk.limits);
            match desk.settle(feed)? {
                Front::Asks => break,
                Front::More if moved => {}
                Front::More => {
                    ready = false;
                    break;
                }
                Front::Row(_) | Front::End => {
                    let detail = format!("Shard \"{}\" does not begin its COPY.", feed.name);
                    return Poll::Ready(Err(shards_differ(detail)));
                }
            }
        }
    }
    if ready { Poll::Ready(Ok(())) } else { Poll::Pending }
}

/// Splits the data and waits for the end of all servers. Gives the command tag.
async fn transfer(
    copy: CopyIn<'_>,
    feeds: &mut [Feed<'_>],
    desk: &mut Desk<'_, '_>,
) -> Result<String, Failure> {
    let encoding = encoding(feeds).map_err(Failure::new)?;
    let csv_end = feeds.iter().all(ends_csv);
    let shards = feeds.iter().map(|feed| feed.shard);
    let reading = (encoding, csv_end, desk.limits.row_bytes);
    let mut splitter = Splitter::new(copy.plan, copy.map, shards, reading);
    let mut source = Source::Comes;
    poll_fn(|cx| poll_transfer(&mut splitter, &mut source, feeds, desk, cx)).await?;
    let mut tags = feeds.iter().map(|feed| feed.tag.as_deref().unwrap_or_default());
    if !copy.plan.keys.is_empty() {
        return tags::sum(tags).ok_or_else(|| shards_differ("They ran different commands."));
    }
    let first = tags.next().unwrap_or_default();
    match tags.all(|tag| tag == first) {
        true => Ok(first.to_owned()),
        false => Err(shards_differ("They copied different numbers of rows.")),
    }
}

fn poll_transfer(
    splitter: &mut Splitter<'_>,
    source: &mut Source,
    feeds: &mut [Feed<'_>],
    desk: &mut Desk<'_, '_>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Failure>> {
    loop {
        let mut moved = false;
        for feed in &mut *feeds {
            moved |= feed.poll_move(cx, &desk.limits);
            match desk.settle(feed)? {
                Front::More => {}
                Front::End if *source == Source::Ended => {}
                Front::Row(_) | Front::Asks | Front::End => {
                    return Poll::Ready(Err(feed.lose("the server ends its COPY out of turn")));
                }
            }
        }
        if feeds.iter().all(|feed| feed.ended) {
            return Poll::Ready(Ok(()));
        }
        if !desk.output().is_empty() && desk.poll_write_all(cx)?.is_ready() {
            moved = true;
        }
        if feeds.iter().all(|feed| feed.owed_bytes() < OUT_BYTES) {
            moved |= match source {
                Source::Comes => take_input(splitter, source, feeds, desk, cx)?,
                Source::Ended => false,
            };
        }
        if !moved {
            return Poll::Pending;
        }
    }
}

/// Takes the client's next message, or reads more of it. True when something came.
fn take_input(
    splitter: &mut Splitter<'_>,
    source: &mut Source,
    feeds: &mut [Feed<'_>],
    desk: &mut Desk<'_, '_>,
    cx: &mut Context<'_>,
) -> Result<bool, Failure> {
    let most = desk.limits.row_bytes;
    let input = &mut *desk.client.input;
    let header = frame::peek(input);
    if let Some(header) = header {
        frame::check_frontend(header, most).map_err(|error| Failure::new(protocol(&error)))?;
    }
    let Some(header) = header.filter(|header| input.len() >= header.total) else {
        let wanted = header.map_or(0, |header| header.total.saturating_sub(input.len()));
        input.reserve(wanted.clamp(READ_BYTES / 4, READ_BYTES));
        let reading = pin!(desk.client.stream.read_buf(input));
        return match reading.poll(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(1..)) => Ok(true),
            Poll::Ready(_) => Err(Failure::gone()),
        };
    };
    let message = &input[..header.total];
    match header.kind {
        b'd' => splitter.take(&message[HEADER_BYTES..]).map_err(Failure::new)?,
        // They belong to the request that began the COPY.
        b'S' | b'H' => {}
        b'c' => splitter.finish().map_err(Failure::new)?,
        b'f' => {}
        b'X' => return Err(Failure::gone()),
        kind => {
            let error = frame::FrameError::Kind(kind);
            return Err(Failure::new(protocol(&error)));
        }
    }
    for (lane, feed) in splitter.lanes.iter_mut().zip(feeds) {
        feed.out().unsplit(lane.ready.split());
        if matches!(header.kind, b'c' | b'f') {
            feed.out().extend_from_slice(message);
            *source = Source::Ended;
        }
    }
    input.advance(header.total);
    Ok(true)
}

fn protocol(error: &frame::FrameError) -> SqlError {
    SqlError::fatal("08P01", error.to_string())
}

/// How the client's data is to be read: borders are found by single bytes, which must not be
/// parts of longer characters.
fn encoding(feeds: &[Feed<'_>]) -> Result<Encoding, SqlError> {
    let name = feeds.first().and_then(|feed| feed.parameter("client_encoding"));
    match name.unwrap_or_default() {
        "UTF8" => Ok(Encoding::Utf8),
        "SQL_ASCII" => Ok(Encoding::HighBytes),
        name if ["LATIN", "ISO_8859", "WIN", "KOI8", "EUC_"]
            .iter()
            .any(|p| name.starts_with(p)) =>
        {
            Ok(Encoding::HighBytes)
        }
        name => {
            let message = format!("data in the encoding \"{name}\" cannot be split over shards");
            Err(SqlError::refused("copy-encoding", message).hint("SET client_encoding = 'UTF8'."))
        }
    }
}

/// Whether a line of `\.` ends CSV data on this server.
fn ends_csv(feed: &Feed<'_>) -> bool {
    const FIRST_WITHOUT: u32 = 18;
    let version = feed.parameter("server_version").unwrap_or_default();
    let major = version.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
    major.parse::<u32>().is_ok_and(|major| major < FIRST_WITHOUT)
}
