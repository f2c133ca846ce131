//! Owns what the loss of a server means for the session: whether what ran there took effect, what
//! the client is told, and in which transaction status it finds itself.
//!
//! | what was lost | SQLSTATE | afterwards |
//! |---|---|---|
//! | a write outside a transaction, or a COMMIT, on its way | 08007 | no transaction |
//! | an open transaction whose COMMIT was not sent | 40001 | failed, until ROLLBACK |
//! | anything else | 08006 | no transaction |
//!
//! What the server itself said (57P01 and the like) is passed on with its own code, and ends the
//! client's connection as it would have on PostgreSQL.

use super::reply::lost;
use super::{CopyIn, Event, Session, Virtual};
use crate::backend::connection::{Expect, Hidden, Server};
use crate::wire::error::SqlError;
use pgmanifold_router::plan::{Plan, Transaction};

/// What became of what a session did on a server that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It may have been committed.
    Unknown,
    /// It was part of a transaction that can not have been committed.
    RolledBack,
    /// It changed nothing.
    Unchanged,
}

impl Session {
    /// Something was seen of the leased server's host: what runs on a host that is given up is
    /// lost, and a read that can be repeated does not wait for it to come to that. Anything else
    /// waits on, for the host may only be slow.
    pub(super) fn doubt_server(&mut self) -> Option<Event> {
        let lease = self.lease.as_ref()?;
        let host = self.pools.cluster.hosts().get(lease.host_index())?;
        let why = match () {
            () if host.is_fenced() => "the host is not the primary any more",
            () if host.is_given_up() => "the host does not answer health checks",
            () if !host.is_up() && !lease.repeatable.is_empty() => {
                "the host does not answer a health check"
            }
            () => return None,
        };
        self.server_lost(lost(why))
    }

    /// What became of what ran on the server.
    pub(super) fn fate(&self, server: &Server) -> Fate {
        let begins = |owed: &Expect| matches!(owed, Expect::Hidden(Hidden::Begin));
        let in_transaction = server.status != b'I' || server.expect.iter().any(begins);
        // Until the client has said that the data are complete, nothing of a COPY is committed.
        let copying = self.copy_in == CopyIn::Running && server.expect.len() == 1;
        match (self.may_end_transaction, in_transaction, self.wrote && !copying) {
            (true, _, _) if self.wrote => Fate::Unknown,
            (false, true, _) => Fate::RolledBack,
            (false, false, true) => Fate::Unknown,
            (true, _, _) | (false, false, false) => Fate::Unchanged,
        }
    }

    /// The error for the client. `said` is true when the server said it itself.
    pub(super) fn explain_loss(
        &self,
        error: SqlError,
        said: bool,
        fate: Fate,
        host: &str,
    ) -> SqlError {
        let (sqlstate, outcome, hint) = match fate {
            Fate::Unknown => (
                "08007",
                "Whether the statement took effect is not known.",
                "Check whether the change is there before you repeat it.",
            ),
            // What is bound to the server is gone with it: no retry in this session helps.
            Fate::RolledBack if self.pins.is_held() => {
                ("08006", "The transaction was rolled back.", "Connect again and repeat it.")
            }
            Fate::RolledBack => {
                ("40001", "The transaction was rolled back.", "Repeat the transaction.")
            }
            Fate::Unchanged => ("08006", "Nothing was changed.", "Repeat the statement."),
        };
        let detail = error.detail.as_deref().unwrap_or_default();
        let detail = format!("Server {host}: {detail} {outcome}");
        let sqlstate = if said || error.sqlstate != "08006" {
            error.sqlstate.clone()
        } else {
            sqlstate.into()
        };
        SqlError { sqlstate, ..error }.detail(detail).hint(hint)
    }

    /// The transaction that was lost with a statement of it under way.
    pub(super) fn lose_transaction(&mut self, fate: Fate) {
        if fate == Fate::RolledBack {
            self.virtual_transaction = Virtual::Failed(None);
        } else {
            self.knobs.end_transaction(false);
        }
        self.may_end_transaction = false;
    }

    /// What must not run at all, and what the refusal does to a transaction that was lost.
    pub(super) fn refused(&mut self, plan: &Plan, in_batch: bool) -> Option<SqlError> {
        let error = self.refusal(plan, in_batch)?;
        // A COMMIT that fails ends the transaction; any other statement leaves it failed.
        if plan.transaction == Some(Transaction::Commit) {
            self.virtual_transaction = Virtual::None;
            self.knobs.end_transaction(false);
        }
        Some(error)
    }
}
