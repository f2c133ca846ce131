//! Owns the values of one execution as the router takes them: literals of the text, and what a
//! Bind says.

pub(super) use crate::routing::literals;

use crate::wire::frame::{self, FrameError};
use pgmanifold_router::sharding::{Bound, Condition, Operand, Placing};
use smallvec::SmallVec;

/// Values of a Bind up to which nothing is allocated.
const USUAL_VALUES: usize = 8;

/// What a Bind says of its values, and what its Parse said of their types.
pub(super) struct BindValues<'a> {
    types: SmallVec<[u32; USUAL_VALUES]>,
    formats: SmallVec<[i16; USUAL_VALUES]>,
    values: SmallVec<[Option<&'a [u8]>; USUAL_VALUES]>,
}

impl<'a> BindValues<'a> {
    /// Reads a Bind after both names, and the types in the body of a Parse after its text.
    pub(super) fn read(body: &'a [u8], types: &[u8]) -> Result<Self, FrameError> {
        Self::try_read(body, types).ok_or(FrameError::Body(b'B'))
    }

    fn try_read(body: &'a [u8], types: &[u8]) -> Option<Self> {
        let (count, mut rest) = body.split_first_chunk::<2>()?;
        let mut formats = SmallVec::new();
        for _ in 0..u16::from_be_bytes(*count) {
            let (code, tail) = rest.split_first_chunk::<2>()?;
            formats.push(i16::from_be_bytes(*code));
            rest = tail;
        }
        let (count, tail) = rest.split_first_chunk::<2>()?;
        rest = tail;
        let mut values = SmallVec::new();
        for _ in 0..u16::from_be_bytes(*count) {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            rest = match usize::try_from(i32::from_be_bytes(*length)) {
                Err(_) => {
                    values.push(None);
                    tail
                }
                Ok(length) => {
                    let (value, tail) = tail.split_at_checked(length)?;
                    values.push(Some(value));
                    tail
                }
            };
        }
        Some(Self { types: oids(types).collect(), formats, values })
    }

    pub(super) fn bound(&self) -> Bound<'_> {
        Bound { types: &self.types, formats: &self.formats, values: &self.values }
    }
}

/// Types declared in the body of a Parse after its name.
pub(super) fn declared(definition: &[u8]) -> &[u8] {
    let types = frame::cstr(definition, b'P').map(|(_, tail)| tail).unwrap_or_default();
    types.get(2..).unwrap_or_default()
}

/// Type OIDs as they stand in a message.
pub(super) fn oids(types: &[u8]) -> impl Iterator<Item = u32> {
    types.chunks_exact(4).filter_map(|oid| Some(u32::from_be_bytes(*oid.first_chunk()?)))
}

/// Whether shards are chosen by literals of the text.
pub(super) fn needs_literals(placing: &Placing) -> bool {
    let is_literal = |operand: &Operand| matches!(operand, Operand::Literal { .. });
    let by_literal = |condition: &Condition| match condition {
        Condition::OneOf(operands) => operands.iter().any(is_literal),
        Condition::InArray(operand) => is_literal(operand),
        Condition::Between(from, to) => from.iter().chain(to).any(is_literal),
    };
    match placing {
        Placing::Keyed { filters, .. } => {
            let conditions = filters.iter().flat_map(|filter| &filter.conditions);
            conditions.into_iter().any(|(_, condition)| by_literal(condition))
        }
        Placing::Rows { keys, .. } => keys.iter().flatten().any(is_literal),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgmanifold_router::lexer::Dialect;

    #[test]
    fn a_bind_is_read_whole_or_not_at_all() {
        let body = b"\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\0";
        let read = BindValues::read(body, b"\0\0\0\x17").unwrap();
        let bound = read.bound();
        assert_eq!((bound.types, bound.formats), (&[23][..], &[1][..]));
        assert_eq!(bound.values, [Some(&b"ab"[..]), None]);
        assert!(BindValues::read(&body[..9], b"").is_err());
        assert_eq!(declared(b"select $1\0\0\x01\0\0\0\x17"), b"\0\0\0\x17");
        assert_eq!(declared(b""), b"");
    }

    #[test]
    fn literals_are_found_in_any_statement() {
        let found = literals(b"explain select 1, 'a', $1, $$b$$, x'1'", Dialect::default());
        assert_eq!(found.len(), 4);
    }
}
