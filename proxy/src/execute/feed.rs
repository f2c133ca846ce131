//! Owns `Feed`: one server's answer while it comes in. Bytes are read up to a bound, what is not
//! a row is taken out at once, and whole rows are left at the front for whoever merges them.

use super::beside::Beside;
use super::columns::Columns;
use super::{Failure, Limits, Participant};
use crate::backend::connection::{Server, ServerInfo};
use crate::backend::error::ServerError;
use crate::wire::error::SqlError;
use crate::wire::frame::{self, HEADER_BYTES};
use bytes::{Buf, BufMut, BytesMut};
use pgmanifold_router::shard_map::ShardId;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWrite};

/// Bytes read at once at first; doubled as long as the server fills them.
const FIRST_READ_BYTES: usize = 8 * 1024;

/// Longest message that is not a row.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// What is known of an answer before its first row.
#[derive(Debug, Clone)]
pub(super) enum Head {
    /// Nothing yet.
    Unknown,
    /// There are no rows.
    Nothing,
    /// Rows of these columns.
    Rows(Box<Columns>),
    /// The body of a CopyOutResponse.
    CopyOut(Vec<u8>),
    /// The body of a CopyInResponse.
    CopyIn(Vec<u8>),
}

/// What stands at the front of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Front {
    /// A whole DataRow or CopyData of so many bytes.
    Row(usize),
    /// Nothing whole yet.
    More,
    /// The server waits for COPY data.
    Asks,
    /// No more will come: its ReadyForQuery was read.
    End,
}

/// One server's answer.
pub(super) struct Feed<'a> {
    /// The shard.
    pub(super) shard: ShardId,
    /// Its name.
    pub(super) name: &'a str,
    server: &'a mut Server,
    lost: &'a mut bool,
    /// What was read and not taken yet.
    pub(super) buf: BytesMut,
    read_bytes: usize,
    /// Bytes of the message at the front, when it is incomplete.
    wanted_bytes: usize,
    /// Rest of a message that is thrown away, while nothing is of use any more.
    skip_bytes: usize,
    unflushed: bool,
    closed: bool,
    /// What is known of the rows.
    pub(super) head: Head,
    /// The tag of CommandComplete.
    pub(super) tag: Option<String>,
    /// The server said that it ends.
    dying: bool,
    /// Every ReadyForQuery that is owed came, or the connection is lost.
    pub(super) ended: bool,
    /// ReadyForQuery that are owed before the last one.
    owed: u32,
    /// What a Describe of a statement has told, before the answer that `head` is of.
    pub(super) described: Option<Head>,
    /// The body of a ParameterDescription.
    pub(super) parameters: Vec<u8>,
}

impl<'a> Feed<'a> {
    pub(super) fn new(part: &'a mut Participant<'_>) -> Self {
        let server = &mut *part.server;
        server.unnamed = None;
        let buf = std::mem::take(&mut server.partial);
        Self {
            shard: part.shard,
            name: part.name,
            server,
            lost: &mut part.lost,
            buf,
            read_bytes: FIRST_READ_BYTES,
            wanted_bytes: 0,
            skip_bytes: 0,
            unflushed: true,
            closed: false,
            head: Head::Unknown,
            tag: None,
            dying: false,
            ended: false,
            owed: 0,
            described: None,
            parameters: Vec::new(),
        }
    }

    /// Bytes on their way to the server.
    pub(super) fn out(&mut self) -> &mut BytesMut {
        self.unflushed = true;
        &mut self.server.out
    }

    /// Bytes the server has not taken yet.
    pub(super) fn owed_bytes(&self) -> usize {
        self.server.out.len()
    }

    /// Who the server is, for a cancel request.
    pub(super) fn info(&self) -> Arc<ServerInfo> {
        Arc::clone(&self.server.info)
    }

    /// A parameter as the server reported it.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let (_, value) = self.server.reported.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// Makes the feed ready for another statement on the same server, and for a description
    /// before it.
    pub(super) fn again(&mut self) {
        (self.head, self.tag) = (Head::Unknown, None);
        (self.wanted_bytes, self.ended, self.owed) = (0, *self.lost, 1);
    }

    /// Writes and reads as much as goes without waiting, while there is room. True when something
    /// moved.
    pub(super) fn poll_move(&mut self, cx: &mut Context<'_>, limits: &Limits) -> bool {
        if self.ended || self.closed {
            return false;
        }
        let owed_bytes = self.server.out.len();
        self.write_now(cx);
        let mut moved = self.server.out.len() < owed_bytes;
        while !self.closed && self.room(limits) > 0 {
            let Poll::Ready(result) = self.poll_read(cx, limits) else { break };
            self.closed |= !matches!(result, Ok(1..));
            moved = true;
        }
        moved
    }

    /// Writes what the server takes at once. What it said before it closed the connection is
    /// still read.
    fn write_now(&mut self, cx: &mut Context<'_>) {
        if matches!(self.poll_write(cx), Poll::Ready(Err(_))) {
            self.server.out.clear();
            self.unflushed = false;
        }
    }

    /// Writes what the server is owed.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended || !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        let server = &mut *self.server;
        while !server.out.is_empty() {
            match ready!(Pin::new(&mut server.stream).poll_write(cx, &server.out)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => server.out.advance(written),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        ready!(Pin::new(&mut server.stream).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Bytes that may be read now.
    fn room(&self, limits: &Limits) -> usize {
        limits.buffer_bytes.max(self.wanted_bytes).saturating_sub(self.buf.len())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, limits: &Limits) -> Poll<io::Result<usize>> {
        let room = self.room(limits).min(self.read_bytes);
        self.buf.reserve(room);
        let mut limited = (&mut self.buf).limit(room);
        let reading = pin!(self.server.stream.read_buf(&mut limited));
        let read = ready!(reading.poll(cx))?;
        if read == self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(limits.buffer_bytes);
        }
        Poll::Ready(Ok(read))
    }

    /// Takes out everything before the next row.
    ///
    /// # Errors
    /// The server's error, or that it is lost or cannot be understood.
    pub(super) fn settle(
        &mut self,
        beside: &mut Beside,
        out: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Front, Failure> {
        loop {
            if self.ended {
                return Ok(Front::End);
            }
            let Some(header) = frame::peek(&self.buf) else { return self.more(0) };
            let is_row = matches!(header.kind, b'D' | b'd');
            let most = if is_row { limits.row_bytes } else { MESSAGE_BYTES_MAX };
            if header.total < HEADER_BYTES || (header.total > most && !is_row) {
                return Err(self.lose("the server sent a malformed message"));
            }
            if header.total > most {
                return Err(Failure::new(too_long(self.name, limits.row_bytes)));
            }
            if self.buf.len() < header.total {
                return self.more(header.total);
            }
            if is_row {
                return Ok(Front::Row(header.total));
            }
            let message = self.buf.split_to(header.total);
            self.take(header.kind, &message, beside, out)?;
            if header.kind == b'G' {
                return Ok(Front::Asks);
            }
        }
    }

    fn more(&mut self, wanted_bytes: usize) -> Result<Front, Failure> {
        if self.closed {
            return Err(self.lose("the server closed the connection"));
        }
        self.wanted_bytes = wanted_bytes;
        Ok(Front::More)
    }

    /// The row at the front was used.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.buf.advance(bytes);
        self.wanted_bytes = 0;
    }

    fn take(
        &mut self,
        kind: u8,
        message: &[u8],
        beside: &mut Beside,
        out: &mut BytesMut,
    ) -> Result<(), Failure> {
        let body = &message[HEADER_BYTES..];
        match kind {
            b'1' | b'2' | b'3' | b'c' => {}
            b't' => self.parameters = body.to_vec(),
            b'n' => self.head = Head::Nothing,
            b'T' if matches!(self.head, Head::Unknown) => match Columns::read(body) {
                Some(columns) => self.head = Head::Rows(Box::new(columns)),
                None => return Err(self.lose("the server sent a malformed message")),
            },
            b'H' => self.head = Head::CopyOut(body.to_vec()),
            b'G' => self.head = Head::CopyIn(body.to_vec()),
            b'C' if self.tag.is_none() => {
                let tag = body.strip_suffix(b"\0").unwrap_or(body);
                self.tag = Some(String::from_utf8_lossy(tag).into_owned());
                self.no_rows_came();
            }
            b'I' => {
                self.tag = Some(String::new());
                self.no_rows_came();
            }
            b'S' => self.parameter_came(message, beside, out),
            b'N' => beside.notice(self.shard, message, out),
            b'A' => out.extend_from_slice(message),
            b'E' => return Err(self.error_came(body)),
            b'Z' => self.ready_came(body),
            _ => return Err(self.lose("the server sent a message that nobody asked for")),
        }
        Ok(())
    }

    fn no_rows_came(&mut self) {
        if matches!(self.head, Head::Unknown) {
            self.head = Head::Nothing;
        }
    }

    fn parameter_came(&mut self, message: &[u8], beside: &mut Beside, out: &mut BytesMut) {
        if let Ok((name, rest)) = frame::cstr(&message[HEADER_BYTES..], b'S')
            && let Ok((value, _)) = frame::cstr(rest, b'S')
            && let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value))
        {
            self.server.note_parameter(name, value);
        }
        beside.parameter(self.shard, message, out);
    }

    fn error_came(&mut self, body: &[u8]) -> Failure {
        let error = ServerError::decode(body);
        // What we have cancelled because of another server's error is not this one's.
        self.server.failed |= error.sqlstate != "57014";
        self.dying = matches!(&*error.severity, "FATAL" | "PANIC");
        if self.dying {
            self.server.dying = Some(error.clone().into());
        }
        Failure::of_server(self.name, error, body)
    }

    fn ready_came(&mut self, body: &[u8]) {
        self.server.status = body.first().copied().unwrap_or(b'I');
        if let Some(owed) = self.owed.checked_sub(1) {
            self.owed = owed;
            self.described = Some(std::mem::replace(&mut self.head, Head::Unknown));
            return;
        }
        if !self.buf.is_empty() {
            // What came unasked behind it is for whoever reads next.
            self.server.partial = std::mem::take(&mut self.buf);
        }
        self.ended = true;
        self.server.answered = Some(Instant::now());
    }

    /// Gives the connection up.
    pub(super) fn lose(&mut self, why: &str) -> Failure {
        (*self.lost, self.ended) = (true, true);
        Failure::new(
            SqlError::error("08006", "the connection to the server was lost")
                .detail(format!("Shard \"{}\": {why}.", self.name)),
        )
    }

    /// Gives the connection up because what is on its way to it is not known any more.
    pub(super) fn distrust(&mut self) {
        *self.lost = true;
    }

    /// Reads to the end of the answer, and keeps nothing of it. Pending until then.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>, limits: &Limits) -> Poll<()> {
        while !self.ended {
            self.write_now(cx);
            self.discard();
            if self.ended {
                break;
            }
            self.wanted_bytes = self.wanted_bytes.min(MESSAGE_BYTES_MAX);
            let read = match self.closed {
                true => 0,
                false => ready!(self.poll_read(cx, limits)).unwrap_or(0),
            };
            if read == 0 {
                let _ = self.lose("the server closed the connection");
            }
        }
        Poll::Ready(())
    }

    fn discard(&mut self) {
        loop {
            let skipped = self.skip_bytes.min(self.buf.len());
            self.skip_bytes -= skipped;
            self.buf.advance(skipped);
            let Some(header) = frame::peek(&self.buf) else { return };
            if header.total < HEADER_BYTES {
                let _ = self.lose("the server sent a malformed message");
                return;
            }
            let matters = matches!(header.kind, b'Z' | b'S' | b'E');
            if !matters || header.total > MESSAGE_BYTES_MAX {
                self.skip_bytes = header.total;
                continue;
            }
            if self.buf.len() < header.total {
                self.wanted_bytes = header.total;
                return;
            }
            let message = self.buf.split_to(header.total);
            let (mut beside, mut nothing) = (Beside::deaf(), BytesMut::new());
            // An error more changes nothing.
            let _ = self.take(header.kind, &message, &mut beside, &mut nothing);
            if self.ended {
                return;
            }
        }
    }
}

fn too_long(name: &str, most_bytes: usize) -> SqlError {
    let message = format!("a row of shard \"{name}\" is too long to be merged");
    SqlError::error("54000", message)
        .detail(format!("A row read from several shards may have {most_bytes} bytes."))
        .hint("Name the row's shard key, so that one shard answers.")
}
