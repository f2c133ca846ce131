//! Owns one exchange with a participant: a simple query of ours, and everything the server says up
//! to ReadyForQuery. It decides nothing.

use super::TwoPhase;
use crate::backend::error::ServerError;
use crate::execute::Participant;
use crate::timer::timeout;
use crate::wire::error::SqlError;
use crate::wire::frame::{self, HEADER_BYTES, Header};
use bytes::{Buf, BytesMut};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest message taken from a server here.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// Most bytes of notices kept for the client; what comes after is left out.
const MAX_PASSING_BYTES: usize = 64 * 1024;
/// How often a server that does not answer is looked at: is its host given up?
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How an exchange ended without success.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server refused, and can be used on.
    Said(SqlError),
    /// The connection is gone: the server may have done it or not.
    Lost(SqlError),
}

impl Failed {
    pub(super) fn into_error(self) -> SqlError {
        match self {
            Self::Said(error) | Self::Lost(error) => error,
        }
    }
}

/// What a server answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The last command tag.
    pub tag: String,
    /// The last row.
    pub row: Vec<Option<String>>,
    /// NoticeResponses and ParameterStatuses, as they came.
    pub passing: BytesMut,
    error: Option<SqlError>,
    fatal: bool,
}

impl TwoPhase {
    /// Sends `sql` and waits for its end. `part.lost` holds meanwhile, and afterwards if the
    /// connection broke. Not cancel safe.
    pub(super) async fn ask(
        &self,
        part: &mut Participant<'_>,
        sql: &str,
    ) -> Result<Answer, Failed> {
        part.lost = true;
        let server = &mut *part.server;
        server.unnamed = None;
        let mut out = BytesMut::new();
        frame::put_query(&mut out, sql.as_bytes());
        let broken = |error: std::io::Error| Failed::Lost(lost(&error.to_string()));
        server.stream.write_all(&out).await.map_err(broken)?;
        server.stream.flush().await.map_err(broken)?;
        let (mut input, mut answer) = (BytesMut::with_capacity(1024), Answer::default());
        loop {
            while let Some(header) = whole(&input)? {
                let frame = input.split_to(header.total);
                if answer.take(part, &frame) {
                    part.lost = false;
                    return answer.end();
                }
            }
            match timeout(LOOK_EVERY, part.server.stream.read_buf(&mut input)).await {
                Ok(Ok(0)) => return Err(answer.cut_off("the server closed the connection")),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(answer.cut_off(&error.to_string())),
                Err(_) if self.is_given_up(part) => {
                    return Err(answer.cut_off("the host does not answer health checks"));
                }
                Err(_) => {}
            }
        }
    }

    /// Whether what runs on the participant's host is given up.
    fn is_given_up(&self, part: &Participant<'_>) -> bool {
        let place = self.shards.get(usize::from(part.shard.0));
        let host = place.and_then(|place| place.cluster.hosts().get(part.server.info.host_index));
        host.is_some_and(|host| host.is_given_up() || host.losses() != part.server.host_losses)
    }
}

impl Answer {
    /// Takes one message; true when it was the last.
    fn take(&mut self, part: &mut Participant<'_>, frame: &[u8]) -> bool {
        let (kind, body) = (frame[0], frame.get(HEADER_BYTES..).unwrap_or_default());
        match kind {
            b'E' => {
                let error = ServerError::decode(body);
                self.fatal |= error.severity != "ERROR";
                self.error.get_or_insert(error.into());
            }
            b'C' => {
                let tag = body.split_last().map_or(body, |(_, tag)| tag);
                self.tag = String::from_utf8_lossy(tag).into_owned();
            }
            b'D' => {
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                let row = frame::data_row(body).unwrap_or_default();
                self.row = row.into_iter().map(|value| value.map(text)).collect();
            }
            b'N' => self.pass(frame),
            b'S' => {
                note_parameter(part, body);
                self.pass(frame);
            }
            b'Z' => {
                part.server.status = body.first().copied().unwrap_or(b'I');
                return true;
            }
            _ => {}
        }
        false
    }

    fn pass(&mut self, frame: &[u8]) {
        if self.passing.len() + frame.len() <= MAX_PASSING_BYTES {
            self.passing.extend_from_slice(frame);
        }
    }

    fn end(mut self) -> Result<Self, Failed> {
        match self.error.take() {
            Some(error) => Err(Failed::Said(error)),
            None => Ok(self),
        }
    }

    /// What the server said of its end explains more than that the connection broke.
    fn cut_off(&mut self, why: &str) -> Failed {
        Failed::Lost(self.error.take().filter(|_| self.fatal).unwrap_or_else(|| lost(why)))
    }
}

/// The header of the next message, once all of it is there.
fn whole(input: &BytesMut) -> Result<Option<Header>, Failed> {
    match frame::peek(input) {
        Some(header) if header.total < HEADER_BYTES || header.total > MAX_MESSAGE_BYTES => {
            Err(Failed::Lost(lost("malformed message")))
        }
        Some(header) if input.remaining() >= header.total => Ok(Some(header)),
        _ => Ok(None),
    }
}

fn note_parameter(part: &mut Participant<'_>, body: &[u8]) {
    if let Ok((name, rest)) = frame::cstr(body, b'S')
        && let Ok((value, _)) = frame::cstr(rest, b'S')
        && let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value))
    {
        part.server.note_parameter(name, value);
    }
}

fn lost(detail: &str) -> SqlError {
    SqlError::error("08006", "the connection to the server was lost").detail(format!("{detail}."))
}
