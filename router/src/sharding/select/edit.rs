//! Owns the making of a shard's text from the client's by replacing and inserting, byte by byte.

use crate::lexer::{Dialect, TokenKind};
use crate::planner::Text;
use crate::sharding::Values;
use std::collections::BTreeMap;
use std::ops::Range;

/// What is to be changed in a text: byte ranges and what stands there instead.
#[derive(Debug, Default)]
pub(super) struct Edits(BTreeMap<usize, (usize, String)>);

impl Edits {
    /// Replaces tokens.
    pub(super) fn replace(&mut self, text: &Text<'_>, at: Range<usize>, with: &str) {
        let first = text.token(at.start);
        let last = at.end.checked_sub(1).and_then(|last| text.token(last));
        if let (Some(first), Some(last)) = (first, last) {
            self.0.insert(at.start, (at.end, with.to_string()));
            debug_assert!(first.start <= last.start);
        }
    }

    /// Inserts behind a token.
    pub(super) fn insert_after(&mut self, token: usize, what: String) {
        self.0.insert(token + 1, (token + 1, what));
    }

    /// The text, and its parameters when they are not the client's as they are.
    pub(super) fn apply(
        &self,
        text: &Text<'_>,
        values: &Values<'_>,
    ) -> (Vec<u8>, Option<Vec<u16>>) {
        let replaced = self.0.iter().flat_map(|(from, (to, _))| *from..*to);
        let drops = replaced.into_iter().any(|at| text.is_kind(at, TokenKind::Parameter));
        let dialect = values.dialect;
        let mut out = Output { sql: Vec::new(), parameters: Vec::new(), drops, dialect };
        let (mut copied, mut at) = (0, 0);
        while at <= text.len() {
            if let Some((to, with)) = self.0.get(&at) {
                let start = match *to > at {
                    true => text.token(at).map_or(copied, |token| token.start as usize),
                    false => copied,
                };
                out.raw(values.sql, copied..start);
                copied = start;
                out.own(with);
                if *to > at {
                    copied = text.token(*to - 1).map_or(copied, |token| token.end as usize);
                    at = *to;
                    continue;
                }
            }
            let Some(token) = text.token(at) else { break };
            out.raw(values.sql, copied..token.start as usize);
            let raw = text.raw(at);
            match token.kind {
                TokenKind::Parameter => out.parameter(raw),
                _ => out.sql.extend_from_slice(raw),
            }
            copied = token.end as usize;
            at += 1;
        }
        out.raw(values.sql, copied..values.sql.len());
        (out.sql, drops.then_some(out.parameters))
    }
}

/// The bytes before a token.
pub(super) fn before<'a>(text: &Text<'a>, token: usize) -> &'a [u8] {
    let end = text.token(token).map_or(0, |token| token.start as usize);
    text.sql.get(..end).unwrap_or_default()
}

struct Output {
    sql: Vec<u8>,
    /// The client's parameters in this text's order, from 0.
    parameters: Vec<u16>,
    /// Some parameter is no longer there, so that all are numbered anew.
    drops: bool,
    dialect: Dialect,
}

impl Output {
    fn raw(&mut self, sql: &[u8], at: Range<usize>) {
        self.sql.extend_from_slice(sql.get(at).unwrap_or_default());
    }

    /// Text of our own, which may repeat expressions of the client's with their parameters.
    fn own(&mut self, sql: &str) {
        let read = Text::read(sql.as_bytes(), self.dialect);
        let Ok(text) = read.as_ref() else {
            self.sql.extend_from_slice(sql.as_bytes());
            return;
        };
        let mut copied = 0;
        for at in 0..text.len() {
            let Some(token) = text.token(at) else { continue };
            if token.kind == TokenKind::Parameter {
                self.raw(sql.as_bytes(), copied..token.start as usize);
                self.parameter(text.raw(at));
                copied = token.end as usize;
            }
        }
        self.raw(sql.as_bytes(), copied..sql.len());
    }

    fn parameter(&mut self, raw: &[u8]) {
        let digits = raw.get(1..).and_then(|digits| std::str::from_utf8(digits).ok());
        let number =
            digits.and_then(|digits| digits.parse::<u16>().ok()).and_then(|n| n.checked_sub(1));
        let (true, Some(number)) = (self.drops, number) else {
            self.sql.extend_from_slice(raw);
            return;
        };
        let known = self.parameters.iter().position(|known| *known == number);
        let index = known.unwrap_or_else(|| {
            self.parameters.push(number);
            self.parameters.len() - 1
        });
        self.sql.extend_from_slice(format!("${}", index + 1).as_bytes());
    }
}
