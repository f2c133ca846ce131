//! Owns PostgreSQL's binary form of `numeric`: digits to the base 10000 (`numeric_send`).

use bytes::{BufMut, BytesMut};

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// Decimal digits in one digit of the base.
const GROUP: usize = 4;

/// The text form of a float, as PostgreSQL writes it.
pub(super) fn text(number: f64) -> String {
    match number {
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        number => number.to_string(),
    }
}

/// Appends the value of a decimal text; `None` when it is none.
pub(super) fn put(out: &mut BytesMut, text: &str) -> Option<()> {
    let special = match text {
        "NaN" => Some(NAN),
        "Infinity" => Some(INFINITY),
        "-Infinity" => Some(MINUS_INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        out.put_slice(&[0; 4]);
        out.put_u16(sign);
        out.put_u16(0);
        return Some(());
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (NEGATIVE, digits),
        None => (0, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let decimal = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !decimal(whole) || !decimal(fraction) {
        return None;
    }
    let front = whole.len().next_multiple_of(GROUP);
    let back = fraction.len().next_multiple_of(GROUP);
    let padded = format!("{whole:0>front$}{fraction:0<back$}");
    let groups = padded.as_bytes().chunks(GROUP);
    let mut groups: Vec<u16> =
        groups.map(|group| group.iter().fold(0, |sum, b| sum * 10 + u16::from(b - b'0'))).collect();
    let mut weight = i16::try_from(front / GROUP).ok()? - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= i16::try_from(leading).ok()?;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    out.put_i16(i16::try_from(groups.len()).ok()?);
    out.put_i16(weight);
    out.put_u16(if groups.is_empty() { 0 } else { sign });
    out.put_i16(i16::try_from(fraction.len()).ok()?);
    groups.into_iter().for_each(|group| out.put_u16(group));
    Some(())
}
