//! Owns the names of types in casts.

use super::{Translator, Typed};
use crate::engine::cell::Cell;
use crate::engine::error::{EngineError, Outcome};
use crate::engine::types::Type;
use sqlparser::ast::{CharacterLength, DataType, ExactNumberInfo};

/// What a cast asks for besides the type.
enum Size {
    None,
    /// Of `varchar(n)`: longer texts are cut.
    Characters(u64),
    /// Of `numeric(p, s)`: rounded to a scale.
    Scale(u64, i64),
}

impl Translator<'_> {
    /// `value::data_type`
    pub(super) fn cast_named(&mut self, value: Typed, data_type: &DataType) -> Outcome<Typed> {
        let (ty, size) = named(data_type)?;
        let value = self.cast(value, ty)?;
        match size {
            Size::None => Ok(value),
            Size::Characters(count) => {
                let count =
                    Typed::literal(&Cell::Int(i64::try_from(count).unwrap_or(1)), Type::Int4);
                self.call("left", vec![value, count])
            }
            Size::Scale(precision, scale) => {
                let limit =
                    Typed::literal(&Cell::Int(i64::try_from(precision).unwrap_or(1)), Type::Int4);
                let scale = Typed::literal(&Cell::Int(scale), Type::Int4);
                self.call("NUMERIC", vec![value, limit, scale])
            }
        }
    }
}

fn named(data_type: &DataType) -> Outcome<(Type, Size)> {
    let length = |length: &Option<CharacterLength>| match length {
        Some(CharacterLength::IntegerLength { length, .. }) => Size::Characters(*length),
        _ => Size::None,
    };
    Ok(match data_type {
        DataType::Varchar(size)
        | DataType::CharacterVarying(size)
        | DataType::CharVarying(size) => (Type::Text, length(size)),
        DataType::Char(None) | DataType::Character(None) => (Type::Text, Size::Characters(1)),
        DataType::Char(Some(_)) | DataType::Character(Some(_)) => {
            return Err(EngineError::refused("type character(n)").hint("Use text."));
        }
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => match info {
            ExactNumberInfo::None => (Type::Numeric, Size::None),
            ExactNumberInfo::Precision(precision) => (Type::Numeric, Size::Scale(*precision, 0)),
            ExactNumberInfo::PrecisionAndScale(precision, scale) => {
                (Type::Numeric, Size::Scale(*precision, *scale))
            }
        },
        DataType::Float(_) | DataType::Double(_) => (Type::Float8, Size::None),
        other => (by_name(&other.to_string())?, Size::None),
    })
}

/// By the parser's own text of a type; only names known are taken.
fn by_name(text: &str) -> Outcome<Type> {
    let name = text.to_ascii_lowercase().replace('"', "");
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    let name = name.strip_prefix("information_schema.").unwrap_or(name);
    if let Some(ty) = Type::of_name(name) {
        return Ok(ty);
    }
    let is_time =
        ["timestamp", "date", "time", "interval"].iter().any(|time| name.starts_with(time));
    if is_time {
        return Err(EngineError::refused(format!("type {name}"))
            .detail("Times are texts in the console: YYYY-MM-DD HH:MM:SS UTC.")
            .hint("Compare them as texts, or take extract(epoch from …)."));
    }
    Err(EngineError::new("42704", format!("type \"{name}\" does not exist in the console")))
}
