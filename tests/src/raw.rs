//! Owns a byte-exact client: it sends what a test says, also wrong things, and shows every
//! message that comes back. It must not hide, reorder or repair anything.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use pgmanifold::config::model::Address;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Longest wait for one message.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Protocol 3.0.
pub const V3_0: u32 = 3 << 16;
/// Protocol 3.2.
pub const V3_2: u32 = (3 << 16) | 2;

/// One message from the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub tag: u8,
    /// What follows the length.
    pub body: Bytes,
}

/// A connection after login.
#[derive(Debug)]
pub struct Raw {
    reading: OwnedReadHalf,
    /// `None` after [`Raw::split`].
    writing: Option<OwnedWriteHalf>,
    buffer: BytesMut,
    /// Parameters reported so far, in order, with repetitions.
    pub parameters: Vec<(String, String)>,
    /// Process id of the cancel key.
    pub pid: u32,
    /// Secret of the cancel key: 4 bytes in 3.0, more in 3.2.
    pub secret: Bytes,
}

impl Raw {
    /// A connection without login.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn open(address: &Address) -> Raw {
        Raw::try_open(address).await.expect("somebody listens")
    }

    /// The same where perhaps nobody listens.
    ///
    /// # Errors
    /// The socket's.
    ///
    /// # Panics
    /// When the address is not of TCP.
    pub async fn try_open(address: &Address) -> std::io::Result<Raw> {
        let Address::Tcp(host, port) = address else { panic!("the raw client uses TCP") };
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true).expect("invariant: a TCP option");
        let (buffer, parameters) = (BytesMut::new(), Vec::new());
        let (reading, writing) = stream.into_split();
        let writing = Some(writing);
        Ok(Raw { reading, writing, buffer, parameters, pid: 0, secret: Bytes::new() })
    }

    /// Logs in without a password by protocol 3.0.
    ///
    /// # Panics
    /// When the login fails.
    pub async fn connect(address: &Address, user: &str, database: &str) -> Raw {
        Raw::connect_with(address, V3_0, &[("user", user), ("database", database)]).await
    }

    /// Logs in with startup parameters of the test's own.
    ///
    /// # Panics
    /// When the login fails.
    pub async fn connect_with(address: &Address, version: u32, parameters: &[(&str, &str)]) -> Raw {
        let mut raw = Raw::open(address).await;
        raw.send(&startup(version, parameters)).await;
        let answer = raw.until_ready().await;
        let error = answer.iter().find(|message| message.tag == b'E');
        assert!(error.is_none(), "login: {}", transcript(&answer));
        raw
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// When the other side has closed.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.expect("the connection takes bytes");
    }

    /// Sends bytes; the other side may have closed.
    ///
    /// # Errors
    /// The socket's.
    pub async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.writing {
            Some(writing) => writing.write_all(bytes).await,
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    /// The next message; `None` when the other side closed.
    ///
    /// # Panics
    /// When nothing comes for 20 s.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.take_message() {
                return Some(message);
            }
            let read = tokio::time::timeout(READ_TIMEOUT, self.reading.read_buf(&mut self.buffer));
            match read.await.expect("a message comes in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    fn take_message(&mut self) -> Option<Message> {
        let mut header = self.buffer.get(..5)?;
        let tag = header.get_u8();
        let length = usize::try_from(header.get_u32()).expect("invariant: 64 bits");
        if self.buffer.len() < 1 + length {
            return None;
        }
        let mut body = self.buffer.split_to(1 + length).freeze();
        body.advance(5);
        let message = Message { tag, body };
        self.observe(&message);
        Some(message)
    }

    fn observe(&mut self, message: &Message) {
        match message.tag {
            b'S' => {
                let mut texts = strings(&message.body).into_iter();
                if let (Some(name), Some(value)) = (texts.next(), texts.next()) {
                    self.parameters.push((name, value));
                }
            }
            b'K' => {
                let mut body = message.body.clone();
                self.pid = body.get_u32();
                self.secret = body;
            }
            _ => {}
        }
    }

    /// The last reported value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All messages up to ReadyForQuery, or up to the end of the connection.
    ///
    /// # Panics
    /// When a message does not come in time.
    pub async fn until_ready(&mut self) -> Vec<Message> {
        self.until(b'Z').await
    }

    /// All messages up to the first of type `last`.
    ///
    /// # Panics
    /// When a message does not come in time.
    pub async fn until(&mut self, last: u8) -> Vec<Message> {
        self.until_any(&[last]).await
    }

    /// All messages up to the first of one of these types.
    ///
    /// # Panics
    /// When a message does not come in time.
    pub async fn until_any(&mut self, last: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await {
            let tag = message.tag;
            messages.push(message);
            if last.contains(&tag) {
                break;
            }
        }
        messages
    }

    /// Sends `bytes` and returns the transcript of the answer to `syncs` ReadyForQuery.
    ///
    /// # Panics
    /// When a message does not come in time.
    pub async fn ask(&mut self, bytes: &[u8], syncs: usize) -> String {
        self.send(bytes).await;
        let mut text = String::new();
        for _ in 0..syncs {
            text += &transcript(&self.until_ready().await);
        }
        text
    }

    /// Whether the other side has closed (waits for that).
    ///
    /// # Panics
    /// When it neither closes nor sends for 20 s.
    pub async fn is_closed(&mut self) -> bool {
        while self.next().await.is_some() {}
        true
    }

    /// Gives the writing half to a task of the test's own.
    ///
    /// # Panics
    /// When it was split before.
    pub fn split(mut self) -> (Raw, OwnedWriteHalf) {
        let writing = self.writing.take().expect("split once");
        (self, writing)
    }

    /// Closes by a reset, as when the client's machine dies.
    pub fn vanish(self) {
        // Without linger, closing sends a reset instead of an orderly end.
        let _ = self.reading.as_ref().set_zero_linger();
    }
}

/// NUL-terminated strings.
pub fn strings(body: &[u8]) -> Vec<String> {
    let parts = body.split(|byte| *byte == 0);
    parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

/// One field of an ErrorResponse or NoticeResponse.
pub fn field(body: &[u8], code: u8) -> Option<String> {
    let fields = body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    let mut found = fields.filter(|field| field.first() == Some(&code));
    found.next().map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
}

/// Messages as lines that can be compared. Reported parameters and keys are left out.
pub fn transcript(messages: &[Message]) -> String {
    let lines = messages.iter().filter(|message| !matches!(message.tag, b'S' | b'K' | b'R'));
    lines.map(|message| line(message) + "\n").collect()
}

fn line(message: &Message) -> String {
    let tag = char::from(message.tag);
    match message.tag {
        b'E' | b'N' => {
            let part = |code| field(&message.body, code).unwrap_or_default();
            format!("{tag} {} {} {}", part(b'S'), part(b'C'), part(b'M'))
        }
        b'T' => format!("T {}", row_description(&message.body).unwrap_or_default()),
        _ if message.body.len() > 200 => {
            let sum = message
                .body
                .iter()
                .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            format!("{tag} {} bytes, {sum:x}", message.body.len())
        }
        _ => format!("{tag} {}", message.body.escape_ascii()),
    }
}

/// Columns as `name:type:modifier:format`, without the table they come from: its number differs
/// between databases.
fn row_description(body: &[u8]) -> Option<String> {
    let mut rest = body.get(2..)?;
    let mut columns = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0)?;
        let name = rest[..end].escape_ascii().to_string();
        let mut fixed = rest.get(end + 1..end + 19)?;
        fixed.advance(6);
        let (kind, _size) = (fixed.get_u32(), fixed.get_i16());
        let (modifier, format) = (fixed.get_i32(), fixed.get_i16());
        columns.push(format!("{name}:{kind}:{modifier}:{format}"));
        rest = &rest[end + 19..];
    }
    Some(columns.join(" "))
}

/// A message with any type and body.
pub fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("invariant: a test's message is small");
    let mut frame = Vec::with_capacity(body.len() + 5);
    frame.put_u8(tag);
    frame.put_u32(length);
    frame.put_slice(body);
    frame
}

/// StartupMessage.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    untagged(&body)
}

/// CancelRequest.
pub fn cancel_request(pid: u32, secret: &[u8]) -> Vec<u8> {
    let code = 80_877_102_u32;
    untagged(&[&code.to_be_bytes()[..], &pid.to_be_bytes()[..], secret].concat())
}

/// A message without a type byte, as before login.
pub fn untagged(body: &[u8]) -> Vec<u8> {
    frame(0, body).split_off(1)
}

/// Query.
pub fn query(sql: &str) -> Vec<u8> {
    frame(b'Q', &cstr(sql))
}

/// Parse, with the types left to the server.
pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    frame(b'P', &[cstr(name), cstr(sql), vec![0, 0]].concat())
}

/// Bind with text parameters and text results.
pub fn bind(portal: &str, statement: &str, parameters: &[Option<&str>]) -> Vec<u8> {
    bind_as(portal, statement, parameters, false)
}

/// Bind with text parameters; results in text or binary format.
pub fn bind_as(
    portal: &str,
    statement: &str,
    parameters: &[Option<&str>],
    binary: bool,
) -> Vec<u8> {
    let mut body = [cstr(portal), cstr(statement), vec![0, 0]].concat();
    body.put_u16(u16::try_from(parameters.len()).expect("invariant: few parameters"));
    for parameter in parameters {
        match parameter {
            None => body.put_i32(-1),
            Some(text) => {
                body.put_u32(u32::try_from(text.len()).expect("invariant: a small parameter"));
                body.put_slice(text.as_bytes());
            }
        }
    }
    if binary {
        body.put_u32(0x0001_0001);
    } else {
        body.put_u16(0);
    }
    frame(b'B', &body)
}

/// Describe of a statement (`S`) or portal (`P`).
pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    frame(b'D', &[vec![kind], cstr(name)].concat())
}

/// Execute; 0 rows means all.
pub fn execute(portal: &str, max_rows: u32) -> Vec<u8> {
    frame(b'E', &[cstr(portal), max_rows.to_be_bytes().to_vec()].concat())
}

/// Close of a statement (`S`) or portal (`P`).
pub fn close(kind: u8, name: &str) -> Vec<u8> {
    frame(b'C', &[vec![kind], cstr(name)].concat())
}

/// Sync.
pub fn sync() -> Vec<u8> {
    frame(b'S', b"")
}

/// Flush.
pub fn flush() -> Vec<u8> {
    frame(b'H', b"")
}

/// CopyData.
pub fn copy_data(data: &[u8]) -> Vec<u8> {
    frame(b'd', data)
}

/// CopyDone.
pub fn copy_done() -> Vec<u8> {
    frame(b'c', b"")
}

/// CopyFail.
pub fn copy_fail(why: &str) -> Vec<u8> {
    frame(b'f', &cstr(why))
}

/// Terminate.
pub fn terminate() -> Vec<u8> {
    frame(b'X', b"")
}

fn cstr(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}
