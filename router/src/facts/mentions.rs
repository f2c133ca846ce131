//! Owns what the text of a function, view, rule, policy, check or default mentions. It looks at
//! words, not at a grammar: a name too many costs a refusal, never a wrong answer.

use crate::lexer::{Dialect, Lexer, Token, TokenKind};
use crate::planner::identifier;

/// Longest body that is looked into; a longer one may do anything.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Functions of PostgreSQL's own that run SQL given to them as text, or read the tables they are
/// given the names of.
const RUN_TEXT: &[&str] = &[
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "database_to_xmlschema",
    "dblink",
    "dblink_exec",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "schema_to_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "table_to_xmlschema",
    "ts_rewrite",
    "ts_stat",
];

/// What a text mentions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Names, sorted, without repetition.
    pub names: Vec<Box<str>>,
    /// It runs SQL that it does not show.
    pub runs_text: bool,
    /// It takes from or sets sequences.
    pub uses_sequences: bool,
    /// It sends notifications.
    pub notifies: bool,
    /// It holds a word of statements that write.
    pub writes: bool,
    /// Names after `NEW.`, and `*` when NEW stands otherwise than in `RETURN NEW`.
    pub new_columns: Vec<Box<str>>,
}

/// How much of a text's words count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Every identifier.
    All,
    /// An expression, which cannot name relations: what is called, and names of types.
    Calls,
    /// The same of a column's default, whose own sequence is known from the column.
    Default,
    /// The body of a function.
    Body,
}

/// Whether calling this function of PostgreSQL's runs SQL that is not shown.
pub fn runs_text(function: &str) -> bool {
    RUN_TEXT.binary_search(&function).is_ok()
}

impl Mentions {
    /// What nobody can read.
    fn anything() -> Self {
        Self { runs_text: true, writes: true, ..Self::default() }
    }

    /// Adds what another text of the same owner mentions.
    pub(super) fn add(&mut self, other: Self) {
        self.names.extend(other.names);
        self.names.sort_unstable();
        self.names.dedup();
        self.runs_text |= other.runs_text;
        self.uses_sequences |= other.uses_sequences;
        self.notifies |= other.notifies;
        self.writes |= other.writes;
        self.new_columns.extend(other.new_columns);
    }
}

/// What the body of a function or an anonymous block mentions.
pub(crate) fn body_mentions(body: &str) -> Mentions {
    read(body, Reading::Body)
}

/// Reads a text.
pub(super) fn read(text: &str, how: Reading) -> Mentions {
    if text.len() > MAX_BODY_BYTES {
        return Mentions::anything();
    }
    let sql = text.as_bytes();
    let Some(tokens) = tokens(sql) else { return Mentions::anything() };
    let mut found = Mentions::default();
    for (at, token) in tokens.iter().enumerate() {
        let before = |n: usize| at.checked_sub(n).and_then(|at| tokens.get(at));
        let is_word = |token: Option<&Token>, word: &str| {
            token.is_some_and(|token| token.text(sql).eq_ignore_ascii_case(word.as_bytes()))
        };
        let Some(name) = identifier(sql, token) else {
            // A string may hold SQL; `nextval('…')` holds a name.
            found.runs_text |= token.kind == TokenKind::UnicodeIdentifier;
            continue;
        };
        let next_opens = tokens.get(at + 1).is_some_and(|next| next.kind == TokenKind::OpenParen);
        let after_dot = before(1).is_some_and(|token| token.kind == TokenKind::Dot);
        match &*name {
            "nextval" | "setval" | "currval" | "lastval" => {
                found.uses_sequences |= how != Reading::Default;
            }
            "notify" | "pg_notify" => found.notifies = true,
            "insert" | "update" | "delete" | "merge" | "truncate" | "copy" | "lock"
                if !after_dot && matches!(how, Reading::All | Reading::Body) =>
            {
                found.writes = true;
            }
            "execute" if how == Reading::Body => found.runs_text = true,
            "new" if how == Reading::Body && !after_dot => new(sql, &tokens, at, &mut found),
            name => found.runs_text |= next_opens && runs_text(name),
        }
        let of_row = after_dot && (is_word(before(2), "new") || is_word(before(2), "old"));
        let named = match how {
            Reading::All => true,
            Reading::Body => !of_row,
            Reading::Calls | Reading::Default => {
                next_opens || before(1).is_some_and(|token| token.text(sql) == b"::") || after_dot
            }
        };
        if named {
            found.names.push(name.into());
        }
    }
    found.names.sort_unstable();
    found.names.dedup();
    found
}

/// What a function does with the row it was called for.
fn new(sql: &[u8], tokens: &[Token], at: usize, found: &mut Mentions) {
    let dotted = tokens.get(at + 1).is_some_and(|token| token.kind == TokenKind::Dot);
    let column = tokens.get(at + 2).and_then(|token| identifier(sql, token));
    let returned = at
        .checked_sub(1)
        .and_then(|at| tokens.get(at))
        .is_some_and(|token| token.text(sql).eq_ignore_ascii_case(b"return"));
    match (dotted, column) {
        (true, Some(column)) => found.new_columns.push(column.into()),
        (false, _) if returned => {}
        _ => found.new_columns.push("*".into()),
    }
}

/// The names in a qualified name.
pub(super) fn names_of(text: &str) -> Vec<String> {
    let sql = text.as_bytes();
    let tokens = tokens(sql).unwrap_or_default();
    tokens.iter().filter_map(|token| identifier(sql, token)).map(|name| name.into_owned()).collect()
}

fn tokens(sql: &[u8]) -> Option<Vec<Token>> {
    let mut lexer = Lexer::new(sql, Dialect::default()).ok()?;
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token().ok()? {
        tokens.push(token);
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(RUN_TEXT.is_sorted());
    }

    #[test]
    fn bodies_and_expressions_mention_what_they_reach() {
        let body = read(
            "begin insert into audit values (new.id, old.total); new.a := 1; return new; end",
            Reading::Body,
        );
        assert!(body.names.iter().any(|name| **name == *"audit"));
        assert!(!body.names.iter().any(|name| **name == *"total"));
        assert_eq!(body.new_columns, ["id".into(), "a".into()]);
        assert!(!body.runs_text);
        assert!(read("begin execute 'x'; end", Reading::Body).runs_text);
        assert!(read("begin new := f(new); return new; end", Reading::Body).new_columns.len() == 2);
        let check = read("(status = f(x)) and y::dom is null", Reading::Calls);
        assert_eq!(check.names, ["dom".into(), "f".into()]);
    }
}
