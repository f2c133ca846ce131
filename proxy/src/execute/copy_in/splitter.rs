//! Owns the splitting of COPY data: each row goes to the shard of its key, as the bytes it is.

use super::fields::{self, Field};
use super::lines::{Cut, Lines};
use super::tuples::{self, Tuple};
use crate::wire::error::SqlError;
use bytes::{BufMut, BytesMut};
use pgmanifold_router::key::{KeyValue, Reading, read_parameter};
use pgmanifold_router::lexer::Encoding;
use pgmanifold_router::shard_map::{ShardId, ShardMap};
use pgmanifold_router::sharding::{CopyFormat, CopyPlan};

/// Data sent to a server as one message.
const CHUNK_BYTES: usize = 64 * 1024;

/// Room before the data of an open message.
const HEADER: [u8; 5] = [b'd', 0, 0, 0, 0];

/// What goes to each shard: whole messages, and one that is still open.
#[derive(Debug)]
pub(super) struct Lane {
    shard: ShardId,
    open: BytesMut,
    /// Whole CopyData messages.
    pub(super) ready: BytesMut,
}

impl Lane {
    pub(super) fn new(shard: ShardId) -> Self {
        Self { shard, open: BytesMut::new(), ready: BytesMut::new() }
    }

    fn put(&mut self, data: &[u8]) {
        if self.open.is_empty() {
            self.open.reserve(CHUNK_BYTES + data.len());
            self.open.put_slice(&HEADER);
        }
        self.open.put_slice(data);
        if self.open.len() > CHUNK_BYTES {
            self.close();
        }
    }

    /// Ends the open message.
    pub(super) fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let length = u32::try_from(self.open.len() - 1).expect("invariant: rows are bounded");
        self.open[1..5].copy_from_slice(&length.to_be_bytes());
        self.ready.unsplit(self.open.split());
    }
}

/// Where the data stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The header is awaited, or the first line that is one.
    Header,
    Rows,
    /// The data has said that it ends.
    Ended,
}

/// Splits data.
#[derive(Debug)]
pub(super) struct Splitter<'p> {
    plan: &'p CopyPlan,
    map: &'p ShardMap,
    encoding: Encoding,
    pub(super) lanes: Vec<Lane>,
    lines: Lines,
    stage: Stage,
    /// Rows so far, with the header.
    rows: u64,
    /// A row that is not whole.
    pending: Vec<u8>,
    most_bytes: usize,
    key: Vec<KeyValue>,
    scratch: Vec<u8>,
}

impl<'p> Splitter<'p> {
    /// `csv_end`: a line of `\.` ends CSV data. `most_bytes` bounds a row.
    pub(super) fn new(
        plan: &'p CopyPlan,
        map: &'p ShardMap,
        shards: impl Iterator<Item = ShardId>,
        (encoding, csv_end, most_bytes): (Encoding, bool, usize),
    ) -> Self {
        let lines = match plan.format {
            CopyFormat::Csv => Lines::csv(plan.quote, plan.escape, csv_end),
            CopyFormat::Text | CopyFormat::Binary => Lines::text(),
        };
        let has_header = plan.header || plan.format == CopyFormat::Binary;
        let stage = if has_header { Stage::Header } else { Stage::Rows };
        let lanes = shards.map(Lane::new).collect();
        let (key, scratch, pending) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            plan,
            map,
            encoding,
            lanes,
            lines,
            stage,
            rows: 0,
            pending,
            most_bytes,
            key,
            scratch,
        }
    }

    /// Takes data from the client, in pieces of any size.
    pub(super) fn take(&mut self, data: &[u8]) -> Result<(), SqlError> {
        if self.plan.keys.is_empty() {
            self.lanes.iter_mut().for_each(|lane| lane.put(data));
            return Ok(());
        }
        if self.pending.is_empty() {
            let taken = self.split(data, false)?;
            self.pending.extend_from_slice(&data[taken..]);
        } else {
            let mut whole = std::mem::take(&mut self.pending);
            whole.extend_from_slice(data);
            let taken = self.split(&whole, false)?;
            whole.drain(..taken);
            self.pending = whole;
        }
        if self.pending.len() > self.most_bytes {
            let message = format!("a row of COPY data is longer than {} bytes", self.most_bytes);
            return Err(SqlError::error("54000", message).detail(self.place()));
        }
        Ok(())
    }

    /// All data has come: what is left is the last row.
    pub(super) fn finish(&mut self) -> Result<(), SqlError> {
        let rest = std::mem::take(&mut self.pending);
        let taken = self.split(&rest, true)?;
        if taken < rest.len() {
            let error = SqlError::error("22P04", "unexpected EOF in COPY data");
            return Err(error.detail(self.place()));
        }
        self.lanes.iter_mut().for_each(Lane::close);
        Ok(())
    }

    /// Goes over whole rows; gives the bytes they have.
    fn split(&mut self, data: &[u8], last: bool) -> Result<usize, SqlError> {
        let mut at = 0;
        while self.stage != Stage::Ended {
            let taken = match self.plan.format {
                CopyFormat::Binary => self.take_tuple(&data[at..])?,
                CopyFormat::Text | CopyFormat::Csv => self.take_line(&data[at..], last)?,
            };
            match taken {
                Some(bytes) => at += bytes,
                None => return Ok(at),
            }
        }
        if self.plan.format == CopyFormat::Binary && at < data.len() {
            return Err(SqlError::error("22P04", "received copy data after EOF marker"));
        }
        // What follows the end of lines is ignored, as a server ignores it.
        Ok(data.len())
    }

    fn take_line(&mut self, data: &[u8], last: bool) -> Result<Option<usize>, SqlError> {
        let (line, bytes) = match self.lines.cut(data, last)? {
            Some(Cut::Line(line, bytes)) => (line, bytes),
            Some(Cut::End) => {
                self.stage = Stage::Ended;
                return Ok(Some(data.len()));
            }
            None => return Ok(None),
        };
        self.rows += 1;
        if self.stage == Stage::Header {
            self.stage = Stage::Rows;
            self.lanes.iter_mut().for_each(|lane| lane.put(&data[..bytes]));
        } else {
            let lane = self.lane_of(&data[..line])?;
            self.lanes[lane].put(&data[..bytes]);
        }
        Ok(Some(bytes))
    }

    fn take_tuple(&mut self, data: &[u8]) -> Result<Option<usize>, SqlError> {
        if self.stage == Stage::Header {
            let header = tuples::header(data)?;
            if let Some(bytes) = header {
                self.stage = Stage::Rows;
                self.lanes.iter_mut().for_each(|lane| lane.put(&data[..bytes]));
            }
            return Ok(header);
        }
        match tuples::cut(data, self.plan.columns)? {
            None => Ok(None),
            Some(Tuple::End) => {
                self.stage = Stage::Ended;
                self.lanes.iter_mut().for_each(|lane| lane.put(&data[..2]));
                Ok(Some(2))
            }
            Some(Tuple::Row(bytes)) => {
                self.rows += 1;
                let lane = self.lane_of(&data[..bytes])?;
                self.lanes[lane].put(&data[..bytes]);
                Ok(Some(bytes))
            }
        }
    }

    /// Whose row it is.
    fn lane_of(&mut self, row: &[u8]) -> Result<usize, SqlError> {
        self.key.clear();
        let plan = self.plan;
        for key in &plan.keys {
            let (field, format) = match plan.format {
                CopyFormat::Text => (fields::text(row, plan, key.at, &mut self.scratch), 0),
                CopyFormat::Csv => (fields::csv(row, plan, key.at, &mut self.scratch), 0),
                CopyFormat::Binary => (tuples::field(row, key.at), 1),
            };
            let reading = match field {
                Field::Missing => return Err(self.missing()),
                Field::Null => Reading::Null,
                Field::Value(value) => {
                    read_parameter(key.ty, 0, format, Some(value), self.encoding)
                }
            };
            match reading {
                Reading::Value(value) => self.key.push(value),
                Reading::Null => return Err(self.null()),
                Reading::Unknown => return Err(self.unreadable(&key.ty.to_string())),
            }
        }
        let shard = self.map.shard_of(self.plan.distribution, &self.key);
        let lane = shard.and_then(|shard| self.lanes.iter().position(|lane| lane.shard == shard));
        lane.ok_or_else(|| self.unmapped())
    }

    fn place(&self) -> String {
        format!("COPY data, row {}.", self.rows)
    }

    fn missing(&self) -> SqlError {
        SqlError::error("22P04", "missing data for a column of the shard key").detail(self.place())
    }

    fn null(&self) -> SqlError {
        SqlError::error("PGM04", "a row has NULL in its shard key").detail(self.place())
    }

    fn unmapped(&self) -> SqlError {
        SqlError::error("PGM04", "no shard has the key of a row").detail(self.place())
    }

    fn unreadable(&self, ty: &str) -> SqlError {
        let message = format!("the shard key of a row cannot be read as {ty}");
        SqlError::refused("unread-key", message)
            .detail(self.place())
            .hint("Write keys as PostgreSQL prints them, dates in ISO style.")
    }
}

#[cfg(test)]
mod tests;
