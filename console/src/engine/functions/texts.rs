//! Owns functions of text. Lengths and places are in characters, as in PostgreSQL; letters have
//! case in ASCII alone, as with its locale C.

use super::{Call, Function, strict};
use crate::engine::cell::Cell;
use crate::engine::error::{EngineError, Outcome};
use crate::engine::types::Type::{Bool, Int4, Text, Unknown};

/// Those of this file.
pub(super) static FUNCTIONS: &[Function] = &[
    strict("||", &[Text, Text], Text, |call| joined(call, &[call.str(0), call.str(1)])),
    strict("lower", &[Text], Text, |call| Ok(Cell::Text(call.str(0).to_ascii_lowercase()))),
    strict("upper", &[Text], Text, |call| Ok(Cell::Text(call.str(0).to_ascii_uppercase()))),
    strict("initcap", &[Text], Text, |call| Ok(Cell::Text(initcap(call.str(0))))),
    strict("length", &[Text], Int4, length),
    strict("char_length", &[Text], Int4, length),
    strict("character_length", &[Text], Int4, length),
    strict("octet_length", &[Text], Int4, |call| Ok(Cell::Int(call.str(0).len() as i64))),
    strict("substr", &[Text, Int4], Text, |call| substring(call, None)),
    strict("substr", &[Text, Int4, Int4], Text, |call| substring(call, Some(call.int(2)))),
    strict("substring", &[Text, Int4], Text, |call| substring(call, None)),
    strict("substring", &[Text, Int4, Int4], Text, |call| substring(call, Some(call.int(2)))),
    strict("left", &[Text, Int4], Text, |call| {
        let text = call.str(0);
        Ok(Cell::Text(text.chars().take(counted(text, call.int(1))).collect()))
    }),
    strict("right", &[Text, Int4], Text, |call| {
        let text = call.str(0);
        let skip = text.chars().count() - counted(text, call.int(1)).min(text.chars().count());
        Ok(Cell::Text(text.chars().skip(skip).collect()))
    }),
    strict("replace", &[Text, Text, Text], Text, replace),
    strict("translate", &[Text, Text, Text], Text, |call| {
        let (from, to): (Vec<char>, Vec<char>) =
            (call.str(1).chars().collect(), call.str(2).chars().collect());
        let map = |one: char| match from.iter().position(|known| *known == one) {
            Some(at) => to.get(at).copied(),
            None => Some(one),
        };
        Ok(Cell::Text(call.str(0).chars().filter_map(map).collect()))
    }),
    strict("split_part", &[Text, Text, Int4], Text, split_part),
    strict("strpos", &[Text, Text], Int4, |call| Ok(Cell::Int(place(call.str(0), call.str(1))))),
    strict("position", &[Text, Text], Int4, |call| Ok(Cell::Int(place(call.str(0), call.str(1))))),
    strict("starts_with", &[Text, Text], Bool, starts_with),
    strict("^@", &[Text, Text], Bool, starts_with),
    strict("btrim", &[Text], Text, |call| Ok(Cell::text(call.str(0).trim_matches(' ')))),
    strict("ltrim", &[Text], Text, |call| Ok(Cell::text(call.str(0).trim_start_matches(' ')))),
    strict("rtrim", &[Text], Text, |call| Ok(Cell::text(call.str(0).trim_end_matches(' ')))),
    strict("btrim", &[Text, Text], Text, |call| {
        Ok(Cell::text(call.str(0).trim_matches(|one| call.str(1).contains(one))))
    }),
    strict("ltrim", &[Text, Text], Text, |call| {
        Ok(Cell::text(call.str(0).trim_start_matches(|one| call.str(1).contains(one))))
    }),
    strict("rtrim", &[Text, Text], Text, |call| {
        Ok(Cell::text(call.str(0).trim_end_matches(|one| call.str(1).contains(one))))
    }),
    strict("repeat", &[Text, Int4], Text, |call| {
        let times = usize::try_from(call.int(1)).unwrap_or(0);
        call.room(call.str(0).len().saturating_mul(times))?;
        Ok(Cell::Text(call.str(0).repeat(times)))
    }),
    strict("reverse", &[Text], Text, |call| Ok(Cell::Text(call.str(0).chars().rev().collect()))),
    strict("lpad", &[Text, Int4], Text, |call| pad(call, " ", true)),
    strict("lpad", &[Text, Int4, Text], Text, |call| pad(call, call.str(2), true)),
    strict("rpad", &[Text, Int4], Text, |call| pad(call, " ", false)),
    strict("rpad", &[Text, Int4, Text], Text, |call| pad(call, call.str(2), false)),
    strict("ascii", &[Text], Int4, |call| {
        Ok(Cell::Int(call.str(0).chars().next().map_or(0, |one| u32::from(one).into())))
    }),
    strict("chr", &[Int4], Text, |call| {
        let one =
            u32::try_from(call.int(0)).ok().and_then(char::from_u32).filter(|one| *one != '\0');
        let error = || EngineError::new("54000", "requested character not valid for encoding: 0");
        one.map(|one| Cell::text(one.to_string())).ok_or_else(error)
    }),
    strict("concat", &[Unknown], Text, |call| {
        let parts: Vec<_> = call.args.iter().map(Cell::str).collect();
        joined(call, &parts)
    })
    .variadic()
    .loose(),
    strict("concat_ws", &[Text, Unknown], Text, concat_ws).variadic().loose(),
    strict("format", &[Text], Text, format),
    strict("format", &[Text, Unknown], Text, format).variadic().loose(),
    strict("quote_ident", &[Text], Text, |call| Ok(Cell::Text(quote_ident(call.str(0))))),
    strict("quote_literal", &[Unknown], Text, |call| Ok(Cell::Text(quote_literal(call.arg(0))))),
    strict("quote_nullable", &[Unknown], Text, |call| Ok(Cell::Text(quote_literal(call.arg(0)))))
        .loose(),
];

fn joined(call: &Call<'_>, parts: &[&str]) -> Outcome<Cell> {
    call.room(parts.iter().map(|part| part.len()).sum())?;
    Ok(Cell::Text(parts.concat()))
}

fn length(call: &Call<'_>) -> Outcome<Cell> {
    Ok(Cell::Int(i64::try_from(call.str(0).chars().count()).unwrap_or(i64::MAX)))
}

/// A count of characters from the other end when negative, as `left` and `right` have it.
fn counted(text: &str, count: i64) -> usize {
    let all = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let count = if count < 0 { all.saturating_add(count).max(0) } else { count };
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn substring(call: &Call<'_>, count: Option<i64>) -> Outcome<Cell> {
    let start = call.int(1);
    let end = match count {
        Some(count) if count < 0 => {
            return Err(EngineError::new("22011", "negative substring length not allowed"));
        }
        Some(count) => start.saturating_add(count),
        None => i64::MAX,
    };
    let skip = usize::try_from(start - 1).unwrap_or(0);
    let take = usize::try_from(end - start.max(1)).unwrap_or(0);
    Ok(Cell::Text(call.str(0).chars().skip(skip).take(take).collect()))
}

fn replace(call: &Call<'_>) -> Outcome<Cell> {
    let (text, from, to) = (call.str(0), call.str(1), call.str(2));
    if from.is_empty() {
        return Ok(Cell::text(text));
    }
    let found = text.matches(from).count();
    call.room(text.len().saturating_add(found.saturating_mul(to.len())))?;
    Ok(Cell::Text(text.replace(from, to)))
}

fn split_part(call: &Call<'_>) -> Outcome<Cell> {
    let (text, delimiter, field) = (call.str(0), call.str(1), call.int(2));
    if field == 0 {
        return Err(EngineError::new("22023", "field position must not be zero"));
    }
    let parts: Vec<_> =
        if delimiter.is_empty() { vec![text] } else { text.split(delimiter).collect() };
    let count = i64::try_from(parts.len()).unwrap_or(i64::MAX);
    let at = if field > 0 { field - 1 } else { count.saturating_add(field) };
    let part = usize::try_from(at).ok().and_then(|at| parts.get(at));
    Ok(Cell::text(part.copied().unwrap_or("")))
}

fn place(text: &str, part: &str) -> i64 {
    let Some(at) = text.find(part) else { return 0 };
    i64::try_from(text[..at].chars().count()).unwrap_or(0) + 1
}

fn starts_with(call: &Call<'_>) -> Outcome<Cell> {
    Ok(Cell::Int(call.str(0).starts_with(call.str(1)).into()))
}

fn initcap(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        out.push(if inside { one.to_ascii_lowercase() } else { one.to_ascii_uppercase() });
        inside = one.is_ascii_alphanumeric();
    }
    out
}

fn pad(call: &Call<'_>, fill: &str, at_left: bool) -> Outcome<Cell> {
    let text = call.str(0);
    let length = usize::try_from(call.int(1)).unwrap_or(0);
    call.room(length)?;
    let missing = length.saturating_sub(text.chars().count());
    let padding: String =
        fill.chars().cycle().take(if fill.is_empty() { 0 } else { missing }).collect();
    let kept: String = text.chars().take(length).collect();
    Ok(Cell::Text(if at_left { padding + &kept } else { kept + &padding }))
}

fn concat_ws(call: &Call<'_>) -> Outcome<Cell> {
    let Cell::Text(separator) = call.arg(0) else { return Ok(Cell::Null) };
    let given = call.args.iter().skip(1).filter(|arg| **arg != Cell::Null);
    let parts: Vec<_> = given.map(Cell::str).collect();
    call.room(parts.iter().map(|part| part.len() + separator.len()).sum())?;
    Ok(Cell::Text(parts.join(separator)))
}

/// `%s`, `%I`, `%L` and `%%`, with places (`%1$s`) but without widths.
fn format(call: &Call<'_>) -> Outcome<Cell> {
    let Cell::Text(pattern) = call.arg(0) else { return Ok(Cell::Null) };
    let mut out = String::new();
    let mut next = 1;
    let mut rest = pattern.as_str();
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let digits = rest.len() - rest.trim_start_matches(|one: char| one.is_ascii_digit()).len();
        if let (Ok(place), Some(after)) = (rest[..digits].parse(), rest[digits..].strip_prefix('$'))
        {
            next = place;
            rest = after;
        }
        let arg = match rest.chars().next() {
            Some('%') => None,
            Some('s' | 'I' | 'L') => Some(
                call.args
                    .get(next)
                    .ok_or_else(|| EngineError::new("22023", "too few arguments for format()"))?,
            ),
            _ => return Err(EngineError::refused("this specifier of format()")),
        };
        match (arg, rest.as_bytes().first()) {
            (None, _) => out.push('%'),
            (Some(arg), Some(b'I')) => out.push_str(&quote_ident(arg.str())),
            (Some(arg), Some(b'L')) => out.push_str(&quote_literal(arg)),
            (Some(arg), _) => out.push_str(arg.str()),
        }
        next += usize::from(arg.is_some());
        rest = &rest[1..];
        call.room(out.len())?;
    }
    out.push_str(rest);
    Ok(Cell::Text(out))
}

/// Words that PostgreSQL quotes and that are names of columns or tables here.
const QUOTED: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "both",
    "case",
    "cast",
    "check",
    "column",
    "create",
    "default",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "into",
    "limit",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "primary",
    "references",
    "select",
    "some",
    "table",
    "then",
    "to",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "when",
    "where",
    "window",
    "with",
    "values",
    "current_user",
];

/// A name as it must be written.
fn quote_ident(name: &str) -> String {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_');
    let plain = starts
        && bytes.all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'_')
        && !QUOTED.contains(&name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn quote_literal(value: &Cell) -> String {
    let Cell::Text(text) = value else { return "NULL".into() };
    let escape = if text.contains('\\') { "E" } else { "" };
    format!("{escape}'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
