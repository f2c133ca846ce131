//! Owns the reading of arrays that hold values of a key: `'{…}'` and bound arrays, as text or
//! binary. What has another form is not known.

use super::{Operand, Values};
use crate::key::{self, KeyType, KeyValue, Reading};
use crate::lexer::{Encoding, TokenKind};

/// Most elements that are looked at.
const MAX_ELEMENTS: usize = 100_000;
/// OID of a value whose type is left to the server.
const UNKNOWN_OID: u32 = 705;

/// The elements of an array that are not NULL; `None` when they are not known.
pub(super) fn read(operand: Operand, ty: KeyType, values: &Values<'_>) -> Option<Vec<KeyValue>> {
    match operand {
        // Nothing is an element of NULL.
        Operand::Null => Some(Vec::new()),
        Operand::Literal { at, .. } => {
            let token = values.literals.get(usize::from(at))?;
            if matches!(token.kind, TokenKind::BitString | TokenKind::HexString) {
                return None;
            }
            let text = key::literal_text(token, values.sql, values.dialect)?;
            from_text(text.as_bytes(), 0, ty, Encoding::Utf8)
        }
        Operand::Parameter(number) => {
            let bound = values.bound?;
            let index = usize::from(number).checked_sub(1)?;
            let Some(value) = bound.values.get(index)? else { return Some(Vec::new()) };
            let declared = match bound.types.get(index).copied().unwrap_or(0) {
                0 | UNKNOWN_OID => 0,
                array => element_of(array)?,
            };
            let format = match bound.formats {
                [] => 0,
                [all] => *all,
                each => each.get(index).copied().unwrap_or(0),
            };
            match format {
                0 => from_text(value, declared, ty, values.dialect.encoding),
                1 => from_binary(value, ty, values.dialect.encoding),
                _ => None,
            }
        }
    }
}

/// The type of an array's elements, for the types that keys have.
fn element_of(array: u32) -> Option<u32> {
    Some(match array {
        1001 => 17,
        1005 => 21,
        1007 => 23,
        1009 => 25,
        1015 => 1043,
        1016 => 20,
        1182 => 1082,
        1185 => 1184,
        2951 => 2950,
        _ => return None,
    })
}

fn from_text(text: &[u8], declared: u32, ty: KeyType, encoding: Encoding) -> Option<Vec<KeyValue>> {
    let inside = text.trim_ascii().strip_prefix(b"{")?.strip_suffix(b"}")?;
    let mut keys = Vec::new();
    let mut at = 0;
    if inside.trim_ascii().is_empty() {
        return Some(keys);
    }
    loop {
        let (element, next) = element(inside, at)?;
        if let Some(element) = element {
            match key::read_parameter(ty, declared, 0, Some(&element), encoding) {
                Reading::Value(value) => keys.push(value),
                Reading::Null | Reading::Unknown => return None,
            }
        }
        if keys.len() > MAX_ELEMENTS {
            return None;
        }
        match inside.get(next) {
            None => return Some(keys),
            Some(b',') => at = next + 1,
            Some(_) => return None,
        }
    }
}

/// One element and where it ends; no element for NULL.
fn element(text: &[u8], from: usize) -> Option<(Option<Vec<u8>>, usize)> {
    let blank = |at: &usize| text.get(*at).is_some_and(u8::is_ascii_whitespace);
    let mut at = from;
    while blank(&at) {
        at += 1;
    }
    let mut value = Vec::new();
    if text.get(at) == Some(&b'"') {
        at += 1;
        loop {
            match text.get(at)? {
                b'"' => break,
                b'\\' => {
                    value.push(*text.get(at + 1)?);
                    at += 2;
                }
                byte => {
                    value.push(*byte);
                    at += 1;
                }
            }
        }
        at += 1;
        while blank(&at) {
            at += 1;
        }
        return Some((Some(value), at));
    }
    while let Some(byte) = text.get(at).filter(|byte| **byte != b',') {
        // A nested array, a quote inside, an escape: all of them rare.
        if matches!(byte, b'{' | b'}' | b'"' | b'\\') {
            return None;
        }
        value.push(*byte);
        at += 1;
    }
    let value = value.trim_ascii_end();
    match value {
        [] => None,
        value if value.eq_ignore_ascii_case(b"null") => Some((None, at)),
        value => Some((Some(value.to_vec()), at)),
    }
}

/// The format of `array_send`: dimensions, a flag, the elements' type, sizes, elements.
fn from_binary(bytes: &[u8], ty: KeyType, encoding: Encoding) -> Option<Vec<KeyValue>> {
    let mut rest = bytes;
    let dimensions = number(&mut rest)?;
    let _has_null = number(&mut rest)?;
    let declared = u32::try_from(number(&mut rest)?).ok()?;
    if dimensions == 0 {
        return rest.is_empty().then(Vec::new);
    }
    if dimensions != 1 {
        return None;
    }
    let count = usize::try_from(number(&mut rest)?).ok().filter(|count| *count <= MAX_ELEMENTS)?;
    let _lower_bound = number(&mut rest)?;
    let mut keys = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        let length = number(&mut rest)?;
        if length == -1 {
            continue;
        }
        let (element, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        rest = after;
        match key::read_parameter(ty, declared, 1, Some(element), encoding) {
            Reading::Value(value) => keys.push(value),
            Reading::Null | Reading::Unknown => return None,
        }
    }
    rest.is_empty().then_some(keys)
}

fn number(rest: &mut &[u8]) -> Option<i32> {
    let (first, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(i32::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(text: &str) -> Option<Vec<i64>> {
        let keys = from_text(text.as_bytes(), 0, KeyType::Int8, Encoding::Utf8)?;
        let int = |key| match key {
            KeyValue::Int(number) => number,
            _ => panic!("an integer"),
        };
        Some(keys.into_iter().map(int).collect())
    }

    #[test]
    fn text_arrays_are_read_as_the_server_reads_them() {
        assert_eq!(ints("{1,2, 3 }"), Some(vec![1, 2, 3]));
        assert_eq!(ints(" {\"1\",null,-5} "), Some(vec![1, -5]));
        assert_eq!(ints("{}"), Some(vec![]));
        for unknown in ["{1,,2}", "{{1},{2}}", "[1:1]={1}", "1,2", "{1}x", "{1.5}", "{\"1\"2}"] {
            assert_eq!(ints(unknown), None, "{unknown}");
        }
        let texts = from_text(br#"{a b,"c,\"d",NULL,"NULL"}"#, 0, KeyType::Text, Encoding::Utf8);
        let texts = texts.unwrap();
        let wanted = ["a b", "c,\"d", "NULL"].map(|text| KeyValue::Text(text.into()));
        assert_eq!(texts, wanted);
    }

    #[test]
    fn binary_arrays_are_read() {
        let mut bytes = Vec::new();
        for number in [1_i32, 1, 20, 2, 1, 8] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(7_i64.to_be_bytes());
        bytes.extend((-1_i32).to_be_bytes());
        let keys = from_binary(&bytes, KeyType::Int8, Encoding::Utf8);
        assert_eq!(keys, Some(vec![KeyValue::Int(7)]));
        bytes.push(0);
        assert_eq!(from_binary(&bytes, KeyType::Int8, Encoding::Utf8), None);
    }
}
