//! Owns which tokens are a constant, and the types it is cast to.

use super::Reader;
use crate::key::KeyType;
use crate::lexer::TokenKind;
use crate::sharding::Operand;
use crate::sharding::query::{self, Span, keyword};

impl Reader<'_> {
    pub(super) fn array_type(&self, at: Span) -> Option<KeyType> {
        let end = at.end.checked_sub(2)?;
        let brackets = self.text.is_kind(end, TokenKind::OpenBracket)
            && self.text.is_kind(end + 1, TokenKind::CloseBracket);
        if brackets && end > at.start { self.key_type(at.start..end) } else { None }
    }

    /// A literal, a number with a minus, a parameter or NULL; with a cast perhaps.
    pub(crate) fn constant(&self, at: Span) -> Option<(Operand, Option<KeyType>)> {
        let text = self.text;
        let (at, cast) = self.cast(query::unwrapped(text, at))?;
        let cast = match cast {
            None => None,
            Some(ty) => Some(self.key_type(ty)?),
        };
        let at = query::unwrapped(text, at);
        if cast.is_none() && at.len() > 1 && text.kind(at.end - 1).is_some_and(is_string) {
            // `date '2026-01-01'`
            let ty = self.key_type(at.start..at.end - 1)?;
            let literal = self.literal_at(at.end - 1)?;
            return Some((Operand::Literal { at: literal, negative: false }, Some(ty)));
        }
        let negative = text.raw(at.start) == b"-";
        let here = at.start + usize::from(negative);
        if here + 1 != at.end {
            return None;
        }
        let operand = match text.kind(here)? {
            TokenKind::Parameter if !negative => self.parameter(here)?,
            TokenKind::Word if !negative && text.is(here, "null") => Operand::Null,
            TokenKind::Integer | TokenKind::Number => {
                // `-1::int8` is the negative of `1::int8`: the same value.
                Operand::Literal { at: self.literal_at(here)?, negative }
            }
            kind if is_string(kind) && !negative => {
                Operand::Literal { at: self.literal_at(here)?, negative }
            }
            _ => return None,
        };
        Some((operand, cast))
    }

    pub(super) fn parameter(&self, at: usize) -> Option<Operand> {
        let digits = std::str::from_utf8(self.text.raw(at)).ok()?.strip_prefix('$')?;
        let number: u16 = digits.parse().ok()?;
        (number > 0).then_some(Operand::Parameter(number))
    }

    /// A value and the type it is cast to by `::` or `CAST (… AS …)`, once.
    pub(super) fn cast(&self, at: Span) -> Option<(Span, Option<Span>)> {
        let text = self.text;
        if keyword(text, at.start) == "cast" {
            let open = at.start + 1;
            if text.partner(open) != at.end.checked_sub(1) {
                return None;
            }
            let inside = open + 1..at.end - 1;
            let word = inside.clone().rev().find(|&here| text.is(here, "as"))?;
            return Some((inside.start..word, Some(word + 1..inside.end)));
        }
        let mut casts = at.clone().filter(|&here| text.raw(here) == b"::");
        match (casts.next(), casts.next()) {
            (None, _) => Some((at, None)),
            (Some(cast), None) => Some((at.start..cast, Some(cast + 1..at.end))),
            // Items of ARRAY[…] may have casts of their own.
            _ if keyword(text, at.start) == "array" => {
                let close = text.partner(at.start + 1)?;
                match close + 1 == at.end {
                    true => Some((at, None)),
                    false if text.raw(close + 1) == b"::" => {
                        Some((at.start..close + 1, Some(close + 2..at.end)))
                    }
                    false => None,
                }
            }
            _ => None,
        }
    }

    pub(super) fn key_type(&self, at: Span) -> Option<KeyType> {
        let mut at = at;
        if self.text.is(at.start, "pg_catalog") && self.text.is_kind(at.start + 1, TokenKind::Dot) {
            at.start += 2;
        }
        let words: Vec<&str> = at.map(|here| self.text.word(here)).collect();
        Some(match words.as_slice() {
            ["smallint" | "int2"] => KeyType::Int2,
            ["int" | "integer" | "int4"] => KeyType::Int4,
            ["bigint" | "int8"] => KeyType::Int8,
            ["text"] => KeyType::Text,
            ["varchar"] | ["character", "varying"] => KeyType::Varchar,
            ["uuid"] => KeyType::Uuid,
            ["bytea"] => KeyType::Bytea,
            ["date"] => KeyType::Date,
            ["timestamptz"] | ["timestamp", "with", "time", "zone"] => KeyType::Timestamptz,
            _ => return None,
        })
    }
}

/// Whether a literal is in quotes.
pub(super) fn is_string(kind: TokenKind) -> bool {
    kind.is_literal() && !matches!(kind, TokenKind::Integer | TokenKind::Number)
}
