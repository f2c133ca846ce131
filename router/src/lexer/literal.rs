//! Owns where literals, quoted identifiers and comments end.

use super::classes::is_identifier_byte;
use super::{LexError, MAX_COMMENT_DEPTH, TokenKind};
use memchr::{memchr, memchr2, memmem};

/// Bytes looked at one by one before a vector search is worth its call.
const SHORT_BYTES: usize = 24;

/// The end of a string whose opening quote ends at `from`, with its continuations on later lines.
pub(super) fn quoted(sql: &[u8], from: usize, escapes: bool) -> Result<usize, LexError> {
    let mut at = from;
    loop {
        at = find_quote(sql, at, escapes).ok_or(LexError::UnterminatedString)? + 1;
        match sql.get(at) {
            Some(b'\'') => at += 1,
            Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | b'-') => match continued(sql, at) {
                Some(next) => at = next,
                None => return Ok(at),
            },
            _ => return Ok(at),
        }
    }
}

/// The next quote at or after `from` that no backslash precedes.
fn find_quote(sql: &[u8], from: usize, escapes: bool) -> Option<usize> {
    let mut at = from;
    let near = sql.get(from..(from + SHORT_BYTES).min(sql.len()))?;
    if !escapes {
        if let Some(found) = near.iter().position(|&byte| byte == b'\'') {
            return Some(from + found);
        }
        let far = from + near.len();
        return memchr(b'\'', sql.get(far..)?).map(|found| far + found);
    }
    loop {
        at += memchr2(b'\'', b'\\', sql.get(at..)?)?;
        if sql.get(at) == Some(&b'\'') {
            return Some(at);
        }
        at += 2;
    }
}

/// Where a string goes on after its closing quote: white space with a line break, then a quote.
fn continued(sql: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    let mut line_break = false;
    loop {
        match sql.get(at)? {
            b'\n' | b'\r' => line_break = true,
            b' ' | b'\t' | 0x0b | 0x0c => {}
            b'-' if sql.get(at + 1) == Some(&b'-') => {
                at += memchr2(b'\n', b'\r', sql.get(at..)?)?;
                continue;
            }
            b'\'' if line_break => return Some(at + 1),
            _ => return None,
        }
        at += 1;
    }
}

/// The end of an identifier whose opening quote ends at `from`.
pub(super) fn double_quoted(sql: &[u8], from: usize) -> Result<usize, LexError> {
    let mut at = from;
    loop {
        let rest = sql.get(at..).unwrap_or_default();
        at += memchr(b'"', rest).ok_or(LexError::UnterminatedIdentifier)? + 1;
        if sql.get(at) != Some(&b'"') {
            return Ok(at);
        }
        at += 1;
    }
}

/// The end of a dollar-quoted string that begins at `start`; `None` when it is not one.
pub(super) fn dollar_quoted(sql: &[u8], start: usize) -> Result<Option<usize>, LexError> {
    let rest = sql.get(start + 1..).unwrap_or_default();
    if rest.first().is_some_and(u8::is_ascii_digit) {
        return Ok(None);
    }
    let tag = rest.iter().take_while(|&&b| b != b'$' && is_identifier_byte(b)).count();
    if rest.get(tag) != Some(&b'$') {
        return Ok(None);
    }
    let (Some(delimiter), Some(body)) = (sql.get(start..start + tag + 2), rest.get(tag + 1..))
    else {
        return Ok(None);
    };
    match memmem::find(body, delimiter) {
        Some(found) => Ok(Some(start + tag + 2 + found + delimiter.len())),
        None => Err(LexError::UnterminatedDollarString),
    }
}

/// The end of a block comment whose `/*` ends at `from`. Comments nest.
pub(super) fn block_comment(sql: &[u8], from: usize) -> Result<usize, LexError> {
    let mut at = from;
    let mut depth: u32 = 1;
    loop {
        let rest = sql.get(at..).unwrap_or_default();
        at += memchr2(b'*', b'/', rest).ok_or(LexError::UnterminatedComment)?;
        match (sql.get(at), sql.get(at + 1)) {
            (Some(b'*'), Some(b'/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Ok(at);
                }
            }
            (Some(b'/'), Some(b'*')) => {
                depth += 1;
                at += 2;
                if depth > MAX_COMMENT_DEPTH {
                    return Err(LexError::CommentsTooDeep);
                }
            }
            _ => at += 1,
        }
    }
}

/// Kind and end of the number at `start`, which holds a digit, or a point before a digit.
pub(super) fn number(sql: &[u8], start: usize) -> (TokenKind, usize) {
    if let Some(end) = based(sql, start) {
        return (TokenKind::Integer, end);
    }
    let mut kind = TokenKind::Integer;
    let mut end = digits(sql, start, |byte| byte.is_ascii_digit());
    if sql.get(end) == Some(&b'.') && sql.get(end + 1) != Some(&b'.') {
        kind = TokenKind::Number;
        end = match sql.get(end + 1) {
            Some(byte) if byte.is_ascii_digit() => digits(sql, end + 1, u8::is_ascii_digit),
            _ => end + 1,
        };
    }
    if matches!(sql.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(sql.get(end + 1), Some(b'+' | b'-')));
        if sql.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            return (TokenKind::Number, digits(sql, end + 1 + sign, u8::is_ascii_digit));
        }
    }
    (kind, end)
}

/// The end of `0x..`, `0o..`, `0b..`; `None` when no digit of that base follows.
fn based(sql: &[u8], start: usize) -> Option<usize> {
    if sql.get(start) != Some(&b'0') {
        return None;
    }
    let is_digit: fn(&u8) -> bool = match sql.get(start + 1)? {
        b'x' | b'X' => u8::is_ascii_hexdigit,
        b'o' | b'O' => |byte| matches!(byte, b'0'..=b'7'),
        b'b' | b'B' => |byte| matches!(byte, b'0' | b'1'),
        _ => return None,
    };
    let first = start + 2 + usize::from(sql.get(start + 2) == Some(&b'_'));
    sql.get(first).filter(|byte| is_digit(byte))?;
    Some(digits(sql, first, is_digit))
}

/// Digits with single underscores between them.
fn digits(sql: &[u8], from: usize, is_digit: fn(&u8) -> bool) -> usize {
    let mut at = from;
    loop {
        match sql.get(at) {
            Some(byte) if is_digit(byte) => at += 1,
            Some(b'_') if sql.get(at + 1).is_some_and(is_digit) && at > from => at += 1,
            _ => return at,
        }
    }
}
