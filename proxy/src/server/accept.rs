//! Owns listening sockets: binding them, accepting, and handing each connection to the worker
//! with the fewest.

use super::StartError;
use super::worker::{NewClient, StdSocket, Worker};
use crate::config::model::{Address, Config};
use crate::frontend::startup::Peer;
use std::io;
use std::net::{TcpListener as StdTcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// Pause after accepting has failed (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    let bind = |address: &Address| {
        let bound = match address {
            Address::Tcp(host, port) => bind_tcp(host, *port).map(Bound::Tcp),
            Address::Unix(path) => bind_unix(path).map(|bound| Bound::Unix(bound, path.clone())),
        };
        bound.map_err(|source| StartError::Listen { address: address.to_string(), source })
    };
    config.listeners.iter().map(|listener| bind(&listener.address)).collect()
}

fn bind_tcp(host: &str, port: u16) -> io::Result<StdTcpListener> {
    use socket2::{Domain, Socket, Type};
    let address = (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A socket file that nobody listens on any more is replaced.
fn bind_unix(path: &Path) -> io::Result<StdUnixListener> {
    if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = StdUnixListener::bind(path)?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts on all listeners until `listening` is false.
pub(super) fn serve(
    listeners: Vec<Bound>,
    workers: Vec<Arc<Worker>>,
    control: &Handle,
    listening: watch::Receiver<bool>,
) {
    for (index, bound) in listeners.into_iter().enumerate() {
        let (workers, listening) = (workers.clone(), listening.clone());
        control.spawn(async move {
            tokio::select! {
                result = accept(bound, index, &workers) => {
                    if let Err(error) = result {
                        tracing::error!(listener = index, %error, "listener failed");
                    }
                }
                () = super::worker::until_false(listening) => {}
            }
        });
    }
}

async fn accept(bound: Bound, listener: usize, workers: &[Arc<Worker>]) -> io::Result<()> {
    match bound {
        Bound::Tcp(tcp) => {
            let tcp = TcpListener::from_std(tcp)?;
            loop {
                let accepted = tcp.accept().await.and_then(|(socket, address)| {
                    Ok((StdSocket::Tcp(socket.into_std()?), Peer::Tcp(address)))
                });
                hand_over(accepted, listener, workers).await;
            }
        }
        Bound::Unix(unix, path) => {
            let unix = UnixListener::from_std(unix)?;
            let _file = SocketFile(path);
            loop {
                let accepted = unix
                    .accept()
                    .await
                    .and_then(|(socket, _)| Ok((StdSocket::Unix(socket.into_std()?), Peer::Unix)));
                hand_over(accepted, listener, workers).await;
            }
        }
    }
}

/// Removes the socket file when listening ends.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn hand_over(
    accepted: io::Result<(StdSocket, Peer)>,
    listener: usize,
    workers: &[Arc<Worker>],
) {
    match accepted {
        Ok((socket, peer)) => {
            let least = workers.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed));
            let client = NewClient { socket, peer, listener };
            if least.is_none_or(|worker| worker.give(client).is_err()) {
                tracing::warn!(%peer, "connection refused: the worker cannot keep up");
            }
        }
        Err(error) => {
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}
