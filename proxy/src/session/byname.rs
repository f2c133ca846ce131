//! Owns SQL that names statements prepared by protocol. Servers know them by names of ours, so
//! `EXECUTE name` is sent with that name in its place, once the server has the statement. By the
//! extended protocol the changed text is always the server's unnamed statement: what the client's
//! name stands for may be another statement the next time.

use super::extended::SYNC;
use super::planning::Planner;
use super::request::Step;
use super::{Prepared, Session, reuse};
use crate::backend::connection::{Expect, Hidden};
use crate::backend::error::ServerError;
use crate::backend::prepared::Statement;
use crate::wire::error::SqlError;
use crate::wire::frame;
use pgmanifold_router::plan::{LocalCommand, PinReason, Plan};
use pgmanifold_router::planner::{calling, executed_name};
use std::sync::Arc;

/// An EXECUTE of a statement that was prepared by protocol.
pub(super) struct Call {
    /// What the statement and its call do.
    pub(super) plan: Arc<Plan>,
    /// The client's name for the statement.
    name: Box<str>,
    called: Prepared,
    /// The text for the server.
    text: Vec<u8>,
}

impl Call {
    /// A Parse of the call, as it is to be sent to a server.
    pub(super) fn prepared(&self, own: &Prepared) -> Prepared {
        let rest = own.statement.body.get(own.statement.text().len()..).unwrap_or_default();
        let statement = Statement::private(&[self.text.as_slice(), rest].concat());
        Prepared { statement, plan: Arc::clone(&self.plan), origin: None, ..own.clone() }
    }
}

impl Session {
    /// True when the text calls a statement that was prepared by protocol.
    pub(super) fn calls(&self, plan: &Plan) -> bool {
        match &plan.local {
            Some(LocalCommand::Execute { name }) => self.find_named(name.as_bytes()).is_some(),
            _ => false,
        }
    }

    /// The call a text is, if it is one.
    ///
    /// # Errors
    /// The statement cannot be called like this.
    pub(super) fn call(
        &mut self,
        text: &[u8],
        plan: &Plan,
        planner: &mut Planner,
    ) -> Result<Option<Box<Call>>, SqlError> {
        let Some(LocalCommand::Execute { name }) = &plan.local else { return Ok(None) };
        if !self.calls(plan) {
            return Ok(None);
        }
        let place = executed_name(text, name, self.dialect);
        let called = self.find(name.as_bytes(), planner);
        let (Some(called), Some(place)) = (called, place) else { return Ok(None) };
        let Some(plan) = calling(plan, &called.plan) else { return Err(not_callable(name)) };
        let own_name = called.statement.name.strip_suffix(b"\0").unwrap_or_default();
        let text = [&text[..place.start], own_name, &text[place.end..]].concat();
        Ok(Some(Box::new(Call { plan: Arc::new(plan), name: name.clone(), called, text })))
    }

    /// Sends a call that came as a simple query; the statement first, where the server has none.
    pub(super) fn send_call(&mut self, call: &Call) {
        let now = self.stamp();
        let Some(lease) = &mut self.lease else { return };
        if !reuse::is_good(lease, &call.called.statement, &now) {
            reuse::send_parse(lease, &call.called.statement, now, None);
            self.send_expecting(SYNC, Expect::Hidden(Hidden::Called));
        }
        if let Some(lease) = &mut self.lease {
            lease.query(&call.text, Expect::Query);
        }
    }

    /// Makes known what is bound or described, and what it calls.
    pub(super) fn make_all_known(
        &mut self,
        name: &[u8],
        prepared: &Prepared,
        call: Option<&Call>,
        batch: &[u8],
    ) -> Option<Step> {
        if let Some(call) = call
            && let Some(step) = self.make_known(call.name.as_bytes(), &call.called, batch)
        {
            return Some(step);
        }
        self.make_known(name, prepared, batch)
    }

    /// The server refused a statement that a query was about to call: the query fails too, and
    /// says why. True when the error was for that.
    pub(super) fn call_fails(&mut self, error: &[u8]) -> bool {
        let Some(lease) = &mut self.lease else { return false };
        if !matches!(lease.expect.front(), Some(Expect::Hidden(Hidden::Called))) {
            return false;
        }
        let Some(query @ Expect::Query) = lease.expect.get_mut(1) else { return false };
        *query = Expect::Poison(Box::new(ServerError::decode(error).into()));
        lease.owed.skip(1, true);
        true
    }

    /// A name that SQL may have given to a statement cannot be taken by protocol: the server is
    /// asked, and its error fails the batch.
    pub(super) fn probe_name(&mut self, name: &[u8]) {
        let possible = self.pins.has(PinReason::SqlPrepare) || self.pins.must_look();
        if name.is_empty() || !possible {
            return;
        }
        let Some(lease) = &mut self.lease else { return };
        let nothing = Statement::private(NO_STATEMENT);
        frame::put(&mut lease.out, b'P', &[name, &[0], NO_STATEMENT]);
        lease.expect.push_back(Expect::Parse { statement: nothing, name: None });
        frame::put(&mut lease.out, b'C', &[b"S", name, &[0]]);
        lease.expect.push_back(Expect::Evict(None));
    }
}

/// Body of a Parse after the name: an empty text, no types.
const NO_STATEMENT: &[u8] = b"\0\0\0";

pub(super) fn name_taken(name: &[u8]) -> SqlError {
    let name = String::from_utf8_lossy(name);
    SqlError::error("42P05", format!("prepared statement \"{name}\" already exists"))
}

fn not_callable(name: &str) -> SqlError {
    SqlError::error("0A000", format!("cannot EXECUTE prepared statement \"{name}\""))
        .detail(
            "It was prepared by protocol, and is one of COPY, transaction control, LISTEN and the \
             like, or sets parameters that only its values name.",
        )
        .hint("Bind and execute it by protocol, as it was prepared.")
}
