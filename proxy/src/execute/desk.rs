//! Owns the loop that moves rows from servers to the client, with back-pressure on both sides.

use super::beside::Beside;
use super::feed::Feed;
use super::{ClientSide, Failure, Limits, portal};
use bytes::{Buf, BytesMut};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Bytes for the client that are worth a write. PostgreSQL's own servers hold back as many.
const FLUSH_BYTES: usize = 8 * 1024;

/// Bytes put together for the client before it has to take some.
const OUTPUT_BYTES: usize = 64 * 1024;

/// Makes one answer of several.
pub(super) trait Merger {
    /// Merges what is there, until a feed or the client must be waited for. True when something
    /// was taken.
    fn step(
        &mut self,
        feeds: &mut [Feed<'_>],
        desk: &mut Desk<'_, '_>,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure>;

    /// The command tag, after all feeds have ended.
    fn tag(&self, feeds: &[Feed<'_>]) -> Result<String, Failure>;
}

/// Where answers become one: the client, and what it was told beside rows.
pub(super) struct Desk<'d, 'c> {
    pub(super) client: &'d mut ClientSide<'c>,
    pub(super) limits: Limits,
    pub(super) beside: Beside,
    /// Bytes the client's socket has taken.
    pub(super) written_bytes: u64,
    /// Nothing is written: the whole answer is kept, up to `gather_bytes`.
    pub(super) keeps: bool,
}

impl<'d, 'c> Desk<'d, 'c> {
    pub(super) fn new(client: &'d mut ClientSide<'c>, limits: Limits, same: bool) -> Self {
        Self { client, limits, beside: Beside::new(same), written_bytes: 0, keeps: false }
    }

    /// Moves everything until all feeds have ended. Gives the command tag.
    pub(super) async fn drive<M: Merger>(
        &mut self,
        feeds: &mut [Feed<'_>],
        mut merger: M,
    ) -> Result<String, Failure> {
        poll_fn(|cx| self.poll_drive(feeds, &mut merger, cx)).await?;
        merger.tag(feeds)
    }

    fn poll_drive<M: Merger>(
        &mut self,
        feeds: &mut [Feed<'_>],
        merger: &mut M,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        loop {
            let mut moved = false;
            for feed in &mut *feeds {
                moved |= feed.poll_move(cx, &self.limits);
            }
            let waits = self.poll_output(cx)?.is_pending();
            if !waits {
                moved |= merger.step(feeds, self, cx)?;
                if feeds.iter().all(|feed| feed.ended) {
                    return Poll::Ready(Ok(()));
                }
            }
            if !moved {
                ready!(self.poll_gone(cx));
                return Poll::Ready(Err(Failure::gone()));
            }
        }
    }

    /// Writes to the client when there is enough for it. Pending while it must be waited for.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.keeps {
            let fits = self.client.output.len() < self.limits.gather_bytes;
            return Poll::Ready(if fits { Ok(()) } else { Err(portal::too_much(&self.limits)) });
        }
        if self.client.output.len() < FLUSH_BYTES && !self.beside.flush {
            return Poll::Ready(Ok(()));
        }
        self.poll_write_all(cx)
    }

    /// Writes everything to the client.
    pub(super) fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let client = &mut *self.client;
        while !client.output.is_empty() {
            match ready!(Pin::new(&mut *client.stream).poll_write(cx, client.output)) {
                Ok(written) if written > 0 => {
                    client.output.advance(written);
                    self.written_bytes += written as u64;
                }
                _ => return Poll::Ready(Err(Failure::gone())),
            }
        }
        let flushed = ready!(Pin::new(&mut *client.stream).poll_flush(cx));
        self.beside.flush = false;
        Poll::Ready(flushed.map_err(|_| Failure::gone()))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.client.stream.poll_gone(cx)
    }

    /// The client must take something first.
    pub(super) fn is_full(&self) -> bool {
        let most = if self.keeps { self.limits.gather_bytes } else { OUTPUT_BYTES };
        self.client.output.len() >= most
    }

    /// Gives the client a run of whole messages: many bytes at once without a copy.
    pub(super) fn put_run(&mut self, mut run: &[u8], cx: &mut Context<'_>) {
        let client = &mut *self.client;
        while !self.keeps && client.output.is_empty() && run.len() >= FLUSH_BYTES {
            match Pin::new(&mut *client.stream).poll_write(cx, run) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    run = &run[written..];
                    self.written_bytes += written as u64;
                    // TLS keeps records back until it is flushed.
                    self.beside.flush |= client.stream.is_tls();
                }
                // An error shows again with the next write.
                _ => break,
            }
        }
        client.output.extend_from_slice(run);
    }

    /// The front of a feed; what else it said goes to the client.
    pub(super) fn settle(&mut self, feed: &mut Feed<'_>) -> Result<super::feed::Front, Failure> {
        feed.settle(&mut self.beside, self.client.output, &self.limits)
    }

    /// Bytes on their way to the client.
    pub(super) fn output(&mut self) -> &mut BytesMut {
        self.client.output
    }
}
