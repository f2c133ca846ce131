//! Owns the login on a server: the StartupMessage, the proof of who we are, and reading up to
//! ReadyForQuery (manual, section 55.2.1). It must not open sockets.
//!
//! Protocol 3.0 is asked for, as libpq does by default: nothing of 3.2 but longer cancel keys
//! would be gained, and some poolers and proxies before a server still stumble over it.

use crate::backend::connect::ServerLogin;
use crate::backend::error::{ConnectError, ServerError};
use crate::backend::key_ring::KeyRing;
use crate::backend::scram::{ClientKeyCache, ScramFinish, ScramStart};
use crate::backend::tls::channel_binding;
use crate::config::model::Password;
use crate::wire::protocol::{
    CancelKey, LoginFrame, put_frame, put_packet, read_frame_buffered, take_cstr,
};
use crate::wire::stream::Stream;
use bytes::{Buf, BufMut, BytesMut};
use md5::{Digest, Md5};
use postgres_protocol::authentication::md5_hash;
use std::io;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroize;

const PROTOCOL_3_0: u32 = 3 << 16;
/// Longest frame a server may send during login; error texts are the longest.
const MAX_LOGIN_FRAME_BYTES: usize = 64 * 1024;
/// Most frames a server may send during login; PostgreSQL sends about twenty.
const MAX_LOGIN_FRAMES: usize = 1000;

/// Who logs in where.
pub(super) struct Credentials<'a> {
    pub(super) user: &'a str,
    pub(super) password: Option<&'a Password>,
    /// Without a password: whose keys are used that clients have shown.
    pub(super) shown: Option<Shown<'a>>,
    pub(super) database: &'a str,
    pub(super) params: &'a [(&'a str, &'a str)],
}

/// Keys that a client's own login has shown.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) ring: &'a KeyRing,
    /// Name of the user towards pgmanifold.
    pub(super) user: &'a str,
}

/// Logs in. Not cancel safe: drop the stream after cancelling.
pub(super) async fn login(
    stream: Stream,
    credentials: &Credentials<'_>,
    keys: &ClientKeyCache,
) -> Result<ServerLogin, ConnectError> {
    let mut link = Link { stream, buffer: BytesMut::new(), frames: 0 };
    link.send(startup_message(credentials)?).await?;
    authenticate(&mut link, credentials, keys).await?;
    let (mut params, mut cancel) = (Vec::new(), None);
    loop {
        let frame = link.receive().await?;
        match frame.kind {
            b'S' => params.push(parameter_status(&frame.body)?),
            b'K' => cancel = Some(backend_key_data(&frame.body)?),
            b'Z' if frame.body[..] == *b"I" => break,
            kind => return Err(unexpected(kind)),
        }
    }
    // What came with ReadyForQuery can only be asynchronous: the connection is handed on with
    // nothing left to read.
    while !link.buffer.is_empty() {
        let frame = link.receive().await?;
        match frame.kind {
            b'S' => params.push(parameter_status(&frame.body)?),
            kind => return Err(unexpected(kind)),
        }
    }
    Ok(ServerLogin { stream: link.stream, params, cancel })
}

/// The connection during login.
struct Link {
    stream: Stream,
    buffer: BytesMut,
    frames: usize,
}

impl Link {
    async fn send(&mut self, mut packet: BytesMut) -> Result<(), ConnectError> {
        let sent = match self.stream.write_all(&packet).await {
            Ok(()) => self.stream.flush().await,
            failed => failed,
        };
        // It may hold the password.
        packet.as_mut().zeroize();
        sent.map_err(io_error)
    }

    /// The next frame that is not a notice.
    async fn receive(&mut self) -> Result<LoginFrame, ConnectError> {
        while self.frames < MAX_LOGIN_FRAMES {
            self.frames += 1;
            let Self { stream, buffer, .. } = self;
            let frame = read_frame_buffered(stream, buffer, MAX_LOGIN_FRAME_BYTES).await;
            let frame = frame.map_err(io_error)?;
            match frame.kind {
                b'N' => {
                    tracing::debug!(notice = %ServerError::decode(&frame.body), "server notice")
                }
                b'E' => {
                    return Err(ConnectError::Server(Box::new(ServerError::decode(&frame.body))));
                }
                _ => return Ok(frame),
            }
        }
        Err(ConnectError::Protocol("too many messages during login".into()))
    }

    /// The next frame, which must be about authentication: its code and the rest.
    async fn receive_authentication(&mut self) -> Result<(u32, BytesMut), ConnectError> {
        let LoginFrame { kind, mut body } = self.receive().await?;
        match body.try_get_u32() {
            Ok(code) if kind == b'R' => Ok((code, body)),
            _ => Err(unexpected(kind)),
        }
    }
}

fn io_error(source: io::Error) -> ConnectError {
    match source.kind() {
        io::ErrorKind::InvalidData => ConnectError::Protocol(source.to_string()),
        _ => ConnectError::Io { step: "login", source },
    }
}

fn unexpected(kind: u8) -> ConnectError {
    ConnectError::Protocol(format!("unexpected message {:?} during login", char::from(kind)))
}

fn startup_message(credentials: &Credentials<'_>) -> Result<BytesMut, ConnectError> {
    let mut packet = BytesMut::new();
    let base = [("user", credentials.user), ("database", credentials.database)];
    let all = base.iter().chain(credentials.params);
    if all.clone().any(|(name, value)| name.contains('\0') || value.contains('\0')) {
        return Err(ConnectError::Auth("a start-up parameter contains a zero byte".into()));
    }
    put_packet(&mut packet, |out| {
        out.put_u32(PROTOCOL_3_0);
        for (name, value) in all {
            put_cstr(out, name.as_bytes());
            put_cstr(out, value.as_bytes());
        }
        out.put_u8(0);
    });
    Ok(packet)
}

fn put_cstr(out: &mut BytesMut, text: &[u8]) {
    out.put_slice(text);
    out.put_u8(0);
}

/// Answers the server's demands up to AuthenticationOk.
async fn authenticate(
    link: &mut Link,
    credentials: &Credentials<'_>,
    keys: &ClientKeyCache,
) -> Result<(), ConnectError> {
    let (code, body) = link.receive_authentication().await?;
    match code {
        0 => return Ok(()),
        3 => {
            let password = demanded(credentials)?.0.as_bytes();
            link.send(password_message(password)?).await?;
        }
        5 => {
            let salt = <[u8; 4]>::try_from(&body[..])
                .map_err(|_| ConnectError::Protocol("malformed MD5 salt".into()))?;
            let shown = credentials.shown.and_then(|shown| shown.ring.md5(shown.user));
            let hash = match (credentials.password, shown) {
                (None, Some(digits)) => salted_md5(&digits, salt),
                _ => {
                    let password = demanded(credentials)?.0.as_bytes();
                    md5_hash(credentials.user.as_bytes(), password, salt)
                }
            };
            link.send(password_message(hash.as_bytes())?).await?;
        }
        10 => scram(link, &body, credentials, keys).await?,
        _ => {
            let text = format!("the server asks for authentication method {code}: not supported");
            return Err(ConnectError::Auth(text));
        }
    }
    match link.receive_authentication().await? {
        (0, _) => Ok(()),
        _ => Err(ConnectError::Protocol("a second authentication request".into())),
    }
}

/// As `md5_hash`, from the stored secret.
fn salted_md5(digits: &str, salt: [u8; 4]) -> String {
    let mut hash = Md5::new();
    hash.update(digits.as_bytes());
    hash.update(salt);
    let hex = |byte: u8| format!("{byte:02x}");
    format!("md5{}", hash.finalize().into_iter().map(hex).collect::<String>())
}

fn demanded<'a>(credentials: &Credentials<'a>) -> Result<&'a Password, ConnectError> {
    credentials.password.ok_or_else(|| {
        let text = match credentials.shown {
            Some(_) => {
                "the server asks for a password, none is configured, and no client's login has \
                 shown keys that fit the server's secret"
            }
            None => "the server asks for a password and none is configured",
        };
        ConnectError::Auth(text.into())
    })
}

fn password_message(password: &[u8]) -> Result<BytesMut, ConnectError> {
    if password.contains(&0) {
        return Err(ConnectError::Auth("the password contains a zero byte".into()));
    }
    // Room for all from the start: growing would leave a copy that is not wiped.
    let mut packet = BytesMut::with_capacity(password.len() + 6);
    put_frame(&mut packet, b'p', |out| put_cstr(out, password));
    Ok(packet)
}

/// SCRAM-SHA-256 or -PLUS, up to and including the check of the server's signature.
async fn scram(
    link: &mut Link,
    mut offer: &[u8],
    credentials: &Credentials<'_>,
    keys: &ClientKeyCache,
) -> Result<(), ConnectError> {
    let mut offered = Vec::new();
    while let Some(name) = take_cstr(&mut offer).filter(|name| !name.is_empty()) {
        offered.push(name);
    }
    let start = ScramStart::new(&offered, channel_binding(&link.stream))?;
    let mut packet = BytesMut::new();
    put_frame(&mut packet, b'p', |out| {
        put_cstr(out, start.mechanism.as_bytes());
        out.put_u32(u32::try_from(start.message.len()).expect("invariant: short"));
        out.put_slice(start.message.as_bytes());
    });
    link.send(packet).await?;
    let challenge = start.challenge(&sasl_data(link, 11).await?)?;
    let fitting =
        |shown: Shown<'_>| shown.ring.scram(shown.user, &challenge.salt, challenge.iterations);
    let finish = match (credentials.password, credentials.shown.and_then(fitting)) {
        (None, Some(shown)) => challenge.respond_with(shown),
        _ => challenge.respond(keys, demanded(credentials)?).await?,
    };
    let mut packet = BytesMut::new();
    put_frame(&mut packet, b'p', |out| out.put_slice(finish.message.as_bytes()));
    link.send(packet).await?;
    let signature = sasl_data(link, 12).await?;
    ScramFinish::verify(&finish, &signature)
}

async fn sasl_data(link: &mut Link, expected: u32) -> Result<BytesMut, ConnectError> {
    match link.receive_authentication().await? {
        (code, data) if code == expected => Ok(data),
        (code, _) => {
            let text = format!("authentication message {code} in the middle of SCRAM");
            Err(ConnectError::Protocol(text))
        }
    }
}

fn parameter_status(mut body: &[u8]) -> Result<(String, String), ConnectError> {
    let mut text = || String::from_utf8(take_cstr(&mut body)?.to_vec()).ok();
    match (text(), text()) {
        (Some(name), Some(value)) if body.is_empty() => Ok((name, value)),
        _ => Err(ConnectError::Protocol("malformed ParameterStatus".into())),
    }
}

fn backend_key_data(body: &[u8]) -> Result<CancelKey, ConnectError> {
    CancelKey::decode(body).ok_or_else(|| ConnectError::Protocol("malformed BackendKeyData".into()))
}
