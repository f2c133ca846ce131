//! Owns the server's answers: which pass, which are ours to swallow, and what they say about the
//! state of the connection. Bodies are read only where something is decided.

use super::{CopyIn, Session, planning};
use crate::backend::connection::{Expect, Hidden};
use crate::wire::error::SqlError;
use crate::wire::frame::{self, HEADER_BYTES};
use bytes::{Buf, BytesMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest message that is kept until it is whole; a longer one passes unseen, or is an error
/// where it must be seen.
const WHOLE_MESSAGE_BYTES: usize = 1024 * 1024;

/// What to do with one message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Pass,
    Swallow,
}

/// Bytes on their way to the client: a run of the scratch buffer that is written at once, and
/// what had to be put together because something was swallowed or added.
pub(super) struct Outgoing<'a> {
    bytes: &'a [u8],
    /// Start of the run that passes but was not put anywhere yet.
    pub(super) from: usize,
    /// Start of what no statement was charged with yet; swallowed messages have moved it on.
    counted: usize,
}

impl Outgoing<'_> {
    /// Moves what passes up to `end` into `output`, and goes on after `next`.
    pub(super) fn cut(&mut self, end: usize, next: usize, output: &mut BytesMut) {
        output.extend_from_slice(&self.bytes[self.from..end]);
        self.from = next;
    }
}

impl Session {
    /// Sends what the server is owed, and reads it once.
    pub(super) fn poll_server(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SqlError>> {
        let owes = self.lease.as_ref().is_some_and(|lease| lease.owes_bytes());
        if owes && let Err(error) = self.poll_write_server(cx) {
            return Poll::Ready(Err(error));
        }
        if !self.output.is_empty() {
            return Poll::Pending;
        }
        planning::with_scratch(|scratch, _| {
            let Some(lease) = &mut self.lease else { return Poll::Pending };
            let mut buffer = ReadBuf::new(scratch);
            match ready!(Pin::new(&mut lease.stream).poll_read(cx, &mut buffer)) {
                Err(error) => return Poll::Ready(Err(lost(&error.to_string()))),
                Ok(()) if buffer.filled().is_empty() => {
                    return Poll::Ready(Err(lost("the server closed the connection")));
                }
                Ok(()) => {}
            }
            let bytes = buffer.filled();
            if lease.partial.is_empty() {
                return Poll::Ready(self.take_answers(bytes, cx));
            }
            let mut whole = std::mem::take(&mut lease.partial);
            whole.extend_from_slice(bytes);
            Poll::Ready(self.take_answers(&whole, cx))
        })
    }

    /// Writes to the server at once, without waiting.
    pub(super) fn flush_server_now(&mut self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // An error shows again, and is handled, when the server is polled.
        let _ = self.poll_write_server(&mut cx);
    }

    fn poll_write_server(&mut self, cx: &mut Context<'_>) -> Result<(), SqlError> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        let server = &mut **lease;
        let writes = !server.out.is_empty();
        while !server.out.is_empty() {
            match Pin::new(&mut server.stream).poll_write(cx, &server.out) {
                Poll::Ready(Ok(0)) => return Err(lost("the server takes no more data")),
                Poll::Ready(Ok(written)) => server.out.advance(written),
                Poll::Ready(Err(error)) => return Err(lost(&error.to_string())),
                Poll::Pending => return Ok(()),
            }
        }
        // TLS keeps records back until it is flushed.
        if server.stream.is_tls()
            && let Poll::Ready(Err(error)) = Pin::new(&mut server.stream).poll_flush(cx)
        {
            return Err(lost(&error.to_string()));
        }
        // What came after the last answer (the rest of a COPY that failed) has kept the server.
        if writes && server.expect.is_empty() && !self.batch_open {
            self.release_server();
        }
        Ok(())
    }

    /// Goes through what the server sent, and passes on what is the client's.
    fn take_answers(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Result<(), SqlError> {
        let mut outgoing = Outgoing { bytes, from: 0, counted: 0 };
        let mut at = 0;
        let result = self.scan_answers(bytes, &mut at, &mut outgoing);
        if outgoing.from < at || !self.output.is_empty() {
            self.forget_repeat();
        }
        self.account_bytes(at.saturating_sub(outgoing.counted));
        self.write_run(&bytes[outgoing.from..at], cx);
        if let Some(lease) = &mut self.lease {
            lease.partial.extend_from_slice(&bytes[at..]);
        }
        result
    }

    /// Advances `at` over whole messages, and over the part at hand of one that passes unseen.
    fn scan_answers(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        outgoing: &mut Outgoing<'_>,
    ) -> Result<(), SqlError> {
        loop {
            let Some(lease) = &mut self.lease else { return Ok(()) };
            let server = &mut **lease;
            if server.passing > 0 {
                let passing = server.passing.min(bytes.len() - *at);
                server.passing -= passing;
                *at += passing;
            }
            match server.expect.front() {
                Some(Expect::Query) => *at = pass_rows(bytes, *at, b'T'),
                Some(Expect::Execute) => *at = pass_rows(bytes, *at, b'D'),
                _ => {}
            }
            let rest = &bytes[*at..];
            let Some(header) = frame::peek(rest) else { return Ok(()) };
            if header.total < HEADER_BYTES {
                return Err(lost("the server sent a malformed message"));
            }
            let Some(message) = rest.get(..header.total) else {
                return self.pass_part(header, bytes.len(), at);
            };
            let start = *at;
            *at += header.total;
            let kept = header.kind == b'Z'
                && self.listening.is_some()
                && self.keeps_ready(message, start, outgoing);
            let ends = matches!(header.kind, b'C' | b'I' | b's' | b'E' | b'Z');
            if ends {
                self.account_bytes(at.saturating_sub(outgoing.counted));
                outgoing.counted = *at;
            }
            let fate = self.take_answer(header.kind, message, start, outgoing)?;
            if fate == Fate::Swallow && !ends {
                outgoing.counted += header.total;
            }
            if fate == Fate::Swallow || kept {
                outgoing.cut(start, *at, &mut self.output);
            }
            if self.local_is_next() {
                outgoing.cut(*at, *at, &mut self.output);
                self.answer_locals();
            }
            if header.kind == b'Z' {
                self.ready_came(fate == Fate::Pass);
            }
        }
    }

    /// An incomplete message: short ones are kept until they are whole.
    fn pass_part(
        &mut self,
        header: frame::Header,
        end: usize,
        at: &mut usize,
    ) -> Result<(), SqlError> {
        let Some(lease) = &mut self.lease else { return Ok(()) };
        let is_row = matches!(header.kind, b'D' | b'd');
        let visible = !matches!(
            lease.expect.front(),
            None | Some(
                Expect::Hidden(_)
                    | Expect::Verify
                    | Expect::DescribeStatement(_)
                    | Expect::Poison(_)
                    | Expect::PoisonBatch(_)
                    | Expect::Local(_)
            )
        );
        if visible && (is_row || header.total > WHOLE_MESSAGE_BYTES) {
            lease.passing = header.total - (end - *at);
            *at = end;
            return Ok(());
        }
        if header.total > WHOLE_MESSAGE_BYTES {
            return Err(lost("the server sent a message that is too long"));
        }
        Ok(())
    }

    fn take_answer(
        &mut self,
        kind: u8,
        message: &[u8],
        start: usize,
        outgoing: &mut Outgoing<'_>,
    ) -> Result<Fate, SqlError> {
        if self.lease.as_ref().is_some_and(|lease| lease.repeating) && kind != b'Z' {
            return Ok(Fate::Swallow);
        }
        // What answers a query of ours, sent ahead of a COPY, does not end the COPY.
        if matches!(kind, b'E' | b'C' | b'Z') && !self.is_hidden() {
            self.copy_in = CopyIn::No;
        }
        match kind {
            b'Z' => return self.take_ready(message),
            b'E' => return self.take_error(message, start, outgoing),
            b'S' => return Ok(self.take_parameter_status(message)),
            b'N' => return Ok(self.fate_of_notice()),
            b'A' => return Ok(self.take_notification(message, start, outgoing)),
            _ => {}
        }
        self.note_answer(kind, &message[HEADER_BYTES..]);
        let Some(lease) = &mut self.lease else { return Ok(Fate::Swallow) };
        let server = &mut **lease;
        let (fate, done) = match (server.expect.front(), kind) {
            (Some(Expect::Query), b'C') => {
                server.owed.add_rows(&message[HEADER_BYTES..]);
                (Fate::Pass, false)
            }
            (Some(Expect::Query), _) => (Fate::Pass, false),
            (Some(Expect::Hidden(Hidden::ReadSettings)), b'D') => {
                if let Some(row) = setting_row(&message[HEADER_BYTES..]) {
                    server.hidden_rows.push(row);
                }
                (Fate::Swallow, false)
            }
            (Some(Expect::Hidden(_) | Expect::Poison(_)), _) => (Fate::Swallow, false),
            (Some(Expect::Parse { name, statement }), b'1') => {
                let (hidden, statement) = (name.is_none(), Arc::clone(statement));
                self.note_parsed(&statement);
                return Ok(fate(hidden));
            }
            (Some(Expect::Verify | Expect::DescribeStatement(_)), b't' | b'T' | b'n') => {
                return Ok(self.take_description(kind, &message[HEADER_BYTES..]));
            }
            (Some(Expect::Close), b'3') => (Fate::Pass, true),
            (Some(Expect::Evict(_)), b'3') => (Fate::Swallow, true),
            (Some(Expect::Bind), b'2') => (Fate::Pass, true),
            (Some(Expect::Describe { of }), b'T' | b'n') => {
                let of = *of;
                server.expect.pop_front();
                if of != 0 {
                    self.note_portal_described(of, kind, &message[HEADER_BYTES..]);
                }
                return Ok(Fate::Pass);
            }
            (Some(Expect::Execute), b'C' | b'I' | b's') => {
                return Ok(self.account_executed(kind, &message[HEADER_BYTES..]));
            }
            (Some(Expect::Execute), b'D' | b'd' | b'c' | b'G' | b'H' | b'T') => (Fate::Pass, false),
            _ => return Err(lost("the server sent a message that nobody asked for")),
        };
        if done {
            server.expect.pop_front();
        }
        Ok(fate)
    }

    /// Notes what an answer says about the session, whoever it is for.
    #[inline]
    fn note_answer(&mut self, kind: u8, body: &[u8]) {
        if kind == b'G' {
            self.copy_in = CopyIn::Running;
        }
        if matches!(kind, b'C' | b'I' | b's') && self.listening.is_some() {
            self.listening_executed(body);
        }
        if kind == b'C' {
            self.note_completed(body);
        }
    }

    /// Puts notifications before a ReadyForQuery of the client. True when it must wait for them.
    fn keeps_ready(&mut self, message: &[u8], start: usize, outgoing: &mut Outgoing<'_>) -> bool {
        let visible = self.lease.as_ref().is_some_and(|lease| {
            let front = lease.expect.front();
            !lease.repeating
                && matches!(front, Some(Expect::Query | Expect::Sync | Expect::Poison(_)))
        });
        let Some(&status) = message.last().filter(|_| visible) else { return false };
        let last = self.lease.as_ref().is_some_and(|lease| lease.expect.len() == 1);
        let mut before = BytesMut::new();
        let kept = self.listening_at_ready((status, last), &mut before);
        if !before.is_empty() {
            outgoing.cut(start, start, &mut self.output);
            self.output.extend_from_slice(&before);
        }
        kept
    }

    /// A command has completed, with this tag.
    fn note_completed(&mut self, tag: &[u8]) {
        self.rolled_back = *tag == *b"ROLLBACK\0";
        if matches!(tag, b"DISCARD ALL\0" | b"DEALLOCATE ALL\0") {
            self.dropping = None;
            self.dropped.clear();
        }
        if matches!(tag, b"DISCARD ALL\0" | b"DISCARD SEQUENCES\0") && self.is_visible() {
            self.sequences_discarded();
        }
    }

    fn take_ready(&mut self, message: &[u8]) -> Result<Fate, SqlError> {
        let &[_, _, _, _, _, status] = message else {
            return Err(lost("the server sent a malformed message"));
        };
        let Some(lease) = &mut self.lease else { return Ok(Fate::Swallow) };
        lease.status = status;
        let owed = lease.expect.pop_front();
        if matches!(owed, Some(Expect::Query)) {
            lease.owed.answer();
        }
        if matches!(owed, Some(Expect::Query | Expect::Sync)) && self.begins_restore() {
            return Ok(Fate::Swallow);
        }
        let Some(lease) = &mut self.lease else { return Ok(Fate::Swallow) };
        match owed {
            Some(Expect::Query | Expect::Sync) if lease.repeating => {
                if self.undoes_moved() {
                    return Ok(Fate::Swallow);
                }
                let Some(lease) = &mut self.lease else { return Ok(Fate::Swallow) };
                lease.repeating = false;
                lease.owed.answered = None;
                let request = std::mem::take(&mut lease.repeatable);
                self.repeating_on_primary = true;
                self.repeat(request);
                Ok(Fate::Swallow)
            }
            Some(Expect::Query | Expect::Sync | Expect::Poison(_)) => Ok(Fate::Pass),
            Some(Expect::Hidden(hidden)) => {
                self.hidden_done(hidden)?;
                Ok(fate(hidden != Hidden::Restore))
            }
            _ => Err(lost("the server sent ReadyForQuery out of turn")),
        }
    }

    /// A notification of a server that listens for this session alone. It began to listen after
    /// the session had it, so what it sent itself the session sent.
    fn take_notification(
        &mut self,
        message: &[u8],
        start: usize,
        outgoing: &mut Outgoing<'_>,
    ) -> Fate {
        let own = self.lease.as_ref().and_then(|lease| lease.info.cancel.as_ref());
        let own = own.map(|key| key.process_id);
        let Some((pid, text)) = message[HEADER_BYTES..].split_first_chunk::<4>() else {
            return Fate::Pass;
        };
        let pid = match u32::from_be_bytes(*pid) {
            pid if Some(pid) == own => self.handle.id,
            // Another's must not be taken for the session's own.
            pid if pid == self.handle.id => 0,
            _ => return Fate::Pass,
        };
        outgoing.cut(start, start, &mut self.output);
        frame::put(&mut self.output, b'A', &[&pid.to_be_bytes(), text]);
        Fate::Swallow
    }

    fn take_parameter_status(&mut self, message: &[u8]) -> Fate {
        let Some(lease) = &mut self.lease else { return Fate::Swallow };
        let body = &message[HEADER_BYTES..];
        if let Ok((name, rest)) = frame::cstr(body, b'S')
            && let Ok((value, _)) = frame::cstr(rest, b'S')
            && let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value))
        {
            lease.note_parameter(name, value);
        }
        match self.lease.as_ref().and_then(|lease| lease.expect.front()) {
            Some(Expect::Hidden(Hidden::Restore)) => Fate::Pass,
            _ => self.fate_of_notice(),
        }
    }

    /// Notices belong to the client unless they come from a query of ours.
    fn fate_of_notice(&self) -> Fate {
        let front = self.lease.as_ref().and_then(|lease| lease.expect.front());
        fate(matches!(front, Some(Expect::Hidden(_) | Expect::Poison(_))))
    }

    /// The message at hand answers a query of ours.
    fn is_hidden(&self) -> bool {
        let front = self.lease.as_ref().and_then(|lease| lease.expect.front());
        matches!(front, Some(Expect::Hidden(_)))
    }

    /// The message at hand answers the client, not us.
    fn is_visible(&self) -> bool {
        let front = self.lease.as_ref().and_then(|lease| lease.expect.front());
        matches!(front, Some(Expect::Query | Expect::Execute))
    }

    fn local_is_next(&self) -> bool {
        let front = self.lease.as_ref().and_then(|lease| lease.expect.front());
        matches!(front, Some(Expect::Local(_) | Expect::Parsed(_) | Expect::Closed))
    }

    /// Gives the answers of ours whose turn has come.
    pub(super) fn answer_locals(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        loop {
            match lease.expect.front() {
                Some(Expect::Local(bytes)) => self.output.extend_from_slice(bytes),
                Some(Expect::Parsed(_)) => frame::put(&mut self.output, b'1', &[]),
                Some(Expect::Closed) => {
                    frame::put(&mut self.output, b'3', &[]);
                    self.closing.pop_front();
                }
                _ => return,
            }
            lease.expect.pop_front();
        }
    }

    /// Writes a run of bytes to the client at once; what its socket does not take is kept.
    fn write_run(&mut self, mut run: &[u8], cx: &mut Context<'_>) {
        while !run.is_empty() && self.output.is_empty() {
            match Pin::new(&mut self.client).poll_write(cx, run) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.metrics.bytes_out(written as u64);
                    run = &run[written..];
                }
                // An error shows again, and is handled, when the client is written or read next.
                _ => break,
            }
        }
        self.output.extend_from_slice(run);
    }
}

/// Passes over whole DataRow and CopyData messages, the bulk of all bytes, and messages of one
/// type more.
pub(crate) fn pass_rows(bytes: &[u8], mut at: usize, also: u8) -> usize {
    while let Some(&[kind, a, b, c, d]) =
        bytes.get(at..).and_then(<[u8]>::first_chunk::<HEADER_BYTES>)
    {
        if !matches!(kind, b'D' | b'd') && kind != also {
            break;
        }
        let total = u32::from_be_bytes([a, b, c, d]) as usize + 1;
        if total < HEADER_BYTES || total > bytes.len() - at {
            break;
        }
        at += total;
    }
    at
}

pub(super) fn fate(hidden: bool) -> Fate {
    if hidden { Fate::Swallow } else { Fate::Pass }
}

/// A row of name and value; NULL values are left out.
fn setting_row(body: &[u8]) -> Option<(Box<str>, Box<str>)> {
    match frame::data_row(body)?.as_slice() {
        [Some(name), Some(value)] => {
            let name = std::str::from_utf8(name).ok()?;
            Some((name.into(), std::str::from_utf8(value).ok()?.into()))
        }
        _ => None,
    }
}

/// The connection to the server is gone or cannot be understood any more.
pub(super) fn lost(detail: &str) -> SqlError {
    SqlError::error("08006", "the connection to the server was lost").detail(format!("{detail}."))
}
