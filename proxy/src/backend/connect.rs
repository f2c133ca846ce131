//! Owns the way to a server: every resolved address, Unix sockets, TLS, then the login. It keeps
//! no connections; pools do.

use crate::backend::error::ConnectError;
use crate::backend::key_ring::KeyRing;
use crate::backend::login::{self, Credentials, Shown};
use crate::backend::scram::ClientKeyCache;
use crate::backend::tls::TlsClient;
use crate::config::limits::TcpOptions;
use crate::config::model::{Address, Config, Host, Password, ServerTls, User};
use crate::timer::timeout;
use crate::wire::protocol::CancelKey;
use crate::wire::stream::{Socket, Stream};
use crate::wire::tls::TlsConfigError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::Instant;

/// Connects to the servers of one configuration; build it anew when that changes.
pub struct Connector {
    /// One entry per distinct setting; there are few.
    tls: Vec<(ServerTls, TlsClient)>,
    pub(super) keys: ClientKeyCache,
    tcp: TcpOptions,
    ring: Arc<KeyRing>,
}

/// A server connection that has logged in and is idle: all it sent was read.
#[derive(Debug)]
pub struct ServerLogin {
    /// The connection.
    pub stream: Stream,
    /// Every ParameterStatus, in order.
    pub params: Vec<(String, String)>,
    /// For cancelling; some servers and poolers give none.
    pub cancel: Option<CancelKey>,
}

impl Connector {
    /// Reads the root certificates of all hosts.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn new(config: &Config) -> Result<Self, TlsConfigError> {
        Self::with_keys(config, Arc::default())
    }

    /// The same, with the keys that clients' logins have shown.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_keys(config: &Config, ring: Arc<KeyRing>) -> Result<Self, TlsConfigError> {
        let mut tls: Vec<(ServerTls, TlsClient)> = Vec::new();
        let catalog = config.catalog.iter().flat_map(|catalog| &catalog.hosts);
        for host in config.shards.iter().flat_map(|shard| &shard.hosts).chain(catalog) {
            if tls.iter().all(|(known, _)| *known != host.tls) {
                tls.push((host.tls.clone(), TlsClient::new(&host.tls)?));
            }
        }
        let tcp = config.general.network.tcp;
        Ok(Self { tls, keys: ClientKeyCache::default(), tcp, ring })
    }

    /// Connects and logs in within the host's `connect_timeout`. `params` go into the
    /// StartupMessage beside user and database.
    ///
    /// Cancel safe: the half-open connection is dropped.
    ///
    /// # Errors
    /// See `ConnectError`.
    pub async fn connect(
        &self,
        host: &Host,
        user: &str,
        password: Option<&Password>,
        database: &str,
        params: &[(&str, &str)],
    ) -> Result<ServerLogin, ConnectError> {
        self.log_in(host, &Credentials { user, password, shown: None, database, params }).await
    }

    /// The same for a user of pgmanifold: with its password for servers, or with the keys its
    /// clients have shown.
    ///
    /// # Errors
    /// See `ConnectError`.
    pub async fn connect_as(
        &self,
        host: &Host,
        user: &User,
        database: &str,
    ) -> Result<ServerLogin, ConnectError> {
        let shown = Shown { ring: &self.ring, user: &user.name };
        let credentials = Credentials {
            user: &user.server_user,
            password: user.server_password.as_ref(),
            shown: Some(shown),
            database,
            params: &[],
        };
        self.log_in(host, &credentials).await
    }

    async fn log_in(
        &self,
        host: &Host,
        credentials: &Credentials<'_>,
    ) -> Result<ServerLogin, ConnectError> {
        let login = async {
            let stream = self.open(host).await?;
            login::login(stream, credentials, &self.keys).await
        };
        match timeout(host.connect_timeout, login).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout(host.connect_timeout)),
        }
    }

    /// A connection with TLS settled, before the first packet.
    pub(crate) async fn open(&self, host: &Host) -> Result<Stream, ConnectError> {
        let (name, port) = match &host.address {
            Address::Tcp(name, port) => (name, *port),
            // As with libpq, there is never TLS on a Unix socket.
            Address::Unix(path) => {
                let socket = UnixStream::connect(path).await.map_err(connect_error)?;
                return Ok(Stream::Plain(Socket::Unix(socket)));
            }
        };
        let tls = self.tls.iter().find(|(known, _)| *known == host.tls).map(|(_, tls)| tls);
        let tls = tls.ok_or_else(|| ConnectError::Tls("the host is not configured".into()))?;
        let socket = connect_tcp(name, port, Instant::now() + host.connect_timeout).await?;
        let socket = Socket::Tcp(socket);
        socket.configure(&self.tcp).map_err(connect_error)?;
        tls.negotiate(socket, name).await
    }
}

async fn connect_tcp(name: &str, port: u16, deadline: Instant) -> Result<TcpStream, ConnectError> {
    let resolved = lookup_host((name, port)).await;
    let resolve_error = |source| ConnectError::Io { step: "name resolution", source };
    let addresses: Vec<SocketAddr> = resolved.map_err(resolve_error)?.collect();
    connect_any(&addresses, deadline).await.map_err(connect_error)
}

/// Tries every address in turn. Each has an equal share of the time that is left, so that one
/// that swallows packets does not hide the next.
async fn connect_any(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

fn connect_error(source: io::Error) -> ConnectError {
    ConnectError::Io { step: "connect", source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::net::{TcpListener, TcpSocket};

    /// An address where connecting neither succeeds nor fails: its backlog is full.
    async fn silent() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().expect("socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bind");
        let listener = socket.listen(1).expect("listen");
        let address = listener.local_addr().expect("address");
        let mut waiting = Vec::new();
        while let Ok(socket) = timeout(Duration::from_millis(50), TcpStream::connect(address)).await
        {
            waiting.push(socket.expect("queued"));
        }
        (address, listener, waiting)
    }

    #[tokio::test]
    async fn the_next_address_is_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let good = listener.local_addr().expect("address");
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let refused = gone.local_addr().expect("address");
        drop(gone);
        let silent = silent().await;
        let deadline = || Instant::now() + Duration::from_millis(300);
        let found = connect_any(&[refused, silent.0, good], deadline()).await.expect("third");
        assert_eq!(found.peer_addr().expect("address"), good);
        let error = connect_any(&[refused, silent.0], deadline()).await.expect_err("none");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = connect_any(&[silent.0, refused], deadline()).await.expect_err("none");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = connect_any(&[], deadline()).await.expect_err("none");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
