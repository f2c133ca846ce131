//! Owns running a simple query of ours on a server connection that no session is using, and
//! waiting for its end.

use crate::backend::connection::Server;
use crate::backend::error::ServerError;
use crate::wire::error::SqlError;
use crate::wire::frame::{self, HEADER_BYTES};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest message taken from the server here.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Runs `sql`, waits for ReadyForQuery, and returns the last row's only value, if there is one.
/// Not cancel safe: a connection on which this was not finished must be closed.
///
/// # Errors
/// The server's error, or 08006 when the connection broke.
pub async fn run(server: &mut Server, sql: &str) -> Result<Option<String>, SqlError> {
    let mut out = BytesMut::new();
    frame::put_query(&mut out, sql.as_bytes());
    ask(server, &out).await
}

/// The same for a text of a client's, whatever its encoding, without its rows.
///
/// # Errors
/// As `run`.
pub async fn run_text(server: &mut Server, text: &[u8]) -> Result<(), SqlError> {
    let mut out = BytesMut::new();
    frame::put_query(&mut out, text);
    ask(server, &out).await.map(drop)
}

/// The same for a statement with values: the body of its Parse after the name, and of its Bind
/// after both names.
///
/// # Errors
/// As `run`.
pub async fn run_bound(
    server: &mut Server,
    definition: &[u8],
    values: &[u8],
) -> Result<(), SqlError> {
    let mut out = BytesMut::new();
    frame::put(&mut out, b'P', &[&[0], definition]);
    frame::put(&mut out, b'B', &[&[0, 0], values]);
    frame::put(&mut out, b'E', &[&[0; 5]]);
    frame::put(&mut out, b'S', &[]);
    ask(server, &out).await.map(drop)
}

/// Sends whole messages and reads up to ReadyForQuery.
async fn ask(server: &mut Server, out: &[u8]) -> Result<Option<String>, SqlError> {
    server.stream.write_all(out).await.map_err(|error| broken(&error.to_string()))?;
    server.stream.flush().await.map_err(|error| broken(&error.to_string()))?;
    let mut input = BytesMut::with_capacity(4096);
    let (mut failure, mut value) = (None, None);
    loop {
        while let Some(header) = frame::peek(&input) {
            if header.total < HEADER_BYTES || header.total > MAX_MESSAGE_BYTES {
                return Err(broken("malformed message"));
            }
            if input.len() < header.total {
                break;
            }
            let body = &input[HEADER_BYTES..header.total];
            match header.kind {
                b'E' => failure = Some(ServerError::decode(body).into()),
                b'S' => note_parameter(server, body),
                b'D' => value = last_value(body),
                b'Z' => {
                    server.status = body.first().copied().unwrap_or(b'I');
                    return failure.map_or(Ok(value), Err);
                }
                _ => {}
            }
            input.advance(header.total);
        }
        let read = server.stream.read_buf(&mut input).await;
        if read.map_err(|error| broken(&error.to_string()))? == 0 {
            return Err(broken("the server closed the connection"));
        }
    }
}

fn last_value(row: &[u8]) -> Option<String> {
    match frame::data_row(row)?.as_slice() {
        [Some(value)] => Some(String::from_utf8_lossy(value).into_owned()),
        _ => None,
    }
}

fn note_parameter(server: &mut Server, body: &[u8]) {
    if let Ok((name, rest)) = frame::cstr(body, b'S')
        && let Ok((value, _)) = frame::cstr(rest, b'S')
        && let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value))
    {
        server.note_parameter(name, value);
    }
}

fn broken(detail: &str) -> SqlError {
    SqlError::error("08006", "the connection to the server was lost").detail(format!("{detail}."))
}
