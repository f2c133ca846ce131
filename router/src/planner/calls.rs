//! Owns telling function calls from everything else that has a parenthesis behind a word: SQL's
//! own words, type modifiers, column lists of aliases and of WITH.
//!
//! A call taken for something else may hide a write; the other way round only costs a read its
//! replica. So each exception here is a shape in which a call cannot stand.

use super::keywords;
use super::text::Text;
use crate::lexer::TokenKind;
use std::borrow::Cow;

/// Whether the identifier at `at`, which has `(` behind it, may be the name of a called function.
pub(crate) fn is_call(text: &Text<'_>, at: usize) -> bool {
    let head = head(text, at);
    if head == at && text.is_kind(at, TokenKind::Word) && keywords::is_reserved(text.word(at)) {
        return false;
    }
    if head == at && keywords::is_builtin_syntax(text.word(at)) {
        return false;
    }
    !(is_type_modifier(text, head, at)
        || is_alias_list(text, head)
        || is_sampling_method(text, at)
        || text.is(at, "filter") && text.is(at + 2, "where")
        || matches!(text.word(at), "first" | "next") && text.word_before(at) == "fetch"
        || is_with_list(text, at))
}

/// Whether the unquoted word at `at` is one that SQL itself puts before a parenthesis.
pub(crate) fn is_syntax(text: &Text<'_>, at: usize) -> bool {
    keywords::may_precede_parenthesis(text.word(at))
}

/// The schema in `schema.function(`.
pub(crate) fn schema_of<'a>(text: &'a Text<'_>, at: usize) -> Option<Cow<'a, str>> {
    match text.kind_before(at) {
        // What cannot be read as a name is a schema nobody knows.
        Some(TokenKind::Dot) => {
            Some(at.checked_sub(2).and_then(|at| text.name(at)).unwrap_or(Cow::Borrowed("")))
        }
        _ => None,
    }
}

/// Number of arguments between the parentheses, `open` being the first; `None` when it cannot be
/// told (`count(*)`, ordered-set aggregates, VARIADIC).
pub(crate) fn argument_count(text: &Text<'_>, open: usize) -> Option<usize> {
    let close = text.partner(open)?;
    if text.is(close + 1, "within") {
        return None;
    }
    let mut at = open + 1;
    if at == close {
        return Some(0);
    }
    if text.raw(at) == b"*" {
        return None;
    }
    let mut count = 1;
    while at < close {
        match text.kind(at) {
            Some(TokenKind::OpenParen | TokenKind::OpenBracket) => {
                at = text.partner(at)?;
            }
            Some(TokenKind::Comma) => count += 1,
            Some(TokenKind::Word) => match text.word(at) {
                "order" => return Some(count),
                "variadic" => return None,
                _ => {}
            },
            _ => {}
        }
        at += 1;
    }
    Some(count)
}

/// The first part of a qualified name that ends at `at`.
fn head(text: &Text<'_>, at: usize) -> usize {
    let mut head = at;
    while head >= 2 && text.is_kind(head - 1, TokenKind::Dot) && text.is_identifier(head - 2) {
        head -= 2;
    }
    head
}

/// `x::numeric(10,2)`, `CAST(x AS varying(10))`, `character varying(10)`, `interval second(3)`.
fn is_type_modifier(text: &Text<'_>, head: usize, at: usize) -> bool {
    let Some(before) = head.checked_sub(1) else { return false };
    if text.raw(before) == b"::" || text.is(before, "as") {
        return true;
    }
    head == at
        && match text.word(at) {
            "varying" => matches!(text.word(before), "character" | "char" | "bit" | "nchar"),
            "second" => matches!(text.word(before), "interval" | "to"),
            _ => false,
        }
}

/// `FROM t alias(a, b)`, `FROM (...) alias(a)`, `FROM f(x) alias(a)`, `WITH ORDINALITY alias(a)`.
fn is_alias_list(text: &Text<'_>, head: usize) -> bool {
    let Some(before) = head.checked_sub(1) else { return false };
    match text.kind(before) {
        Some(TokenKind::QuotedIdentifier) => true,
        Some(TokenKind::Word) => {
            let word = text.word(before);
            let after_dot = text.kind_before(before) == Some(TokenKind::Dot);
            matches!(word, "ordinality" | "recursive") || after_dot || !keywords::is_keyword(word)
        }
        Some(TokenKind::CloseParen) => {
            // After `DISTINCT ON (a)` and `OPERATOR(s.+)` a call may follow, so only groups of
            // FROM count: a subquery, or the arguments of something that is not such a word.
            let Some(opener) = text.partner(before) else { return false };
            let Some(owner) = opener.checked_sub(1) else { return false };
            match text.kind(owner) {
                Some(TokenKind::Comma | TokenKind::OpenParen) => true,
                Some(TokenKind::QuotedIdentifier) => true,
                Some(TokenKind::Word) => {
                    let word = text.word(owner);
                    matches!(word, "from" | "join" | "lateral" | "only")
                        || !keywords::is_reserved(word) && word != "operator"
                }
                _ => false,
            }
        }
        _ => false,
    }
}

/// `TABLESAMPLE system (10)`: PostgreSQL's two own methods only read.
fn is_sampling_method(text: &Text<'_>, at: usize) -> bool {
    matches!(text.word(at), "system" | "bernoulli") && text.word_before(at) == "tablesample"
}

/// `WITH a(x) AS (SELECT ...), b(y) AS (SELECT ...)`.
fn is_with_list(text: &Text<'_>, at: usize) -> bool {
    if text.word_before(at) == "with" {
        return true;
    }
    if text.kind_before(at) != Some(TokenKind::Comma) {
        return false;
    }
    let Some(close) = text.partner(at + 1) else { return false };
    if !text.is(close + 1, "as") {
        return false;
    }
    let mut body = close + 2;
    body += usize::from(text.is(body, "not"));
    body += usize::from(text.is(body, "materialized"));
    // Reserved words: a list of column definitions, `f(x) AS (a int)`, cannot begin so.
    text.is_kind(body, TokenKind::OpenParen)
        && (matches!(text.word(body + 1), "select" | "with" | "table")
            || text.is_kind(body + 1, TokenKind::OpenParen))
}
