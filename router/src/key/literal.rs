//! Owns the value of a literal token: what its quotes, escapes and continuations stand for. It
//! must not know types.

use crate::lexer::{Dialect, Encoding, Token, TokenKind};
use std::borrow::Cow;

/// The text a literal stands for: of a number the token itself, of a string what is in it.
///
/// `None` for what has a type of its own (bit strings, national strings), what only the server
/// can read (`U&'…'`), what it refuses, and text in an encoding that would have to be converted.
pub fn literal_text<'a>(token: &Token, sql: &'a [u8], dialect: Dialect) -> Option<Cow<'a, str>> {
    let text = token.text(sql);
    if dialect.encoding != Encoding::Utf8 && !text.is_ascii() {
        return None;
    }
    let bytes = match token.kind {
        TokenKind::Integer | TokenKind::Number => Cow::Borrowed(text),
        TokenKind::String => quoted(text.get(1..)?, !dialect.standard_conforming_strings)?,
        TokenKind::EscapeString => quoted(text.get(2..)?, true)?,
        TokenKind::DollarString => {
            let tag = 2 + text.get(1..)?.iter().position(|&byte| byte == b'$')?;
            Cow::Borrowed(text.get(tag..text.len().checked_sub(tag)?)?)
        }
        _ => return None,
    };
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// What stands between quotes; `body` begins after the first one and ends with the last one.
fn quoted(body: &[u8], escapes: bool) -> Option<Cow<'_, [u8]>> {
    let special = |byte: &u8| *byte == b'\'' || (escapes && *byte == b'\\');
    let plain = body.iter().position(special)?;
    if plain + 1 == body.len() && body.last() == Some(&b'\'') {
        return body.get(..plain).map(Cow::Borrowed);
    }
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    loop {
        match (*body.get(at)?, body.get(at + 1)) {
            (b'\'', None) => return Some(Cow::Owned(out)),
            (b'\'', Some(b'\'')) => {
                out.push(b'\'');
                at += 2;
            }
            (b'\'', Some(_)) => at = next_piece(body, at + 1)?,
            (b'\\', _) if escapes => at = escape(body, at + 1, &mut out)?,
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

/// Where a string goes on after a closing quote: after the next quote. The lexer has seen that
/// only white space and comments stand between.
fn next_piece(body: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        match body.get(at)? {
            b'\'' => return Some(at + 1),
            b'-' => {
                let rest = body.get(at..)?;
                at += rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
            }
            _ => at += 1,
        }
    }
}

/// One escape, after its backslash; gives where it ends.
fn escape(body: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let byte = match *body.get(at)? {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        // Versions differ.
        b'v' => return None,
        b'u' => return unicode(body, at + 1, 4, out),
        b'U' => return unicode(body, at + 1, 8, out),
        b'x' => {
            let (value, digits) = digits(body, at + 1, 16, 2);
            if digits > 0 {
                out.push(u8::try_from(value).ok().filter(|byte| *byte != 0)?);
                return Some(at + 1 + digits);
            }
            b'x'
        }
        b'0'..=b'7' => {
            let (value, digits) = digits(body, at, 8, 3);
            out.push(u8::try_from(value).ok().filter(|byte| *byte != 0)?);
            return Some(at + digits);
        }
        other => other,
    };
    out.push(byte);
    Some(at + 1)
}

/// A character by its number. Surrogates are left to the server.
fn unicode(body: &[u8], at: usize, length: usize, out: &mut Vec<u8>) -> Option<usize> {
    let (value, digits) = digits(body, at, 16, length);
    if digits != length || value == 0 {
        return None;
    }
    let character = char::from_u32(value)?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(at + length)
}

/// A number of at most `most` digits (at most 8), and how many there are.
fn digits(body: &[u8], at: usize, base: u32, most: usize) -> (u32, usize) {
    let rest = body.get(at..).unwrap_or_default().iter().take(most);
    let digits = rest.map_while(|&byte| char::from(byte).to_digit(base));
    digits.fold((0, 0), |(value, count), digit| (value * base + digit, count + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::Lexer;

    fn text_in(sql: &[u8], dialect: Dialect) -> Option<String> {
        let token = Lexer::new(sql, dialect).unwrap().next_token().unwrap().unwrap();
        assert_eq!(usize::try_from(token.end).unwrap(), sql.len(), "one token: {sql:?}");
        literal_text(&token, sql, dialect).map(Cow::into_owned)
    }

    fn text(sql: &str) -> Option<String> {
        text_in(sql.as_bytes(), Dialect::default())
    }

    #[test]
    fn literals_stand_for_what_postgresql_reads() {
        let cases = [
            ("'abc'", "abc"),
            ("''", ""),
            ("'it''s'", "it's"),
            ("''''", "'"),
            (r"'a\nb'", r"a\nb"),
            ("'a' \n 'b'", "ab"),
            ("'a'-- it's a comment\n  'b'''", "ab'"),
            (r"E'a\nb\\c\'d''e'", "a\nb\\c'd'e"),
            (r"e'\x41\101\u00e9\U0001F600\q\x'", "AA\u{e9}\u{1f600}qx"),
            (r"E'\xc3\xa9'", "\u{e9}"),
            ("E'a\\n'\n'\\tb'", "a\n\tb"),
            ("$$it's$$", "it's"),
            ("$a$x$b$y$a$", "x$b$y"),
            ("'\u{e9}'", "\u{e9}"),
            ("42", "42"),
            ("1.5e3", "1.5e3"),
        ];
        for (sql, expected) in cases {
            assert_eq!(text(sql).as_deref(), Some(expected), "{sql}");
        }
    }

    #[test]
    fn what_the_server_must_read_is_left_to_it() {
        for sql in [
            "U&'d\\0061'",
            "N'a'",
            "B'1'",
            "X'1F'",
            r"E'\000'",
            r"E'\x00'",
            r"E'\u12'",
            r"E'\ud83d\ude00'",
            r"E'\xff'",
            r"E'\400'",
            r"E'\v'",
        ] {
            assert_eq!(text(sql), None, "{sql}");
        }
        let old = Dialect { standard_conforming_strings: false, ..Dialect::default() };
        assert_eq!(text_in(br"'a\nb'", old).as_deref(), Some("a\nb"));
        let latin = Dialect { encoding: Encoding::HighBytes, ..Dialect::default() };
        assert_eq!(text_in(b"'\xc3\xa9'", latin), None);
        assert_eq!(text_in(b"'e'", latin).as_deref(), Some("e"));
    }
}
