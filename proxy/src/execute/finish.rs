//! Owns answers that a server computes: the rows of all shards are bound to a statement as
//! arrays, and what the first participant's server answers to it is the answer.

use super::array_types::Carried;
use super::ask::{self, Bind, Value};
use super::desk::{Desk, Merger};
use super::feed::{Feed, Front, Head};
use super::gather::{Gather, Gathered, unlike_original};
use super::straight::Straight;
use super::{Call, Failure};
use crate::wire::error::SqlError;
use bytes::BytesMut;
use pgmanifold_router::sharding::ColumnRule;
use std::task::Context;

/// What is to be computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish<'f> {
    /// The statement, with places for arrays and types.
    pub(super) sql: &'f [u8],
    /// What the columns may be.
    pub(super) columns: &'f [ColumnRule],
    /// The client's parameters in it.
    pub(super) parameters: &'f [u16],
    /// The client's own text.
    pub(super) original: &'f [u8],
}

/// Collects the parts' rows, and passes on the answer that is computed of them.
pub(super) async fn run(
    finish: Finish<'_>,
    feeds: &mut [Feed<'_>],
    desk: &mut Desk<'_, '_>,
    call: &Call<'_>,
) -> Result<String, Failure> {
    let mut columns = Vec::new();
    let gather = Gather::new(finish.columns, &mut columns);
    let rows = desk.drive(feeds, gather).await?.parse().unwrap_or(0);
    let Some(first) = feeds.get_mut(..1) else { return Ok(String::new()) };
    let mut request = BytesMut::new();
    finish.put(&mut request, &columns, rows, call)?;
    drop(columns);
    for feed in &mut *first {
        feed.again();
        feed.out().unsplit(std::mem::take(&mut request));
    }
    let describes = matches!(call, Call::Simple);
    let answer = Answer { describes, begun: false, rows: Straight::headless(first) };
    desk.drive(first, answer).await
}

impl Finish<'_> {
    /// Appends what describes the client's text, and the statement with all it needs.
    fn put(
        &self,
        out: &mut BytesMut,
        columns: &[Gathered],
        rows: u32,
        call: &Call<'_>,
    ) -> Result<(), Failure> {
        let types: Vec<Carried> = columns.iter().map(|column| column.carried).collect();
        let sql = complete(self.sql, &types).ok_or_else(incomplete)?;
        let (bind, declared) = match call {
            Call::Simple => (Bind::default(), &[][..]),
            Call::Portal { bind, types } => (Bind::read(bind).map_err(Failure::new)?, *types),
        };
        let (own, own_types) = bind.ordered(self.parameters, declared).map_err(Failure::new)?;
        let arrays: Vec<BytesMut> = columns.iter().map(|column| column.array(rows)).collect();
        let mut values: Vec<Value<'_>> = arrays.iter().map(|array| (1, Some(&array[..]))).collect();
        values.extend(own);
        let mut all_types: Vec<u32> = types.iter().map(|carried| carried.array_oid).collect();
        all_types.extend(own_types);
        ask::put_describe(out, self.original, declared);
        ask::put_portal(out, &sql, &all_types, &values, &bind.results);
        Ok(())
    }
}

/// The statement with its places filled in: `\0` is the next array, `\x01` and a number the type
/// of that column.
fn complete(template: &[u8], types: &[Carried]) -> Option<Vec<u8>> {
    let mut sql = Vec::with_capacity(template.len() + 32 * types.len());
    let (mut rest, mut arrays) = (template, 0);
    while let Some(at) = memchr::memchr2(0, 1, rest) {
        sql.extend_from_slice(&rest[..at]);
        let is_array = rest[at] == 0;
        rest = &rest[at + 1..];
        let number = if is_array {
            arrays += 1;
            arrays - 1
        } else {
            let (number, tail) = rest.split_first()?;
            rest = tail;
            usize::from(*number)
        };
        // Quoted, because "char" and "bit" are not char and bit; with the schema, because a
        // search_path may have others first.
        let name = types.get(number)?.name;
        let text = match is_array {
            true => format!("${arrays}::pg_catalog.\"{name}\"[]"),
            false => format!("pg_catalog.\"{name}\""),
        };
        sql.extend_from_slice(text.as_bytes());
    }
    sql.extend_from_slice(rest);
    (arrays == types.len()).then_some(sql)
}

fn incomplete() -> Failure {
    let message = "a statement over several shards has places for other columns than its parts";
    Failure::new(SqlError::error("XX000", message))
}

/// Passes on the answer, under the names that the client's own text gives its columns.
struct Answer {
    describes: bool,
    begun: bool,
    rows: Straight,
}

impl Merger for Answer {
    fn step(
        &mut self,
        feeds: &mut [Feed<'_>],
        desk: &mut Desk<'_, '_>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        if !self.begun
            && let Some(feed) = feeds.first_mut()
        {
            let front = desk.settle(feed)?;
            let knows = feed.described.is_some() && !matches!(feed.head, Head::Unknown);
            if front != Front::End && !knows {
                return Ok(false);
            }
            let (Some(Head::Rows(wanted)), Head::Rows(found)) = (&feed.described, &feed.head)
            else {
                return Err(unlike_original("one of them has no rows"));
            };
            if let Some(difference) = wanted.difference(found) {
                return Err(unlike_original(&difference));
            }
            self.begun = true;
            if self.describes {
                wanted.put(desk.output());
            }
        }
        self.rows.step(feeds, desk, cx)
    }

    fn tag(&self, feeds: &[Feed<'_>]) -> Result<String, Failure> {
        self.rows.tag(feeds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled() {
        let types = [20, 1042].map(|oid| Carried::find(oid).unwrap());
        let sql = complete(b"select sum(a)::\x01\x00 from unnest(\0, \0) t, $3", &types);
        let expected = "select sum(a)::pg_catalog.\"int8\" from \
                        unnest($1::pg_catalog.\"int8\"[], $2::pg_catalog.\"bpchar\"[]) t, $3";
        assert_eq!(String::from_utf8(sql.unwrap()).unwrap(), expected);
        for wrong in [&b"\0"[..], b"\0\0\0", b"\0\0\x01\x02", b"\0\0\x01"] {
            assert_eq!(complete(wrong, &types), None);
        }
    }
}
