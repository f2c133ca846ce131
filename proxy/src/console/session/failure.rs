//! Owns the ways in which a message to the console can fail.

use super::messages::BadMessage;
use crate::wire::error::SqlError;
use crate::wire::frame::{self, FrameError};
use bytes::{BufMut, BytesMut};
use pgmanifold_console::command::ParseError;
use pgmanifold_console::engine::EngineError;
use std::io;

/// Why a message was not answered as asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The statement failed; the connection stays usable.
    Refused(Box<Told>),
    /// The client broke the protocol: it is told, and the connection closed.
    Broken(String),
    /// Nobody is there to be told.
    Gone,
}

/// What the client is told.
#[derive(Debug)]
pub(super) struct Told {
    error: SqlError,
    /// Characters up to where the text is wrong, from 1.
    position: Option<usize>,
    /// The text, when it may be a part of what the client has sent.
    part: Option<String>,
}

impl Told {
    /// Appends ErrorResponse.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        self.error.encode(out);
        let Some(position) = self.position else { return };
        // Before the zero that ends the fields.
        out.truncate(out.len() - 1);
        out.put_u8(b'P');
        out.put_slice(position.to_string().as_bytes());
        out.put_slice(&[0, 0]);
        let length = u32::try_from(out.len() - start - 1).unwrap_or(u32::MAX);
        if let Some(slot) = out.get_mut(start + 1..start + frame::HEADER_BYTES) {
            slot.copy_from_slice(&length.to_be_bytes());
        }
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::Refused(Box::new(Told { error, position: None, part: None }))
    }
}

impl From<ParseError> for Failure {
    fn from(wrong: ParseError) -> Self {
        let mut error = SqlError::error(wrong.sqlstate, wrong.message);
        if let Some(hint) = wrong.hint {
            error = error.hint(hint);
        }
        Self::Refused(Box::new(Told { error, position: wrong.position, part: None }))
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl Failure {
    /// Of a SELECT.
    pub(super) fn of_select(sql: &str, wrong: EngineError) -> Self {
        let mut error = SqlError::error(wrong.sqlstate, wrong.message);
        (error.detail, error.hint) = (wrong.detail.map(Into::into), wrong.hint.map(Into::into));
        let part = wrong.position.map(|_| sql.to_owned());
        Self::Refused(Box::new(Told { error, position: wrong.position, part }))
    }

    /// The same, with its position in the whole text that was sent.
    pub(super) fn within(mut self, text: &str) -> Self {
        if let Self::Refused(told) = &mut self
            && let Some((before, _)) = told.part.as_ref().and_then(|part| text.split_once(part))
        {
            told.position = told.position.map(|position| position + before.chars().count());
        }
        self
    }

    /// Of a message of this type.
    pub(super) fn of_message(kind: u8) -> impl Fn(BadMessage) -> Self {
        move |bad| match bad {
            BadMessage::Malformed => FrameError::Body(kind).into(),
            BadMessage::Refused(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_field_like_others() {
        let error = SqlError::error("42601", "no");
        let mut out = BytesMut::from("x");
        Told { error, position: Some(12), part: None }.encode(&mut out);
        assert_eq!(frame::peek(&out[1..]).expect("a header").total, out.len() - 1);
        assert_eq!(frame::error_field(&out[6..], b'P'), Some("12"));
        assert_eq!(frame::error_field(&out[6..], b'C'), Some("42601"));
        assert!(out.ends_with(b"\0\0"));
    }
}
