//! Owns the merge of rows that each server gives in order. The sort keys come as the last column,
//! which is read here and cut off; all other bytes pass unseen.

use super::columns::{self, Columns};
use super::desk::{Desk, Merger};
use super::feed::{Feed, Front};
use super::sort_key::{KeyFault, KeyReader};
use super::straight::{Window, asks, heads};
use super::{Failure, shards_differ, tags};
use crate::wire::error::SqlError;
use crate::wire::frame::HEADER_BYTES;
use pgmanifold_router::sharding::{self, SortKey};
use std::task::Context;

/// The row at the front of one feed.
#[derive(Debug, Default)]
struct Lane {
    /// Its key, in an order of bytes.
    key: Vec<u8>,
    /// Bytes of the row, with its header.
    row_bytes: usize,
    /// Bytes of its body before the helper column.
    front_bytes: usize,
}

/// Merges rows by their keys.
#[derive(Debug)]
pub(super) struct Ordered {
    reader: KeyReader,
    window: Window,
    describes: bool,
    begun: bool,
    lanes: Vec<Lane>,
    /// Lanes that have a row, as a heap: each before those at twice its place plus one and two.
    heap: Vec<usize>,
    /// Lanes whose feed must give another row before anything else can pass.
    empty: Vec<usize>,
}

impl Ordered {
    pub(super) fn new(
        feeds: &[Feed<'_>],
        keys: &[SortKey],
        limits: sharding::Limits,
        describes: bool,
    ) -> Self {
        let reader = KeyReader::new(keys, feeds.iter().all(text_as_stored));
        let lanes = feeds.iter().map(|_| Lane::default()).collect();
        let empty = (0..feeds.len()).collect();
        let window = Window::new(limits);
        Self { reader, window, describes, begun: false, lanes, heap: Vec::new(), empty }
    }

    /// Fills every empty lane. False when one must be waited for.
    fn fill(&mut self, feeds: &mut [Feed<'_>], desk: &mut Desk<'_, '_>) -> Result<bool, Failure> {
        while let Some(&number) = self.empty.last() {
            match self.fill_lane(number, &mut feeds[number], desk)? {
                Some(true) => self.rise(number),
                Some(false) => {}
                None => return Ok(false),
            }
            self.empty.pop();
        }
        Ok(true)
    }

    /// Reads the key of the row at the front: `false` when no row will come, `None` when it must
    /// be waited for.
    fn fill_lane(
        &mut self,
        number: usize,
        feed: &mut Feed<'_>,
        desk: &mut Desk<'_, '_>,
    ) -> Result<Option<bool>, Failure> {
        let row_bytes = match desk.settle(feed)? {
            Front::Row(bytes) => bytes,
            Front::More => return Ok(None),
            Front::End => return Ok(Some(false)),
            Front::Asks => return Err(asks(feed)),
        };
        let body = &feed.buf[HEADER_BYTES..row_bytes];
        let split = columns::split_last(body);
        let Some((front, Some(helper))) = split else {
            return Err(key_fault(feed, KeyFault::Malformed));
        };
        let lane = &mut self.lanes[number];
        (lane.row_bytes, lane.front_bytes) = (row_bytes, front.len());
        if let Err(fault) = self.reader.read(helper, &mut lane.key) {
            return Err(key_fault(feed, fault));
        }
        Ok(Some(true))
    }

    /// Gives the smallest row of all, and moves the next one of its feed up. False when that must
    /// be waited for.
    fn give(&mut self, feeds: &mut [Feed<'_>], desk: &mut Desk<'_, '_>) -> Result<bool, Failure> {
        let Some(&number) = self.heap.first() else { return Ok(false) };
        let (lane, feed) = (&self.lanes[number], &mut feeds[number]);
        if self.window.lets() {
            let front = &feed.buf[HEADER_BYTES..HEADER_BYTES + lane.front_bytes];
            columns::put_cut_row(desk.output(), front);
        }
        feed.consume(lane.row_bytes);
        match self.fill_lane(number, feed, desk)? {
            Some(true) => self.sink(),
            none => {
                self.heap.swap_remove(0);
                self.sink();
                if none.is_none() {
                    self.empty.push(number);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Equal rows come in the order of shards.
    fn is_before(&self, one: usize, other: usize) -> bool {
        (&self.lanes[one].key, one) < (&self.lanes[other].key, other)
    }

    fn rise(&mut self, number: usize) {
        self.heap.push(number);
        let mut at = self.heap.len() - 1;
        while at > 0 && self.is_before(self.heap[at], self.heap[(at - 1) / 2]) {
            self.heap.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    /// Brings the first one to its place.
    fn sink(&mut self) {
        let mut at = 0;
        loop {
            let mut least = at;
            for below in [2 * at + 1, 2 * at + 2] {
                if below < self.heap.len() && self.is_before(self.heap[below], self.heap[least]) {
                    least = below;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }

    fn begin(&mut self, columns: Option<Columns>, desk: &mut Desk<'_, '_>) {
        self.begun = true;
        if let Some(columns) = columns
            && self.describes
        {
            columns.without_last().put(desk.output());
        }
    }
}

impl Merger for Ordered {
    fn step(
        &mut self,
        feeds: &mut [Feed<'_>],
        desk: &mut Desk<'_, '_>,
        _: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        if !self.begun {
            let Some(columns) = heads(feeds, desk)? else { return Ok(false) };
            self.begin(columns, desk);
        }
        if !self.fill(feeds, desk)? {
            return Ok(false);
        }
        let mut moved = false;
        while !desk.is_full() && !self.heap.is_empty() {
            moved = true;
            if !self.give(feeds, desk)? {
                break;
            }
        }
        Ok(moved)
    }

    fn tag(&self, feeds: &[Feed<'_>]) -> Result<String, Failure> {
        let first = feeds.first().and_then(|feed| feed.tag.as_deref()).unwrap_or_default();
        Ok(tags::with_count(first, self.window.rows))
    }
}

/// Whether the server sends text in the encoding it stores and compares it in.
fn text_as_stored(feed: &Feed<'_>) -> bool {
    let client = feed.parameter("client_encoding");
    client.is_some() && (client == feed.parameter("server_encoding") || client == Some("SQL_ASCII"))
}

fn key_fault(feed: &Feed<'_>, fault: KeyFault) -> Failure {
    let refused = |detail: String| {
        Failure::new(
            SqlError::refused("order-by-type", "order by a type that cannot be merged")
                .detail(detail)
                .hint("Order by a column of another type, or cast it to one."),
        )
    };
    match fault {
        KeyFault::Type(oid) => {
            refused(format!("Values of the type with OID {oid} of shards are not compared here."))
        }
        KeyFault::Encoding => refused(
            "Text is compared in the encoding of the database, and client_encoding is another."
                .into(),
        ),
        KeyFault::Collation => refused("Text does not sort byte by byte.".into()),
        KeyFault::Malformed => {
            shards_differ(format!("Shard \"{}\" sorts by other columns.", feed.name))
        }
    }
}
