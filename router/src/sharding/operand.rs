//! Owns the reading of expressions that stand for a key: a literal, a parameter or NULL, with or
//! without parentheses and a cast to the column's own type. It must not know any values.

use super::Operand;
use crate::facts::schema::Column;
use crate::key::KeyType;
use crate::lexer::TokenKind;
use crate::planner::Text;
use std::ops::Range;

/// The number of each literal token among all literal tokens, by token.
pub(super) fn literal_numbers(text: &Text<'_>) -> Vec<u32> {
    let mut count = 0;
    (0..text.len())
        .map(|at| {
            let number = count;
            count += u32::from(text.kind(at).is_some_and(TokenKind::is_literal));
            number
        })
        .collect()
}

/// The operand that these tokens are, given to a column; `None` when they are anything else.
pub(super) fn read(
    text: &Text<'_>,
    at: Range<usize>,
    column: &Column,
    literals: &[u32],
) -> Option<Operand> {
    let wanted = KeyType::from_name(&column.type_name)?;
    let mut at = unwrapped(text, at);
    let mut cast = None;
    if text.is(at.start, "cast") && text.partner(at.start + 1) == at.end.checked_sub(1) {
        let as_at = (at.start + 2..at.end).rev().find(|&at| text.is(at, "as"))?;
        cast = Some(type_of(text, as_at + 1..at.end - 1)?);
        at = unwrapped(text, at.start + 2..as_at);
    } else if let Some(colon) = at.clone().find(|&at| text.raw(at) == b"::") {
        cast = Some(type_of(text, colon + 1..at.end)?);
        at = unwrapped(text, at.start..colon);
    } else if at.len() >= 2 && text.is_kind(at.end - 1, TokenKind::String) {
        // `date '2026-01-01'`
        let signed = text.is_kind(at.start, TokenKind::Operator);
        if !signed {
            cast = Some(type_of(text, at.start..at.end - 1)?);
            at = at.end - 1..at.end;
        }
    }
    let signed = text.is_kind(at.start, TokenKind::Operator);
    let negative = match text.raw(at.start) {
        b"-" => true,
        b"+" => false,
        _ if signed => return None,
        _ => false,
    };
    let value = at.start + usize::from(signed);
    if value + 1 != at.end {
        return None;
    }
    match text.kind(value)? {
        TokenKind::Parameter if !signed => {
            // Its type is the one that it is cast to, and decides how its bytes are read.
            let number = std::str::from_utf8(text.raw(value)).ok()?.get(1..)?.parse().ok()?;
            cast.is_none_or(|cast| cast == wanted).then_some(Operand::Parameter(number))
        }
        TokenKind::Word if !signed && text.is(value, "null") => Some(Operand::Null),
        kind if kind.is_literal() => {
            // A number cast to a text, or the other way round, is another value.
            let number = matches!(kind, TokenKind::Integer | TokenKind::Number);
            let fits = cast.is_none_or(|cast| {
                cast == wanted
                    || cast.is_int() && wanted.is_int()
                    || cast.is_text() && wanted.is_text()
            });
            let at = u16::try_from(*literals.get(value)?).ok()?;
            (fits && number == (number && wanted.is_int()))
                .then_some(Operand::Literal { at, negative })
        }
        _ => None,
    }
}

/// Without parentheses that hold all of it.
pub(super) fn unwrapped(text: &Text<'_>, mut at: Range<usize>) -> Range<usize> {
    while text.is_kind(at.start, TokenKind::OpenParen)
        && at.len() > 2
        && text.partner(at.start) == at.end.checked_sub(1)
    {
        at = at.start + 1..at.end - 1;
    }
    at
}

/// The type these tokens name, when a key may have it and it has no modifier.
fn type_of(text: &Text<'_>, mut at: Range<usize>) -> Option<KeyType> {
    if text.is(at.start, "pg_catalog") && text.is_kind(at.start + 1, TokenKind::Dot) {
        at.start += 2;
    }
    let words: Vec<&str> = at.map(|at| text.word(at)).collect();
    match words.contains(&"") {
        true => None,
        false => KeyType::from_name(&words.join(" ")),
    }
}

/// The items between commas at the top level of these tokens.
pub(super) fn split(text: &Text<'_>, at: Range<usize>) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    let (mut start, mut here) = (at.start, at.start);
    while here < at.end {
        match text.kind(here) {
            Some(TokenKind::OpenParen | TokenKind::OpenBracket) => {
                here = text.partner(here).unwrap_or(here);
            }
            Some(TokenKind::Comma) => {
                items.push(start..here);
                start = here + 1;
            }
            _ => {}
        }
        here += 1;
    }
    if at.start < at.end {
        items.push(start..at.end);
    }
    items
}

/// The first of these words outside of brackets.
pub(super) fn find_word(text: &Text<'_>, at: Range<usize>, words: &[&str]) -> Option<usize> {
    let mut here = at.start;
    while here < at.end {
        if let Some(TokenKind::OpenParen | TokenKind::OpenBracket) = text.kind(here) {
            here = text.partner(here).unwrap_or(here);
        } else if words.contains(&text.word(here)) && text.kind_before(here) != Some(TokenKind::Dot)
        {
            return Some(here);
        }
        here += 1;
    }
    None
}
