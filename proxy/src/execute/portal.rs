//! Owns portals over several shards whose rows a client takes in portions. The answer is kept
//! here: while a portal waits, its servers may run other statements of the transaction.

use super::desk::Desk;
use super::{Call, ClientSide, Failure, Limits, Participant, run_at, tags};
use crate::wire::error::SqlError;
use crate::wire::frame;
use bytes::{Buf, BytesMut};
use pgmanifold_router::sharding::Spread;

/// The rest of an answer.
#[derive(Debug)]
pub struct Portal {
    /// Rows, and what servers said between them.
    messages: BytesMut,
    tag: String,
}

/// How a portion ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// PortalSuspended: there may be more.
    Suspended,
    /// CommandComplete with this tag, which counts the rows of the last portion only.
    Complete(String),
}

/// Runs a statement whose rows are taken in portions; nothing is written to the client. Not cancel
/// safe.
///
/// # Errors
/// As [`super::run`], and when the answer has more than `gather_bytes`.
pub async fn open_portal(
    parts: &mut [Participant<'_>],
    spread: &Spread,
    call: &Call<'_>,
    client: &mut ClientSide<'_>,
    limits: &Limits,
) -> Result<Portal, Failure> {
    let mut messages = BytesMut::new();
    let mut kept = ClientSide { stream: client.stream, input: client.input, output: &mut messages };
    let mut desk = Desk::new(&mut kept, *limits, false);
    desk.keeps = true;
    let tag = run_at(&mut desk, parts, spread, call).await?;
    Ok(Portal { messages, tag })
}

impl Portal {
    /// Appends the next rows, at most so many, or all when `max_rows` is 0.
    pub fn give(&mut self, max_rows: u32, out: &mut BytesMut) -> Given {
        let (mut at, mut rows) = (0, 0);
        while let Some(header) = frame::peek(&self.messages[at..]) {
            if header.kind == b'D' {
                if max_rows > 0 && rows == max_rows {
                    break;
                }
                rows += 1;
            }
            at += header.total;
        }
        out.extend_from_slice(&self.messages[..at]);
        self.messages.advance(at);
        // As from a server, the end is only seen by a portion that is not full.
        if max_rows > 0 && rows == max_rows {
            return Given::Suspended;
        }
        Given::Complete(tags::with_count(&self.tag, u64::from(rows)))
    }
}

/// The answer is too large to be kept.
pub(super) fn too_much(limits: &Limits) -> Failure {
    let most_bytes = limits.gather_bytes;
    Failure::new(
        SqlError::refused(
            "portal-too-large",
            "the answer of several shards is too large to be taken in portions",
        )
        .detail(format!("It has more than max_gather_bytes, {most_bytes} bytes."))
        .hint("Fetch all rows at once (no fetch size), or raise max_gather_bytes."),
    )
}
