//! Owns a client's way in: TLS or not, the first packet, authentication (manual, section
//! 55.2.1). It ends before AuthenticationOk, because what follows depends on the database, and it
//! knows nothing of databases or pools.
//!
//! Everything here reads exactly the bytes it needs, so that nothing a client sends early, in
//! clear text before TLS or as queries after its password, is taken for something else.

use crate::backend::key_ring::KeyRing;
use crate::cluster::SecretQuery;
use crate::config::limits::TcpOptions;
use crate::config::model::{Access, Address, AuthMethod, Config, ProxyProtocol, User};
use crate::frontend::auth::{Accounts, AuthError, ClientLink};
use crate::frontend::hba::{self, Attempt};
use crate::frontend::packet::{
    self, MAX_PACKET_BYTES, MIN_PACKET_BYTES, Packet, Startup, violation,
};
use crate::frontend::proxy_header::{self, Told};
use crate::frontend::throttle::Throttle;
use crate::frontend::tls::{TLS_HANDSHAKE_BYTE, TlsServer};
use crate::wire::error::SqlError;
use crate::wire::protocol::{CancelKey, Protocol};
use crate::wire::stream::{Socket, Stream};
use crate::wire::tls::TlsConfigError;
use bytes::BytesMut;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What logins are checked against: one per configuration, cheap to clone.
#[derive(Clone)]
pub struct Frontends(Arc<Inner>);

struct Inner {
    accounts: Accounts,
    access: Access,
    throttle: Arc<Throttle>,
    listeners: Vec<Listener>,
    tcp: TcpOptions,
}

struct Listener {
    auth: AuthMethod,
    tls: Option<TlsServer>,
    proxy_protocol: Option<ProxyProtocol>,
}

/// What logins need beside the configuration. All but the query outlives reloads.
#[derive(Debug, Clone, Default)]
pub struct Means {
    /// Where clients' keys are kept that their logins show.
    pub ring: Arc<KeyRing>,
    /// Who failed lately.
    pub throttle: Arc<Throttle>,
    /// Where secrets come from that the configuration does not hold.
    pub query: Option<Arc<SecretQuery>>,
}

/// Where a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over a Unix socket.
    Unix,
}

/// What came in.
#[derive(Debug)]
pub enum Incoming {
    /// A client that proved who it is and waits for AuthenticationOk.
    Login(Box<Login>),
    /// A CancelRequest. The client waits for the end of `stream`: drop it when the cancel was
    /// passed on.
    Cancel {
        /// The key presented.
        key: CancelKey,
        /// The connection it came on.
        stream: Stream,
    },
    /// The client left before it asked for anything, or to ask its user for a password.
    Closed,
}

/// A client that proved who it is.
#[derive(Debug)]
pub struct Login {
    /// The connection, with nothing read beyond the login.
    pub stream: Stream,
    /// Where it comes from; what a PROXY protocol header says goes before the socket's own.
    pub peer: Peer,
    /// Who it is.
    pub user: Arc<User>,
    /// The database asked for; the user's name when none was.
    pub database: String,
    /// Every other start-up parameter in order, with `options` taken apart into settings.
    pub params: Vec<(String, String)>,
    /// The version agreed upon.
    pub protocol: Protocol,
}

/// A client that was not let in. It was told what it may know.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct StartupError {
    /// For metrics.
    pub kind: StartupErrorKind,
    /// Where it comes from, when a PROXY protocol header said so.
    pub peer: Option<Peer>,
    /// The user it claimed to be, when it came so far.
    pub user: Option<String>,
    /// For the log; says more than the client was told.
    pub reason: String,
}

/// Kinds of failed logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StartupErrorKind {
    /// The connection broke.
    Io,
    /// The TLS handshake failed.
    Tls,
    /// Malformed or misplaced packets, or something that is not served.
    Protocol,
    /// No TLS where it is required.
    TlsRequired,
    /// Unknown user, wrong password, or no rule that lets the client in.
    Authentication,
    /// Too many failed logins before.
    Throttled,
    /// No server could say what the login is checked against.
    Unavailable,
}

impl StartupErrorKind {
    /// The metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::TlsRequired => "tls_required",
            Self::Authentication => "authentication",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
        }
    }
}

impl StartupError {
    fn new(kind: StartupErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, peer: None, user: None, reason: reason.into() }
    }
}

impl From<io::Error> for StartupError {
    fn from(error: io::Error) -> Self {
        Self::new(StartupErrorKind::Io, error.to_string())
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Frontends {
    /// Reads users' secrets and listeners' certificates.
    ///
    /// # Errors
    /// When one cannot be used; the text names it.
    pub fn new(config: &Config) -> Result<Self, TlsConfigError> {
        Self::with(config, Means::default())
    }

    /// The same with what lasts longer than a configuration, and with servers to ask.
    ///
    /// # Errors
    /// As `new`.
    pub fn with(config: &Config, means: Means) -> Result<Self, TlsConfigError> {
        let Means { ring, throttle, query } = means;
        let max_clients = config.general.max_clients;
        let accounts = Accounts::new(&config.users, query, ring, max_clients);
        let accounts = accounts.map_err(TlsConfigError)?;
        let listener = |listener: &crate::config::model::Listener| {
            if let (Some(_), Address::Unix(_)) = (&listener.tls, &listener.address) {
                let text = format!("listener {}: no TLS on Unix sockets", listener.address);
                return Err(TlsConfigError(text));
            }
            let tls = listener.tls.as_ref().map(TlsServer::new).transpose()?;
            let proxy_protocol = listener.proxy_protocol.clone();
            Ok(Listener { auth: listener.auth, tls, proxy_protocol })
        };
        let listeners = config.listeners.iter().map(listener).collect::<Result<_, _>>()?;
        let (access, tcp) = (config.access.clone(), config.general.network.tcp);
        Ok(Self(Arc::new(Inner { accounts, access, throttle, listeners, tcp })))
    }

    /// Derives the keys of all clear-text passwords now rather than at the first login:
    /// milliseconds each, so call it on a blocking thread.
    pub fn warm(&self) {
        self.0.accounts.warm();
    }
}

/// Brings a fresh connection on listener number `listener` up to, but not including,
/// AuthenticationOk. Sets the socket's options.
///
/// There is no timeout inside. Cancel safe in that the connection is dropped with the future: wrap
/// it in the login timeout.
///
/// # Errors
/// When the client is not let in; it was already sent a FATAL error where one is due.
pub async fn accept(
    socket: Socket,
    peer: Peer,
    listener: usize,
    frontends: &Frontends,
) -> Result<Incoming, StartupError> {
    let inner = &*frontends.0;
    let listener = inner.listeners.get(listener).ok_or_else(|| {
        StartupError::new(StartupErrorKind::Protocol, "the listener is no longer configured")
    })?;
    socket.configure(&inner.tcp)?;
    let mut socket = socket;
    let Some(told) = told_peer(&mut socket, peer, listener).await? else {
        return Ok(Incoming::Closed);
    };
    let entered = enter(socket, told, listener, inner).await;
    entered.map_err(|error| StartupError { peer: (told != peer).then_some(told), ..error })
}

/// Whose connection this is; `None` when it was closed before anybody said.
async fn told_peer(
    socket: &mut Socket,
    peer: Peer,
    listener: &Listener,
) -> Result<Option<Peer>, StartupError> {
    let Some(ProxyProtocol { from }) = &listener.proxy_protocol else { return Ok(Some(peer)) };
    let refused = |reason: String| StartupError::new(StartupErrorKind::Protocol, reason);
    if let Peer::Tcp(address) = peer {
        let address = address.ip().to_canonical();
        if !from.iter().any(|network| network.contains(&address)) {
            return Err(refused("not a load balancer that may use the PROXY protocol".into()));
        }
    }
    match proxy_header::read(socket).await {
        Ok(None) => Ok(None),
        Ok(Some(Told::Itself)) => Ok(Some(peer)),
        Ok(Some(Told::Client(client))) => Ok(Some(client)),
        Err(error) => Err(refused(error.to_string())),
    }
}

/// Everything after the PROXY protocol.
async fn enter(
    socket: Socket,
    peer: Peer,
    listener: &Listener,
    inner: &Inner,
) -> Result<Incoming, StartupError> {
    if inner.throttle.refuses_address(peer, inner.access.failures, Instant::now()) {
        // Before TLS, which would cost more than the refusal; after the first packet, because a
        // close with bytes unread takes the answer away from the client.
        let mut stream = Stream::Plain(socket);
        if read_packet(&mut stream).await?.is_none() {
            return Ok(Incoming::Closed);
        }
        return Err(refuse_throttled(&mut stream).await);
    }
    let Some((mut stream, packet)) = open(socket, peer, listener).await? else {
        return Ok(Incoming::Closed);
    };
    match packet {
        FirstPacket::Cancel(key) => Ok(Incoming::Cancel { key, stream }),
        FirstPacket::Startup(startup) => {
            let result = log_in(&mut stream, &startup, (listener, inner), peer).await;
            let Some(user) = result.map_err(|error| error.of(&startup.user))? else {
                return Ok(Incoming::Closed);
            };
            let Startup { database, params, protocol, .. } = startup;
            Ok(Incoming::Login(Box::new(Login { stream, peer, user, database, params, protocol })))
        }
    }
}

async fn refuse_throttled(stream: &mut Stream) -> StartupError {
    let error = SqlError::fatal("28000", "too many failed logins")
        .hint("Wait a minute or two, then log in with the right password.");
    refuse_as(StartupErrorKind::Throttled, stream, error).await
}

impl StartupError {
    fn of(self, user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..self }
    }
}

/// The first packet that is not about encryption.
enum FirstPacket {
    Cancel(CancelKey),
    Startup(Startup),
}

/// Settles encryption; `None` when the client leaves in between.
async fn open(
    socket: Socket,
    peer: Peer,
    listener: &Listener,
) -> Result<Option<(Stream, FirstPacket)>, StartupError> {
    let mut stream = Stream::Plain(socket);
    if let Stream::Plain(Socket::Tcp(tcp)) = &stream {
        let mut first = [0];
        if tcp.peek(&mut first).await? == 1 && first == [TLS_HANDSHAKE_BYTE] {
            stream = hand_shake(stream, listener, true).await?;
        }
    }
    let (mut asked_tls, mut asked_gssenc) = (false, false);
    loop {
        let Some(bytes) = read_packet(&mut stream).await? else { return Ok(None) };
        let packet = match packet::parse(&bytes) {
            Ok(packet) => packet,
            Err(error) => return Err(refuse(&mut stream, error).await),
        };
        match packet {
            Packet::Startup(startup) => return Ok(Some((stream, FirstPacket::Startup(startup)))),
            Packet::Cancel(key) => return Ok(Some((stream, FirstPacket::Cancel(key)))),
            Packet::SslRequest if !asked_tls && !stream.is_tls() => {
                asked_tls = true;
                stream = answer_ssl_request(stream, peer, listener).await?;
            }
            Packet::GssencRequest if !asked_gssenc && !stream.is_tls() => {
                asked_gssenc = true;
                stream.write_all(b"N").await?;
            }
            Packet::SslRequest | Packet::GssencRequest => {
                let error = violation("encryption was already negotiated");
                return Err(refuse(&mut stream, error).await);
            }
        }
    }
}

/// Says yes or no, and on yes shakes hands.
async fn answer_ssl_request(
    mut stream: Stream,
    peer: Peer,
    listener: &Listener,
) -> Result<Stream, StartupError> {
    if listener.tls.is_none() {
        stream.write_all(b"N").await?;
        return Ok(stream);
    }
    if matches!(&stream, Stream::Plain(socket) if socket.has_unread_bytes()) {
        // A man in the middle may have put them there (CVE-2021-23214).
        tracing::debug!(%peer, "unencrypted bytes after SSLRequest");
        let error = violation("received unencrypted data after SSL request").detail(
            "This could be either a client-software bug or evidence of an attempted \
             man-in-the-middle attack.",
        );
        return Err(refuse(&mut stream, error).await);
    }
    stream.write_all(b"S").await?;
    hand_shake(stream, listener, false).await
}

async fn hand_shake(
    stream: Stream,
    listener: &Listener,
    direct: bool,
) -> Result<Stream, StartupError> {
    match (stream, &listener.tls) {
        (Stream::Plain(socket), Some(tls)) => {
            let failed = |error: io::Error| {
                StartupError::new(StartupErrorKind::Tls, format!("TLS handshake: {error}"))
            };
            tls.accept(socket, direct).await.map_err(failed)
        }
        _ => Err(StartupError::new(StartupErrorKind::Tls, "the listener has no TLS")),
    }
}

/// The next packet without its length word; `None` when the client has left.
async fn read_packet(stream: &mut Stream) -> Result<Option<BytesMut>, StartupError> {
    let mut length = [0; 4];
    match stream.read(&mut length).await? {
        0 => return Ok(None),
        read => stream.read_exact(&mut length[read..]).await?,
    };
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&length) {
        return Err(refuse(stream, violation("invalid length of startup packet")).await);
    }
    let mut packet = BytesMut::zeroed(length - 4);
    stream.read_exact(&mut packet).await?;
    Ok(Some(packet))
}

/// Authenticates; `None` when the client leaves instead of giving its password.
async fn log_in(
    stream: &mut Stream,
    startup: &Startup,
    (listener, inner): (&Listener, &Inner),
    peer: Peer,
) -> Result<Option<Arc<User>>, StartupError> {
    let Inner { accounts, access, throttle, .. } = inner;
    let Startup { user, database, .. } = startup;
    let mut out = BytesMut::new();
    if let Some(negotiation) = &startup.negotiation {
        negotiation.encode(&mut out);
    }
    if !stream.is_tls() && listener.tls.as_ref().is_some_and(|tls| tls.required) {
        let error = SqlError::fatal("28000", "connections without TLS are not allowed here")
            .hint("Connect with sslmode=require or stronger.");
        return Err(refuse_as(StartupErrorKind::TlsRequired, stream, error).await);
    }
    if throttle.refuses_login(peer, user, access.failures, Instant::now()) {
        return Err(refuse_throttled(stream).await);
    }
    let attempt = Attempt { peer, tls: stream.is_tls(), user, database };
    let demand = match hba::demand(access, listener.auth, &attempt) {
        Ok(demand) => demand,
        Err(error) => return Err(refuse_as(StartupErrorKind::Authentication, stream, error).await),
    };
    let checked = demand.check_certificate(&access.maps, stream.client_certificate(), user);
    let tls = listener.tls.as_ref().filter(|_| stream.is_tls());
    let binding = tls.and_then(|tls| tls.channel_binding.as_deref());
    let mut link = ClientLink { stream, out: &mut out };
    let proved = match checked {
        Ok(()) => accounts.authenticate(&mut link, demand.method, (user, database), binding).await,
        Err(refusal) => Err(AuthError::Rejected(refusal.0, refusal.1)),
    };
    match proved {
        Ok(known) => {
            throttle.succeeded(peer, user);
            Ok(Some(known))
        }
        Err(AuthError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(AuthError::Io(error)) => Err(error.into()),
        Err(AuthError::Refused(error)) => Err(refuse(stream, error).await),
        Err(AuthError::Unavailable(reason)) => {
            tracing::warn!(user, database, reason, "a login cannot be checked");
            let error = SqlError::fatal("57P03", "the login cannot be checked now")
                .detail("No server could be asked for the secret of the user.");
            Err(refuse_as(StartupErrorKind::Unavailable, stream, error).await)
        }
        Err(AuthError::Rejected(error, reason)) => {
            throttle.failed(peer, user, access.failures, Instant::now());
            let told = refuse_as(StartupErrorKind::Authentication, stream, error).await;
            Err(StartupError { reason: format!("{}: {reason}", told.reason), ..told })
        }
    }
}

async fn refuse(stream: &mut Stream, error: SqlError) -> StartupError {
    refuse_as(StartupErrorKind::Protocol, stream, error).await
}

/// Tells the client, as far as it still listens, and closes.
async fn refuse_as(kind: StartupErrorKind, stream: &mut Stream, error: SqlError) -> StartupError {
    let mut out = BytesMut::new();
    error.encode(&mut out);
    let told = match stream.write_all(&out).await {
        Ok(()) => stream.shutdown().await,
        failed => failed,
    };
    if let Err(unsent) = told {
        tracing::debug!(%unsent, "a refused client did not wait for the reason");
    }
    StartupError::new(kind, error.to_string())
}
