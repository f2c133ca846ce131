//! Owns the values of the console: their types as PostgreSQL names them, and their text form.

use std::fmt;

/// The type of a column, as a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `text`
    Text,
    /// `int4`. Agents take labels from text and int4 columns only.
    Int4,
    /// `int8`
    Int8,
    /// `numeric`: counters of PgBouncer's tables.
    Numeric,
    /// `float8`
    Float8,
    /// `bool`
    Bool,
}

impl Kind {
    /// Its name in PostgreSQL.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Int4 => "int4",
            Kind::Int8 => "int8",
            Kind::Numeric => "numeric",
            Kind::Float8 => "float8",
            Kind::Bool => "bool",
        }
    }

    /// Its OID in PostgreSQL (`pg_type.dat`).
    pub const fn oid(self) -> u32 {
        match self {
            Kind::Bool => 16,
            Kind::Int8 => 20,
            Kind::Int4 => 23,
            Kind::Text => 25,
            Kind::Float8 => 701,
            Kind::Numeric => 1700,
        }
    }

    /// Its size in RowDescription; -1: it varies.
    pub const fn size(self) -> i16 {
        match self {
            Kind::Bool => 1,
            Kind::Int4 => 4,
            Kind::Int8 | Kind::Float8 => 8,
            Kind::Text | Kind::Numeric => -1,
        }
    }
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// NULL
    #[default]
    Null,
    /// Text, also of times (`2026-11-22 17:13:41 UTC`).
    Text(Box<str>),
    /// A whole number of any integer type.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
}

/// A float, in the text form that PostgreSQL sends: as few digits as name it, and an exponent when
/// the number is large or small.
pub(crate) struct Float(pub(crate) f64);

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0;
        if number.is_nan() {
            return f.write_str("NaN");
        }
        if number.is_infinite() {
            return f.write_str(if number > 0.0 { "Infinity" } else { "-Infinity" });
        }
        let scientific = format!("{number:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        match exponent.parse::<i32>().unwrap_or(0) {
            -4..=14 => write!(f, "{number}"),
            exponent => write!(f, "{digits}e{exponent:+03}"),
        }
    }
}

/// A row; as long as its table has columns.
pub type Row = Vec<Value>;

impl fmt::Display for Value {
    /// The text form that PostgreSQL sends; nothing for NULL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => Ok(()),
            Value::Text(text) => f.write_str(text),
            Value::Int(number) => write!(f, "{number}"),
            Value::Float(number) => Float(*number).fmt(f),
            Value::Bool(true) => f.write_str("t"),
            Value::Bool(false) => f.write_str("f"),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text.into())
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Value::Bool(is)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Float(number)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Value::Int(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Int(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Value::Int(number.into())
    }
}

/// A count that does not fit is shown as the largest that does.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Value::from(number as u64)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}
