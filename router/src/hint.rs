//! Owns the hint language: one spelling for comments (`/* pgm: role=primary */`), `SET pgm.role`,
//! and start-up options.

/// Where a statement asks to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The primary.
    Primary,
    /// A replica, also for what looks like a write (the caller takes the blame).
    Replica,
    /// What the router decides.
    Auto,
}

/// Hints given with one statement; they win over the session's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// `role=primary|replica|auto` (the bare words `primary` and `replica` too).
    pub role: Option<Role>,
    /// `causality=off|session|<key>`.
    pub causality: Option<Box<str>>,
    /// `max_lag=500` (milliseconds; `500ms` and `2s` too).
    pub max_lag_ms: Option<u64>,
}
