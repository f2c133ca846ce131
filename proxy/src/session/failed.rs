//! Owns the errors servers send: whose they are, what they make impossible, and whether the client
//! sees them.

use super::reply::{Fate, Outgoing, fate, lost};
use super::shards::moved as moved_away;
use super::{Prepared, Session};
use crate::backend::connection::{Expect, Hidden};
use crate::backend::error::ServerError;
use crate::backend::prepared::Statement;
use crate::metrics::Origin;
use crate::wire::error::{Severity, SqlError};
use crate::wire::frame::{self, HEADER_BYTES};
use std::sync::Arc;

impl Session {
    /// An error: what stands before the next Sync will not be answered.
    pub(super) fn take_error(
        &mut self,
        message: &[u8],
        start: usize,
        outgoing: &mut Outgoing<'_>,
    ) -> Result<Fate, SqlError> {
        let body = &message[HEADER_BYTES..];
        let sqlstate = frame::error_field(body, b'C').unwrap_or("XX000");
        if let Some(listening) = &mut self.listening {
            listening.failed = true;
        }
        let Some(lease) = &mut self.lease else { return Ok(Fate::Swallow) };
        if matches!(frame::error_field(body, b'V'), Some("FATAL" | "PANIC")) {
            let said = ServerError::decode(body).into();
            lease.dying = Some(SqlError { severity: Severity::Fatal, ..said });
            return Ok(Fate::Swallow);
        }
        match lease.expect.front_mut() {
            Some(Expect::Hidden(_)) => {
                lease.dying.get_or_insert_with(|| ServerError::decode(body).into());
                Ok(Fate::Swallow)
            }
            Some(Expect::Poison(error) | Expect::PoisonBatch(error)) => {
                outgoing.cut(start, start, &mut self.output);
                error.encode(&mut self.output);
                if let Some(Expect::PoisonBatch(_)) = lease.expect.front() {
                    lease.expect.pop_front();
                }
                Ok(Fate::Swallow)
            }
            Some(expect) => {
                let in_batch = !matches!(expect, Expect::Query);
                let outdated = sqlstate == "0A000" && self.repeats_outdated(body);
                let moved = sqlstate == "PGM01" && self.repeats_moved(sqlstate);
                let repeats = outdated || moved || self.repeats_after(sqlstate);
                if repeats {
                    // What came of the answer so far is thrown away with the error.
                    outgoing.from = start;
                } else {
                    self.metrics.error(sqlstate, Origin::Server);
                    self.span_refused(sqlstate);
                    self.account_error(!in_batch);
                }
                let instead = match self.ends_cancelled(sqlstate) {
                    _ if repeats => None,
                    true => Some(self.query_timed_out()),
                    false if sqlstate == "PGM01" && self.shards.is_some() => Some(moved_away(
                        frame::error_field(body, b'M').unwrap_or_default(),
                        sqlstate,
                    )),
                    false => self.lost_value(sqlstate, frame::error_field(body, b'R')),
                };
                if let Some(error) = &instead {
                    outgoing.cut(start, start, &mut self.output);
                    error.encode(&mut self.output);
                }
                if in_batch {
                    self.skip_batch(!repeats);
                }
                let told_later = in_batch && self.call_fails(body);
                Ok(fate(repeats || instead.is_some() || told_later))
            }
            None => Err(lost("the server sent an error that nobody asked for")),
        }
    }

    /// Drops the answers that an error has made impossible. The first statement that would have
    /// been answered is the one that failed, unless nobody is to hear of it.
    fn skip_batch(&mut self, blames: bool) {
        // Names as they were before each message that is not carried out; `None` is not there.
        let mut undone: Vec<(Box<[u8]>, Option<Prepared>)> = Vec::new();
        let mut kept: Vec<Arc<Statement>> = Vec::new();
        let Some(lease) = &mut self.lease else { return };
        let server = &mut **lease;
        let mut statements = 0;
        loop {
            match server.expect.front() {
                // The client's own Sync is still to come.
                Some(Expect::Hidden(Hidden::Sync)) => {
                    self.skip_to_sync = true;
                    break;
                }
                Some(Expect::Sync | Expect::Hidden(_) | Expect::Poison(_)) => break,
                Some(Expect::Evict(statement)) => kept.extend(statement.clone()),
                Some(Expect::Parse { statement, name }) => {
                    server.statements.remove(statement.id);
                    undone.extend(name.clone().map(|name| (name, None)));
                }
                Some(Expect::Parsed(name)) => undone.push((name.clone(), None)),
                Some(Expect::Closed) => {
                    let closed = self.closing.pop_front();
                    undone.extend(closed.map(|(name, known)| (name, Some(known))));
                }
                Some(Expect::Execute) => statements += 1,
                Some(_) => {}
                None => {
                    self.skip_to_sync = true;
                    break;
                }
            }
            server.expect.pop_front();
        }
        server.owed.skip(statements, blames);
        // These were not closed, nor parsed again.
        kept.into_iter().for_each(|statement| server.statements.put_back(statement));
        // What became of the unnamed statement is not worth knowing exactly.
        server.unnamed = None;
        for (name, known) in undone.into_iter().rev() {
            match known {
                Some(known) => self.keep(&name, known),
                None => self.forget(&name),
            }
        }
    }
}
