//! Owns a client that speaks in bytes.

use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
pub(crate) const GSSENC_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A StartupMessage of protocol 3.`minor`.
pub(crate) fn startup(minor: u16, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = vec![0, 3];
    body.extend(minor.to_be_bytes());
    for (name, value) in pairs {
        body.extend(format!("{name}\0{value}\0").bytes());
    }
    body.push(0);
    packet(&body)
}

/// `body` behind its length.
pub(crate) fn packet(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len() + 4).expect("short").to_be_bytes(), body].concat()
}

/// A frame of type `kind`.
pub(crate) fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &packet(body)[..]].concat()
}

/// A SASLInitialResponse.
pub(crate) fn sasl_initial(mechanism: &str, data: &str) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("short").to_be_bytes();
    frame(b'p', &[mechanism.as_bytes(), &[0], &length, data.as_bytes()].concat())
}

pub(crate) async fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.expect("connect")
}

/// Sends `bytes`; that the other side has already closed is no failure.
pub(crate) async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
}

/// The next frame.
pub(crate) async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let read = async {
        let kind = stream.read_u8().await.expect("type");
        let length = stream.read_u32().await.expect("length");
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await.expect("body");
        (kind, body)
    };
    timeout(PATIENCE, read).await.expect("a frame in time")
}

/// Everything up to the end of the connection, which must come.
pub(crate) async fn receive_all(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    // Unread bytes of ours may turn the end into a reset.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("an end in time");
    all
}

/// Severity, SQLSTATE and message of the ErrorResponse at the front of `bytes`.
pub(crate) fn error(bytes: &[u8]) -> (String, String, String) {
    assert_eq!(bytes.first(), Some(&b'E'), "{:?}", String::from_utf8_lossy(bytes));
    let fields: Vec<_> = bytes[5..].split(|&byte| byte == 0).collect();
    let field = |code: u8| {
        let found = fields.iter().find(|field| field.first() == Some(&code)).expect("field");
        String::from_utf8_lossy(&found[1..]).into_owned()
    };
    (field(b'S'), field(b'C'), field(b'M'))
}
