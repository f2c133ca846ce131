//! Owns the merge of `COPY … TO STDOUT`: one stream of data with one header and one trailer.

use super::desk::{Desk, Merger};
use super::feed::{Feed, Front, Head};
use super::straight::asks;
use super::{Failure, shards_differ, tags};
use crate::session::reply::pass_rows;
use crate::wire::frame::{self, HEADER_BYTES};
use std::task::Context;

/// What binary data begins with; flags and the length of an extension follow.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// A row of minus one fields ends binary data.
const TRAILER: &[u8; 2] = b"\xff\xff";

/// Merges the data of all feeds.
#[derive(Debug)]
pub(super) struct CopyOut {
    header: bool,
    binary: bool,
    begun: bool,
    /// The beginning of each feed was looked at.
    opened: Vec<bool>,
    closed: bool,
}

impl CopyOut {
    pub(super) fn new(feeds: &[Feed<'_>], header: bool, binary: bool) -> Self {
        Self { header, binary, begun: false, opened: vec![false; feeds.len()], closed: false }
    }

    /// Tells the client that data comes, once all servers give theirs in the same form.
    fn begin(&mut self, feeds: &mut [Feed<'_>], desk: &mut Desk<'_, '_>) -> Result<bool, Failure> {
        for feed in &mut *feeds {
            let front = desk.settle(feed)?;
            match (&feed.head, front) {
                (Head::CopyOut(_), _) => {}
                (_, Front::More) => return Ok(false),
                (_, Front::Asks) => return Err(asks(feed)),
                (_, Front::Row(_) | Front::End) => {
                    return Err(shards_differ(format!("Shard \"{}\" copies nothing.", feed.name)));
                }
            }
        }
        let mut heads = feeds.iter().filter_map(|feed| match &feed.head {
            Head::CopyOut(head) => Some(head),
            _ => None,
        });
        if let Some(first) = heads.next() {
            if heads.any(|head| head != first) {
                return Err(shards_differ("They copy other columns or in other formats."));
            }
            frame::put(desk.output(), b'H', &[first]);
        }
        self.begun = true;
        Ok(true)
    }

    fn pass(
        &mut self,
        number: usize,
        feed: &mut Feed<'_>,
        desk: &mut Desk<'_, '_>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        let mut moved = false;
        while !desk.is_full()
            && let Front::Row(first) = desk.settle(feed)?
        {
            moved = true;
            if !std::mem::replace(&mut self.opened[number], true)
                && !self.open(number, &feed.buf[HEADER_BYTES..first], desk)?
            {
                feed.consume(first);
                continue;
            }
            let run = match self.binary {
                true => before_trailer(&feed.buf),
                false => pass_rows(&feed.buf, 0, b'd'),
            };
            desk.put_run(&feed.buf[..run], cx);
            // With no row before it, the trailer is what stands at the front.
            feed.consume(if run == 0 { first } else { run });
        }
        Ok(moved)
    }

    /// Looks at the first message of a feed. False when it was dealt with here.
    fn open(
        &mut self,
        number: usize,
        data: &[u8],
        desk: &mut Desk<'_, '_>,
    ) -> Result<bool, Failure> {
        if !self.binary {
            return Ok(number == 0 || !self.header);
        }
        let Some((header, row)) = split_header(data) else {
            return Err(shards_differ("Binary data does not begin as it must."));
        };
        if number == 0 {
            frame::put(desk.output(), b'd', &[header]);
        }
        if !row.is_empty() && row != TRAILER {
            frame::put(desk.output(), b'd', &[row]);
        }
        Ok(false)
    }
}

/// The header of binary data, and what follows it in the same message.
fn split_header(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = data.strip_prefix(SIGNATURE)?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let row = rest.get(usize::try_from(u32::from_be_bytes(*length)).ok()?..)?;
    Some((&data[..data.len() - row.len()], row))
}

/// Bytes of whole messages before the trailer.
fn before_trailer(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(header) = frame::peek(&bytes[at..])
        && header.kind == b'd'
        && let Some(message) = bytes[at..].get(..header.total)
        && message.get(HEADER_BYTES..) != Some(TRAILER)
        && message.len() >= HEADER_BYTES
    {
        at += header.total;
    }
    at
}

impl Merger for CopyOut {
    fn step(
        &mut self,
        feeds: &mut [Feed<'_>],
        desk: &mut Desk<'_, '_>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        if !self.begun && !self.begin(feeds, desk)? {
            return Ok(false);
        }
        let mut moved = false;
        for (number, feed) in feeds.iter_mut().enumerate() {
            moved |= self.pass(number, feed, desk, cx)?;
            // What the first one begins with comes before all rows.
            if number == 0 && !self.opened[0] && !feed.ended {
                return Ok(moved);
            }
        }
        if !self.closed && feeds.iter().all(|feed| feed.ended) {
            self.closed = true;
            if self.binary {
                frame::put(desk.output(), b'd', &[TRAILER]);
            }
            frame::put(desk.output(), b'c', &[]);
        }
        Ok(moved)
    }

    fn tag(&self, feeds: &[Feed<'_>]) -> Result<String, Failure> {
        let tags = feeds.iter().map(|feed| feed.tag.as_deref().unwrap_or_default());
        tags::sum(tags).ok_or_else(|| shards_differ("They ran different commands."))
    }
}
