//! Owns `SqlError`: an error a client may see, with SQLSTATE, Detail and Hint.

use bytes::{BufMut, BytesMut};
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
        }
    }

    /// A FATAL error.
    pub fn fatal(
        sqlstate: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { severity: Severity::Fatal, ..Self::error(sqlstate, message) }
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
        let (kind, severity) = match self.severity {
            Severity::Error => (b'E', "ERROR"),
            Severity::Fatal => (b'E', "FATAL"),
            Severity::Notice => (b'N', "NOTICE"),
        };
        let start = out.len();
        out.put_u8(kind);
        out.put_u32(0);
        let mut field = |code: u8, text: &str| {
            out.put_u8(code);
            out.extend(text.bytes().filter(|&byte| byte != 0));
            out.put_u8(0);
        };
        field(b'S', severity);
        field(b'V', severity);
        field(b'C', &self.sqlstate);
        field(b'M', &self.message);
        if let Some(detail) = &self.detail {
            field(b'D', detail);
        }
        if let Some(hint) = &self.hint {
            field(b'H', hint);
        }
        out.put_u8(0);
        let length = u32::try_from(out.len() - start - 1).expect("invariant: errors are short");
        out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
    }
}

impl std::fmt::Display for SqlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)
    }
}

impl std::error::Error for SqlError {}
