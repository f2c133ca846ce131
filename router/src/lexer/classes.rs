//! Owns the byte class tables of the lexer.

/// What a byte can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    /// White space (`\v` too, as since PostgreSQL 16).
    Space,
    /// Starts an identifier and nothing else.
    Word,
    /// Starts an identifier, or a string such as `E'...'`.
    Prefix,
    /// Decimal digit.
    Digit,
    /// `'`
    Quote,
    /// `"`
    DoubleQuote,
    /// `$`
    Dollar,
    /// `.`
    Dot,
    /// `:`
    Colon,
    /// Part of operators, or the start of a comment.
    Operator,
    /// `, ; ( ) [ ]`
    Punctuation,
    /// Nothing PostgreSQL knows.
    Other,
}

pub(crate) const CLASS: [Class; 256] = classes();

/// The folded byte for bytes that may stand inside an identifier, 0 for all others.
pub(crate) const LOWER: [u8; 256] = lower();

/// Whether the byte may stand inside an unquoted identifier (not necessarily at its start).
pub fn is_identifier_byte(byte: u8) -> bool {
    LOWER[byte as usize] != 0
}

const fn classes() -> [Class; 256] {
    let mut table = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Space,
            b'b' | b'B' | b'e' | b'E' | b'n' | b'N' | b'u' | b'U' | b'x' | b'X' => Class::Prefix,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Word,
            b'0'..=b'9' => Class::Digit,
            b'\'' => Class::Quote,
            b'"' => Class::DoubleQuote,
            b'$' => Class::Dollar,
            b'.' => Class::Dot,
            b':' => Class::Colon,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*'
            | b'/' | b'%' | b'<' | b'>' | b'=' => Class::Operator,
            b',' | b';' | b'(' | b')' | b'[' | b']' => Class::Punctuation,
            _ => Class::Other,
        };
        byte += 1;
    }
    table
}

const fn lower() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let value = byte as u8;
        table[byte] = match value {
            b'a'..=b'z' | b'_' | b'$' | b'0'..=b'9' | 0x80..=0xff => value,
            b'A'..=b'Z' => value + (b'a' - b'A'),
            _ => 0,
        };
        byte += 1;
    }
    table
}
