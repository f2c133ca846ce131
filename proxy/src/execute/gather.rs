//! Owns the collecting of a bounded number of rows of all shards as arrays, one per column. Cells
//! are never decoded: they are carried in the form in which servers give and take them.

use super::array_types::{Carried, FLOAT4, FLOAT8};
use super::columns::Columns;
use super::desk::{Desk, Merger};
use super::feed::{Feed, Front};
use super::straight::heads;
use super::{Failure, Limits, shards_differ};
use crate::wire::error::SqlError;
use crate::wire::frame::HEADER_BYTES;
use bytes::{BufMut, BytesMut};
use pgmanifold_router::sharding::ColumnRule;
use std::task::Context;

/// Cells of one column of all rows.
#[derive(Debug)]
pub(super) struct Gathered {
    /// Their type.
    pub(super) carried: Carried,
    /// Length and bytes of each.
    cells: BytesMut,
    has_nulls: bool,
}

/// Collects rows.
#[derive(Debug)]
pub(super) struct Gather<'g> {
    rules: &'g [ColumnRule],
    begun: bool,
    columns: &'g mut Vec<Gathered>,
    rows: u32,
    bytes: usize,
}

impl<'g> Gather<'g> {
    /// Collects into `columns`, which is empty.
    pub(super) fn new(rules: &'g [ColumnRule], columns: &'g mut Vec<Gathered>) -> Self {
        Self { rules, begun: false, columns, rows: 0, bytes: 0 }
    }

    fn begin(&mut self, columns: Option<&Columns>, limits: &Limits) -> Result<(), Failure> {
        self.begun = true;
        let found = columns.map_or(&[][..], |columns| &columns.list);
        if found.len() != self.rules.len() {
            let message = "a part's answer has other columns than those asked for";
            return Err(Failure::new(SqlError::error("XX000", message)));
        }
        for (column, rule) in found.iter().zip(self.rules) {
            let carried = Carried::find(column.type_oid);
            let carried = carried.filter(|carried| carried.obeys(*rule, limits));
            let carried = carried.ok_or_else(|| not_combined(column.type_oid))?;
            self.columns.push(Gathered { carried, cells: BytesMut::new(), has_nulls: false });
        }
        Ok(())
    }

    fn take(&mut self, body: &[u8], limits: &Limits) -> Option<Result<(), Failure>> {
        self.bytes += body.len();
        if self.bytes > limits.gather_bytes {
            return Some(Err(too_much(limits.gather_bytes)));
        }
        let (count, mut rest) = body.split_first_chunk::<2>()?;
        if usize::from(u16::from_be_bytes(*count)) != self.columns.len() {
            return None;
        }
        for column in &mut *self.columns {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            let bytes = usize::try_from(i32::from_be_bytes(*length)).unwrap_or_else(|_| {
                column.has_nulls = true;
                0
            });
            let cell = rest.get(..4 + bytes)?;
            column.cells.extend_from_slice(cell);
            rest = &tail[bytes..];
        }
        self.rows += 1;
        rest.is_empty().then_some(Ok(()))
    }
}

impl Carried {
    fn obeys(self, rule: ColumnRule, limits: &Limits) -> bool {
        let inexact = matches!(self.oid, FLOAT4 | FLOAT8);
        match rule {
            ColumnRule::Any => true,
            ColumnRule::Floating => limits.inexact_floats,
            _ if inexact => limits.inexact_floats,
            ColumnRule::Exact => {
                self.is_any(&["int2", "int4", "int8", "numeric", "interval", "money"])
            }
            ColumnRule::Number => self.is_any(&["int8", "numeric"]),
        }
    }
}

impl Gathered {
    /// The array in binary.
    pub(super) fn array(&self, rows: u32) -> BytesMut {
        let mut array = BytesMut::with_capacity(20 + self.cells.len());
        array.put_u32(u32::from(rows > 0));
        array.put_u32(u32::from(self.has_nulls));
        array.put_u32(self.carried.oid);
        if rows > 0 {
            array.put_u32(rows);
            array.put_u32(1);
        }
        array.put_slice(&self.cells);
        array
    }
}

impl Merger for Gather<'_> {
    fn step(
        &mut self,
        feeds: &mut [Feed<'_>],
        desk: &mut Desk<'_, '_>,
        _: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        if !self.begun {
            let Some(columns) = heads(feeds, desk)? else { return Ok(false) };
            self.begin(columns.as_ref(), &desk.limits)?;
        }
        let mut moved = false;
        for feed in feeds {
            while let Front::Row(bytes) = desk.settle(feed)? {
                let taken = self.take(&feed.buf[HEADER_BYTES..bytes], &desk.limits);
                taken.unwrap_or_else(|| Err(feed.lose("the server sent a malformed message")))?;
                feed.consume(bytes);
                moved = true;
            }
        }
        Ok(moved)
    }

    /// The number of rows.
    fn tag(&self, _: &[Feed<'_>]) -> Result<String, Failure> {
        Ok(self.rows.to_string())
    }
}

fn not_combined(oid: u32) -> Failure {
    let name = Carried::find(oid).map(|carried| carried.name.to_owned());
    let name = name.unwrap_or_else(|| format!("with OID {oid}"));
    let error =
        SqlError::refused("combined-type", format!("a column of type {name} cannot be combined"));
    Failure::new(match oid {
        FLOAT4 | FLOAT8 => error
            .detail("Sums of floating point numbers depend on the order in which they are added.")
            .hint("Cast the column to numeric, or SET pgm.float_exact = off."),
        _ => error
            .detail("Values of all shards are given to one server to compute the answer of.")
            .hint("Cast the column to text or to a number, or restrict the query to one shard."),
    })
}

fn too_much(most_bytes: usize) -> Failure {
    Failure::new(
        SqlError::refused(
            "too-many-rows",
            "the query needs too many rows of several shards in one place",
        )
        .detail(format!("They have more than max_gather_bytes, {most_bytes} bytes."))
        .hint("Restrict the query, group by the shard key, or raise max_gather_bytes."),
    )
}

/// The columns of the answer are not those of the client's text.
pub(super) fn unlike_original(difference: &str) -> Failure {
    shards_differ(format!("The combined answer is not like the query's: {difference}."))
}
