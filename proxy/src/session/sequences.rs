//! Owns `currval` and `lastval`. PostgreSQL keeps their values in the server's process, so they are
//! right only on the server where this session used sequences last, and only while that server
//! has no values of anybody else, nor older ones of this session from before it went elsewhere.
//! All of that is known; what is not right is refused.
//!
//! Nothing of this costs anything before somebody asks for such a value. From then on a server is
//! wiped of others' values before it writes for a session, so that within a transaction the
//! values are right; and a session that asked outside of the transaction keeps its server from
//! its next write on.

use super::{Session, Virtual};
use crate::backend::connection::{Expect, Hidden, Users};
use crate::config::model::SequenceState;
use crate::wire::error::SqlError;
use pgmanifold_router::plan::{Effect, PinReason, Plan};
use pgmanifold_router::route::Target;
use std::sync::atomic::Ordering;

impl Session {
    /// What writes may use sequences: notes on which server, and for whom.
    pub(super) fn note_sequence_use(&mut self) {
        let own = self.sequences_are_own();
        let Some(lease) = &mut self.lease else { return };
        self.sequences_lost |= !own && self.sequence_server.is_some();
        let alone = own || lease.sequence_users == Users::Nobody;
        lease.sequence_users =
            if alone { Users::One(u64::from(self.handle.id)) } else { Users::Several };
        self.sequence_server = Some(lease.id);
        let always = self.pools.database.sequence_state == SequenceState::Session;
        if always || self.asked_for_sequences {
            self.pins.hold(PinReason::SequenceState);
        }
    }

    /// True when the leased server has no values but those this session must see.
    fn sequences_are_own(&self) -> bool {
        let Some(lease) = &self.lease else { return false };
        let here = self.sequence_server.is_none_or(|server| server == lease.id);
        here && match lease.sequence_users {
            // Wiped for somebody else since this session used it.
            Users::Nobody => self.sequence_server.is_none(),
            Users::One(session) => session == u64::from(self.handle.id),
            Users::Several => false,
        }
    }

    /// Before a server writes for this session, values of others are wiped, if anybody asks for
    /// such values at all. Sent ahead of the request; its answer is not waited for.
    pub(super) fn wipe_sequences(&mut self, target: Target, plan: &Plan) {
        if plan.session.sequence_state {
            self.pools.sequences_asked.store(true, Ordering::Relaxed);
        }
        if target != Target::Primary || !self.pools.sequences_asked.load(Ordering::Relaxed) {
            return;
        }
        // To ask for a value that is gone must be refused, not be told that there was none.
        let asks = plan.session.sequence_state && plan.statements == 1;
        if self.sequences_are_own() || asks && self.sequence_server.is_some() {
            return;
        }
        let Some(lease) = &mut self.lease else { return };
        let begins = matches!(self.virtual_transaction, Virtual::Begun(_));
        let alone = lease.status == b'I' && lease.expect.is_empty();
        if alone && (begins || plan.effect != Effect::Read) {
            lease.query(b"DISCARD SEQUENCES", Expect::Hidden(Hidden::Sequences));
            lease.sequence_users = Users::Nobody;
        }
    }

    /// The session has discarded its values.
    pub(super) fn sequences_discarded(&mut self) {
        self.sequence_server = None;
        self.sequences_lost = false;
        self.pins.release(PinReason::SequenceState);
        if let Some(lease) = &mut self.lease {
            lease.sequence_users = Users::Nobody;
        }
    }

    /// Why a statement that reads such a value must not run on the leased server.
    pub(super) fn refused_for_sequences(&mut self, plan: &Plan) -> Option<SqlError> {
        if !plan.session.sequence_state {
            return None;
        }
        self.pools.sequences_asked.store(true, Ordering::Relaxed);
        let status = self.lease.as_ref()?.status;
        self.asked_for_sequences |= status == b'I' && plan.statements == 1;
        if self.sequences_are_own() {
            return None;
        }
        // Several statements may ask for what they use themselves; what they do not is gone.
        let wiped = self.lease.as_ref().is_some_and(|lease| lease.sequence_users == Users::Nobody);
        if wiped && plan.statements > 1 {
            self.sequences_lost |= self.sequence_server.is_some();
            return None;
        }
        Some(unknown_value())
    }

    /// The server has no such value, and says so, but the session may have had one that was lost
    /// on its way here: what to tell the client instead. `routine` is the place in PostgreSQL that
    /// the error names.
    pub(super) fn lost_value(&mut self, sqlstate: &str, routine: Option<&str>) -> Option<SqlError> {
        let undefined = sqlstate == "55000" && matches!(routine, Some("currval_oid" | "lastval"));
        if !undefined || !self.sequences_lost {
            return None;
        }
        self.pools.sequences_asked.store(true, Ordering::Relaxed);
        self.asked_for_sequences = true;
        Some(unknown_value())
    }
}

fn unknown_value() -> SqlError {
    SqlError::error("0A000", "currval and lastval cannot be told here")
        .detail("Another session may have used sequences on the server since.")
        .hint(
            "Use INSERT ... RETURNING, or repeat the transaction: from now on its values are kept \
             apart. With sequence_state = \"session\" they always are.",
        )
}
