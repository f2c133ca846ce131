//! Owns which words divide a query, and where they stand outside of parentheses.

use super::{Read, Span, misread};
use crate::lexer::TokenKind;
use crate::planner::Text;

/// The unquoted word at `at` when it can be a keyword: not behind a dot and not a label after AS.
pub(crate) fn keyword<'t>(text: &'t Text<'_>, at: usize) -> &'t str {
    if text.kind_before(at) == Some(TokenKind::Dot) || text.is_kind(at + 1, TokenKind::Dot) {
        return "";
    }
    let is_label = text.word_before(at) == "as"
        && at.checked_sub(1).is_some_and(|before| text.kind_before(before) != Some(TokenKind::Dot));
    if is_label { "" } else { text.word(at) }
}

/// The first keyword outside of parentheses that is one of those looked for.
pub(crate) fn find(
    text: &Text<'_>,
    at: Span,
    is_it: impl Fn(&str, usize) -> bool,
) -> Option<usize> {
    let mut here = at.start;
    while here < at.end {
        match text.kind(here) {
            Some(TokenKind::OpenParen | TokenKind::OpenBracket) => {
                here = text.partner(here).unwrap_or(here);
            }
            Some(TokenKind::Word) => {
                let word = keyword(text, here);
                if !word.is_empty() && is_it(word, here) {
                    return Some(here);
                }
            }
            _ => {}
        }
        here += 1;
    }
    None
}

/// What stands between commas outside of parentheses; nothing for nothing.
pub(crate) fn split_commas(text: &Text<'_>, at: Span) -> Vec<Span> {
    let mut parts = Vec::new();
    if at.is_empty() {
        return parts;
    }
    let (mut start, mut here) = (at.start, at.start);
    while here < at.end {
        match text.kind(here) {
            Some(TokenKind::OpenParen | TokenKind::OpenBracket) => {
                here = text.partner(here).unwrap_or(here);
            }
            Some(TokenKind::Comma) => {
                parts.push(start..here);
                start = here + 1;
            }
            _ => {}
        }
        here += 1;
    }
    parts.push(start..at.end);
    parts
}

/// A list of names.
pub(super) fn names(text: &Text<'_>, at: Span) -> Read<Vec<Box<str>>> {
    let mut names = Vec::new();
    for part in split_commas(text, at) {
        match text.name(part.start) {
            Some(name) if part.len() == 1 => names.push((*name).into()),
            _ => return misread("list of names", part.start),
        }
    }
    Ok(names)
}

/// Without the parentheses that stand around all of it.
pub(crate) fn unwrapped(text: &Text<'_>, at: Span) -> Span {
    let (mut start, mut end) = (at.start, at.end);
    while start + 2 < end
        && text.is_kind(start, TokenKind::OpenParen)
        && text.partner(start) == Some(end - 1)
    {
        start += 1;
        end -= 1;
    }
    start..end
}

pub(super) fn is_set_operator(word: &str) -> bool {
    matches!(word, "union" | "intersect" | "except")
}

/// Words that begin a clause after a query's body.
pub(super) fn is_tail(word: &str) -> bool {
    matches!(word, "order" | "limit" | "offset" | "fetch" | "for")
}

/// Words that begin a clause of a SELECT, unless they belong to an expression.
pub(super) fn is_clause(text: &Text<'_>, word: &str, at: usize) -> bool {
    match word {
        "into" | "where" | "having" | "window" => true,
        "from" => {
            let distinct = at.checked_sub(1).filter(|&before| text.is(before, "distinct"));
            !distinct.is_some_and(|before| matches!(text.word_before(before), "is" | "not"))
        }
        "group" => text.word_before(at) != "within",
        _ => false,
    }
}
