//! Owns the reading of the columns that a statement compares by equality, from its words alone: a
//! hint for people, and for the search of keys, which the planner then tries.

use pgmanifold_router::lexer::{Dialect, Lexer, Token, TokenKind};

/// Most columns named.
const COLUMNS_MAX: usize = 8;

/// Words of a text, and whether a name is among them.
fn tokens(sql: &[u8]) -> Vec<Token> {
    let mut found = Vec::new();
    let Ok(mut lexer) = Lexer::new(sql, Dialect::default()) else { return found };
    while let Ok(Some(token)) = lexer.next_token() {
        found.push(token);
    }
    found
}

/// A name as PostgreSQL folds it.
fn name(sql: &[u8], token: &Token) -> Option<String> {
    let text = String::from_utf8_lossy(token.text(sql));
    match token.kind {
        TokenKind::Word => Some(text.to_lowercase()),
        TokenKind::QuotedIdentifier => Some(text.trim_matches('"').to_owned()),
        _ => None,
    }
}

/// All names of a text, folded.
pub(super) fn names(sql: &[u8]) -> Vec<String> {
    tokens(sql).iter().filter_map(|token| name(sql, token)).collect()
}

/// Columns that stand before `= value` or `in (`, after the first WHERE or ON.
pub(super) fn compared(sql: &[u8]) -> Vec<String> {
    let tokens = tokens(sql);
    let word = |token: &Token| name(sql, token).unwrap_or_default();
    let begin = tokens.iter().position(|token| matches!(&*word(token), "where" | "on"));
    let mut found: Vec<String> = Vec::new();
    let Some(begin) = begin else { return found };
    for window in tokens.get(begin..).unwrap_or_default().windows(3) {
        let [column, operator, value] = window else { continue };
        let is_value = value.kind == TokenKind::Parameter || value.kind.is_literal();
        let equal = operator.kind == TokenKind::Operator && operator.text(sql) == b"=" && is_value;
        let listed = word(operator) == "in" && value.kind == TokenKind::OpenParen;
        let Some(column) = name(sql, column).filter(|_| equal || listed) else { continue };
        if !found.contains(&column) && found.len() < COLUMNS_MAX {
            found.push(column);
        }
    }
    found
}
