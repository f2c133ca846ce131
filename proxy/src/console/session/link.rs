//! Owns the socket of one console connection: whole frames in, buffered bytes out. It checks types
//! and lengths and knows no meaning.

use crate::wire::frame::{self, FrameError};
use crate::wire::stream::Stream;
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Largest message taken from a client: commands are short.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Bytes of an answer that are held before the client must take some.
const OUTPUT_BYTES: usize = 64 << 10;

/// One message.
pub(super) struct Frame {
    /// Its type.
    pub(super) kind: u8,
    /// What follows the length.
    pub(super) body: Bytes,
}

/// Why there is no frame.
pub(super) enum NoFrame {
    /// The client is gone.
    Gone,
    /// It broke the protocol.
    Broken(FrameError),
}

/// The connection.
pub(super) struct Link {
    stream: Stream,
    input: BytesMut,
    /// What is to be sent with the next flush.
    pub(super) out: BytesMut,
    /// A flush was begun and not ended: what comes next would stand in the middle of a message.
    torn: bool,
}

impl Link {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, input: BytesMut::new(), out: BytesMut::new(), torn: false }
    }

    /// The next message. Cancel safe.
    pub(super) async fn read(&mut self) -> Result<Frame, NoFrame> {
        loop {
            if let Some(header) = frame::peek(&self.input) {
                frame::check_frontend(header, MAX_MESSAGE_BYTES).map_err(NoFrame::Broken)?;
                if self.input.len() >= header.total {
                    let mut whole = self.input.split_to(header.total);
                    let body = whole.split_off(frame::HEADER_BYTES).freeze();
                    return Ok(Frame { kind: header.kind, body });
                }
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(NoFrame::Gone),
            }
        }
    }

    /// Sends what is held. Not cancel safe: see `say_goodbye`.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.torn = true;
        self.stream.write_all_buf(&mut self.out).await?;
        self.stream.flush().await?;
        self.torn = false;
        Ok(())
    }

    /// Sends what is held when it is much: so a client that reads slowly holds up its answer.
    pub(super) async fn flush_if_much(&mut self) -> io::Result<()> {
        if self.out.len() >= OUTPUT_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Completes when the client has left; never while bytes of it wait to be read.
    pub(super) async fn gone(&mut self) {
        poll_fn(|cx| self.stream.poll_gone(cx)).await;
    }

    /// Sends last words as far as the socket takes them at once.
    pub(super) fn say_goodbye(&mut self, words: &[u8]) {
        if !self.torn {
            self.out.extend_from_slice(words);
            self.stream.try_write_now(&self.out);
        }
    }
}
