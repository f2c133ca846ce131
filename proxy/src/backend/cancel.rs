//! Owns cancel requests to servers: a second connection that carries one packet.

use crate::backend::connect::Connector;
use crate::backend::error::ConnectError;
use crate::config::model::Host;
use crate::timer::timeout;
use crate::wire::protocol::CancelKey;
use crate::wire::stream::Stream;
use bytes::BytesMut;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server answers a CancelRequest with nothing; one that sends more than this is cut off.
const MAX_ANSWER_BYTES: u64 = 1024;

impl Connector {
    /// Sends a CancelRequest and waits until the server closes the connection: by then it has
    /// signalled its process. Whether a statement was hit, nobody says.
    ///
    /// Cancel safe in that nothing is left behind; the request may or may not have gone.
    ///
    /// # Errors
    /// See `ConnectError`; `connect_timeout` bounds it.
    pub async fn send_cancel(&self, host: &Host, key: &CancelKey) -> Result<(), ConnectError> {
        let sending = async {
            let stream = self.open(host).await?;
            let io_error = |source| ConnectError::Io { step: "cancel request", source };
            send(stream, key).await.map_err(io_error)
        };
        match timeout(host.connect_timeout, sending).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout(host.connect_timeout)),
        }
    }
}

async fn send(mut stream: Stream, key: &CancelKey) -> io::Result<()> {
    let mut packet = BytesMut::new();
    key.encode_request(&mut packet);
    stream.write_all(&packet).await?;
    stream.flush().await?;
    match tokio::io::copy(&mut stream.take(MAX_ANSWER_BYTES), &mut tokio::io::sink()).await {
        // A server that closes without TLS's or TCP's farewell has closed all the same.
        Err(error) if is_abrupt_end(&error) => Ok(()),
        result => result.map(drop),
    }
}

fn is_abrupt_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof)
}
