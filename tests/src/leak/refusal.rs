//! Owns the list of what the proxy may refuse although PostgreSQL would do it. Each entry stands
//! in docs/limits.md; whatever is not here must be answered as PostgreSQL answers it.

/// A construct that may be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What is refused, for the report.
    pub construct: &'static str,
    /// With which SQLSTATE.
    pub sqlstate: &'static str,
    /// Part of the message.
    pub message: &'static str,
    /// The refused statement leaves nothing behind where it is done.
    pub only_reads: bool,
}

/// All of them.
pub const REFUSALS: &[Refusal] = &[
    Refusal {
        construct: "currval or lastval away from its nextval",
        sqlstate: "0A000",
        message: "currval and lastval cannot be told here",
        only_reads: false,
    },
    Refusal {
        construct: "currval or lastval on a server that has no value",
        sqlstate: "55000",
        message: "not yet defined in this session",
        only_reads: false,
    },
    Refusal {
        construct: "write in a READ ONLY transaction that runs on a replica",
        sqlstate: "25006",
        message: "cannot run this statement in a read-only transaction",
        only_reads: false,
    },
];

/// A message that is wrong in two ways (the number of values, and a name that means nothing under
/// the present search path): PostgreSQL tells one of them, the proxy may tell the other.
pub const OTHER_ERROR: &Refusal = &Refusal {
    construct: "two errors in one message: the other one is told",
    sqlstate: "",
    message: "",
    only_reads: true,
};

/// Whether both lines are errors of such a message.
pub fn is_other_error(expected: &str, got: &str) -> bool {
    let error = |line: &str| line.starts_with("E ERROR ");
    error(expected) && error(got) && (expected.contains(" 08P01") || got.contains(" 42P05 "))
}

/// The entry that allows the line `E SEVERITY SQLSTATE MESSAGE …`.
pub fn find(line: &str) -> Option<&'static Refusal> {
    REFUSALS.iter().find(|refusal| {
        line.starts_with(&format!("E ERROR {} ", refusal.sqlstate))
            && line.contains(refusal.message)
    })
}
