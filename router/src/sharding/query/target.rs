//! Owns the items of a target list and the names PostgreSQL gives to their columns.

use super::Span;
use super::words::split_commas;
use crate::lexer::TokenKind;
use crate::planner::{Text, keywords};

/// The name of a column of the answer, as far as the text tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Label {
    /// Given to it.
    Named(Box<str>),
    /// It is a plain column of this name.
    Column(Box<str>),
    /// `*` or `t.*`
    Star,
    /// It is a call of this function.
    Call(Box<str>),
    /// Some name made from the expression, or one that could not be told from it.
    Unsure,
}

/// An item of a target list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The expression alone.
    pub(crate) at: Span,
    pub(crate) label: Label,
}

/// Words that cannot be a name without AS.
const NO_BARE_LABEL: [&str; 39] = [
    "array",
    "as",
    "char",
    "character",
    "create",
    "day",
    "except",
    "fetch",
    "filter",
    "for",
    "from",
    "grant",
    "group",
    "having",
    "hour",
    "intersect",
    "into",
    "isnull",
    "limit",
    "minute",
    "month",
    "notnull",
    "offset",
    "on",
    "order",
    "over",
    "overlaps",
    "precision",
    "returning",
    "second",
    "to",
    "union",
    "varchar",
    "varying",
    "where",
    "window",
    "with",
    "within",
    "without",
];

/// Reads a target list.
pub(crate) fn targets(text: &Text<'_>, at: Span) -> Vec<Target> {
    split_commas(text, at).into_iter().map(|item| target(text, item)).collect()
}

fn target(text: &Text<'_>, at: Span) -> Target {
    let last = at.end.saturating_sub(1);
    if text.raw(last) == b"*" && (at.len() == 1 || text.kind_before(last) == Some(TokenKind::Dot)) {
        return Target { at, label: Label::Star };
    }
    if at.len() >= 3
        && text.is(last - 1, "as")
        && text.kind_before(last - 1) != Some(TokenKind::Dot)
        && let Some(name) = text.name(last)
    {
        return Target { at: at.start..last - 1, label: Label::Named((*name).into()) };
    }
    if let Some(name) = column(text, at.clone()) {
        return Target { at, label: Label::Column(name) };
    }
    match bare_label(text, at.clone()) {
        Bare::Name(name) => Target { at: at.start..last, label: Label::Named(name) },
        Bare::Unsure => Target { at, label: Label::Unsure },
        Bare::No => {
            let label = called(text, at.clone()).map_or(Label::Unsure, Label::Call);
            Target { at, label }
        }
    }
}

/// The last name of `a`, `a.b`, `a.b.c` when that is all there is.
fn column(text: &Text<'_>, at: Span) -> Option<Box<str>> {
    let odd = at.len() % 2 == 1;
    let is_path = at.clone().enumerate().all(|(index, here)| match index % 2 {
        0 => text.is_identifier(here),
        _ => text.is_kind(here, TokenKind::Dot),
    });
    let single_keyword = at.len() == 1 && keywords::is_reserved(text.word(at.start));
    match odd && is_path && !single_keyword {
        true => text.name(at.end - 1).map(|name| (*name).into()),
        false => None,
    }
}

/// The function's name when the item is one call and nothing else.
fn called(text: &Text<'_>, at: Span) -> Option<Box<str>> {
    let open = at.clone().find(|&here| text.is_kind(here, TokenKind::OpenParen))?;
    if text.partner(open) != at.end.checked_sub(1) || open == at.start {
        return None;
    }
    let name = column(text, at.start..open)?;
    let word = text.word(open - 1);
    (word.is_empty() || !keywords::is_builtin_syntax(word)).then_some(name)
}

enum Bare {
    Name(Box<str>),
    No,
    Unsure,
}

/// A name behind an expression without AS.
fn bare_label(text: &Text<'_>, at: Span) -> Bare {
    let Some(last) = at.end.checked_sub(1).filter(|last| *last > at.start) else { return Bare::No };
    let word = text.word(last);
    if !text.is_identifier(last) || NO_BARE_LABEL.contains(&word) || word == "year" {
        return Bare::No;
    }
    let Some(name) = text.name(last) else { return Bare::Unsure };
    if !word.is_empty() && keywords::is_reserved(word) {
        return if word == "end" { Bare::No } else { Bare::Unsure };
    }
    let before = last - 1;
    match text.kind(before) {
        Some(TokenKind::CloseParen | TokenKind::CloseBracket | TokenKind::Parameter) => {
            Bare::Name((*name).into())
        }
        Some(TokenKind::QuotedIdentifier) => match text.word_before(before) {
            "collate" | "over" | "uescape" => Bare::Unsure,
            _ => Bare::Name((*name).into()),
        },
        Some(kind) if kind.is_literal() => Bare::Name((*name).into()),
        Some(TokenKind::Word) => {
            let previous = text.word(before);
            let is_value = matches!(previous, "null" | "true" | "false" | "end")
                || matches!(
                    previous,
                    "int" | "integer" | "bigint" | "numeric" | "boolean" | "real"
                )
                || previous.starts_with("current_")
                || text.kind_before(before) == Some(TokenKind::Dot);
            match is_value || !keywords::is_keyword(previous) {
                true => Bare::Name((*name).into()),
                false => Bare::Unsure,
            }
        }
        // A name behind a dot, a type behind `::`, an operand.
        _ => Bare::No,
    }
}
