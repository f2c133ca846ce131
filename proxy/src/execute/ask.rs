//! Owns what a server is sent for one part of a statement: a simple query, or the messages of the
//! unnamed statement with the client's values in the part's order.

use super::Call;
use crate::wire::error::SqlError;
use crate::wire::frame;
use bytes::{BufMut, BytesMut};

/// Which formats the columns of an answer have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Results {
    /// Those the client asked for.
    Client,
    /// Those, and one column more at the end as text.
    ClientAndHelper,
    /// All binary, whatever the client asked for and however.
    Binary,
}

/// What a Bind holds behind its names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Bind<'a> {
    /// Format codes of the values: none, one for all, or one each.
    formats: Vec<i16>,
    /// Values; `None` is NULL.
    values: Vec<Option<&'a [u8]>>,
    /// Format codes of the columns.
    pub(super) results: Vec<i16>,
}

impl<'a> Bind<'a> {
    /// Reads it.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, SqlError> {
        let malformed = || SqlError::error("08P01", "malformed Bind message");
        Self::take(body).ok_or_else(malformed)
    }

    fn take(body: &'a [u8]) -> Option<Self> {
        let (formats, mut rest) = codes(body)?;
        let (count, tail) = rest.split_first_chunk::<2>()?;
        rest = tail;
        let mut values = Vec::with_capacity(usize::from(u16::from_be_bytes(*count)));
        for _ in 0..u16::from_be_bytes(*count) {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            let value = match usize::try_from(i32::from_be_bytes(*length)) {
                Ok(length) => {
                    let (value, after) = tail.split_at_checked(length)?;
                    rest = after;
                    Some(value)
                }
                Err(_) => {
                    rest = tail;
                    None
                }
            };
            values.push(value);
        }
        let (results, rest) = codes(rest)?;
        rest.is_empty().then_some(Self { formats, values, results })
    }

    /// The values of these parameters, and their types as declared.
    pub(super) fn ordered(
        &self,
        order: &[u16],
        types: &[u32],
    ) -> Result<(Vec<Value<'a>>, Vec<u32>), SqlError> {
        let numbers = order.iter().map(|number| usize::from(*number));
        if numbers.clone().any(|number| number >= self.values.len()) {
            let message = format!("bind message supplies {} parameters", self.values.len());
            return Err(SqlError::error("08P01", message));
        }
        let declared = |number: usize| types.get(number).copied().unwrap_or(0);
        let values = numbers.clone().map(|number| self.value(number)).collect();
        Ok((values, numbers.map(declared).collect()))
    }

    fn value(&self, number: usize) -> Value<'a> {
        (self.format(number), self.values.get(number).copied().flatten())
    }

    /// The format of one value.
    fn format(&self, number: usize) -> i16 {
        match self.formats[..] {
            [] => 0,
            [all] => all,
            ref each => each.get(number).copied().unwrap_or(0),
        }
    }
}

fn codes(body: &[u8]) -> Option<(Vec<i16>, &[u8])> {
    let (count, rest) = body.split_first_chunk::<2>()?;
    let (codes, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*count)) * 2)?;
    let (codes, _) = codes.as_chunks::<2>();
    Some((codes.iter().map(|code| i16::from_be_bytes(*code)).collect(), rest))
}

/// A value of a parameter: its format, and the bytes.
pub(super) type Value<'a> = (i16, Option<&'a [u8]>);

/// Appends the messages for one part.
pub(super) fn put_call(
    out: &mut BytesMut,
    sql: &[u8],
    parameters: Option<&[u16]>,
    call: &Call<'_>,
    results: Results,
) -> Result<(), SqlError> {
    let (bind, types) = match call {
        Call::Portal { bind, types } => (Bind::read(bind)?, *types),
        Call::Simple if results == Results::Binary => (Bind::default(), &[][..]),
        Call::Simple => {
            frame::put_query(out, sql);
            return Ok(());
        }
    };
    let (values, types) = match parameters {
        Some(order) => bind.ordered(order, types)?,
        None => ((0..bind.values.len()).map(|number| bind.value(number)).collect(), types.to_vec()),
    };
    let codes = match results {
        Results::Binary => vec![1],
        Results::Client => bind.results,
        // One code, or none, goes for every column; as text, the helper is the same in both.
        Results::ClientAndHelper if bind.results.len() < 2 => bind.results,
        Results::ClientAndHelper => bind.results.iter().copied().chain([0]).collect(),
    };
    put_portal(out, sql, &types, &values, &codes);
    Ok(())
}

/// Appends Parse, Bind, Describe, Execute and Sync of the unnamed statement.
pub(super) fn put_portal(
    out: &mut BytesMut,
    sql: &[u8],
    types: &[u32],
    values: &[Value<'_>],
    codes: &[i16],
) {
    put_parse(out, sql, types);
    let mut body = BytesMut::with_capacity(64);
    body.put_slice(&[0, 0]);
    put_count(&mut body, values.len());
    values.iter().for_each(|(format, _)| body.put_i16(*format));
    put_count(&mut body, values.len());
    for (_, value) in values {
        match value {
            None => body.put_i32(-1),
            Some(value) => {
                body.put_u32(u32::try_from(value.len()).expect("invariant: messages are bounded"));
                body.put_slice(value);
            }
        }
    }
    put_count(&mut body, codes.len());
    codes.iter().for_each(|code| body.put_i16(*code));
    frame::put(out, b'B', &[&body]);
    frame::put(out, b'D', &[b"P\0"]);
    frame::put(out, b'E', &[b"\0\0\0\0\0"]);
    frame::put(out, b'S', &[]);
}

/// Appends Parse, Describe and Sync of the unnamed statement.
pub(super) fn put_describe(out: &mut BytesMut, sql: &[u8], types: &[u32]) {
    put_parse(out, sql, types);
    frame::put(out, b'D', &[b"S\0"]);
    frame::put(out, b'S', &[]);
}

/// Appends a Parse of the unnamed statement.
fn put_parse(out: &mut BytesMut, sql: &[u8], types: &[u32]) {
    let mut declared = BytesMut::with_capacity(2 + 4 * types.len());
    put_count(&mut declared, types.len());
    types.iter().for_each(|oid| declared.put_u32(*oid));
    frame::put(out, b'P', &[&[0], sql, &[0], &declared]);
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u16(u16::try_from(count).expect("invariant: counted in 16 bits where it came from"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formats 0 and 1; values "ab" and NULL; results 1 and 0.
    const BIND: &[u8] = b"\0\x02\0\0\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x02\0\x01\0\0";

    #[test]
    fn a_bind_is_read() {
        let bind = Bind::read(BIND).unwrap();
        assert_eq!((bind.format(0), bind.format(1)), (0, 1));
        assert_eq!(bind.values, [Some(&b"ab"[..]), None]);
        assert_eq!(bind.results, [1, 0]);
        for length in 0..BIND.len() {
            assert!(Bind::read(&BIND[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn values_are_put_in_the_parts_order() {
        let call = Call::Portal { bind: BIND, types: &[23] };
        let mut out = BytesMut::new();
        let order = Some(&[1, 0, 0][..]);
        put_call(&mut out, b"x", order, &call, Results::ClientAndHelper).unwrap();
        let parse = b"P\0\0\0\x15\0x\0\0\x03\0\0\0\0\0\0\0\x17\0\0\0\x17";
        assert_eq!(&out[..parse.len()], parse);
        let bind = frame::peek(&out[parse.len()..]).unwrap();
        let body = &out[parse.len() + 7..parse.len() + bind.total];
        let bind = Bind::read(body).unwrap();
        assert_eq!(bind.values, [None, Some(&b"ab"[..]), Some(&b"ab"[..])]);
        assert_eq!((bind.format(0), bind.format(1)), (1, 0));
        assert_eq!(bind.results, [1, 0, 0]);
        assert!(put_call(&mut out, b"x", Some(&[2]), &call, Results::Client).is_err());
    }
}
