//! Owns what the engine answers with when it does not answer.

use std::fmt;

/// Why a SELECT was not answered, in PostgreSQL's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineError {
    /// The class, as PostgreSQL's.
    pub sqlstate: &'static str,
    /// One lower case line.
    pub message: String,
    /// What is known besides.
    pub detail: Option<String>,
    /// What to do instead.
    pub hint: Option<String>,
    /// Where in the statement, in characters from 1.
    pub position: Option<usize>,
}

/// What the parts of the engine return.
pub(crate) type Outcome<T> = Result<T, EngineError>;

impl EngineError {
    /// An error of a class.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), detail: None, hint: None, position: None }
    }

    /// Something PostgreSQL has and the console has not.
    pub(crate) fn refused(what: impl fmt::Display) -> Self {
        Self::new("0A000", format!("{what} is not supported in the console"))
    }

    /// One of the limits of `Limits` was met.
    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new("54000", message)
    }

    /// With a sentence on what is known besides.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With a sentence on what to do instead.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With a place, unless it has one.
    pub(crate) fn at(mut self, position: Option<usize>) -> Self {
        self.position = self.position.or(position);
        self
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sqlstate, self.message)
    }
}

impl std::error::Error for EngineError {}
