//! Owns the harness's error: one sentence for the person who runs it. Nothing retries on it.

use crate::interrupt;
use std::fmt;

/// What went wrong, in words.
#[derive(Debug)]
pub(crate) struct BenchError(pub(crate) String);

/// Result of every step of the harness.
pub(crate) type Result<T> = std::result::Result<T, BenchError>;

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BenchError {}

impl From<std::io::Error> for BenchError {
    fn from(error: std::io::Error) -> Self {
        BenchError(error.to_string())
    }
}

/// Puts what was being done before the cause.
pub(crate) trait Context<T> {
    /// Names the step that failed.
    fn context(self, step: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, step: impl fmt::Display) -> Result<T> {
        self.map_err(|error| BenchError(format!("{step}: {error}")))
    }
}

/// An error of these words.
pub(crate) fn fail<T>(words: impl Into<String>) -> Result<T> {
    Err(BenchError(words.into()))
}

/// What failed without ending the run: the rest of the report is still worth having.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    /// In the order they came.
    pub(crate) list: Vec<String>,
}

impl Problems {
    /// Runs a step: its value when it worked, else its words are kept. After an interrupt
    /// nothing is run any more.
    pub(crate) fn attempt<T>(&mut self, step: impl FnOnce() -> Result<T>) -> Option<T> {
        if interrupt::requested() {
            return None;
        }
        step()
            .map_err(|error| {
                eprintln!("bench: {error}");
                self.list.push(error.0);
            })
            .ok()
    }
}
