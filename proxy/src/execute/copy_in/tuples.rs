//! Owns the borders of tuples in binary COPY data.

use super::fields::Field;
use crate::wire::error::SqlError;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Length of the header, when it is whole.
pub(super) fn header(data: &[u8]) -> Result<Option<usize>, SqlError> {
    let known = data.len().min(SIGNATURE.len());
    if data[..known] != SIGNATURE[..known] {
        return Err(SqlError::error("22P04", "COPY file signature not recognized"));
    }
    let length = data.get(15..).and_then(<[u8]>::first_chunk::<4>);
    let Some(length) = length.map(|length| u32::from_be_bytes(*length)) else { return Ok(None) };
    let length = usize::try_from(i32::try_from(length).unwrap_or(-1));
    let length =
        length.map_err(|_| SqlError::error("22P04", "invalid COPY file header (wrong length)"))?;
    Ok((data.len() - 19 >= length).then_some(19 + length))
}

/// What stands at the front of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tuple {
    /// A tuple of so many bytes.
    Row(usize),
    /// The trailer.
    End,
}

/// The tuple at the front, when it is whole.
pub(super) fn cut(data: &[u8], columns: usize) -> Result<Option<Tuple>, SqlError> {
    let Some((count, mut rest)) = data.split_first_chunk::<2>() else { return Ok(None) };
    let count = i16::from_be_bytes(*count);
    if count == -1 {
        return Ok(Some(Tuple::End));
    }
    if usize::try_from(count) != Ok(columns) {
        let message = format!("row field count is {count}, expected {columns}");
        return Err(SqlError::error("22P04", message));
    }
    for _ in 0..columns {
        let Some((length, tail)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let bytes = match i32::from_be_bytes(*length) {
            -1 => 0,
            length => usize::try_from(length)
                .map_err(|_| SqlError::error("22P04", "invalid field size"))?,
        };
        let Some(tail) = tail.get(bytes..) else { return Ok(None) };
        rest = tail;
    }
    Ok(Some(Tuple::Row(data.len() - rest.len())))
}

/// The nth field of a whole tuple.
pub(super) fn field(tuple: &[u8], number: usize) -> Field<'_> {
    let mut rest = tuple.get(2..).unwrap_or_default();
    for at in 0..=number {
        let Some((length, tail)) = rest.split_first_chunk::<4>() else { return Field::Missing };
        let value = match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(bytes) => tail.split_at_checked(bytes),
            Err(_) if at == number => return Field::Null,
            Err(_) => tail.split_at_checked(0),
        };
        let Some((value, tail)) = value else { return Field::Missing };
        if at == number {
            return Field::Value(value);
        }
        rest = tail;
    }
    Field::Missing
}
