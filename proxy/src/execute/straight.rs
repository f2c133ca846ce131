//! Owns the merges that pass rows as they are: in any order, in the order of input rows, shard
//! after shard, or those of one shard only.

use super::columns::Columns;
use super::desk::{Desk, Merger};
use super::feed::{Feed, Front, Head};
use super::{Failure, shards_differ, tags};
use crate::session::reply::pass_rows;
use crate::wire::frame;
use bytes::BytesMut;
use pgmanifold_router::shard_map::ShardId;
use pgmanifold_router::sharding::{self, Merge};
use std::task::Context;

/// Whose row is next.
#[derive(Debug)]
enum Turns {
    /// Anybody's.
    Any,
    /// These feeds', one row each; who has ended is passed over.
    Listed { feeds: Vec<usize>, at: usize },
    /// All rows of one feed, under a heading, then those of the next.
    Each { at: usize, headed: bool },
    /// The first feed's; the others' are the same and dropped.
    First,
}

/// How the tags become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tags {
    Sum,
    Same,
    First,
}

/// Passes rows as they are.
#[derive(Debug)]
pub(super) struct Straight {
    turns: Turns,
    tags: Tags,
    /// RowDescription is written.
    describes: bool,
    begun: bool,
    window: Window,
    /// Headings can stand between the rows.
    has_headings: bool,
}

/// What LIMIT and OFFSET let through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    skip: u64,
    left: Option<u64>,
    /// Rows let through, while they are counted.
    pub(super) rows: u64,
    /// Rows must be counted.
    pub(super) counts: bool,
}

impl Window {
    pub(super) fn new(limits: sharding::Limits) -> Self {
        let counts = limits.offset > 0 || limits.limit.is_some();
        Self { skip: limits.offset, left: limits.limit, rows: 0, counts }
    }

    /// Whether the next row is let through.
    pub(super) fn lets(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        match &mut self.left {
            Some(0) => return false,
            Some(left) => *left -= 1,
            None => {}
        }
        self.rows += 1;
        true
    }
}

impl Straight {
    pub(super) fn new(feeds: &[Feed<'_>], merge: &Merge, describes: bool) -> Self {
        let (turns, tags) = match merge {
            Merge::InputOrder(shards) => {
                let place = |shard: &ShardId| feeds.iter().position(|feed| feed.shard == *shard);
                let feeds = shards.iter().filter_map(place).collect();
                (Turns::Listed { feeds, at: 0 }, Tags::Sum)
            }
            Merge::Headed => (Turns::Each { at: 0, headed: false }, Tags::First),
            Merge::Same => (Turns::First, Tags::Same),
            Merge::Concat { .. }
            | Merge::Sum
            | Merge::Ordered { .. }
            | Merge::Finish { .. }
            | Merge::CopyOut { .. } => (Turns::Any, Tags::Sum),
        };
        let limits = match merge {
            Merge::Concat { limits } => *limits,
            _ => sharding::Limits::default(),
        };
        let window = Window::new(limits);
        Self { turns, tags, describes, begun: false, window, has_headings: false }
    }

    /// All rows of the feeds, whose columns are known already.
    pub(super) fn headless(feeds: &[Feed<'_>]) -> Self {
        let merge = Merge::Concat { limits: sharding::Limits::default() };
        Self { begun: true, ..Self::new(feeds, &merge, false) }
    }

    /// Passes on what one feed has, its run of rows at once. True when it had something.
    fn pass(
        &mut self,
        feed: &mut Feed<'_>,
        desk: &mut Desk<'_, '_>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        let mut moved = false;
        while !desk.is_full()
            && let Front::Row(first) = desk.settle(feed)?
        {
            moved = true;
            if self.window.counts {
                if self.window.lets() {
                    desk.put_run(&feed.buf[..first], cx);
                }
                feed.consume(first);
            } else {
                let run = pass_rows(&feed.buf, first, b'D');
                desk.put_run(&feed.buf[..run], cx);
                feed.consume(run);
            }
        }
        Ok(moved)
    }

    fn pass_any(
        &mut self,
        feeds: &mut [Feed<'_>],
        desk: &mut Desk<'_, '_>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        let mut moved = false;
        for feed in feeds {
            moved |= self.pass(feed, desk, cx)?;
        }
        Ok(moved)
    }

    fn pass_first(
        &mut self,
        feeds: &mut [Feed<'_>],
        desk: &mut Desk<'_, '_>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        let Some((first, others)) = feeds.split_first_mut() else { return Ok(false) };
        let mut moved = self.pass(first, desk, cx)?;
        for feed in others {
            while let Front::Row(bytes) = desk.settle(feed)? {
                feed.consume(bytes);
                moved = true;
            }
        }
        Ok(moved)
    }

    /// The row of the feed whose turn it is, again and again. Who has no row left is passed over;
    /// so are rows that nobody's turn is for, which follow at the end.
    fn pass_listed(
        &mut self,
        feeds: &mut [Feed<'_>],
        desk: &mut Desk<'_, '_>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        let mut moved = false;
        let Turns::Listed { feeds: list, at } = &mut self.turns else { return Ok(false) };
        while let Some(&turn) = list.get(*at) {
            if desk.is_full() {
                return Ok(moved);
            }
            let Some(feed) = feeds.get_mut(turn) else { break };
            match desk.settle(feed)? {
                Front::Row(bytes) => {
                    desk.put_run(&feed.buf[..bytes], cx);
                    feed.consume(bytes);
                    moved = true;
                }
                Front::More => return Ok(moved),
                Front::Asks => return Err(asks(feed)),
                Front::End => {}
            }
            *at += 1;
        }
        Ok(self.pass_any(feeds, desk, cx)? || moved)
    }

    fn pass_each(
        &mut self,
        feeds: &mut [Feed<'_>],
        desk: &mut Desk<'_, '_>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        let mut moved = false;
        while let Turns::Each { at, headed } = &mut self.turns
            && let Some(feed) = feeds.get_mut(*at)
        {
            if !std::mem::replace(headed, true) && self.has_headings {
                let heading = format!("Shard \"{}\":", feed.name);
                frame::put_text_row(desk.output(), &[&heading]);
            }
            moved |= self.pass(feed, desk, cx)?;
            if !feed.ended {
                break;
            }
            if let Turns::Each { at, headed } = &mut self.turns {
                (*at, *headed) = (*at + 1, false);
            }
        }
        Ok(moved)
    }

    fn begin(&mut self, columns: Option<Columns>, out: &mut BytesMut) {
        self.begun = true;
        let Some(columns) = columns else { return };
        self.has_headings = columns.is_one_text();
        if self.describes {
            columns.put(out);
        }
    }
}

impl Merger for Straight {
    fn step(
        &mut self,
        feeds: &mut [Feed<'_>],
        desk: &mut Desk<'_, '_>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        if !self.begun {
            let Some(columns) = heads(feeds, desk)? else { return Ok(false) };
            self.begin(columns, desk.output());
        }
        match self.turns {
            Turns::Any => self.pass_any(feeds, desk, cx),
            Turns::Listed { .. } => self.pass_listed(feeds, desk, cx),
            Turns::Each { .. } => self.pass_each(feeds, desk, cx),
            Turns::First => self.pass_first(feeds, desk, cx),
        }
    }

    fn tag(&self, feeds: &[Feed<'_>]) -> Result<String, Failure> {
        let mut tags = feeds.iter().map(|feed| feed.tag.as_deref().unwrap_or_default());
        let list = |separator| {
            let tag = |feed: &Feed<'_>| feed.tag.clone().unwrap_or_default();
            feeds.iter().map(tag).collect::<Vec<_>>().join(separator)
        };
        let differ = || shards_differ(format!("They answered: {}.", list(", ")));
        let first = feeds.first().and_then(|feed| feed.tag.clone()).unwrap_or_default();
        match self.tags {
            Tags::Sum if self.window.counts => Ok(tags::with_count(&first, self.window.rows)),
            Tags::Sum => tags::sum(tags).ok_or_else(differ),
            Tags::Same if tags.any(|tag| tag != first) => Err(differ()),
            Tags::Same | Tags::First => Ok(first),
        }
    }
}

/// The columns of all parts, once every part has said whether it has rows; they must agree.
#[allow(clippy::option_option)]
pub(super) fn heads(
    feeds: &mut [Feed<'_>],
    desk: &mut Desk<'_, '_>,
) -> Result<Option<Option<Columns>>, Failure> {
    let mut waits = false;
    for feed in &mut *feeds {
        if matches!(desk.settle(feed)?, Front::Asks) {
            return Err(asks(feed));
        }
        waits |= matches!(feed.head, Head::Unknown) && !feed.ended;
    }
    if waits {
        return Ok(None);
    }
    let Some((first, others)) = feeds.split_first() else { return Ok(Some(None)) };
    for other in others {
        let difference = match (&first.head, &other.head) {
            (Head::Rows(ours), Head::Rows(theirs)) => ours.difference(theirs),
            (Head::Nothing, Head::Nothing) => None,
            _ => Some("some have rows, some have none".into()),
        };
        if let Some(difference) = difference {
            let detail = format!("Shards \"{}\", \"{}\": {difference}.", first.name, other.name);
            return Err(shards_differ(detail));
        }
    }
    Ok(Some(match &first.head {
        Head::Rows(columns) => Some(Columns::clone(columns)),
        _ => None,
    }))
}

/// A server waits for COPY data that nobody has.
pub(super) fn asks(feed: &mut Feed<'_>) -> Failure {
    feed.lose("the server waits for data of a COPY")
}
