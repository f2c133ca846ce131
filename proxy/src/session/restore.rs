//! Owns what RESET goes back to. On PostgreSQL that is the value given at start-up; on a server
//! that others use as well it is the server's own. So after a statement that may have reset such a
//! parameter, and before its client hears that it is done, the start-up value is set again where
//! nothing else was. It runs in the client's transaction and is undone with it.

use super::Session;
use super::settings::quoted;
use crate::backend::connection::{Expect, Hidden};
use std::fmt::Write as _;

impl Session {
    /// Notes that parameters may be reset by the statement that is sent now, or put back to their
    /// default for the rest of the transaction.
    pub(super) fn note_reset(&mut self, names: &[Box<str>], local: bool) {
        let all = names.iter().any(|name| **name == *"all");
        let mut rows = String::new();
        for (name, value) in self.startup.iter() {
            if all || names.iter().any(|reset| **reset == *name) {
                let comma = if rows.is_empty() { "" } else { ", " };
                let _ = write!(rows, "{comma}({}, {}, {local})", quoted(name), quoted(value));
            }
        }
        if !rows.is_empty() {
            self.restore_sql = Some(restore_sql(&rows).into());
        }
    }

    /// True when the next message must wait: start-up values are to be set before it.
    pub(super) fn waits_for_restore(&self) -> bool {
        self.restore_sql.is_some()
            && !self.batch_open
            && self.lease.as_ref().is_some_and(|lease| !lease.expect.is_empty())
    }

    /// The last answer owed has come: true when start-up values are set now, so that the client
    /// hears of the end later. A failed transaction undoes the reset as well.
    pub(super) fn begins_restore(&mut self) -> bool {
        if self.restore_sql.is_none() || self.batch_open {
            return false;
        }
        let Some(lease) = &mut self.lease else { return false };
        if !lease.expect.is_empty() {
            return false;
        }
        let Some(sql) = self.restore_sql.take().filter(|_| lease.status != b'E') else {
            return false;
        };
        lease.query(sql.as_bytes(), Expect::Hidden(Hidden::Restore));
        true
    }
}

/// Sets each parameter of `rows` (name, value, for this transaction) that has no value of this
/// session, or is to have none in this transaction. `pg_settings`
/// does not show parameters made up by clients; those are empty when they are reset.
fn restore_sql(rows: &str) -> String {
    format!(
        "SELECT pg_catalog.set_config(n, v, l) FROM (VALUES {rows}) s(n, v, l) \
         LEFT JOIN pg_catalog.pg_settings p ON pg_catalog.lower(p.name) = n \
         WHERE l OR CASE WHEN p.name IS NULL \
         THEN coalesce(pg_catalog.current_setting(n, true), '') IN ('', 'none') \
         ELSE p.source <> 'session' END"
    )
}
