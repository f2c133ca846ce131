//! Owns the hash of shard keys: PostgreSQL's own extended hash functions with seed 0, so that a
//! server computes the same number with nothing installed. It must not know maps or ranges.
//!
//! Follows `src/common/hashfn.c`, which is Bob Jenkins' lookup3, as a little-endian machine runs
//! it. The hash of several columns is PostgreSQL's of a record of them (`hash_record_extended`):
//! from zero, each column's hash is added to 31 times what there is.

use crate::key::{KeyType, KeyValue};
use std::fmt::Write;

/// What lookup3 begins with, without the length: `0x9e3779b9 + 3923095`.
const START: u32 = 0x9e37_79b9_u32.wrapping_add(3_923_095);
/// Bytes that are mixed in at once.
const BLOCK_BYTES: usize = 12;
/// What the hash of a record multiplies with from column to column.
const RECORD_FACTOR: u64 = 31;

/// The hash of a key of one or several columns.
pub fn hash_key(key: &[KeyValue]) -> i64 {
    let hash = key.iter().fold(0_u64, |hash, value| {
        hash.wrapping_mul(RECORD_FACTOR).wrapping_add(hash_value(value).cast_unsigned())
    });
    hash.cast_signed()
}

/// The hash of one value.
pub fn hash_value(value: &KeyValue) -> i64 {
    match value {
        KeyValue::Int(number) | KeyValue::Timestamptz(number) => hash_int8(*number),
        KeyValue::Date(days) => hash_int4(*days),
        KeyValue::Text(text) => hash_bytes(text.as_bytes()),
        KeyValue::Uuid(bytes) => hash_bytes(bytes),
        KeyValue::Bytea(bytes) => hash_bytes(bytes),
    }
}

/// `hashint8extended(number, 0)`, which agrees with `hashint4extended` and `hashint2extended`.
pub fn hash_int8(number: i64) -> i64 {
    // Both halves, as two's complement has them: the truncations are meant.
    let low = number as u32;
    let high = (number >> 32) as u32;
    hash_word(low ^ if number >= 0 { high } else { !high })
}

/// `hashint4extended(number, 0)`
pub fn hash_int4(number: i32) -> i64 {
    hash_word(number.cast_unsigned())
}

/// `hash_bytes_extended(bytes, 0)`, the hash of text, bytea and uuid.
pub fn hash_bytes(bytes: &[u8]) -> i64 {
    // PostgreSQL's values are shorter than 1 GiB; the length wraps there as here.
    let start = START.wrapping_add(bytes.len() as u32);
    let mut state = State { a: start, b: start, c: start };
    let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    for block in blocks {
        let [a, b, c] = words(block);
        state.add(a, b, c);
        state.mix();
    }
    let mut last = [0; BLOCK_BYTES];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let [a, b, c] = words(&last);
    // The lowest byte of the last word is left to the length.
    state.add(a, b, c << 8);
    state.finish()
}

/// `hash_bytes_uint32_extended(word, 0)`
fn hash_word(word: u32) -> i64 {
    let start = START.wrapping_add(4);
    State { a: start.wrapping_add(word), b: start, c: start }.finish()
}

/// A block as three little-endian words.
fn words(block: &[u8; BLOCK_BYTES]) -> [u32; 3] {
    let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3] = *block;
    [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3]].map(u32::from_le_bytes)
}

struct State {
    a: u32,
    b: u32,
    c: u32,
}

impl State {
    fn add(&mut self, a: u32, b: u32, c: u32) {
        self.a = self.a.wrapping_add(a);
        self.b = self.b.wrapping_add(b);
        self.c = self.c.wrapping_add(c);
    }

    fn mix(&mut self) {
        let Self { mut a, mut b, mut c } = *self;
        for (first, second, third) in [(4, 6, 8), (16, 19, 4)] {
            a = a.wrapping_sub(c) ^ c.rotate_left(first);
            c = c.wrapping_add(b);
            b = b.wrapping_sub(a) ^ a.rotate_left(second);
            a = a.wrapping_add(c);
            c = c.wrapping_sub(b) ^ b.rotate_left(third);
            b = b.wrapping_add(a);
        }
        *self = Self { a, b, c };
    }

    fn finish(self) -> i64 {
        let Self { mut a, mut b, mut c } = self;
        c = (c ^ b).wrapping_sub(b.rotate_left(14));
        a = (a ^ c).wrapping_sub(c.rotate_left(11));
        b = (b ^ a).wrapping_sub(a.rotate_left(25));
        c = (c ^ b).wrapping_sub(b.rotate_left(16));
        a = (a ^ c).wrapping_sub(c.rotate_left(4));
        b = (b ^ a).wrapping_sub(a.rotate_left(14));
        c = (c ^ b).wrapping_sub(b.rotate_left(24));
        ((u64::from(b) << 32) | u64::from(c)).cast_signed()
    }
}

/// The SQL expression that gives [`hash_key`] on a server, PostgreSQL 14 and later. `columns` are
/// SQL expressions, one per type; names must have been quoted.
///
/// A NULL makes it NULL for one integer, text or uuid column, and counts as hash 0 otherwise:
/// rows with a NULL in their key have no shard and must be looked for by themselves.
pub fn hash_sql(types: &[KeyType], columns: &[&str]) -> String {
    if let ([ty], [column]) = (types, columns) {
        let function = match ty {
            KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => {
                return format!("pg_catalog.hashint8extended(({column})::int8, 0)");
            }
            KeyType::Text | KeyType::Varchar => Some("hashtextextended"),
            KeyType::Uuid => Some("uuid_hash_extended"),
            KeyType::Bytea | KeyType::Date | KeyType::Timestamptz => None,
        };
        if let Some(function) = function {
            let cast = sql_type(*ty);
            return format!("pg_catalog.{function}(({column})::{cast}, 0)");
        }
    }
    let mut sql = String::from("pg_catalog.hash_record_extended(row(");
    for (at, (ty, column)) in types.iter().zip(columns).enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(sql, "{comma}({column})::{}", sql_type(*ty));
    }
    sql.push_str("), 0)");
    sql
}

/// The type a value is cast to: `varchar` hashes as the text it is.
fn sql_type(ty: KeyType) -> &'static str {
    match ty {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => "int8",
        KeyType::Text | KeyType::Varchar => "text",
        KeyType::Uuid => "uuid",
        KeyType::Bytea => "bytea",
        KeyType::Date => "date",
        KeyType::Timestamptz => "timestamptz",
    }
}

#[cfg(test)]
mod tests;
