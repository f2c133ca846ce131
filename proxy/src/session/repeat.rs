//! Owns the second try of reads: a read that a server could not answer, for a reason that lies
//! with the server, is repeated on another one before the client has seen anything of it.
//!
//! Reasons are: the server is lost (a second loss is not followed by a third try, for it may be the
//! read that kills servers), or on a replica, recovery cancelled the read (manual, "Handling Query
//! Conflicts"), or the read turned out to write (a function declared less volatile than it is).

use super::Session;
use bytes::BytesMut;
use pgmanifold_router::plan::{Effect, Plan};

/// Longest request that is kept for a second try.
const REPEATABLE_BYTES: usize = 16 * 1024;

/// Read-only, recovery conflict, recovery in progress, not possible on a hot standby.
const REPEATABLE_SQLSTATES: &[&str] = &["25006", "40001", "55000", "0A000"];

impl Session {
    /// Keeps a request that is about to be sent, as far as it may be repeated.
    pub(super) fn keep_request(&mut self, request: &[u8], plan: &Plan) {
        self.keep_for_repeat(request, plan.effect);
        self.keep_for_move(request, plan);
    }

    /// Keeps a read that is about to be sent.
    fn keep_for_repeat(&mut self, request: &[u8], effect: Effect) {
        let Some(lease) = &mut self.lease else { return };
        let alone = lease.expect.is_empty() && lease.status == b'I';
        lease.repeatable.clear();
        lease.again.clear();
        let single = effect == Effect::Read && !self.pins.any();
        if single && alone && request.len() <= REPEATABLE_BYTES {
            lease.repeatable.extend_from_slice(request);
        }
    }

    /// Nothing can be repeated any more: something of the answer has reached the client, or
    /// another request was sent after it.
    pub(super) fn forget_repeat(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.repeatable.clear();
        }
        if let Some(shards) = &mut self.shards {
            shards.forget_sent();
        }
    }

    /// Decides whether an error of the server leads to a second try. On the primary the same codes
    /// mean something else, and would come again.
    pub(super) fn repeats_after(&mut self, sqlstate: &str) -> bool {
        if !self.leased_replica() {
            return false;
        }
        let Some(lease) = &mut self.lease else { return false };
        let repeats = !lease.repeatable.is_empty() && REPEATABLE_SQLSTATES.contains(&sqlstate);
        lease.repeating |= repeats;
        repeats
    }

    /// Puts the request back in front of what the client sent since.
    pub(super) fn repeat(&mut self, request: BytesMut) {
        tracing::debug!(client = self.handle.id, "read repeated on another server");
        self.put_back(request);
    }

    /// Has the request taken again.
    pub(super) fn put_back(&mut self, request: BytesMut) {
        let mut input = request;
        input.extend_from_slice(&self.input);
        self.input = input;
        self.batch_open = false;
        self.skip_to_sync = false;
    }
}
