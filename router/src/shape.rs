//! Owns the shape of a statement: its text as people are shown it, without literals, and a number
//! that names it. Texts that differ in nothing but literals, white space, comments and the case of
//! words have one shape. It is for people and statistics: what a statement may do is never
//! decided by it. It is made when a text is planned, not when it runs.

use crate::lexer::{Dialect, LOWER, Lexer, Token, TokenKind};
use rapidhash::v3::{RapidSecrets, RapidStreamHasherV3};
use std::fmt::Write;

/// Longest text of a shape; what is left of a longer one ends in `…`.
pub const SHAPE_BYTES_MAX: usize = 1_024;

/// Most of a text that is read; of longer ones the beginning alone makes the shape, so that rows
/// inserted by the thousand do not each make one of their own.
pub const READ_BYTES_MAX: usize = 64 * 1_024;

/// Stands for what a text goes on with that cannot be read, and may be anything.
const REST: &str = "…";

/// What a statement looks like, whatever its literals are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Names the shape: the same in every process, and not to be relied on by more than people.
    pub fingerprint: u64,
    /// The text as it was first written, with `$n` for literals, without comments, and cut.
    pub text: Box<str>,
}

impl Shape {
    /// The shape of a text. More of it is read than is shown.
    pub fn read(sql: &[u8], dialect: Dialect) -> Self {
        let sql = sql.get(..READ_BYTES_MAX).unwrap_or(sql);
        let secrets = RapidSecrets::seed(0);
        let mut writer = Writer::new(&secrets, highest_parameter(sql, dialect));
        if let Ok(mut lexer) = Lexer::new(sql, dialect) {
            loop {
                match lexer.next_token() {
                    Ok(Some(token)) => writer.token(sql, token),
                    Ok(None) => break,
                    Err(_) => {
                        writer.rest();
                        break;
                    }
                }
            }
        } else {
            writer.rest();
        }
        writer.shape()
    }
}

/// Literals are numbered on from the client's own parameters, as `pg_stat_statements` does.
fn highest_parameter(sql: &[u8], dialect: Dialect) -> u32 {
    let Ok(mut lexer) = Lexer::new(sql, dialect) else { return 0 };
    let mut highest = 0;
    while let Ok(Some(token)) = lexer.next_token() {
        if token.kind == TokenKind::Parameter {
            let digits = token.text(sql).get(1..).unwrap_or_default();
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            highest = highest.max(number.unwrap_or(0));
        }
    }
    highest
}

struct Writer<'s> {
    hasher: RapidStreamHasherV3<'s>,
    text: String,
    /// End of the last token in the statement.
    last_end: u32,
    /// The number of the last literal.
    number: u32,
    full: bool,
    /// A semicolon that nothing has followed yet: one at the end says nothing.
    semicolon: bool,
}

impl<'s> Writer<'s> {
    fn new(secrets: &'s RapidSecrets, number: u32) -> Self {
        Self {
            hasher: RapidStreamHasherV3::new(secrets),
            text: String::new(),
            last_end: 0,
            number,
            full: false,
            semicolon: false,
        }
    }

    fn token(&mut self, sql: &[u8], token: Token) {
        if token.kind == TokenKind::HintComment {
            return;
        }
        let (text, apart) = (token.text(sql), token.start > self.last_end);
        self.last_end = token.end;
        if token.kind == TokenKind::Semicolon {
            self.semicolon = true;
            return;
        }
        if std::mem::take(&mut self.semicolon) {
            self.hasher.write(b";");
            self.show(";");
        }
        if apart && !self.text.is_empty() {
            self.show(" ");
        }
        if token.kind.is_literal() {
            self.hasher.write(b"\x01 ");
            self.number = self.number.saturating_add(1);
            let mut place = String::new();
            let _ = write!(place, "${}", self.number);
            self.show(&place);
            return;
        }
        if token.kind == TokenKind::Word {
            let mut folded = [0; 64];
            for chunk in text.chunks(folded.len()) {
                for (to, byte) in folded.iter_mut().zip(chunk) {
                    *to = LOWER.get(usize::from(*byte)).copied().unwrap_or(*byte);
                }
                self.hasher.write(folded.get(..chunk.len()).unwrap_or_default());
            }
        } else {
            self.hasher.write(text);
        }
        self.hasher.write(b" ");
        self.show(&String::from_utf8_lossy(text));
    }

    fn show(&mut self, text: &str) {
        if self.full {
            return;
        }
        let room = SHAPE_BYTES_MAX.saturating_sub(self.text.len() + REST.len());
        match text.len() <= room {
            true => self.text.push_str(text),
            false => {
                let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
                self.text.push_str(text.get(..end).unwrap_or_default());
                self.text.push_str(REST);
                self.full = true;
            }
        }
    }

    fn rest(&mut self) {
        self.hasher.write(REST.as_bytes());
        self.show(REST);
        self.full = true;
    }

    fn shape(self) -> Shape {
        Shape { fingerprint: self.hasher.finish(), text: self.text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sql: &str) -> Shape {
        Shape::read(sql.as_bytes(), Dialect::default())
    }

    #[test]
    fn literals_are_numbered_after_the_parameters() {
        for (sql, text) in [
            ("select 1, 'a'", "select $1, $2"),
            ("SELECT a FROM t WHERE x = $2 AND y = 5", "SELECT a FROM t WHERE x = $2 AND y = $3"),
            ("select  a -- secret\n from t ;", "select a from t"),
            ("select 1; select 2;", "select $1; select $2"),
            ("alter user x password 'secret'", "alter user x password $1"),
            ("set a.b to 'x'", "set a.b to $1"),
            ("do $x$ secret $x$", "do $1"),
            ("/* pgm: primary */ select \"A b\"", "select \"A b\""),
            ("select 'never closed", "select…"),
            ("", ""),
        ] {
            assert_eq!(&*shape(sql).text, text, "{sql}");
        }
    }

    #[test]
    fn one_shape_is_what_differs_in_literals_spaces_comments_and_case_alone() {
        let one = shape("select a from t where b = 1 and c = 'x'").fingerprint;
        for same in [
            "SELECT A FROM t\n WHERE b=2 AND c = 'yy'",
            "select a from t /* x */ where b = 3 and c = '';",
            "/* pgm: role=primary */ select a from t where b = -- 1\n 9 and c = 'x'",
        ] {
            assert_eq!(shape(same).fingerprint, one, "{same}");
        }
        for other in [
            "select a from t where b = 1 and d = 'x'",
            "select \"A\" from t where b = 1 and c = 'x'",
            "select a from t where b = $1 and c = 'x'",
            "select ab from t where b = 1 and c = 'x'",
            "select a from t where b = 1 and c = 'x",
        ] {
            assert_ne!(shape(other).fingerprint, one, "{other}");
        }
        assert_ne!(shape("select ab").fingerprint, shape("select a b").fingerprint);
        let long = |end: &str| format!("select {}{end}", "a, ".repeat(2_000));
        assert_ne!(shape(&long("b")).fingerprint, shape(&long("c")).fingerprint, "more is read");
        let rows =
            |count: usize| format!("insert into t values {}(1, 'x')", "(1, 'x'), ".repeat(count));
        assert_eq!(shape(&rows(20_000)).fingerprint, shape(&rows(30_000)).fingerprint);
        assert_ne!(shape(&rows(2)).fingerprint, shape(&rows(3)).fingerprint);
    }

    #[test]
    fn the_text_is_bounded() {
        let shape = shape(&format!("select '{}', {}", "é".repeat(9_000), "é".repeat(9_000)));
        assert!(shape.text.len() <= SHAPE_BYTES_MAX && shape.text.ends_with(REST));
        assert!(shape.text.starts_with("select $1, éé"));
    }
}
