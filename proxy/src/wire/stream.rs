//! Owns `Stream`: TCP, Unix socket or TLS over one of them, as one type without indirection on
//! the plain path.

use socket2::{SockRef, TcpKeepalive};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// An idle TCP peer is probed after this time.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Period of the probes that are not answered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// So many unanswered probes end the connection.
const KEEPALIVE_PROBES: u32 = 6;

macro_rules! dispatch {
    ($self:expr, $enum:ident { $($variant:ident),+ }, $io:ident => $call:expr) => {
        match $self { $($enum::$variant($io) => $call),+ }
    };
}

/// A socket before TLS.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// Unix domain socket.
    Unix(UnixStream),
}

/// A connection to a client or a server.
#[derive(Debug)]
pub enum Stream {
    /// Plain socket.
    Plain(Socket),
    /// TLS, we are the server.
    TlsServer(Box<tokio_rustls::server::TlsStream<Socket>>),
    /// TLS, we are the client.
    TlsClient(Box<tokio_rustls::client::TlsStream<Socket>>),
}

/// What an idle connection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleState {
    /// Nothing came.
    Quiet,
    /// The peer sent something unasked.
    Spoke,
    /// The peer closed it.
    Closed,
}

impl Socket {
    /// Switches off Nagle's delay and switches on keepalive probes; nothing to do for Unix
    /// sockets.
    ///
    /// # Errors
    /// When the kernel refuses an option, which means that the peer is already gone.
    pub fn configure(&self) -> io::Result<()> {
        let Socket::Tcp(tcp) = self else { return Ok(()) };
        tcp.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES);
        SockRef::from(tcp).set_tcp_keepalive(&keepalive)
    }

    /// What happened to a connection nobody reads from. Costs no system call while quiet. Bytes
    /// may be lost: only a quiet connection may be used again.
    fn idle_state(&mut self) -> IdleState {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = dispatch!(self, Socket { Tcp, Unix }, io => io.poll_read_ready(&mut cx));
        if ready.is_pending() {
            return IdleState::Quiet;
        }
        let mut byte = [0];
        match dispatch!(self, Socket { Tcp, Unix }, io => io.try_read(&mut byte)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => IdleState::Quiet,
            Ok(1..) => IdleState::Spoke,
            Ok(0) | Err(_) => IdleState::Closed,
        }
    }

    /// Whether bytes have already arrived that nobody has read.
    #[must_use]
    pub fn has_unread_bytes(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let read = match self {
            Socket::Tcp(tcp) => SockRef::from(tcp).peek(&mut byte),
            Socket::Unix(unix) => SockRef::from(unix).peek(&mut byte),
        };
        matches!(read, Ok(1..))
    }
}

impl Stream {
    fn socket(&mut self) -> &mut Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::TlsServer(tls) => tls.get_mut().0,
            Stream::TlsClient(tls) => tls.get_mut().0,
        }
    }

    /// What happened to a connection nobody reads from (see `Socket::idle_state`).
    pub fn idle_state(&mut self) -> IdleState {
        self.socket().idle_state()
    }

    /// True when nothing came while the connection lay idle.
    pub fn is_quiet(&mut self) -> bool {
        self.idle_state() == IdleState::Quiet
    }

    /// Writes a few bytes if the socket takes them at once; for a last goodbye.
    pub fn try_write_now(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(_)) = Pin::new(&mut *self).poll_write(&mut cx, bytes) {
            let _ = Pin::new(self).poll_flush(&mut cx);
        }
    }

    /// The certificate the client showed, if it was asked for one; TLS has verified it.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&[u8]> {
        let Stream::TlsServer(tls) = self else { return None };
        tls.get_ref().1.peer_certificates()?.first().map(|leaf| &leaf[..])
    }

    /// Whether the peer is spoken to through TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        !matches!(self, Stream::Plain(_))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        dispatch!(self.get_mut(), Socket { Tcp, Unix }, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        dispatch!(self.get_mut(), Socket { Tcp, Unix }, io => Pin::new(io).poll_write(cx, buf))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        dispatch!(self.get_mut(), Socket { Tcp, Unix },
            io => Pin::new(io).poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        dispatch!(self, Socket { Tcp, Unix }, io => io.is_write_vectored())
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        dispatch!(self.get_mut(), Socket { Tcp, Unix }, io => Pin::new(io).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        dispatch!(self.get_mut(), Socket { Tcp, Unix }, io => Pin::new(io).poll_shutdown(cx))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        dispatch!(self.get_mut(), Stream { Plain, TlsServer, TlsClient },
            io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        dispatch!(self.get_mut(), Stream { Plain, TlsServer, TlsClient },
            io => Pin::new(io).poll_write(cx, buf))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        dispatch!(self.get_mut(), Stream { Plain, TlsServer, TlsClient },
            io => Pin::new(io).poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        dispatch!(self, Stream { Plain, TlsServer, TlsClient }, io => io.is_write_vectored())
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        dispatch!(self.get_mut(), Stream { Plain, TlsServer, TlsClient },
            io => Pin::new(io).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        dispatch!(self.get_mut(), Stream { Plain, TlsServer, TlsClient },
            io => Pin::new(io).poll_shutdown(cx))
    }
}
