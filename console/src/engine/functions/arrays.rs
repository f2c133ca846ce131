//! Owns arrays: lists in PostgreSQL's text form. They have one dimension.

use super::{Call, Function, strict};
use crate::engine::cell::Cell;
use crate::engine::error::{EngineError, Outcome};
use crate::engine::types::Type::{Bool, Int4, Text, Texts, Unknown};

/// Of a series or an array turned into rows.
const ELEMENTS_MAX: usize = 100_000;

/// Makes the rows of `generate_series`; a JSON array for SQLite's `json_each`.
pub(crate) const SERIES: &str = "SERIES";
/// Makes the rows of `unnest`.
pub(crate) const ELEMENTS: &str = "ELEMENTS";
/// The element at a place.
pub(crate) const ELEMENT: &str = "ELEMENT";
/// Whether a text is among the elements; NULL when that cannot be said.
pub(crate) const AMONG: &str = "AMONG";
/// The array of its arguments.
pub(crate) const ARRAY: &str = "ARRAY";

/// Those of this file.
pub(super) static FUNCTIONS: &[Function] = &[
    strict(SERIES, &[Int4, Int4, Int4], Text, series),
    strict(SERIES, &[super::Type::Int8, super::Type::Int8, super::Type::Int8], Text, series),
    strict(ELEMENTS, &[Texts], Text, |call| elements(call, 0).map(|all| json(&all))),
    strict(ELEMENT, &[Texts, Int4], Text, |call| {
        // A vector of the catalog is counted from 0, and has no braces.
        let first = i64::from(call.str(0).starts_with('{'));
        let at = usize::try_from(call.int(1).saturating_sub(first)).ok();
        let all = elements(call, 0)?;
        let element = at.and_then(|at| all.get(at).cloned()).flatten();
        Ok(element.map_or(Cell::Null, Cell::Text))
    }),
    strict(AMONG, &[Text, Texts], Bool, |call| {
        let all = elements(call, 1)?;
        if all.iter().flatten().any(|element| element == call.str(0)) {
            return Ok(Cell::Int(1));
        }
        Ok(if all.contains(&None) { Cell::Null } else { Cell::Int(0) })
    }),
    strict(ARRAY, &[Unknown], Texts, |call| {
        let elements = call.args.iter().map(|arg| match arg {
            Cell::Text(text) => Some(text.clone()),
            _ => None,
        });
        Ok(Cell::Text(build(elements)))
    })
    .variadic()
    .loose(),
    strict("array_to_string", &[Texts, Text], Text, |call| {
        let all = elements(call, 0)?;
        let present: Vec<_> = all.into_iter().flatten().collect();
        Ok(Cell::Text(present.join(call.str(1))))
    }),
    strict("array_to_string", &[Texts, Text, Text], Text, |call| {
        let all = elements(call, 0)?.into_iter();
        let all: Vec<_> =
            all.map(|element| element.unwrap_or_else(|| call.str(2).into())).collect();
        Ok(Cell::Text(all.join(call.str(1))))
    }),
    strict("||", &[Texts, Texts], Texts, |call| {
        let (mut all, more) = match (call.arg(0), call.arg(1)) {
            (Cell::Null, other) | (other, Cell::Null) => return Ok(other.clone()),
            _ => (elements(call, 0)?, elements(call, 1)?),
        };
        all.extend(more);
        Ok(Cell::Text(build(all.into_iter())))
    })
    .loose(),
    strict("string_to_array", &[Text, Text], Texts, |call| {
        let (text, delimiter) = (call.str(0), call.str(1));
        if *call.arg(0) == Cell::Null {
            return Ok(Cell::Null);
        }
        if *call.arg(1) == Cell::Null {
            let letters = text.chars().map(|letter| Some(letter.to_string()));
            return Ok(Cell::Text(build(letters)));
        }
        let parts: Vec<&str> = match (text.is_empty(), delimiter.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => vec![text],
            (false, false) => text.split(delimiter).collect(),
        };
        Ok(Cell::Text(build(parts.into_iter().map(|part| Some(part.to_owned())))))
    })
    .loose(),
    strict("cardinality", &[Texts], Int4, |call| {
        Ok(Cell::Int(i64::try_from(elements(call, 0)?.len()).unwrap_or(0)))
    }),
    strict("array_length", &[Texts, Int4], Int4, upper),
    strict("array_upper", &[Texts, Int4], Int4, upper),
    strict("array_lower", &[Texts, Int4], Int4, |call| {
        let upper = upper(call)?;
        Ok(if upper == Cell::Null { Cell::Null } else { Cell::Int(1) })
    }),
    strict("array_position", &[Texts, Text], Int4, |call| {
        let all = elements(call, 0)?;
        let at = all.iter().position(|element| element.as_deref() == Some(call.str(1)));
        Ok(at.map_or(Cell::Null, |at| Cell::Int(at as i64 + 1)))
    }),
];

fn upper(call: &Call<'_>) -> Outcome<Cell> {
    let count = i64::try_from(elements(call, 0)?.len()).unwrap_or(0);
    Ok(if count == 0 || call.int(1) != 1 { Cell::Null } else { Cell::Int(count) })
}

fn elements(call: &Call<'_>, at: usize) -> Outcome<Vec<Option<String>>> {
    read(call.str(at)).ok_or_else(|| {
        EngineError::new("22P02", format!("malformed array literal: \"{}\"", call.str(at)))
    })
}

/// The elements of an array's text form, or of a vector's (`1 2 3`).
pub(crate) fn read(text: &str) -> Option<Vec<Option<String>>> {
    let Some(inner) = text.trim().strip_prefix('{') else {
        return Some(text.split_ascii_whitespace().map(|part| Some(part.to_owned())).collect());
    };
    let inner = inner.strip_suffix('}')?;
    let mut all = Vec::new();
    let (mut element, mut quoted, mut in_quotes) = (String::new(), false, false);
    let mut letters = inner.chars();
    let end = |element: &mut String, quoted: &mut bool| {
        let text = std::mem::take(element);
        let is_quoted = std::mem::take(quoted);
        let text = if is_quoted { text } else { text.trim().to_owned() };
        (is_quoted || !text.eq_ignore_ascii_case("null")).then_some(text)
    };
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => element.push(letters.next()?),
            '"' => {
                in_quotes = !in_quotes;
                quoted = true;
            }
            ',' if !in_quotes => all.push(end(&mut element, &mut quoted)),
            '{' | '}' if !in_quotes => return None,
            letter => element.push(letter),
        }
    }
    if in_quotes {
        return None;
    }
    if !inner.trim().is_empty() {
        all.push(end(&mut element, &mut quoted));
    }
    Some(all)
}

/// The text form of an array.
pub(crate) fn build(elements: impl Iterator<Item = Option<String>>) -> String {
    let quote = |element: Option<String>| {
        let Some(text) = element else { return "NULL".to_owned() };
        let special = |letter: char| letter.is_whitespace() || "{},\"\\".contains(letter);
        if text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special) {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        } else {
            text
        }
    };
    let parts: Vec<_> = elements.map(quote).collect();
    format!("{{{}}}", parts.join(","))
}

fn series(call: &Call<'_>) -> Outcome<Cell> {
    let (from, to, step) = (call.int(0), call.int(1), call.int(2));
    if step == 0 {
        return Err(EngineError::new("22023", "step size cannot equal zero"));
    }
    let mut parts = Vec::new();
    let mut next = Some(from);
    while let Some(number) = next.filter(|next| if step > 0 { *next <= to } else { *next >= to }) {
        if parts.len() == ELEMENTS_MAX {
            let message = format!("generate_series() makes more than {ELEMENTS_MAX} rows");
            return Err(EngineError::limit(message));
        }
        parts.push(number.to_string());
        next = number.checked_add(step);
    }
    Ok(Cell::Text(format!("[{}]", parts.join(","))))
}

/// A JSON array of texts and nulls.
fn json(elements: &[Option<String>]) -> Cell {
    let mut out = String::from("[");
    for element in elements {
        if out.len() > 1 {
            out.push(',');
        }
        let Some(text) = element else {
            out.push_str("null");
            continue;
        };
        out.push('"');
        for letter in text.chars() {
            match letter {
                '"' | '\\' => out.extend(['\\', letter]),
                letter if letter < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
                letter => out.push(letter),
            }
        }
        out.push('"');
    }
    out.push(']');
    Cell::Text(out)
}
