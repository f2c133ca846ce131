//! Owns `SqlError`: an error a client may see, with SQLSTATE, Detail and Hint.

use bytes::BytesMut;
use pgwire::messages::Message;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use std::borrow::Cow;

/// An error (or notice) in PostgreSQL's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// FATAL closes the connection after it was sent.
    pub severity: Severity,
    /// Five characters; see the manual, appendix A.
    pub sqlstate: Cow<'static, str>,
    /// Lowercase primary message.
    pub message: Cow<'static, str>,
    /// Sentence(s).
    pub detail: Option<Cow<'static, str>>,
    /// Sentence(s): what the reader can do.
    pub hint: Option<Cow<'static, str>>,
    /// Where the error was found: a short word for statistics, the field Routine.
    /// Behind a pointer, because nearly no error has one.
    pub routine: Option<Box<&'static str>>,
}

/// Severity of an `SqlError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the connection stays usable.
    Error,
    /// The connection is closed.
    Fatal,
    /// Not an error.
    Notice,
}

/// Longest field of an error, in characters; the rest is cut off.
const FIELD_CHARS_MAX: usize = 8 * 1024;

impl SqlError {
    /// An ERROR.
    pub fn error(
        sqlstate: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            sqlstate: sqlstate.into(),
            message: message.into(),
            detail: None,
            hint: None,
            routine: None,
        }
    }

    /// A FATAL error.
    pub fn fatal(
        sqlstate: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { severity: Severity::Fatal, ..Self::error(sqlstate, message) }
    }

    /// A statement that would need what is not possible over shards; `construct` is a short word.
    pub fn refused(construct: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { routine: Some(Box::new(construct)), ..Self::error("PGM03", message) }
    }

    /// Adds the Detail field.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the Hint field.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Appends the ErrorResponse (or NoticeResponse) frame to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        let severity = match self.severity {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
            Severity::Notice => "NOTICE",
        };
        let optional = [
            (b'D', self.detail.as_deref()),
            (b'H', self.hint.as_deref()),
            (b'R', self.routine.as_deref().copied()),
        ];
        let fields = [(b'S', severity), (b'V', severity), (b'C', &*self.sqlstate)]
            .into_iter()
            .chain([(b'M', &*self.message)])
            .chain(optional.into_iter().filter_map(|(code, text)| Some((code, text?))))
            .map(|(code, text)| (code, shown(text)))
            .collect();
        match self.severity {
            Severity::Notice => NoticeResponse::new(fields).encode(out),
            Severity::Error | Severity::Fatal => ErrorResponse::new(fields).encode(out),
        }
        .expect("invariant: errors are short");
    }
}

/// A text as a field: a zero byte would end it, and what a client sent may be long.
fn shown(text: &str) -> String {
    text.chars().filter(|&letter| letter != '\0').take(FIELD_CHARS_MAX).collect()
}

impl std::fmt::Display for SqlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (SQLSTATE {})", OneLine(&self.message), OneLine(&self.sqlstate))
    }
}

/// A text of others as a part of a log line: control characters are written out, so that nobody
/// can make it look like several lines.
#[derive(Debug, Clone, Copy)]
pub struct OneLine<'a>(pub &'a str);

impl std::fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in self.0.split_inclusive(char::is_control) {
            match part.chars().next_back().filter(|last| last.is_control()) {
                Some(last) => {
                    f.write_str(&part[..part.len() - last.len_utf8()])?;
                    write!(f, "{}", last.escape_default())?;
                }
                None => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for SqlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line_in_logs() {
        let error = SqlError::error("28P01", "a\nb\r\u{1b}[31mä\u{85}");
        assert_eq!(error.to_string(), "a\\nb\\r\\u{1b}[31mä\\u{85} (SQLSTATE 28P01)");
        assert_eq!(OneLine("").to_string(), "");
    }
}
