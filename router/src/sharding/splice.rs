//! Owns the making of a part's text from pieces of the client's: bytes are copied as they are,
//! parameters are numbered anew.

use crate::lexer::TokenKind;
use crate::planner::Text;
use std::collections::HashMap;
use std::ops::Range;

/// A text under way.
#[derive(Debug, Default)]
pub(super) struct Splicer {
    pub(super) sql: Vec<u8>,
    /// The client's parameters in the part's order, from 0.
    pub(super) parameters: Vec<u16>,
    numbers: HashMap<u16, usize>,
}

impl Splicer {
    /// Adds these tokens and what stands between them.
    pub(super) fn tokens(&mut self, text: &Text<'_>, at: Range<usize>) {
        let mut copied = text.token(at.start).map_or(0, |token| token.start as usize);
        for here in at {
            let Some(token) = text.token(here) else { continue };
            let (start, end) = (token.start as usize, token.end as usize);
            self.sql.extend_from_slice(text.sql.get(copied..start).unwrap_or_default());
            copied = end;
            match parameter(text, here) {
                Some(number) => self.parameter(number),
                None => self.sql.extend_from_slice(text.raw(here)),
            }
        }
    }

    /// Adds text of our own.
    pub(super) fn text(&mut self, text: &str) {
        self.sql.extend_from_slice(text.as_bytes());
    }

    fn parameter(&mut self, number: u16) {
        let index = *self.numbers.entry(number).or_insert_with(|| {
            self.parameters.push(number);
            self.parameters.len()
        });
        self.sql.extend_from_slice(format!("${index}").as_bytes());
    }
}

/// The client's parameter at a token, from 0.
pub(super) fn parameter(text: &Text<'_>, at: usize) -> Option<u16> {
    if !text.is_kind(at, TokenKind::Parameter) {
        return None;
    }
    let digits = std::str::from_utf8(text.raw(at)).ok()?.get(1..)?;
    digits.parse::<u16>().ok()?.checked_sub(1)
}
