//! Owns the writing of statements out of pieces of the client's own text. Nothing is printed from
//! a parsed form: what is not replaced stands in the result byte for byte.

use crate::lexer::TokenKind;
use crate::planner::Text;
use std::ops::Range;

/// A statement that is being written. Parameters get new numbers in the order they are used.
pub(super) struct Emitter<'a, 'b> {
    text: &'a Text<'b>,
    out: Vec<u8>,
    /// Parameters that stand before the client's.
    before: usize,
    /// The client's parameters used so far, from 0.
    parameters: Vec<u16>,
}

/// Tokens that are replaced, and by what.
pub(super) type Replacement = (Range<usize>, String);

impl<'a, 'b> Emitter<'a, 'b> {
    /// Begins a statement in which `before` parameters stand before the client's.
    pub(super) fn new(text: &'a Text<'b>, before: usize) -> Self {
        Self { text, out: Vec::new(), before, parameters: Vec::new() }
    }

    /// Writes text of ours.
    pub(super) fn put(&mut self, sql: &str) {
        self.out.extend_from_slice(sql.as_bytes());
    }

    /// Writes tokens of the client's. `replacements` are in order and do not overlap.
    pub(super) fn copy(&mut self, tokens: Range<usize>, replacements: &[Replacement]) {
        let mut at = tokens.start;
        for (replaced, by) in replacements {
            if replaced.start < at || replaced.end > tokens.end {
                continue;
            }
            self.plain(at..replaced.start);
            self.put(by);
            self.put(" ");
            at = replaced.end;
        }
        self.plain(at..tokens.end);
    }

    fn plain(&mut self, tokens: Range<usize>) {
        let mut from = tokens.start;
        for at in tokens.clone() {
            if self.text.is_kind(at, TokenKind::Parameter) {
                self.out.extend_from_slice(self.text.raw_range(from, at));
                self.parameter(at);
                from = at + 1;
            }
        }
        if from < tokens.end {
            self.out.extend_from_slice(self.text.raw_range(from, tokens.end));
            // A comment may end the piece.
            self.put("\n");
        }
    }

    fn parameter(&mut self, at: usize) {
        let digits = self.text.raw(at).get(1..).unwrap_or_default();
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        let number: u16 = number.unwrap_or(0);
        let client = number.wrapping_sub(1);
        let known = self.parameters.iter().position(|known| *known == client);
        let place = known.unwrap_or_else(|| {
            self.parameters.push(client);
            self.parameters.len() - 1
        });
        let sql = format!(" ${} ", self.before + place + 1);
        self.put(&sql);
    }

    /// The statement, and the client's parameters it has, in its own order.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<u16>) {
        (self.out, self.parameters)
    }
}
