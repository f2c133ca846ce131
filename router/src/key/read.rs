//! Owns how values of a key are read from literals and parameters: as PostgreSQL's input and
//! receive functions read them, or not at all. Integers and uuids are read without allocation.

use super::{KeyType, KeyValue, Reading, datetime};
use crate::lexer::{Encoding, TokenKind};

/// OID of the pseudo-type a parameter has when its type is left to the server.
const UNKNOWN_OID: u32 = 705;

/// Reads a literal that stands where a value of a column of this type is wanted. `decoded_text`
/// is what [`super::literal_text`] gives; `negative` says that a minus stands before it.
pub fn read_literal(
    ty: KeyType,
    token_kind: TokenKind,
    decoded_text: &str,
    negative: bool,
) -> Reading {
    match token_kind {
        // A bare number has its own type, and compares by value with integers of any width.
        TokenKind::Integer if ty.is_int() => read_digits(decoded_text, negative)
            .map_or(Reading::Unknown, |number| Reading::Value(KeyValue::Int(number))),
        TokenKind::String | TokenKind::EscapeString | TokenKind::DollarString if !negative => {
            read_text(ty, decoded_text)
        }
        _ => Reading::Unknown,
    }
}

/// Reads a bound parameter that stands where a value of a column of this type is wanted.
/// `declared_oid` is the type that Parse gave it, 0 for none; `format` is 0 for text and 1 for
/// binary; `encoding` is the client's. `None` is NULL.
pub fn read_parameter(
    ty: KeyType,
    declared_oid: u32,
    format: i16,
    value: Option<&[u8]>,
    encoding: Encoding,
) -> Reading {
    let Some(bytes) = value else { return Reading::Null };
    let declared = match declared_oid {
        0 | UNKNOWN_OID => None,
        oid => match KeyType::from_oid(oid) {
            Some(declared) if are_compared(declared, ty) => Some(declared),
            _ => return Reading::Unknown,
        },
    };
    let reading = match format {
        0 => parameter_text(ty, declared, bytes, encoding),
        1 => parameter_binary(ty, declared, bytes, encoding),
        _ => None,
    };
    reading.map_or(Reading::Unknown, Reading::Value)
}

/// Reads what an input function is given. Text is taken as it is, unless its column may cut it.
pub(super) fn read_text(ty: KeyType, text: &str) -> Reading {
    let value = match ty {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => read_int(ty, text).map(KeyValue::Int),
        KeyType::Text | KeyType::Varchar => read_string(ty, text),
        KeyType::Uuid => read_uuid(text).map(KeyValue::Uuid),
        KeyType::Bytea => read_bytea(text).map(|bytes| KeyValue::Bytea(bytes.into())),
        KeyType::Date => datetime::read_date(text).map(KeyValue::Date),
        KeyType::Timestamptz => datetime::read_timestamptz(text).map(KeyValue::Timestamptz),
    };
    value.map_or(Reading::Unknown, Reading::Value)
}

fn parameter_text(
    ty: KeyType,
    declared: Option<KeyType>,
    bytes: &[u8],
    encoding: Encoding,
) -> Option<KeyValue> {
    let text = as_utf8(bytes, encoding)?;
    if ty.is_int() {
        return read_int(declared.unwrap_or(ty), text).map(KeyValue::Int);
    }
    match read_text(ty, text) {
        Reading::Value(value) => Some(value),
        Reading::Null | Reading::Unknown => None,
    }
}

fn parameter_binary(
    ty: KeyType,
    declared: Option<KeyType>,
    bytes: &[u8],
    encoding: Encoding,
) -> Option<KeyValue> {
    match ty {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => binary_int(declared, bytes),
        KeyType::Text | KeyType::Varchar => read_string(ty, as_utf8(bytes, encoding)?),
        KeyType::Uuid => bytes.try_into().ok().map(KeyValue::Uuid),
        KeyType::Bytea => Some(KeyValue::Bytea(bytes.into())),
        KeyType::Date => Some(KeyValue::Date(i32::from_be_bytes(bytes.try_into().ok()?))),
        KeyType::Timestamptz => {
            Some(KeyValue::Timestamptz(i64::from_be_bytes(bytes.try_into().ok()?)))
        }
    }
}

/// Whether a value of one type is compared with, and stored in, a column of the other by the value
/// it has itself.
fn are_compared(declared: KeyType, ty: KeyType) -> bool {
    let both = |is: fn(KeyType) -> bool| is(declared) && is(ty);
    declared == ty || both(KeyType::is_int) || both(KeyType::is_text)
}

/// An integer by its width: without a declared type the server may have settled on any of them,
/// and refuses what has not the width of its choice.
fn binary_int(declared: Option<KeyType>, bytes: &[u8]) -> Option<KeyValue> {
    let (width, number) = if let Ok(bytes) = bytes.try_into() {
        (KeyType::Int8, i64::from_be_bytes(bytes))
    } else if let Ok(bytes) = bytes.try_into() {
        (KeyType::Int4, i64::from(i32::from_be_bytes(bytes)))
    } else {
        (KeyType::Int2, i64::from(i16::from_be_bytes(bytes.try_into().ok()?)))
    };
    declared.is_none_or(|declared| declared == width).then_some(KeyValue::Int(number))
}

/// Text as UTF-8, which is what servers hash; other encodings would have to be converted.
fn as_utf8(bytes: &[u8], encoding: Encoding) -> Option<&str> {
    if encoding != Encoding::Utf8 && !bytes.is_ascii() {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

/// `varchar(n)` silently loses blanks beyond its length, so that the value that is stored is not
/// known when there are blanks at the end. NUL is refused by the server.
fn read_string(ty: KeyType, text: &str) -> Option<KeyValue> {
    let may_be_cut = ty == KeyType::Varchar && text.ends_with(' ');
    (!may_be_cut && !text.contains('\0')).then(|| KeyValue::Text(text.into()))
}

/// What `int2in`, `int4in` and `int8in` read in every version: blanks around a number.
fn read_int(ty: KeyType, text: &str) -> Option<i64> {
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, text.get(1..)?),
        [b'+', ..] => (false, text.get(1..)?),
        _ => (false, text),
    };
    let number = read_digits(digits, negative)?;
    let fits = match ty {
        KeyType::Int2 => i16::try_from(number).is_ok(),
        KeyType::Int4 => i32::try_from(number).is_ok(),
        _ => true,
    };
    fits.then_some(number)
}

/// Decimal digits. Other bases and underscores are known to some versions only.
fn read_digits(digits: &str, negative: bool) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    digits.bytes().try_fold(0_i64, |sum, byte| {
        let digit = i64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        let sum = sum.checked_mul(10)?;
        if negative { sum.checked_sub(digit) } else { sum.checked_add(digit) }
    })
}

/// `uuid_in`: 32 hexadecimal digits, a hyphen allowed after every four, braces around it.
fn read_uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.as_bytes();
    let mut rest = match text.strip_prefix(b"{") {
        Some(inner) => inner.strip_suffix(b"}")?,
        None => text,
    };
    let mut uuid = [0; 16];
    for (at, byte) in uuid.iter_mut().enumerate() {
        let ([high, low], after) = rest.split_first_chunk()?;
        *byte = (hex_digit(*high)? << 4) | hex_digit(*low)?;
        let may_have_hyphen = at % 2 == 1 && at < 15;
        rest = match after.strip_prefix(b"-") {
            Some(after) if may_have_hyphen => after,
            _ => after,
        };
    }
    rest.is_empty().then_some(uuid)
}

/// `byteain`: `\x` and hexadecimal digits, or bytes with `\\` and `\ooo`.
fn read_bytea(text: &str) -> Option<Vec<u8>> {
    match text.as_bytes().strip_prefix(b"\\x") {
        Some(digits) => hex_bytes(digits),
        None => escaped_bytes(text.as_bytes()),
    }
}

fn hex_bytes(mut digits: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    loop {
        digits = match digits {
            [] => return Some(bytes),
            // White space is allowed between bytes.
            [b' ' | b'\n' | b'\t' | b'\r', rest @ ..] => rest,
            [high, low, rest @ ..] => {
                bytes.push((hex_digit(*high)? << 4) | hex_digit(*low)?);
                rest
            }
            [_] => return None,
        };
    }
}

fn escaped_bytes(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    loop {
        let (byte, rest) = match text {
            [] => return Some(bytes),
            [b'\\', b'\\', rest @ ..] => (b'\\', rest),
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                (((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'), rest)
            }
            [b'\\' | 0, ..] => return None,
            [byte, rest @ ..] => (*byte, rest),
        };
        bytes.push(byte);
        text = rest;
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// What PostgreSQL prints.
pub(super) fn write_uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        push_hex(&mut text, *byte);
    }
    text
}

/// What PostgreSQL prints under `bytea_output = hex`.
pub(super) fn write_bytea(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    bytes.iter().for_each(|byte| push_hex(&mut text, *byte));
    text
}

fn push_hex(text: &mut String, byte: u8) {
    for digit in [byte >> 4, byte & 15] {
        text.extend(char::from_digit(u32::from(digit), 16));
    }
}

#[cfg(test)]
mod tests;
