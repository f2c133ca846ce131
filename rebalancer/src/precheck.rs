//! Owns the question whether a move is possible. It touches nothing, and names all reasons at
//! once.

mod compare;
mod references;
mod roles;
mod servers;
mod space;
mod tables;

use crate::config::{Limits, ShardConfig};
use crate::connect::Session;
use crate::error::Error;
use crate::tables::{MovedTable, Scope, load_present};
use crate::verify;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What is to move, with the tables as the source has them.
    pub scope: Scope<'a>,
    /// With logical replication.
    pub online: bool,
    /// The source's primary.
    pub source: &'a Session,
    /// The target's primary.
    pub target: &'a Session,
    /// How the source is reached.
    pub source_config: &'a ShardConfig,
    /// How the target is reached.
    pub target_config: &'a ShardConfig,
    /// How far it may go.
    pub limits: &'a Limits,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Why it is not possible; empty: it is.
    pub reasons: Vec<Reason>,
    /// What somebody should know.
    pub notes: Vec<String>,
    /// Rows of the keys, estimated.
    pub rows: i64,
    /// Bytes of them with indexes, estimated.
    pub bytes: i64,
}

/// Why a move is not possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What is in the way.
    pub what: String,
    /// What helps.
    pub remedy: String,
}

impl Report {
    fn refuse(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        let reason = Reason { what: what.into(), remedy: remedy.into() };
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// Looks at both sides.
///
/// # Errors
/// What the servers say when they cannot be asked. What is in the way is no error.
pub async fn check(question: Question<'_>) -> Result<Report, Error> {
    let mut report = Report::default();
    let may_look = servers::check(&question, &mut report).await?;
    roles::check(&question, &mut report).await?;
    if !may_look {
        return Ok(report);
    }
    let Scope { map, distribution, tables: here, .. } = question.scope;
    let (there, missing) = load_present(question.target, map, distribution).await?;
    let mut have_keys = true;
    for (on, tables) in [(question.source, here), (question.target, &there)] {
        for table in tables {
            have_keys &= tables::check(&question, on, table, &mut report);
        }
    }
    compare::check(&question, &there, &missing, &mut report).await?;
    // Where there are no keys, questions for rows of them would be errors.
    if have_keys {
        references::check(&question, &mut report).await?;
        leftovers(&question, &there, &mut report).await?;
        space::check(&question, &mut report).await?;
    }
    let compared = verify::Scope { map, distribution, keys: question.scope.keys };
    for column in verify::unverifiable_columns(question.source, &compared).await? {
        let verify::Unverifiable { table, column, type_name, reason } = column;
        report.refuse(
            format!("column {column} ({type_name}) of {table} cannot be compared: {reason}"),
            "a move whose result cannot be proven is not made",
        );
    }
    Ok(report)
}

/// Rows on the target that have these keys already are somebody else's mistake; they are not for
/// a move to delete.
async fn leftovers(
    question: &Question<'_>,
    there: &[MovedTable],
    report: &mut Report,
) -> Result<(), Error> {
    for table in there {
        let condition = question.scope.condition(table, "");
        let sql = format!("select exists (select from {} where {condition})", table.sql());
        if question.target.value(&sql).await?.as_deref() == Some("t") {
            report.refuse(
                format!(
                    "{}: table {} has rows of these keys already",
                    question.target.place,
                    table.plain()
                ),
                format!(
                    "`pgmanifold map verify` counts misplaced rows; when they are of no use, \
                     delete them there: delete from {} where {condition}",
                    table.sql()
                ),
            );
        }
    }
    Ok(())
}
