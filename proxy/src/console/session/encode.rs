//! Owns the form in which answers are sent: RowDescription and DataRow, values as text and in
//! binary (manual, section "Formats and Format Codes").

pub(super) mod numeric;

use crate::wire::error::SqlError;
use crate::wire::protocol::put_frame;
use bytes::{BufMut, BytesMut};
use pgmanifold_console::answer::OutColumn;
use pgmanifold_console::{Kind, Value};

/// Which columns are sent in binary.
#[derive(Debug, Clone, Default)]
pub(super) struct Formats(Vec<i16>);

impl Formats {
    /// As Bind says them: none for all text, one for all, or one for each.
    pub(super) fn new(codes: Vec<i16>) -> Option<Self> {
        codes.iter().all(|code| matches!(code, 0 | 1)).then_some(Self(codes))
    }

    /// False when there are neither none, nor one, nor one for each of `columns`.
    pub(super) fn fit(&self, columns: usize) -> bool {
        self.0.len() <= 1 || self.0.len() == columns
    }

    fn of(&self, column: usize) -> i16 {
        match self.0.as_slice() {
            [] => 0,
            [all] => *all,
            each => each.get(column).copied().unwrap_or_default(),
        }
    }
}

/// Appends RowDescription.
pub(super) fn put_columns(out: &mut BytesMut, columns: &[OutColumn], formats: &Formats) {
    put_frame(out, b'T', |out| {
        put_count(out, columns.len());
        for (place, column) in columns.iter().enumerate() {
            out.put_slice(column.name.as_bytes());
            out.put_u8(0);
            // No table, no column of one.
            out.put_u32(0);
            out.put_i16(0);
            out.put_u32(column.kind.oid());
            out.put_i16(column.kind.size());
            out.put_i32(-1);
            out.put_i16(formats.of(place));
        }
    });
}

/// Appends DataRow.
///
/// # Errors
/// When a value does not fit its column; nothing is appended then.
pub(super) fn put_row(
    out: &mut BytesMut,
    columns: &[OutColumn],
    row: &[Value],
    formats: &Formats,
) -> Result<(), SqlError> {
    let before = out.len();
    let mut wrong = None;
    put_frame(out, b'D', |out| {
        put_count(out, columns.len());
        for (place, column) in columns.iter().enumerate() {
            let value = row.get(place).unwrap_or(&Value::Null);
            if let Value::Null = value {
                out.put_i32(-1);
                continue;
            }
            let start = out.len();
            out.put_i32(0);
            let fits = match formats.of(place) {
                0 => put_text(out, column.kind, value),
                _ => put_binary(out, column.kind, value),
            };
            let length = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
            if let Some(slot) = out.get_mut(start..start + 4) {
                slot.copy_from_slice(&length.to_be_bytes());
            }
            if fits.is_none() {
                wrong = Some(column);
            }
        }
    });
    let Some(column) = wrong else { return Ok(()) };
    out.truncate(before);
    let kind = column.kind.name();
    let message = format!("a value of column \"{}\" is no {kind}", column.name);
    Err(SqlError::error("22P03", message).hint("Ask for results in text, or cast the column."))
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_i16(i16::try_from(count).expect("invariant: SQLite has fewer columns"));
}

fn put_text(out: &mut BytesMut, kind: Kind, value: &Value) -> Option<()> {
    match (kind, value) {
        (Kind::Int4, Value::Int(number)) => out.put_slice(int4(*number).to_string().as_bytes()),
        (Kind::Bool, Value::Int(number)) => out.put_slice(if *number == 0 { b"f" } else { b"t" }),
        (_, Value::Float(number)) => out.put_slice(numeric::text(*number).as_bytes()),
        (_, value) => out.put_slice(value.to_string().as_bytes()),
    }
    Some(())
}

fn put_binary(out: &mut BytesMut, kind: Kind, value: &Value) -> Option<()> {
    match kind {
        Kind::Text => put_text(out, kind, value)?,
        Kind::Int4 => out.put_i32(int4(whole(value)?)),
        Kind::Int8 => out.put_i64(whole(value)?),
        Kind::Bool => out.put_u8(u8::from(whole(value)? != 0)),
        Kind::Float8 => out.put_f64(match value {
            Value::Float(number) => *number,
            Value::Int(number) => *number as f64,
            other => other.to_string().parse().ok()?,
        }),
        Kind::Numeric => {
            let text = match value {
                Value::Float(number) => numeric::text(*number),
                other => other.to_string(),
            };
            numeric::put(out, &text)?;
        }
    }
    Some(())
}

/// Counters that outgrow the column PgBouncer gives them stay at the most it holds.
fn int4(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Bool(is) => Some(i64::from(*is)),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Some(*number as i64)
        }
        Value::Float(_) | Value::Null => None,
        Value::Text(text) => text.parse().ok(),
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
