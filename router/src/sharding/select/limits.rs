//! Owns LIMIT, OFFSET and FETCH FIRST over several shards: each shard gives the first rows of
//! both together, and the merge leaves out and stops.

use super::edit::Edits;
use super::refused;
use crate::lexer::TokenKind;
use crate::planner::Text;
use crate::sharding::conditions::Reader;
use crate::sharding::named::Refused;
use crate::sharding::query::{self, Query, Span};
use crate::sharding::{Limits, Refusal, Values};

/// The numbers of rows; what the server would refuse is refused with its own words.
pub(super) fn read(reader: Reader<'_>, query: &Query, values: &Values<'_>) -> Refused<Limits> {
    let mut limits = Limits::default();
    if let Some(limit) = &query.limit {
        if limit.with_ties {
            return Err(refused("with-ties", "It has FETCH FIRST … WITH TIES.", ""));
        }
        limits.limit = match &limit.count {
            None => Some(1),
            Some(count) if count.len() == 1 && reader.text.is(count.start, "all") => None,
            Some(count) => number(reader, count.clone(), values, "LIMIT")?,
        };
    }
    if let Some((_, offset)) = &query.offset {
        limits.offset = number(reader, offset.clone(), values, "OFFSET")?.unwrap_or(0);
    }
    Ok(limits)
}

/// Takes the clauses out of the parts, and puts the rows a shard has to give in their place.
pub(super) fn edit(text: &Text<'_>, query: &Query, limits: Limits, edits: &mut Edits) {
    let rows = limits.limit.and_then(|limit| limit.checked_add(limits.offset));
    let rows = rows.filter(|rows| i64::try_from(*rows).is_ok());
    if let Some(limit) = &query.limit {
        let with = rows.map_or(String::new(), |rows| format!("LIMIT {rows}"));
        edits.replace(text, limit.at.clone(), &with);
    }
    if let Some((at, _)) = &query.offset {
        edits.replace(text, at.clone(), "");
    }
}

/// `None` is NULL: no limit, no offset.
fn number(
    reader: Reader<'_>,
    at: Span,
    values: &Values<'_>,
    clause: &'static str,
) -> Refused<Option<u64>> {
    let text = reader.text;
    let at = query::unwrapped(text, at);
    let unknown = || {
        let why = format!("The number of rows of {clause} is computed.");
        refused("limit-expression", &why, "Give it as a number or a parameter.")
    };
    let negative = text.raw(at.start) == b"-";
    let here = at.start + usize::from(negative);
    if here + 1 != at.end {
        return Err(unknown());
    }
    let number = match text.kind(here) {
        Some(TokenKind::Integer) => {
            let digits = String::from_utf8_lossy(text.raw(here)).into_owned();
            digits.parse::<i64>().map_err(|_| unknown())?
        }
        Some(TokenKind::Word) if text.is(here, "null") && !negative => return Ok(None),
        Some(TokenKind::Parameter) if !negative => match bound(text.raw(here), values) {
            Bound::Number(number) => number,
            Bound::Null => return Ok(None),
            Bound::Unknown => return Err(unknown()),
        },
        _ => return Err(unknown()),
    };
    let number = if negative { -number } else { number };
    u64::try_from(number).map(Some).map_err(|_| {
        let mut refusal = Refusal::new("limit", format!("{clause} must not be negative"));
        refusal.sqlstate = if clause == "LIMIT" { "2201W" } else { "2201X" };
        Box::new(refusal)
    })
}

enum Bound {
    Number(i64),
    Null,
    Unknown,
}

/// A parameter's value; the server takes it as a bigint unless another type was declared.
fn bound(raw: &[u8], values: &Values<'_>) -> Bound {
    const TYPES: [u32; 4] = [0, 20, 21, 23];
    let digits = raw.get(1..).and_then(|digits| std::str::from_utf8(digits).ok());
    let index = digits.and_then(|n| n.parse::<usize>().ok()).and_then(|n| n.checked_sub(1));
    let (Some(index), Some(bound)) = (index, values.bound) else { return Bound::Unknown };
    let value = match bound.values.get(index) {
        Some(Some(value)) => *value,
        Some(None) => return Bound::Null,
        None => return Bound::Unknown,
    };
    let ty = bound.types.get(index).copied().unwrap_or(0);
    let format = match bound.formats {
        [] => 0,
        [all] => *all,
        each => each.get(index).copied().unwrap_or(0),
    };
    if !TYPES.contains(&ty) {
        return Bound::Unknown;
    }
    let number = match (format, value.len()) {
        (0, _) => std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok()),
        (1, 2) => value.try_into().ok().map(|bytes| i64::from(i16::from_be_bytes(bytes))),
        (1, 4) => value.try_into().ok().map(|bytes| i64::from(i32::from_be_bytes(bytes))),
        (1, 8) => value.try_into().ok().map(i64::from_be_bytes),
        _ => None,
    };
    number.map_or(Bound::Unknown, Bound::Number)
}
