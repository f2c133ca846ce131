//! Owns a value inside the engine, and how text becomes one and one becomes text.

use super::decimal::Decimal;
use super::error::{EngineError, Outcome};
use super::types::Type;
use rusqlite::types::{ToSql, ToSqlOutput, Value as Stored, ValueRef};

/// A value as SQLite holds it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    /// NULL
    Null,
    /// bool, int4, int8, oid
    Int(i64),
    /// float8
    Real(f64),
    /// All else
    Text(String),
}

impl Cell {
    /// A text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Cell::Text(text.into())
    }

    /// From SQLite. There are no blobs.
    pub(crate) fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(number) => Cell::Int(number),
            ValueRef::Real(number) => Cell::Real(number),
            ValueRef::Text(text) | ValueRef::Blob(text) => {
                Cell::Text(String::from_utf8_lossy(text).into_owned())
            }
        }
    }

    /// The number in it; 0 when there is none.
    pub(crate) fn int(&self) -> i64 {
        match self {
            Cell::Int(number) => *number,
            _ => 0,
        }
    }

    /// The float in it.
    pub(crate) fn real(&self) -> f64 {
        match self {
            Cell::Real(number) => *number,
            Cell::Int(number) => *number as f64,
            _ => 0.0,
        }
    }

    /// The text in it.
    pub(crate) fn str(&self) -> &str {
        match self {
            Cell::Text(text) => text,
            _ => "",
        }
    }

    /// The decimal in it.
    pub(crate) fn decimal(&self) -> Outcome<Decimal> {
        let decimal = match self {
            Cell::Int(number) => Some(Decimal::whole(*number)),
            Cell::Text(text) => Decimal::parse(text),
            _ => None,
        };
        decimal.ok_or_else(too_long)
    }

    /// As a literal of SQLite.
    pub(crate) fn literal(&self) -> String {
        match self {
            Cell::Null => "NULL".into(),
            Cell::Int(i64::MIN) => "(-9223372036854775807-1)".into(),
            Cell::Int(number) if *number < 0 => format!("({number})"),
            Cell::Int(number) => number.to_string(),
            Cell::Real(number) if number.is_infinite() => {
                if *number > 0.0 {
                    "9e999".into()
                } else {
                    "(-9e999)".into()
                }
            }
            Cell::Real(number) => format!("({number:e})"),
            Cell::Text(text) => format!("'{}'", text.replace('\'', "''")),
        }
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Cell::Null => ToSqlOutput::Owned(Stored::Null),
            Cell::Int(number) => ToSqlOutput::Owned(Stored::Integer(*number)),
            Cell::Real(number) => ToSqlOutput::Owned(Stored::Real(*number)),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

/// A numeric beyond what the console computes with.
pub(crate) fn too_long() -> EngineError {
    EngineError::new("22003", "value overflows numeric format")
        .detail("The console computes with decimals of up to 37 digits.")
}

/// A whole number beyond its type.
pub(crate) fn out_of_range(ty: Type) -> EngineError {
    EngineError::new("22003", format!("{} out of range", ty.name()))
}

fn not_one(text: &str, ty: Type) -> EngineError {
    let shown: String = text.chars().take(100).collect();
    EngineError::new("22P02", format!("invalid input syntax for type {}: \"{shown}\"", ty.name()))
}

/// A number as PostgreSQL's int4 or int8.
pub(crate) fn checked_int(number: i64, ty: Type) -> Outcome<Cell> {
    if ty == Type::Int4 && i32::try_from(number).is_err() {
        return Err(out_of_range(ty));
    }
    Ok(Cell::Int(number))
}

/// Text as a value of a type, read as PostgreSQL's input functions do.
pub(crate) fn parse(text: &str, ty: Type) -> Outcome<Cell> {
    if text.contains('\0') {
        return Err(EngineError::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00"));
    }
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    match ty {
        Type::Unknown | Type::Text | Type::Texts | Type::Ints => Ok(Cell::text(text)),
        Type::Bool => parse_bool(trimmed).ok_or_else(|| not_one(text, ty)),
        Type::Int4 | Type::Int8 | Type::Oid => parse_int(text, trimmed, ty),
        // Names are looked up by the translator, where the relations are known.
        Type::Reg(_) => parse_int(text, trimmed, Type::Oid),
        Type::Numeric => match Decimal::parse(trimmed) {
            Some(decimal) => Ok(Cell::text(decimal.to_string())),
            None if trimmed.eq_ignore_ascii_case("nan") => {
                Err(EngineError::refused("NaN as a numeric"))
            }
            None => Err(not_one(text, ty)),
        },
        Type::Float8 => parse_float(trimmed).unwrap_or_else(|| Err(not_one(text, ty))),
    }
}

fn parse_int(text: &str, trimmed: &str, ty: Type) -> Outcome<Cell> {
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(not_one(text, ty));
    }
    let range = || {
        let message = format!("value \"{trimmed}\" is out of range for type {}", ty.name());
        EngineError::new("22003", message)
    };
    let number: i64 = trimmed.parse().map_err(|_| range())?;
    let fits = match ty {
        Type::Int4 => i32::try_from(number).is_ok(),
        Type::Oid => u32::try_from(number).is_ok(),
        _ => true,
    };
    if fits { Ok(Cell::Int(number)) } else { Err(range()) }
}

fn parse_bool(text: &str) -> Option<Cell> {
    let text = text.to_ascii_lowercase();
    let is = |word: &str, least: usize| text.len() >= least && word.starts_with(&text);
    let yes = is("true", 1) || is("yes", 1) || is("on", 2) || text == "1";
    let no = is("false", 1) || is("no", 1) || is("off", 2) || text == "0";
    (yes || no).then(|| Cell::Int(yes.into()))
}

fn parse_float(text: &str) -> Option<Outcome<Cell>> {
    let word = text.to_ascii_lowercase();
    match word.as_str() {
        "nan" => return Some(Err(EngineError::refused("NaN"))),
        "infinity" | "+infinity" | "inf" | "+inf" => return Some(Ok(Cell::Real(f64::INFINITY))),
        "-infinity" | "-inf" => return Some(Ok(Cell::Real(f64::NEG_INFINITY))),
        _ => {}
    }
    let number: f64 = text.parse().ok()?;
    let message = format!("\"{text}\" is out of range for type double precision");
    let fits = number.is_finite().then_some(Cell::Real(number));
    Some(fits.ok_or_else(|| EngineError::new("22003", message)))
}

/// A float as PostgreSQL shows it.
pub(crate) fn float_text(number: f64) -> String {
    crate::value::Float(number).to_string()
}

/// A cell as the text of a type, as a cast to text gives it. OIDs of names are not for here.
pub(crate) fn as_text(cell: &Cell, ty: Type) -> String {
    match (cell, ty) {
        (Cell::Null, _) => String::new(),
        (Cell::Int(number), Type::Bool) => if *number != 0 { "true" } else { "false" }.into(),
        (Cell::Int(number), _) => number.to_string(),
        (Cell::Real(number), _) => float_text(*number),
        (Cell::Text(text), _) => text.clone(),
    }
}
