//! Owns what a client is told when a commit over several shards did not simply succeed.

use super::{CommitError, Outcome};
use crate::wire::error::{Severity, SqlError};
use bytes::BytesMut;

/// SQLSTATE of a commit whose outcome could not be found out in time.
pub const UNKNOWN: &str = "PGM06";

/// Everything was rolled back because of this error of this shard; `lost`: its connection broke.
pub(super) fn failure(error: SqlError, shard: &str, lost: bool) -> SqlError {
    let own = error.detail.as_deref().unwrap_or_default();
    if lost {
        // Other servers of the session are well: its connection goes on, whatever this one said.
        let own = match (&*error.sqlstate, own) {
            ("08006", own) => format!("{} ", own),
            (code, _) => format!("{} (SQLSTATE {code}). ", error.message),
        };
        return SqlError::error("40001", "the connection to a server was lost during COMMIT")
            .detail(format!(
                "Shard \"{shard}\": {own}The transaction was rolled back on all shards."
            ))
            .hint("Repeat the transaction.");
    }
    let error = match &error.detail {
        Some(_) => error,
        None => error.detail(format!("Shard \"{shard}\" refused to commit.")),
    };
    if error.sqlstate == "0A000" && error.hint.is_none() {
        return error.hint(
            "The transaction wrote on several shards, so it has to be prepared before it is \
             committed. Leave this out of it, or write on one shard only.",
        );
    }
    error
}

/// The home has no schema `pgm`, or an old one.
pub(super) fn no_schema(error: SqlError, shard: &str) -> SqlError {
    if !["3F000", "42883", "42P01"].contains(&&*error.sqlstate) {
        return error;
    }
    let hint = format!("Install the schema \"pgm\" on shard \"{shard}\": pgmanifold map init.");
    error.hint(hint)
}

/// The only writer was lost during its COMMIT.
pub(super) fn writer_lost(known: CommitError) -> CommitError {
    let CommitError { error, passing, .. } = known;
    let detail = error.detail.as_deref().unwrap_or_default();
    let detail = detail.replace(
        "The transaction was rolled back on all shards.",
        "Whether the transaction was committed is not known.",
    );
    let error = SqlError { sqlstate: "08007".into(), ..error }
        .detail(detail)
        .hint("Check whether the change is there before you repeat it.");
    CommitError { error, outcome: Outcome::Unknown, passing }
}

/// The home was lost during the decision, and could not be asked in time.
pub(super) fn outcome_unknown(error: &SqlError, transaction: &str) -> SqlError {
    let own = error.detail.as_deref().unwrap_or_default();
    SqlError::error(UNKNOWN, "whether the transaction was committed is not known")
        .detail(format!(
            "Transaction {transaction}: {}. {own} It ends as a whole, committed on all shards or \
             rolled back on all, as soon as its home shard can be asked.",
            error.message
        ))
        .hint("Check whether the change is there before you repeat it.")
}

/// The transaction is committed; this is what went wrong afterwards on a shard that wrote nothing.
pub(super) fn notice(error: &SqlError, shard: &str, out: &mut BytesMut) {
    let detail = format!("The transaction is committed. It had written nothing on \"{shard}\".");
    SqlError { severity: Severity::Notice, ..error.clone() }.detail(detail).encode(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_said() {
        let lost = SqlError::error("08006", "the connection to the server was lost").detail("X.");
        let told = failure(lost.clone(), "s1", true);
        assert_eq!(told.sqlstate, "40001");
        let detail = "Shard \"s1\": X. The transaction was rolled back on all shards.";
        assert_eq!(told.detail.as_deref(), Some(detail));
        let known =
            CommitError { error: told, outcome: Outcome::RolledBack, passing: BytesMut::new() };
        let told = writer_lost(known);
        assert_eq!((&*told.error.sqlstate, told.outcome), ("08007", Outcome::Unknown));
        let detail = "Shard \"s1\": X. Whether the transaction was committed is not known.";
        assert_eq!(told.error.detail.as_deref(), Some(detail));
        let fatal = SqlError::error("57P01", "terminating connection");
        let detail = "Shard \"s1\": terminating connection (SQLSTATE 57P01). The transaction was \
                      rolled back on all shards.";
        assert_eq!(failure(fatal, "s1", true).detail.as_deref(), Some(detail));
        let refused = SqlError::error("0A000", "cannot PREPARE a transaction that has …");
        assert!(failure(refused, "s1", false).hint.unwrap().contains("several shards"));
    }
}
