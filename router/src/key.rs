//! Owns shard keys: their types, how their values are read from literals and parameters, and how
//! they are ordered. It must not know maps or statements.

use std::borrow::Cow;
use std::fmt;

mod datetime;
mod literal;
mod read;

pub use literal::literal_text;
pub use read::{read_literal, read_parameter};

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

impl KeyType {
    /// The type of this name as `format_type` prints it, or by one of its other common names.
    ///
    /// `None` for all others, among them `timestamp(n) with time zone`, whose values are rounded
    /// when they are stored. Whether a collation is deterministic is not seen here.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        let base = match name.strip_suffix(')').and_then(|name| name.split_once('(')) {
            Some((base, length)) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                // Only varchar may have a modifier: what is too long for it is refused or loses
                // blanks at its end, and values with such blanks are never taken for known.
                let base = base.trim_end();
                matches!(base, "varchar" | "character varying").then_some(base)?
            }
            _ => &name,
        };
        match base {
            "smallint" | "int2" => Some(Self::Int2),
            "integer" | "int" | "int4" => Some(Self::Int4),
            "bigint" | "int8" => Some(Self::Int8),
            "text" => Some(Self::Text),
            "varchar" | "character varying" => Some(Self::Varchar),
            "uuid" => Some(Self::Uuid),
            "bytea" => Some(Self::Bytea),
            "date" => Some(Self::Date),
            "timestamptz" | "timestamp with time zone" => Some(Self::Timestamptz),
            _ => None,
        }
    }

    /// The type with this OID, which is the same in every database. A column with a type modifier
    /// must be looked at by [`KeyType::from_name`].
    pub fn from_oid(oid: u32) -> Option<Self> {
        match oid {
            17 => Some(Self::Bytea),
            20 => Some(Self::Int8),
            21 => Some(Self::Int2),
            23 => Some(Self::Int4),
            25 => Some(Self::Text),
            1043 => Some(Self::Varchar),
            1082 => Some(Self::Date),
            1184 => Some(Self::Timestamptz),
            2950 => Some(Self::Uuid),
            _ => None,
        }
    }

    /// Whether a column of that type may hold the key of a distribution with this type: the widths
    /// of integers are alike, but a `varchar` may cut what a `text` keeps.
    pub fn allows_column(self, column: Self) -> bool {
        self == column || (self.is_int() && column.is_int())
    }

    pub(crate) fn is_int(self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8)
    }

    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Varchar)
    }
}

impl KeyValue {
    /// Whether this is a value of that type; an integer is one of all integer types.
    pub fn is_of(&self, ty: KeyType) -> bool {
        match self {
            Self::Int(_) => ty.is_int(),
            Self::Text(_) => ty.is_text(),
            Self::Uuid(_) => ty == KeyType::Uuid,
            Self::Bytea(_) => ty == KeyType::Bytea,
            Self::Date(_) => ty == KeyType::Date,
            Self::Timestamptz(_) => ty == KeyType::Timestamptz,
        }
    }

    /// The value as text that [`KeyValue::from_text`] reads again, and PostgreSQL reads as the
    /// same value whatever its settings; `None` for dates and times outside the years 1 to 9999.
    pub fn to_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Uuid(bytes) => Cow::Owned(read::write_uuid(bytes)),
            Self::Bytea(bytes) => Cow::Owned(read::write_bytea(bytes)),
            Self::Date(days) => Cow::Owned(datetime::write_date(*days)?),
            Self::Timestamptz(moment) => Cow::Owned(datetime::write_timestamptz(*moment)?),
        })
    }

    /// Reads a value of a map, as exact as [`KeyValue::to_text`] writes it.
    pub fn from_text(ty: KeyType, text: &str) -> Option<Self> {
        match ty {
            KeyType::Text | KeyType::Varchar if !text.contains('\0') => {
                Some(Self::Text(text.into()))
            }
            KeyType::Text | KeyType::Varchar => None,
            _ => match read::read_text(ty, text) {
                Reading::Value(value) => Some(value),
                Reading::Null | Reading::Unknown => None,
            },
        }
    }
}

impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.to_text(), self) {
            (Some(text), _) => f.write_str(&text),
            (None, Self::Date(days)) => write!(f, "2000-01-01 + {days} days"),
            (None, Self::Timestamptz(moment)) => write!(f, "2000-01-01 + {moment} us"),
            (None, _) => f.write_str("?"),
        }
    }
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
