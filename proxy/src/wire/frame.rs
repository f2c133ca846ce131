//! Owns message borders: headers are read, bodies are left alone, so that rows pass undecoded.
//! Also writes the few short messages that the relay needs at full speed;
//! pgwire builds the others.
//!
//! Manual: "Frontend/Backend Protocol", section "Message Formats".

use bytes::{BufMut, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::data::{DataRow, FieldDescription, RowDescription};

/// Bytes of type and length that precede every message body after start-up.
pub const HEADER_BYTES: usize = 5;

/// Type byte and size of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Message type.
    pub kind: u8,
    /// Bytes of the whole frame: type, length and body.
    pub total: usize,
}

/// A message that breaks the protocol; the connection it came on must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field is impossible for this type, or above the configured limit.
    #[error("invalid message length {length} for message type 0x{kind:02x}")]
    Length {
        /// Message type.
        kind: u8,
        /// The length field.
        length: u32,
    },
    /// Nobody may send this type here.
    #[error("unexpected message type 0x{0:02x}")]
    Kind(u8),
    /// A field inside the body is cut short or not terminated.
    #[error("malformed message of type 0x{0:02x}")]
    Body(u8),
}

/// Reads a header, if five bytes are there. The length is not checked against a limit.
#[inline]
pub fn peek(buf: &[u8]) -> Option<Header> {
    let (header, _) = buf.split_first_chunk::<HEADER_BYTES>()?;
    let [kind, a, b, c, d] = *header;
    let length = u32::from_be_bytes([a, b, c, d]);
    Some(Header { kind, total: length as usize + 1 })
}

/// Checks a message from a client: known type, possible length.
///
/// # Errors
/// When the type is unknown, or the length is below the type's minimum or above `max_bytes`.
#[inline]
pub fn check_frontend(header: Header, max_bytes: usize) -> Result<(), FrameError> {
    let length = header.total - 1;
    let (min, max) = match header.kind {
        b'Q' => (5, max_bytes),
        b'P' => (8, max_bytes),
        b'B' => (12, max_bytes),
        b'E' => (9, 4 + MAX_NAME_BYTES + 5),
        b'D' | b'C' => (6, 4 + MAX_NAME_BYTES + 2),
        b'S' | b'H' | b'c' | b'X' => (4, 4),
        b'd' => (4, max_bytes),
        b'f' => (5, max_bytes.min(1 << 20)),
        b'F' => (14, max_bytes),
        kind => return Err(FrameError::Kind(kind)),
    };
    if length < min || length > max {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        return Err(FrameError::Length { kind: header.kind, length });
    }
    Ok(())
}

/// Longest statement or portal name taken from a client.
pub const MAX_NAME_BYTES: usize = 8 * 1024;

/// Splits the zero-terminated string at the start of `body`; returns it and what follows.
///
/// # Errors
/// When there is no terminator inside the frame.
#[inline]
pub fn cstr(body: &[u8], kind: u8) -> Result<(&[u8], &[u8]), FrameError> {
    let end = memchr::memchr(0, body).ok_or(FrameError::Body(kind))?;
    Ok((&body[..end], &body[end + 1..]))
}

/// The query text of a `Query` body: one terminator, at the end and nowhere else.
///
/// # Errors
/// When the terminator is missing or bytes follow it (the seed of request smuggling).
#[inline]
pub fn query_text(body: &[u8]) -> Result<&[u8], FrameError> {
    let (text, rest) = cstr(body, b'Q')?;
    if rest.is_empty() { Ok(text) } else { Err(FrameError::Body(b'Q')) }
}

/// Appends a message whose body is the concatenation of `parts`.
pub fn put(out: &mut BytesMut, kind: u8, parts: &[&[u8]]) {
    let length: usize = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
    out.reserve(length + 1);
    out.put_u8(kind);
    out.put_u32(u32::try_from(length).expect("invariant: frames are bounded by max_message_bytes"));
    for part in parts {
        out.put_slice(part);
    }
}

/// Appends ReadyForQuery with a transaction status (`I`, `T` or `E`).
pub fn put_ready(out: &mut BytesMut, status: u8) {
    out.put_slice(&[b'Z', 0, 0, 0, 5, status]);
}

/// Appends ParameterStatus.
pub fn put_parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    put(out, b'S', &[name.as_bytes(), &[0], value.as_bytes(), &[0]]);
}

/// Appends a simple Query.
pub fn put_query(out: &mut BytesMut, sql: &[u8]) {
    put(out, b'Q', &[sql, &[0]]);
}

/// Appends CommandComplete.
pub fn put_command_complete(out: &mut BytesMut, tag: &str) {
    put(out, b'C', &[tag.as_bytes(), &[0]]);
}

/// Appends a RowDescription of text columns. Text is the same in both formats.
pub fn put_text_columns(out: &mut BytesMut, names: &[&str], binary: bool) {
    const TEXT_OID: u32 = 25;
    let format = i16::from(binary);
    let column =
        |name: &&str| FieldDescription::new((*name).into(), 0, 0, TEXT_OID, -1, -1, format);
    let row = RowDescription::new(names.iter().map(column).collect());
    row.encode(out).expect("invariant: names of ours are short");
}

/// Appends a DataRow of text values.
pub fn put_text_row(out: &mut BytesMut, values: &[&str]) {
    let mut data = BytesMut::with_capacity(values.iter().map(|value| 4 + value.len()).sum());
    for value in values {
        let length = u32::try_from(value.len()).expect("invariant: values shown are short");
        data.put_u32(length);
        data.put_slice(value.as_bytes());
    }
    let columns = i16::try_from(values.len()).expect("invariant: few columns");
    DataRow::new(data, columns).encode(out).expect("invariant: values shown are short");
}

/// The fields of an ErrorResponse or NoticeResponse body, by code.
pub fn error_field(body: &[u8], code: u8) -> Option<&str> {
    let mut rest = body;
    while let Some((&field, tail)) = rest.split_first() {
        if field == 0 {
            return None;
        }
        let (value, next) = cstr(tail, b'E').ok()?;
        if field == code {
            return std::str::from_utf8(value).ok();
        }
        rest = next;
    }
    None
}

/// The columns of a DataRow body in text format; `None` inside is SQL NULL.
pub fn data_row(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut columns = Vec::with_capacity(usize::from(u16::from_be_bytes(*count)).min(64));
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => {
                columns.push(None);
                rest = tail;
            }
            Ok(length) => {
                columns.push(Some(tail.get(..length)?));
                rest = &tail[length..];
            }
        }
    }
    Some(columns)
}

/// The values in what follows portal and statement in a Bind, but NULLs.
pub fn bound_values(body: &[u8]) -> Option<Vec<&[u8]>> {
    let (formats, rest) = body.split_first_chunk::<2>()?;
    let values = rest.get(usize::from(u16::from_be_bytes(*formats)) * 2..)?;
    Some(data_row(values)?.into_iter().flatten().collect())
}

/// Whether a Bind body, after its names, asks for all columns in binary.
pub fn asks_binary(body: &[u8]) -> bool {
    let read = || {
        let formats = u16::from_be_bytes(*body.first_chunk::<2>()?);
        let mut rest = body.get(2 + usize::from(formats) * 2..)?;
        let (values, tail) = rest.split_first_chunk::<2>()?;
        rest = tail;
        for _ in 0..u16::from_be_bytes(*values) {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            rest = tail.get(usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0)..)?;
        }
        let (_, codes) = rest.split_first_chunk::<2>()?;
        Some(!codes.is_empty() && codes.chunks(2).all(|code| code == [0, 1]))
    };
    read().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_formats_are_found_behind_values() {
        let body = |codes: &[u8]| [&b"\0\0\0\x02\0\0\0\x01x\xff\xff\xff\xff"[..], codes].concat();
        assert!(asks_binary(&body(b"\0\x01\0\x01")));
        assert!(!asks_binary(&body(b"\0\x01\0\0")) && !asks_binary(&body(b"\0\0")));
        assert!(!asks_binary(b"\0") && !asks_binary(&body(b"")));
    }

    #[test]
    fn query_without_or_with_early_terminator_is_refused() {
        assert_eq!(query_text(b"select 1\0"), Ok(&b"select 1"[..]));
        assert_eq!(query_text(b"select 1"), Err(FrameError::Body(b'Q')));
        assert_eq!(query_text(b"select 1\0Q\0"), Err(FrameError::Body(b'Q')));
    }

    #[test]
    fn lengths_are_bounded_by_type() {
        let check = |kind, length: usize| {
            check_frontend(Header { kind, total: length + 1 }, 1 << 20).is_ok()
        };
        assert!(check(b'S', 4) && !check(b'S', 5) && !check(b'S', 3));
        assert!(check(b'Q', 5) && !check(b'Q', 4) && !check(b'Q', (1 << 20) + 1));
        assert!(check(b'F', 14) && !check(b'F', 13));
        assert!(!check(b'B', 11) && !check(b'E', 8) && !check(0, 4) && !check(b'p', 10));
    }

    #[test]
    fn error_fields_are_found() {
        let body = b"SERROR\0C25006\0Mnope\0\0";
        assert_eq!(error_field(body, b'C'), Some("25006"));
        assert_eq!(error_field(body, b'H'), None);
        assert_eq!(error_field(b"SERROR", b'C'), None);
    }

    #[test]
    fn values_of_a_bind() {
        let body = b"\0\x01\0\0\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0\0\x00";
        assert_eq!(bound_values(body), Some(vec![&b"ab"[..], b""]));
        assert_eq!(bound_values(&body[..8]), None);
        assert_eq!(bound_values(b"\xff\xff"), None);
    }

    #[test]
    fn data_rows_are_split() {
        let mut out = BytesMut::new();
        put_text_row(&mut out, &["abc"]);
        assert_eq!(data_row(&out[5..]), Some(vec![Some(&b"abc"[..])]));
        assert_eq!(data_row(&out[5..out.len() - 1]), None);
    }
}
