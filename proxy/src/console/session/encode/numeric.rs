//! Owns PostgreSQL's binary form of `numeric`: digits to the base 10000 (`numeric_send`).

use bytes::{Buf, BufMut, BytesMut};

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// Decimal digits in one digit of the base.
const GROUP: usize = 4;

/// The text form of a float, as PostgreSQL writes it.
pub(in crate::console::session) fn text(number: f64) -> String {
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

/// The decimal text of a binary value; `None` when it is malformed.
pub(in crate::console::session) fn read(mut bytes: &[u8]) -> Option<String> {
    let count = bytes.try_get_u16().ok()?;
    let weight = bytes.try_get_i16().ok()?;
    let (sign, scale) = (bytes.try_get_u16().ok()?, bytes.try_get_u16().ok()?);
    if bytes.len() != usize::from(count) * 2 {
        return None;
    }
    match sign {
        0 | NEGATIVE => {}
        NAN => return Some("NaN".into()),
        INFINITY => return Some("Infinity".into()),
        MINUS_INFINITY => return Some("-Infinity".into()),
        _ => return None,
    }
    let groups: Vec<u16> = bytes
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte)))
        .collect();
    let known = groups.iter().all(|group| *group < 10_000);
    let small = (-MAX_GROUPS..MAX_GROUPS).contains(&i32::from(weight)) && scale <= MAX_SCALE;
    if !known || !small {
        return None;
    }
    let group = |place: i32| {
        let index = usize::try_from(i32::from(weight) - place).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or_default()
    };
    let whole: String =
        (0..=i32::from(weight).max(0)).rev().map(|place| format!("{:04}", group(place))).collect();
    let places = i32::from(scale.div_ceil(GROUP as u16));
    let fraction: String = (1..=places).map(|place| format!("{:04}", group(-place))).collect();
    let whole = Some(whole.trim_start_matches('0')).filter(|digits| !digits.is_empty());
    let minus = if sign == NEGATIVE { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    let fraction = fraction.get(..usize::from(scale))?;
    Some(format!("{minus}{}{point}{fraction}", whole.unwrap_or("0")))
}

/// The largest values that are read: of more digits than the console computes with.
const MAX_GROUPS: i32 = 100;
const MAX_SCALE: u16 = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in
            ["0", "0.00", "1", "-12345678", "120000", "0.00012", "-0.5", "10.25", "NaN", "Infinity"]
        {
            let mut out = BytesMut::new();
            put(&mut out, text).expect(text);
            assert_eq!(read(&out).as_deref(), Some(text));
            assert_eq!(read(&out[..out.len() - 1]), None);
        }
        assert_eq!(read(&[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10]), None, "a digit of 10000");
        assert_eq!(read(&[0, 0, 0x7f, 0xff, 0, 0, 0, 0]), None, "a weight that is too large");
    }
}
