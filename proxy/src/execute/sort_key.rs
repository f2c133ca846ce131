//! Owns the order of values of different servers: a value in PostgreSQL's binary form becomes
//! bytes that order, compared byte by byte, as PostgreSQL orders the values. Types whose order is
//! not known here are refused.

use pgmanifold_router::sharding::SortKey;

/// Why a row has no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyFault {
    /// A type (as OID) that is not ordered here.
    Type(u32),
    /// Text that reaches us in another encoding than it is ordered in.
    Encoding,
    /// Text that is not ordered byte by byte.
    Collation,
    /// Not what `record_send` gives, or not the same columns as in other rows.
    Malformed,
}

/// Reads sort keys of one statement.
#[derive(Debug, Clone)]
pub(super) struct KeyReader {
    keys: Vec<SortKey>,
    /// Types of the keys, known from the first row on; rows of all parts must have the same.
    types: Vec<u32>,
    /// Bytes of text are those that servers compare.
    text_as_stored: bool,
    record: Vec<u8>,
}

impl KeyReader {
    pub(super) fn new(keys: &[SortKey], text_as_stored: bool) -> Self {
        Self { keys: keys.to_vec(), types: Vec::new(), text_as_stored, record: Vec::new() }
    }

    /// Makes `key` the key of a row from its helper value: `record_send` in hexadecimal.
    pub(super) fn read(&mut self, helper: &[u8], key: &mut Vec<u8>) -> Result<(), KeyFault> {
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        let result = match decode_hex(helper, &mut record) {
            true => self.read_record(&record, key),
            false => Err(KeyFault::Malformed),
        };
        self.record = record;
        result
    }

    fn read_record(&mut self, record: &[u8], key: &mut Vec<u8>) -> Result<(), KeyFault> {
        key.clear();
        let (count, mut rest) = record.split_first_chunk::<4>().ok_or(KeyFault::Malformed)?;
        if usize::try_from(i32::from_be_bytes(*count)) != Ok(self.keys.len()) {
            return Err(KeyFault::Malformed);
        }
        for number in 0..self.keys.len() {
            let (oid, tail) = rest.split_first_chunk::<4>().ok_or(KeyFault::Malformed)?;
            let (length, tail) = tail.split_first_chunk::<4>().ok_or(KeyFault::Malformed)?;
            let oid = u32::from_be_bytes(*oid);
            self.check_type(number, oid)?;
            let value = match usize::try_from(i32::from_be_bytes(*length)) {
                Ok(length) => {
                    let (value, tail) = tail.split_at_checked(length).ok_or(KeyFault::Malformed)?;
                    rest = tail;
                    Some(value)
                }
                Err(_) => {
                    rest = tail;
                    None
                }
            };
            put_key(key, self.keys[number], oid, value)?;
        }
        if rest.is_empty() { Ok(()) } else { Err(KeyFault::Malformed) }
    }

    fn check_type(&mut self, number: usize, oid: u32) -> Result<(), KeyFault> {
        match self.types.get(number) {
            Some(known) if *known == oid => Ok(()),
            Some(_) => Err(KeyFault::Malformed),
            None if !is_ordered(oid) => Err(KeyFault::Type(oid)),
            None if is_text(oid) && !self.keys[number].byte_order => Err(KeyFault::Collation),
            None if is_text(oid) && !self.text_as_stored => Err(KeyFault::Encoding),
            None => {
                self.types.push(oid);
                Ok(())
            }
        }
    }
}

fn decode_hex(text: &[u8], out: &mut Vec<u8>) -> bool {
    let digit = |letter: u8| match letter {
        b'0'..=b'9' => letter - b'0',
        b'a'..=b'f' => letter - b'a' + 10,
        _ => 0xff,
    };
    let (pairs, rest) = text.as_chunks::<2>();
    let mut wrong = 0;
    out.extend(pairs.iter().map(|&[high, low]| {
        let (high, low) = (digit(high), digit(low));
        wrong |= (high | low) & 0xf0;
        high << 4 | low & 0x0f
    }));
    rest.is_empty() && wrong == 0
}

const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const CHAR: u32 = 18;
const NAME: u32 = 19;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const OID: u32 = 26;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const VARCHAR: u32 = 1043;
const DATE: u32 = 1082;
const TIME: u32 = 1083;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;

fn is_text(oid: u32) -> bool {
    matches!(oid, NAME | TEXT | VARCHAR)
}

fn is_ordered(oid: u32) -> bool {
    is_text(oid)
        || matches!(oid, BOOL | BYTEA | CHAR | INT8 | INT2 | INT4 | OID | FLOAT4 | FLOAT8)
        || matches!(oid, DATE | TIME | TIMESTAMP | TIMESTAMPTZ | NUMERIC | UUID)
}

/// Appends one value. No value's bytes are the beginning of another's, so that the next column
/// does not decide too early.
fn put_key(
    out: &mut Vec<u8>,
    key: SortKey,
    oid: u32,
    value: Option<&[u8]>,
) -> Result<(), KeyFault> {
    out.push(u8::from(value.is_none() != key.nulls_first));
    let Some(value) = value else { return Ok(()) };
    let start = out.len();
    put_value(out, oid, value).ok_or(KeyFault::Malformed)?;
    if key.descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    Ok(())
}

fn put_value(out: &mut Vec<u8>, oid: u32, value: &[u8]) -> Option<()> {
    match oid {
        INT2 => out.extend((i16::from_be_bytes(value.try_into().ok()?) ^ i16::MIN).to_be_bytes()),
        INT4 | DATE => {
            out.extend((i32::from_be_bytes(value.try_into().ok()?) ^ i32::MIN).to_be_bytes());
        }
        INT8 | TIME | TIMESTAMP | TIMESTAMPTZ => {
            out.extend((i64::from_be_bytes(value.try_into().ok()?) ^ i64::MIN).to_be_bytes());
        }
        BOOL | CHAR => out.extend(<[u8; 1]>::try_from(value).ok()?),
        OID => out.extend(<[u8; 4]>::try_from(value).ok()?),
        UUID => out.extend(<[u8; 16]>::try_from(value).ok()?),
        FLOAT4 => put_float(out, f64::from(f32::from_be_bytes(value.try_into().ok()?))),
        FLOAT8 => put_float(out, f64::from_be_bytes(value.try_into().ok()?)),
        NAME | TEXT | VARCHAR => put_text(out, value)?,
        BYTEA => put_bytea(out, value),
        NUMERIC => put_numeric(out, value)?,
        _ => return None,
    }
    Some(())
}

/// NaN is above all and equal to itself; both zeros are equal.
fn put_float(out: &mut Vec<u8>, value: f64) {
    let value = match value {
        value if value.is_nan() => f64::NAN.copysign(1.0),
        0.0 => 0.0,
        value => value,
    };
    let bits = value.to_bits();
    let bits = if value.is_sign_negative() { !bits } else { bits | 1 << 63 };
    out.extend(bits.to_be_bytes());
}

/// Text holds no zero byte: one ends it below everything that goes on.
fn put_text(out: &mut Vec<u8>, value: &[u8]) -> Option<()> {
    if memchr::memchr(0, value).is_some() {
        return None;
    }
    out.extend_from_slice(value);
    out.push(0);
    Some(())
}

/// A zero byte is followed by 1, the end is 0 0.
fn put_bytea(out: &mut Vec<u8>, value: &[u8]) {
    let mut rest = value;
    while let Some(at) = memchr::memchr(0, rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(1);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
}

/// Class (which tells the sign), weight of the first digit, digits in base 10000 plus one, zero.
/// Behind a negative class all is inverted.
fn put_numeric(out: &mut Vec<u8>, value: &[u8]) -> Option<()> {
    const NEGATIVE: u16 = 0x4000;
    let (header, digits) = value.split_first_chunk::<8>()?;
    let [n0, n1, w0, w1, s0, s1, _, _] = *header;
    let (count, weight) = (u16::from_be_bytes([n0, n1]), i16::from_be_bytes([w0, w1]));
    let (mut digits, rest) = digits.as_chunks::<2>();
    if digits.len() != usize::from(count) || !rest.is_empty() {
        return None;
    }
    let (negative, special) = match u16::from_be_bytes([s0, s1]) {
        0 => (false, None),
        NEGATIVE => (true, None),
        0xf000 => (true, Some(0)),
        0xd000 => (false, Some(4)),
        0xc000 => (false, Some(5)),
        _ => return None,
    };
    let mut weight = i32::from(weight);
    while let [[0, 0], rest @ ..] = digits {
        (digits, weight) = (rest, weight - 1);
    }
    while let [rest @ .., [0, 0]] = digits {
        digits = rest;
    }
    if special.is_some() || digits.is_empty() {
        out.push(special.unwrap_or(2));
        return Some(());
    }
    out.push(if negative { 1 } else { 3 });
    let start = out.len();
    out.extend((weight ^ i32::MIN).to_be_bytes());
    for digit in digits {
        out.extend((u16::from_be_bytes(*digit).checked_add(1)?).to_be_bytes());
    }
    out.extend([0, 0]);
    if negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    Some(())
}

#[cfg(test)]
mod tests;
