//! Owns listening sockets: binding them, accepting, and giving them up to another process. What is
//! accepted logs in on the same thread; a flood of logins so holds up accepting, and nothing else.

use super::logins::{Accepting, LoginPlace};
use super::worker::{NewClient, StdSocket, Worker};
use super::{Shared, StartError, login};
use crate::config::model::{Address, Config};
use crate::frontend::startup::Peer;
use socket2::{SockFilter, SockRef};
use std::io;
use std::net::{TcpListener as StdTcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// Pause after accepting has failed (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listening socket that is given up is closed when nothing has come for so long: longer than a
/// TCP handshake takes, shorter than a client waits to repeat its beginning.
const QUIET_TIME: Duration = Duration::from_millis(500);

/// Longest time to take what has come before.
const EMPTYING_MAX: Duration = Duration::from_secs(5);

/// A bound listening socket.
pub(super) enum Bound {
    Tcp(StdTcpListener),
    Unix(StdUnixListener, PathBuf),
}

impl Bound {
    /// Where it listens.
    pub(super) fn address(&self) -> Address {
        match self {
            Bound::Tcp(listener) => match listener.local_addr() {
                Ok(address) => Address::Tcp(address.ip().to_string(), address.port()),
                Err(_) => Address::Tcp(String::new(), 0),
            },
            Bound::Unix(_, path) => Address::Unix(path.clone()),
        }
    }
}

/// Binds all listeners, or none.
pub(super) fn bind_all(config: &Config) -> Result<Vec<Bound>, StartError> {
    let shared = config.general.network.reuse_port;
    let bind = |address: &Address| {
        let bound = match address {
            Address::Tcp(host, port) => bind_tcp((host.as_str(), *port), shared).map(Bound::Tcp),
            Address::Unix(path) => {
                bind_unix(path, shared).map(|bound| Bound::Unix(bound, path.clone()))
            }
        };
        bound.map_err(|source| StartError::Listen { address: address.to_string(), source })
    };
    config.listeners.iter().map(|listener| bind(&listener.address)).collect()
}

/// Binds a TCP address; `shared` with other processes that do so too.
pub(super) fn bind_tcp(address: impl ToSocketAddrs, shared: bool) -> io::Result<StdTcpListener> {
    use socket2::{Domain, Socket, Type};
    let address = address
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A socket file that nobody listens on any more is replaced. A `shared` one is replaced in any
/// case, in one step: who connects finds the one or the other.
fn bind_unix(path: &Path, shared: bool) -> io::Result<StdUnixListener> {
    if !shared && path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let mut made = path.to_owned();
    if shared {
        made.as_mut_os_string().push(format!(".{}", std::process::id()));
    }
    let listener = StdUnixListener::bind(&made)?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o777))?;
    if shared {
        std::fs::rename(&made, path)?;
    }
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts on all listeners until `listening` is false, and then what has come in before.
pub(super) fn serve(
    listeners: Vec<Bound>,
    workers: Vec<Arc<Worker>>,
    runtime: &Handle,
    listening: &watch::Receiver<bool>,
    shared: &Arc<Shared>,
) {
    let workers: Arc<[Arc<Worker>]> = workers.into();
    for (index, bound) in listeners.into_iter().enumerate() {
        let entrance =
            Entrance { listener: index, workers: Arc::clone(&workers), shared: Arc::clone(shared) };
        let (listening, accepting) = (listening.clone(), Accepting::begin(shared));
        runtime.spawn(async move {
            let _accepting = accepting;
            match Listening::new(bound) {
                Ok(socket) => entrance.serve(&socket, listening).await,
                Err(error) => tracing::error!(listener = index, %error, "listener failed"),
            }
        });
    }
}

/// A listening socket on an event loop.
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "held for its Drop")] SocketFile),
}

impl Listening {
    fn new(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(tcp) => Self::Tcp(TcpListener::from_std(tcp)?),
            Bound::Unix(unix, path) => {
                Self::Unix(UnixListener::from_std(unix)?, SocketFile::new(path))
            }
        })
    }

    /// Cancel safe.
    async fn accept(&self) -> io::Result<(StdSocket, Peer)> {
        match self {
            Self::Tcp(tcp) => {
                let (socket, address) = tcp.accept().await?;
                Ok((StdSocket::Tcp(socket.into_std()?), Peer::Tcp(address)))
            }
            Self::Unix(unix, _) => {
                let (socket, _) = unix.accept().await?;
                Ok((StdSocket::Unix(socket.into_std()?), Peer::Unix))
            }
        }
    }

    /// Lets no new connection begin here; those that have begun come to their end. The kernel
    /// drops what begins one, and a client repeats that after a second: by then this socket is
    /// closed, and the process that took over answers. Nobody finds an overwritten socket file.
    fn stop_new(&self) -> io::Result<()> {
        let Self::Tcp(tcp) = self else { return Ok(()) };
        SockRef::from(tcp).attach_filter(&*DROP_SYN)
    }
}

/// A packet filter: load the byte of TCP's flags, drop the segment if SYN is set, else keep it.
static DROP_SYN: LazyLock<[SockFilter; 4]> = LazyLock::new(|| {
    [
        SockFilter::new(0x30, 0, 0, 13),
        SockFilter::new(0x45, 0, 1, 0x02),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ]
});

/// Where connections of one listener go.
struct Entrance {
    listener: usize,
    workers: Arc<[Arc<Worker>]>,
    shared: Arc<Shared>,
}

impl Entrance {
    async fn serve(&self, socket: &Listening, listening: watch::Receiver<bool>) {
        let mut stopped = pin!(super::worker::until_false(listening));
        loop {
            tokio::select! {
                accepted = socket.accept() => self.let_in(accepted).await,
                () = &mut stopped => break,
            }
        }
        if self.shared.state().config.general.network.reuse_port {
            self.empty(socket).await;
        }
    }

    /// Takes the connections that the kernel has accepted for us: closing the socket would reset
    /// them.
    async fn empty(&self, socket: &Listening) {
        if let Err(error) = socket.stop_new() {
            tracing::warn!(%error, "connections that begin now may be reset");
        }
        let end = tokio::time::Instant::now() + EMPTYING_MAX;
        while let Ok(accepted) = timeout(QUIET_TIME, socket.accept()).await {
            self.let_in(accepted).await;
            if tokio::time::Instant::now() > end {
                break;
            }
        }
    }

    async fn let_in(&self, accepted: io::Result<(StdSocket, Peer)>) {
        match accepted {
            Ok((socket, peer)) => {
                let client = NewClient { socket, peer, listener: self.listener };
                let place = LoginPlace::enter(&self.shared);
                let (workers, shared) = (Arc::clone(&self.workers), Arc::clone(&self.shared));
                tokio::spawn(Box::pin(login::log_in(client, place, workers, shared)));
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Removes the socket file when listening ends, unless another process has put its own there.
struct SocketFile {
    path: PathBuf,
    made: Option<(u64, u64)>,
}

impl SocketFile {
    fn new(path: PathBuf) -> Self {
        let made = identity(&path);
        Self { path, made }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.made.is_some() && identity(&self.path) == self.made {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What tells a file from another one under the same name.
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
