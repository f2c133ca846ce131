//! Owns the clauses behind a query's body.

use super::words::{self, split_commas};
use super::{Clause, Limit, OrderItem, Query, Read, Span, find_nested, misread};
use crate::planner::Text;

/// ORDER BY, LIMIT, OFFSET, FETCH and FOR, in any order PostgreSQL takes.
pub(super) fn read(text: &Text<'_>, at: Span, depth: usize, query: &mut Query) -> Read<()> {
    let mut here = at.start;
    find_nested(text, at.clone(), Clause::Other, depth, &mut query.nested)?;
    while here < at.end {
        let is_tail = |word: &str, _| words::is_tail(word);
        let end = words::find(text, here + 1..at.end, is_tail).unwrap_or(at.end);
        match text.word(here) {
            "order" if query.order_at.is_none() && text.is(here + 1, "by") => {
                query.order_at = Some(here..end);
                for item in split_commas(text, here + 2..end) {
                    query.order_by.push(order_item(text, item)?);
                }
            }
            "limit" if query.limit.is_none() && here + 1 < end => {
                let count = Some(here + 1..end);
                query.limit = Some(Limit { at: here..end, count, with_ties: false });
            }
            "offset" if query.offset.is_none() && here + 1 < end => {
                let rows = matches!(text.word(end - 1), "row" | "rows") && here + 2 < end;
                query.offset = Some((here..end, here + 1..end - usize::from(rows)));
            }
            "fetch" if query.limit.is_none() => query.limit = Some(fetch(text, here..end)?),
            "for" => {
                let start = query.locking.as_ref().map_or(here, |locking| locking.start);
                query.locking = Some(start..end);
            }
            _ => return misread("clauses at the end", here),
        }
        here = end;
    }
    Ok(())
}

fn fetch(text: &Text<'_>, at: Span) -> Read<Limit> {
    let with_ties = text.are(at.end.saturating_sub(2), &["with", "ties"]);
    let end = at.end - if with_ties { 2 } else { 1 };
    let complete = with_ties || text.is(end, "only");
    let named = matches!(text.word(at.start + 1), "first" | "next");
    if !complete || !named || end < at.start + 3 || !matches!(text.word(end - 1), "row" | "rows") {
        return misread("FETCH FIRST", at.start);
    }
    let count = (at.start + 2 < end - 1).then_some(at.start + 2..end - 1);
    Ok(Limit { at, count, with_ties })
}

fn order_item(text: &Text<'_>, at: Span) -> Read<OrderItem> {
    let mut end = at.end;
    let mut nulls = None;
    if end >= at.start + 3 && text.is(end - 2, "nulls") {
        match text.word(end - 1) {
            "first" => nulls = Some(true),
            "last" => nulls = Some(false),
            _ => {}
        }
        end -= if nulls.is_some() { 2 } else { 0 };
    }
    let mut descending = false;
    if end >= at.start + 2 && matches!(words::keyword(text, end - 1), "asc" | "desc") {
        end -= 1;
        descending = text.is(end, "desc");
    }
    let using = words::find(text, at.start..end, |word, _| word == "using");
    if at.start >= end {
        return misread("ORDER BY", at.start);
    }
    Ok(OrderItem {
        at: at.start..using.unwrap_or(end),
        descending,
        nulls_first: nulls.unwrap_or(descending),
        using: using.is_some(),
    })
}
