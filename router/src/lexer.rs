//! Owns PostgreSQL's lexical rules: text in, tokens with byte spans out.
//!
//! Follows `src/backend/parser/scan.l`. Where versions differ (numbers of PostgreSQL 16) the
//! reading that swallows less text into a literal wins. It must not know what a statement means.

use std::fmt;

mod classes;
mod literal;

pub use classes::is_identifier_byte;
pub(crate) use classes::{CLASS, Class, LOWER};

/// Longest text that is looked at (8 MiB); longer ones are not classified.
pub const MAX_SQL_BYTES: usize = 8 << 20;
/// Deepest nesting of `/* /* */ */` comments.
pub const MAX_COMMENT_DEPTH: u32 = 1_000;
/// PostgreSQL cuts identifiers after this many bytes (`NAMEDATALEN - 1`).
pub const MAX_IDENTIFIER_BYTES: usize = 63;

/// How the client's character set bears on reading its SQL byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// UTF-8: identifiers compare byte for byte with the catalog's.
    Utf8,
    /// Every byte of a multi-byte character has its high bit set (LATIN1, EUC_JP, ...).
    HighBytes,
    /// A character may contain an ASCII byte (SJIS, BIG5, GBK, GB18030, UHC, JOHAB) or the
    /// encoding is not known: only pure ASCII text can be read.
    Unsafe,
}

/// The session settings that change how SQL text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// `standard_conforming_strings`: off means that `'...'` knows backslash escapes.
    pub standard_conforming_strings: bool,
    /// What `client_encoding` allows.
    pub encoding: Encoding,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { standard_conforming_strings: true, encoding: Encoding::Utf8 }
    }
}

impl Dialect {
    /// Reads the values of the parameters `standard_conforming_strings` and `client_encoding`.
    pub fn from_parameters(standard_conforming_strings: &str, client_encoding: &str) -> Self {
        Self {
            standard_conforming_strings: standard_conforming_strings != "off",
            encoding: Encoding::from_name(client_encoding),
        }
    }

    /// A small number that differs between dialects, for cache keys (below 8).
    pub fn bits(self) -> u64 {
        let encoding = match self.encoding {
            Encoding::Utf8 => 0,
            Encoding::HighBytes => 1,
            Encoding::Unsafe => 2,
        };
        u64::from(self.standard_conforming_strings) | encoding << 1
    }
}

impl Encoding {
    /// Reads a PostgreSQL encoding name; case and punctuation do not matter.
    pub fn from_name(name: &str) -> Self {
        let folded: String = name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        match folded.as_str() {
            "utf8" | "unicode" => Self::Utf8,
            "sqlascii" | "muleinternal" => Self::HighBytes,
            other => {
                let safe =
                    ["latin", "win", "iso8859", "euc", "koi8", "abc", "tcvn", "vscii", "alt"];
                let wide = other == "win932"
                    || other == "win936"
                    || other == "win949"
                    || other == "win950";
                match safe.iter().any(|prefix| other.starts_with(prefix)) && !wide {
                    true => Self::HighBytes,
                    false => Self::Unsafe,
                }
            }
        }
    }
}

/// What a token is. Keywords are not told from identifiers here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Unquoted identifier or keyword.
    Word,
    /// `"..."`.
    QuotedIdentifier,
    /// `U&"..."`.
    UnicodeIdentifier,
    /// Digits, also `0x1F`, `0o7`, `0b1`, `1_000`.
    Integer,
    /// With a point or an exponent.
    Number,
    /// `'...'`.
    String,
    /// `E'...'`.
    EscapeString,
    /// `B'...'`.
    BitString,
    /// `X'...'`.
    HexString,
    /// `N'...'`.
    NationalString,
    /// `U&'...'`.
    UnicodeString,
    /// `$tag$...$tag$`.
    DollarString,
    /// `$1`.
    Parameter,
    /// Any operator, including `=`, `*`, `<=`, `=>`.
    Operator,
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// `(`
    OpenParen,
    /// `)`
    CloseParen,
    /// `[`
    OpenBracket,
    /// `]`
    CloseBracket,
    /// `.`
    Dot,
    /// `:`, `::`, `:=`, `..`
    Colon,
    /// A block comment that begins with `pgm:`; all other comments are skipped.
    HintComment,
    /// A byte no PostgreSQL statement can contain here.
    Other,
}

impl TokenKind {
    /// Whether the token is a constant value.
    pub fn is_literal(self) -> bool {
        self.literal_mark().is_some()
    }

    /// The control byte that stands for a lifted literal of this kind in a normal form.
    pub(crate) fn literal_mark(self) -> Option<u8> {
        match self {
            Self::Integer => Some(1),
            Self::Number => Some(2),
            Self::String => Some(3),
            Self::EscapeString => Some(4),
            Self::BitString => Some(5),
            Self::HexString => Some(6),
            Self::NationalString => Some(7),
            Self::UnicodeString => Some(8),
            Self::DollarString => Some(11),
            _ => None,
        }
    }
}

/// A token: kind and byte span. Spans fit in 32 bits because of [`MAX_SQL_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Token {
    /// The token's text; empty when `sql` is not the text it came from.
    pub fn text<'a>(&self, sql: &'a [u8]) -> &'a [u8] {
        sql.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Why a text could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LexError {
    /// A quoted string has no end.
    UnterminatedString,
    /// A quoted identifier has no end.
    UnterminatedIdentifier,
    /// A comment has no end.
    UnterminatedComment,
    /// A dollar-quoted string has no end.
    UnterminatedDollarString,
    /// Longer than [`MAX_SQL_BYTES`].
    TooLong,
    /// Comments nested deeper than [`MAX_COMMENT_DEPTH`].
    CommentsTooDeep,
    /// Bytes that are not ASCII in a client encoding that cannot be read byte by byte.
    UnsafeEncoding,
}

impl LexError {
    /// True when PostgreSQL too rejects the text before it runs any of it.
    pub fn is_syntax_error(self) -> bool {
        !matches!(self, Self::TooLong | Self::CommentsTooDeep | Self::UnsafeEncoding)
    }

    /// The error as a short lowercase sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnterminatedString => "unterminated quoted string",
            Self::UnterminatedIdentifier => "unterminated quoted identifier",
            Self::UnterminatedComment => "unterminated comment",
            Self::UnterminatedDollarString => "unterminated dollar-quoted string",
            Self::TooLong => "text longer than 8 MiB",
            Self::CommentsTooDeep => "comments nested deeper than 1000",
            Self::UnsafeEncoding => "non-ASCII text in a client encoding that hides ASCII bytes",
        }
    }
}

impl fmt::Display for LexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for LexError {}

/// Reads tokens one after another.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    sql: &'a [u8],
    /// Where the next token is looked for.
    pub(crate) position: usize,
    escapes_in_strings: bool,
}

impl<'a> Lexer<'a> {
    /// Begins at the start of `sql`.
    ///
    /// # Errors
    /// [`LexError::TooLong`] and [`LexError::UnsafeEncoding`], which need no reading.
    pub fn new(sql: &'a [u8], dialect: Dialect) -> Result<Self, LexError> {
        if sql.len() > MAX_SQL_BYTES {
            return Err(LexError::TooLong);
        }
        if dialect.encoding == Encoding::Unsafe && !sql.is_ascii() {
            return Err(LexError::UnsafeEncoding);
        }
        Ok(Self { sql, position: 0, escapes_in_strings: !dialect.standard_conforming_strings })
    }

    /// The next token, or `None` at the end. White space and ordinary comments are skipped.
    ///
    /// # Errors
    /// Something without an end; the lexer must not be used after that.
    pub fn next_token(&mut self) -> Result<Option<Token>, LexError> {
        while let Some(&byte) = self.sql.get(self.position) {
            let start = self.position;
            let class = CLASS[byte as usize];
            let (kind, end) = match class {
                Class::Space => {
                    self.position += 1;
                    continue;
                }
                Class::Word => (TokenKind::Word, self.word_end(start + 1)),
                Class::Prefix => self.prefixed(start, byte)?,
                Class::Digit => literal::number(self.sql, start),
                Class::Quote => (
                    TokenKind::String,
                    literal::quoted(self.sql, start + 1, self.escapes_in_strings)?,
                ),
                Class::DoubleQuote => {
                    (TokenKind::QuotedIdentifier, literal::double_quoted(self.sql, start + 1)?)
                }
                Class::Dollar => self.dollar(start)?,
                Class::Dot => self.dot(start),
                Class::Colon => self.colon(start),
                Class::Operator => match self.comment(start, byte)? {
                    Some((false, end)) => {
                        self.position = end;
                        continue;
                    }
                    Some((true, end)) => (TokenKind::HintComment, end),
                    None => (TokenKind::Operator, self.operator_end(start)),
                },
                Class::Punctuation => (punctuation(byte), start + 1),
                Class::Other => (TokenKind::Other, start + 1),
            };
            self.position = end;
            // Both fit: the text is no longer than MAX_SQL_BYTES.
            return Ok(Some(Token { kind, start: start as u32, end: end as u32 }));
        }
        Ok(None)
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.sql.get(at).copied()
    }

    fn word_end(&self, from: usize) -> usize {
        let rest = self.sql.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|&&byte| is_identifier_byte(byte)).count()
    }

    /// A letter that may open a special string: `b e n u x`.
    fn prefixed(&self, start: usize, byte: u8) -> Result<(TokenKind, usize), LexError> {
        let next = self.byte(start + 1);
        if next == Some(b'\'') {
            let (kind, escapes) = match byte.to_ascii_lowercase() {
                b'e' => (TokenKind::EscapeString, true),
                b'b' => (TokenKind::BitString, false),
                b'x' => (TokenKind::HexString, false),
                b'n' => (TokenKind::NationalString, self.escapes_in_strings),
                _ => return Ok((TokenKind::Word, start + 1)),
            };
            return Ok((kind, literal::quoted(self.sql, start + 2, escapes)?));
        }
        if next == Some(b'&') && byte.eq_ignore_ascii_case(&b'u') {
            match self.byte(start + 2) {
                Some(b'\'') => {
                    let end = literal::quoted(self.sql, start + 3, false)?;
                    return Ok((TokenKind::UnicodeString, end));
                }
                Some(b'"') => {
                    let end = literal::double_quoted(self.sql, start + 3)?;
                    return Ok((TokenKind::UnicodeIdentifier, end));
                }
                _ => {}
            }
        }
        Ok((TokenKind::Word, self.word_end(start + 1)))
    }

    fn dollar(&self, start: usize) -> Result<(TokenKind, usize), LexError> {
        let digits = self.sql.get(start + 1..).unwrap_or_default();
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count > 0 {
            return Ok((TokenKind::Parameter, start + 1 + count));
        }
        match literal::dollar_quoted(self.sql, start)? {
            Some(end) => Ok((TokenKind::DollarString, end)),
            None => Ok((TokenKind::Other, start + 1)),
        }
    }

    fn dot(&self, start: usize) -> (TokenKind, usize) {
        match self.byte(start + 1) {
            Some(b'.') => (TokenKind::Colon, start + 2),
            Some(byte) if byte.is_ascii_digit() => literal::number(self.sql, start),
            _ => (TokenKind::Dot, start + 1),
        }
    }

    fn colon(&self, start: usize) -> (TokenKind, usize) {
        match self.byte(start + 1) {
            Some(b':' | b'=') => (TokenKind::Colon, start + 2),
            _ => (TokenKind::Colon, start + 1),
        }
    }

    /// A comment at `start`, if there is one: whether it is a hint, and where it ends.
    fn comment(&self, start: usize, byte: u8) -> Result<Option<(bool, usize)>, LexError> {
        match (byte, self.byte(start + 1)) {
            (b'-', Some(b'-')) => {
                let rest = self.sql.get(start..).unwrap_or_default();
                let length = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                Ok(Some((false, start + length)))
            }
            (b'/', Some(b'*')) => {
                let end = literal::block_comment(self.sql, start + 2)?;
                Ok(Some((is_hint(self.sql.get(start + 2..end).unwrap_or_default()), end)))
            }
            _ => Ok(None),
        }
    }

    /// PostgreSQL's rule: an operator stops before a comment, and does not end in `+` or `-`
    /// unless it also contains one of the characters that SQL itself does not use.
    fn operator_end(&self, start: usize) -> usize {
        let rest = self.sql.get(start..).unwrap_or_default();
        let mut length = 1;
        while let Some(&byte) = rest.get(length) {
            let opens_comment =
                matches!((byte, rest.get(length + 1)), (b'-', Some(b'-')) | (b'/', Some(b'*')));
            if CLASS[byte as usize] != Class::Operator || opens_comment {
                break;
            }
            length += 1;
        }
        let operator = rest.get(..length).unwrap_or_default();
        if length > 1
            && matches!(operator.last(), Some(b'+' | b'-'))
            && !operator.iter().any(|byte| b"~!@#^&|`?%".contains(byte))
        {
            let kept = operator.iter().rposition(|byte| !matches!(byte, b'+' | b'-'));
            return start + kept.map_or(1, |last| last + 1);
        }
        start + length
    }
}

/// Whether the inside of a block comment is a hint for pgmanifold.
fn is_hint(inside: &[u8]) -> bool {
    let text = inside.trim_ascii_start();
    text.get(..4).is_some_and(|head| head.eq_ignore_ascii_case(b"pgm:"))
}

fn punctuation(byte: u8) -> TokenKind {
    match byte {
        b',' => TokenKind::Comma,
        b';' => TokenKind::Semicolon,
        b'(' => TokenKind::OpenParen,
        b')' => TokenKind::CloseParen,
        b'[' => TokenKind::OpenBracket,
        _ => TokenKind::CloseBracket,
    }
}

#[cfg(test)]
mod tests;
