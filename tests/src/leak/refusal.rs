//! Owns the list of what may differ from PostgreSQL: what the proxy refuses, and what depends on
//! the history of a server process. Each entry stands in docs/limits.md; whatever is not here must
//! be answered as PostgreSQL answers it.

use super::member::{FAILED, UNTOLD};
use super::texts;

/// A construct that may be answered otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    /// What it is, for the report.
    pub construct: &'static str,
    allows: fn(&Pair<'_>) -> bool,
}

/// The first line in which two answers differ.
struct Pair<'a> {
    /// What was sent before, since the session began, for people.
    history: &'a [String],
    /// What was sent now.
    request: &'a str,
    /// PostgreSQL's answer.
    want: &'a str,
    /// The proxy's.
    have: &'a str,
}

impl Pair<'_> {
    /// The proxy gives this error; PostgreSQL answers, or gives another one.
    fn refused(&self, sqlstate: &str, message: &str) -> bool {
        is_error(self.have, sqlstate) && self.have.contains(message)
    }

    /// The request is about a prepared statement of which the client was never told what it takes
    /// and returns, since it was prepared.
    fn never_described(&self) -> bool {
        texts::NAMES.iter().any(|name| {
            let (parse, bind) = (format!("P {name} "), format!("B {name} "));
            let describe = format!("D {name}");
            let failed = |step: &String| step.contains(FAILED) && step.contains(&parse);
            let parses = |step: &String| step.contains(&parse) && !failed(step);
            let prepared = self.history.iter().rposition(parses);
            let since = prepared.and_then(|at| self.history.get(at..)).unwrap_or_default();
            let told = |step: &String| {
                let portal = step.contains(&bind) && step.contains("| D |");
                !failed(step) && !step.contains(UNTOLD) && (step.contains(&describe) || portal)
            };
            self.request.contains(name) && !since.iter().any(told)
        })
    }
}

/// All of them.
const REFUSALS: &[Refusal] = &[
    Refusal {
        construct: "currval or lastval away from its nextval",
        allows: |pair| pair.refused("0A000", "currval and lastval cannot be told here"),
    },
    Refusal {
        construct: "write in a READ ONLY transaction that runs on a replica",
        allows: |pair| {
            pair.refused("25006", "cannot run this statement in a read-only transaction")
        },
    },
    Refusal {
        construct: "statement about LISTEN in a form that only a server could answer",
        allows: |pair| {
            pair.refused("0A000", "cannot run this statement while the session listens")
                || pair.refused("0A000", "cannot end a transaction with LISTEN in it like this")
        },
    },
    Refusal {
        construct: "two errors in one message: the other one is told",
        allows: |pair| {
            let errors = is_error(pair.want, "") && is_error(pair.have, "");
            let values = is_error(pair.want, "08P01") || is_error(pair.want, "22P02");
            let failed = is_error(pair.want, "42601") && is_error(pair.have, "25P02");
            let named = is_error(pair.have, "42P05");
            errors && (values || failed || named) || named && pair.want.starts_with("N WARNING")
        },
    },
    Refusal {
        construct: "statement without result, never described, analysed again to describe it",
        allows: |pair| {
            let analysis = ["42P01", "42501", "42703", "42883", "3F000"];
            let refused = analysis.iter().any(|code| is_error(pair.have, code));
            matches!(pair.want.as_bytes(), [b't' | b'n', ..]) && refused && pair.never_described()
        },
    },
    Refusal {
        construct: "changed result of a statement that was never described: rows, not an error",
        allows: |pair| {
            let changed = "cached plan must not change result type";
            let goes_on = pair.want.contains(changed) && !is_error(pair.have, "");
            goes_on && is_error(pair.want, "0A000") && pair.never_described()
        },
    },
    Refusal {
        construct: "parameters of a statement that was never described: those of now",
        allows: |pair| {
            let told = |line: &str| line.starts_with("t ");
            told(pair.want) && told(pair.have) && pair.never_described()
        },
    },
    Refusal {
        construct: "pg_temp in a process that has, or has not, had temporary objects",
        allows: |pair| {
            let codes = ["3F000", "42P01"];
            let one = |line: &str| codes.iter().any(|code| is_error(line, code));
            pair.request.contains("pg_temp") && one(pair.want) && one(pair.have)
        },
    },
    Refusal {
        construct: "parameter with a dot that others have used: empty, not unknown",
        allows: |pair| {
            let custom = ["my.", "pgx."].iter().any(|name| pair.request.contains(name));
            let unknown = is_error(pair.want, "42704") && !is_error(pair.have, "");
            let null = pair.want.replace("\\xff\\xff\\xff\\xff", "\\x00\\x00\\x00\\x00");
            custom && (unknown || pair.want != pair.have && null == pair.have)
        },
    },
];

/// Whether a line is an error with this SQLSTATE; with any, when it is empty.
fn is_error(line: &str, sqlstate: &str) -> bool {
    line.strip_prefix("E ERROR ").is_some_and(|rest| rest.starts_with(sqlstate))
}

/// The entry that allows the difference.
pub fn find(log: &[String], want: &str, have: &str) -> Option<&'static Refusal> {
    let (request, history) = log.split_last()?;
    let pair = Pair { history, request, want, have };
    REFUSALS.iter().find(|refusal| (refusal.allows)(&pair))
}
