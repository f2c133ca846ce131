//! Owns transaction control in all its spellings.

use super::outcome::Outcome;
use super::text::Text;
use crate::plan::{Effect, Transaction};

/// Classifies a statement whose first word is one of transaction control.
pub(super) fn classify(text: &Text<'_>, from: usize, to: usize) -> Outcome {
    let second = text.word(from + 1);
    let control = match (text.word(from), second) {
        ("begin", _) => begin(text, from + 1, to),
        ("start", "transaction") => begin(text, from + 2, to),
        ("commit" | "rollback", "prepared") | ("prepare", "transaction") => Transaction::TwoPhase,
        ("commit" | "end", _) => Transaction::Commit,
        ("rollback" | "abort", _) => match rolls_back_to(text, from) {
            true => Transaction::Savepoint,
            false => Transaction::Rollback,
        },
        ("savepoint" | "release", _) => Transaction::Savepoint,
        _ => return Outcome::new(Effect::Unknown, "unknown statement"),
    };
    let reason = match control {
        Transaction::Begin { .. } => "begins a transaction",
        Transaction::Commit => "commits the transaction",
        Transaction::Rollback => "rolls the transaction back",
        Transaction::Savepoint => "savepoint",
        Transaction::SetTransaction => "sets transaction modes",
        Transaction::TwoPhase => "two-phase commit",
    };
    Outcome::transaction(control, reason)
}

fn rolls_back_to(text: &Text<'_>, from: usize) -> bool {
    let at = from + 1 + usize::from(matches!(text.word(from + 1), "work" | "transaction"));
    text.is(at, "to")
}

/// Reads the modes after BEGIN. The last of several wins, as on the server.
fn begin(text: &Text<'_>, from: usize, to: usize) -> Transaction {
    let (mut read_only, mut serializable) = (false, false);
    for at in from..to {
        match (text.word(at), text.word(at + 1)) {
            ("read", "only") => read_only = true,
            ("read", "write") => read_only = false,
            ("level", level) => serializable = level == "serializable",
            _ => {}
        }
    }
    Transaction::Begin { read_only, serializable }
}
