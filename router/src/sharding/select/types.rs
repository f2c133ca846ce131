//! Owns which expressions have values that are compared here as PostgreSQL compares them: those of
//! types with one order, and text that sorts byte by byte.

use crate::facts::schema::{Collation, Column};
use crate::lexer::TokenKind;
use crate::sharding::levels::Levels;
use crate::sharding::query::Span;

/// What is known of an expression's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fitness {
    /// Of a type with one order; text is looked out for when the rows come.
    Yes,
    /// Text that sorts byte by byte.
    Bytes,
    /// It may be any type.
    Unknown,
    /// It cannot be compared here.
    No,
}

/// bool, int2/4/8, oid, float4/8, numeric, date, time, timestamp, timestamptz, uuid, bytea.
const ORDERED_TYPES: [u32; 14] =
    [16, 17, 20, 21, 23, 26, 700, 701, 1082, 1083, 1114, 1184, 1700, 2950];
/// text, varchar.
const TEXT_TYPES: [u32; 2] = [25, 1043];
/// `name`, whose collation is always C.
const NAME_TYPE: u32 = 19;

pub(super) fn column_fits(column: Option<&Column>) -> Fitness {
    let Some(column) = column else { return Fitness::Unknown };
    match column.type_oid {
        oid if ORDERED_TYPES.contains(&oid) => Fitness::Yes,
        oid if TEXT_TYPES.contains(&oid) && column.collation == Collation::Bytes => Fitness::Bytes,
        // Sent as text, and sorted by bytes unless the column says otherwise.
        NAME_TYPE if column.collation == Collation::Bytes => Fitness::Bytes,
        _ => Fitness::No,
    }
}

/// What is known of the values of an expression in a scope.
pub(super) fn fitness(levels: &Levels<'_>, scope: usize, at: Span) -> Fitness {
    let text = levels.text;
    if let Some(named) = levels.reader.column(at.clone()) {
        return column_fits(levels.column(scope, &named).as_ref());
    }
    if text.is(at.end.saturating_sub(2), "collate") && at.len() >= 3 {
        let collation = text.name(at.end - 1);
        return match collation.as_deref() {
            Some("C" | "POSIX") => Fitness::Bytes,
            _ => Fitness::No,
        };
    }
    if computed_numbers(levels, scope, at) { Fitness::Yes } else { Fitness::Unknown }
}

/// Functions that give a type with one order, whatever they are given.
const FIT_FUNCTIONS: [&str; 18] = [
    "abs",
    "avg",
    "ceil",
    "ceiling",
    "char_length",
    "count",
    "date_part",
    "date_trunc",
    "floor",
    "length",
    "mod",
    "now",
    "octet_length",
    "power",
    "round",
    "sqrt",
    "strpos",
    "trunc",
];
/// Functions that give one of their arguments, or their sum.
const PASSING_FUNCTIONS: [&str; 7] =
    ["coalesce", "greatest", "least", "max", "min", "nullif", "sum"];

/// Only columns of fit types, numbers, arithmetic and known functions.
fn computed_numbers(levels: &Levels<'_>, scope: usize, at: Span) -> bool {
    let text = levels.text;
    let mut here = at.start;
    while here < at.end {
        let kind = text.kind(here);
        match kind {
            Some(TokenKind::Integer | TokenKind::Number | TokenKind::Comma) => {}
            Some(TokenKind::OpenParen | TokenKind::CloseParen) => {}
            Some(TokenKind::Operator) => {
                if !matches!(text.raw(here), b"+" | b"-" | b"*" | b"/" | b"%") {
                    return false;
                }
            }
            Some(TokenKind::Word | TokenKind::QuotedIdentifier) => {
                let Some(name) = text.name(here) else { return false };
                if text.is_kind(here + 1, TokenKind::OpenParen) {
                    if FIT_FUNCTIONS.contains(&&*name) {
                        // Whatever it is given.
                        here = text.partner(here + 1).unwrap_or(at.end);
                    } else if !PASSING_FUNCTIONS.contains(&&*name) {
                        return false;
                    }
                } else {
                    let length = if text.is_kind(here + 1, TokenKind::Dot) { 3 } else { 1 };
                    let Some(named) = levels.reader.column(here..here + length) else {
                        return false;
                    };
                    let column = levels.column(scope, &named);
                    // Differences of dates and times are of other types, but those too have
                    // one order, or are intervals.
                    let is_time = column
                        .as_ref()
                        .is_some_and(|column| matches!(column.type_oid, 1082 | 1083 | 1114 | 1184));
                    if column_fits(column.as_ref()) != Fitness::Yes || is_time && at.len() > length
                    {
                        return false;
                    }
                    here += length - 1;
                }
            }
            _ => return false,
        }
        here += 1;
    }
    true
}

/// Functions of PostgreSQL's own that give rows.
pub(super) fn is_set_returning(name: &str) -> bool {
    const NAMES: [&str; 22] = [
        "unnest",
        "regexp_matches",
        "regexp_split_to_table",
        "string_to_table",
        "aclexplode",
        "json_each",
        "jsonb_each",
        "json_each_text",
        "jsonb_each_text",
        "json_object_keys",
        "jsonb_object_keys",
        "json_array_elements",
        "jsonb_array_elements",
        "json_array_elements_text",
        "jsonb_array_elements_text",
        "jsonb_path_query",
        "jsonb_path_query_tz",
        "json_populate_recordset",
        "jsonb_populate_recordset",
        "json_to_recordset",
        "jsonb_to_recordset",
        "multirange_unnest",
    ];
    NAMES.contains(&name)
        || ["generate_", "ts_", "pg_", "row_to_", "query_to_"].iter().any(|p| name.starts_with(p))
}
