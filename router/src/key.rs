//! Owns shard keys: their types, how their values are read from literals and parameters, and how
//! they are ordered. It must not know maps or statements.

use std::fmt;

/// A type a shard key may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `text`, with a deterministic collation
    Text,
    /// `varchar`, with a deterministic collation
    Varchar,
    /// `uuid`
    Uuid,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `timestamptz`
    Timestamptz,
}

/// A value of a shard key, never NULL. Values of one type order as PostgreSQL orders them, text
/// as under the collation C.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyValue {
    /// Of any integer type.
    Int(i64),
    /// Text in UTF-8.
    Text(Box<str>),
    /// The sixteen bytes.
    Uuid([u8; 16]),
    /// Any bytes.
    Bytea(Box<[u8]>),
    /// Days since 2000-01-01; infinities are the extremes.
    Date(i32),
    /// Microseconds since 2000-01-01 UTC; infinities are the extremes.
    Timestamptz(i64),
}

/// What a literal or parameter says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It is this value.
    Value(KeyValue),
    /// It is NULL.
    Null,
    /// It cannot be told without the server: any value, or an error.
    Unknown,
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Text => "text",
            Self::Varchar => "varchar",
            Self::Uuid => "uuid",
            Self::Bytea => "bytea",
            Self::Date => "date",
            Self::Timestamptz => "timestamptz",
        })
    }
}
