//! Owns reading the name in SAVEPOINT, RELEASE and ROLLBACK TO, for who keeps state that follows
//! savepoints.

use crate::lexer::{Dialect, Lexer, Token, TokenKind};
use crate::planner::identifier;

/// A savepoint command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SavepointCommand {
    /// SAVEPOINT name.
    Set(Box<str>),
    /// RELEASE \[SAVEPOINT\] name.
    Release(Box<str>),
    /// ROLLBACK \[WORK\] TO \[SAVEPOINT\] name.
    RollbackTo(Box<str>),
}

/// Reads a text that is one such command; `None` when its name cannot be read.
pub fn read(sql: &[u8], dialect: Dialect) -> Option<SavepointCommand> {
    let mut lexer = Lexer::new(sql, dialect).ok()?;
    let mut first: Option<Token> = None;
    let mut last: Option<Token> = None;
    while let Some(token) = lexer.next_token().ok()? {
        match token.kind {
            TokenKind::HintComment | TokenKind::Semicolon => {}
            TokenKind::Word | TokenKind::QuotedIdentifier => {
                first.get_or_insert(token);
                last = Some(token);
            }
            _ => return None,
        }
    }
    let (first, last) = (first?, last?);
    let name = identifier(sql, &last)?.into();
    match first.text(sql).to_ascii_lowercase().as_slice() {
        b"savepoint" => Some(SavepointCommand::Set(name)),
        b"release" => Some(SavepointCommand::Release(name)),
        b"rollback" => Some(SavepointCommand::RollbackTo(name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_every_spelling() {
        let read = |sql: &str| read(sql.as_bytes(), Dialect::default());
        let set = |name: &str| Some(SavepointCommand::Set(name.into()));
        let release = |name: &str| Some(SavepointCommand::Release(name.into()));
        let back = |name: &str| Some(SavepointCommand::RollbackTo(name.into()));
        assert_eq!(read("savepoint A;"), set("a"));
        assert_eq!(read("SAVEPOINT \"A\"\"b\""), set("A\"b"));
        assert_eq!(read("release a"), release("a"));
        assert_eq!(read("release savepoint a -- x"), release("a"));
        assert_eq!(read("release savepoint"), release("savepoint"));
        assert_eq!(read("rollback to a"), back("a"));
        assert_eq!(read("/* x */ rollback work to savepoint \"S 1\" ;"), back("S 1"));
        assert_eq!(read("savepoint U&\"a\""), None);
        assert_eq!(read("commit"), None);
    }
}
