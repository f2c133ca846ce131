//! Owns the columns of a part's answer: what RowDescription says of them, whether parts agree,
//! and the cutting of the helper column, which is always the last one.

use crate::wire::frame;
use bytes::{BufMut, BytesMut};

/// OIDs from here on are given to what users create: they differ from server to server.
const FIRST_USER_OID: u32 = 16_384;

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// Its type.
    pub(super) type_oid: u32,
    /// Bytes of a value in memory, negative when it varies.
    type_bytes: i16,
    /// Where its description begins in the body, and where its name ends.
    at: (usize, usize),
}

/// A RowDescription.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    body: Vec<u8>,
    /// In order.
    pub(super) list: Vec<Column>,
}

/// Bytes of a column's description behind its name.
const FACTS_BYTES: usize = 18;

impl Columns {
    /// Reads the body of a RowDescription.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let (count, mut rest) = body.split_first_chunk::<2>()?;
        let mut list = Vec::new();
        for _ in 0..u16::from_be_bytes(*count) {
            let start = body.len() - rest.len();
            let (_, tail) = frame::cstr(rest, b'T').ok()?;
            let name_end = body.len() - tail.len();
            let (facts, tail) = tail.split_first_chunk::<FACTS_BYTES>()?;
            let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *facts;
            list.push(Column {
                type_oid: u32::from_be_bytes([a, b, c, d]),
                type_bytes: i16::from_be_bytes([e, f]),
                at: (start, name_end),
            });
            rest = tail;
        }
        rest.is_empty().then(|| Self { body: body.to_vec(), list })
    }

    /// Without the last column; as it is when there is none.
    pub(super) fn without_last(mut self) -> Self {
        let Some(last) = self.list.pop() else { return self };
        self.body.truncate(last.at.0);
        let count = u16::try_from(self.list.len()).unwrap_or(u16::MAX);
        self.body[..2].copy_from_slice(&count.to_be_bytes());
        self
    }

    /// Writes the format codes of a Bind into the columns: none, one for all, or one each.
    pub(super) fn set_formats(&mut self, codes: &[i16]) {
        for (number, column) in self.list.iter().enumerate() {
            let code = match codes {
                [] => 0,
                [all] => *all,
                each => each.get(number).copied().unwrap_or(0),
            };
            let at = column.at.1 + FACTS_BYTES - 2;
            self.body[at..at + 2].copy_from_slice(&code.to_be_bytes());
        }
    }

    /// Appends the RowDescription.
    pub(super) fn put(&self, out: &mut BytesMut) {
        frame::put(out, b'T', &[&self.body]);
    }

    /// A single column of type text.
    pub(super) fn is_one_text(&self) -> bool {
        const TEXT_OID: u32 = 25;
        matches!(self.list[..], [Column { type_oid: TEXT_OID, .. }])
    }

    /// How another part's columns differ so that their rows cannot be one answer, as a sentence
    /// without its end.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        if self.list.len() != other.list.len() {
            return Some(format!("{} columns and {} columns", self.list.len(), other.list.len()));
        }
        let differs = |(ours, theirs): &(&Column, &Column)| !ours.is_like(theirs);
        let at = self.list.iter().zip(&other.list).position(|pair| differs(&pair))?;
        let name = self.body.get(self.list[at].at.0..self.list[at].at.1 - 1).unwrap_or_default();
        let oids = (self.list[at].type_oid, other.list[at].type_oid);
        let name = String::from_utf8_lossy(name);
        Some(format!("column \"{name}\" has the types {} and {}", oids.0, oids.1))
    }
}

impl Column {
    /// The same type, as far as the wire tells: a type that users made has another OID on each
    /// server.
    fn is_like(&self, other: &Self) -> bool {
        let both_users = self.type_oid >= FIRST_USER_OID && other.type_oid >= FIRST_USER_OID;
        (self.type_oid == other.type_oid || both_users) && self.type_bytes == other.type_bytes
    }
}

/// A DataRow's body up to its last column, and that column's value. `None` when the row has no
/// columns or is malformed.
pub(super) fn split_last(body: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let count = u16::from_be_bytes(*count);
    for _ in 1..count {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        rest = match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => tail.get(length..)?,
            Err(_) => tail,
        };
    }
    let front = &body[..body.len() - rest.len()];
    let (length, value) = rest.split_first_chunk::<4>()?;
    let value = match usize::try_from(i32::from_be_bytes(*length)) {
        Ok(length) => Some(value).filter(|value| value.len() == length && count > 0)?,
        Err(_) => return (value.is_empty() && count > 0).then_some((front, None)),
    };
    Some((front, Some(value)))
}

/// Appends the DataRow whose body, but the last column, is `front`.
pub(super) fn put_cut_row(out: &mut BytesMut, front: &[u8]) {
    let Some((count, values)) = front.split_first_chunk::<2>() else { return };
    out.reserve(5 + front.len());
    out.put_u8(b'D');
    out.put_u32(u32::try_from(4 + front.len()).expect("invariant: shorter than the row it was"));
    out.put_u16(u16::from_be_bytes(*count).saturating_sub(1));
    out.put_slice(values);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn description(columns: &[(&str, u32)]) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u16(columns.len() as u16);
        for (name, oid) in columns {
            body.put_slice(name.as_bytes());
            body.put_slice(b"\0\0\0\x40\x01\0\x01");
            body.put_u32(*oid);
            body.put_slice(b"\0\x04\xff\xff\xff\xff\0\0");
        }
        body
    }

    #[test]
    fn the_last_column_goes() {
        let columns = Columns::read(&description(&[("a", 23), ("b", 25)])).unwrap();
        assert_eq!(columns.without_last().body, description(&[("a", 23)]));
        assert!(Columns::read(&description(&[("a", 23)])[..20]).is_none());
    }

    #[test]
    fn parts_that_differ_are_told() {
        let read = |columns: &[(&str, u32)]| Columns::read(&description(columns)).unwrap();
        let ours = read(&[("a", 23), ("b", 25)]);
        assert_eq!(ours.difference(&read(&[("x", 23), ("y", 25)])), None);
        assert_eq!(
            ours.difference(&read(&[("a", 23), ("b", 20)])).unwrap(),
            "column \"b\" has the types 25 and 20"
        );
        assert!(ours.difference(&read(&[("a", 23)])).is_some());
        let users = (read(&[("e", 16_400)]), read(&[("e", 17_000)]));
        assert_eq!(users.0.difference(&users.1), None);
        assert!(read(&[("e", 16_383)]).difference(&users.1).is_some());
    }

    #[test]
    fn formats_are_written() {
        let mut columns = Columns::read(&description(&[("a", 23), ("bc", 25)])).unwrap();
        columns.set_formats(&[0, 1]);
        let again = Columns::read(&columns.body).unwrap();
        assert_eq!(columns.body[columns.body.len() - 2..], [0, 1]);
        assert_eq!(again.list, columns.list);
        columns.set_formats(&[1]);
        assert_eq!(columns.body[2 + 2 + 16..][..2], [0, 1]);
    }

    proptest! {
        #[test]
        fn rows_lose_their_last_value_only(
            values in proptest::collection::vec(
                proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)), 1..8),
            cut in 1..8_usize,
        ) {
            let mut body = Vec::new();
            body.put_u16(values.len() as u16);
            for value in &values {
                body.put_i32(value.as_ref().map_or(-1, |value| value.len() as i32));
                body.extend_from_slice(value.as_deref().unwrap_or_default());
            }
            let (front, last) = split_last(&body).unwrap();
            prop_assert_eq!(last, values.last().unwrap().as_deref());
            let mut out = BytesMut::new();
            put_cut_row(&mut out, front);
            let header = frame::peek(&out).unwrap();
            prop_assert_eq!((header.kind, header.total), (b'D', out.len()));
            let left = frame::data_row(&out[5..]).unwrap();
            prop_assert_eq!(left.len(), values.len() - 1);
            for (left, value) in left.iter().zip(&values) {
                prop_assert_eq!(*left, value.as_deref());
            }
            prop_assert!(split_last(&body[..body.len().saturating_sub(cut)]).is_none_or(
                |(_, last)| last != values.last().unwrap().as_deref() || cut == 0));
        }
    }
}
