//! Owns `Stream`: TCP, Unix socket or TLS over one of them, as one type without indirection on
//! the plain path.

use crate::config::limits::TcpOptions;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

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
    /// Switches off Nagle's delay and sets how a dead peer is found; nothing to do for Unix
    /// sockets.
    ///
    /// # Errors
    /// When the kernel refuses an option, which means that the peer is already gone.
    pub fn configure(&self, options: &TcpOptions) -> io::Result<()> {
        let Socket::Tcp(tcp) = self else { return Ok(()) };
        tcp.set_nodelay(true)?;
        let socket = SockRef::from(tcp);
        if !options.user_timeout.is_zero() {
            socket.set_tcp_user_timeout(Some(options.user_timeout))?;
        }
        if options.keepalive_idle.is_zero() {
            return Ok(());
        }
        // The kernel counts in seconds.
        let second = Duration::from_secs(1);
        let keepalive = TcpKeepalive::new()
            .with_time(options.keepalive_idle.max(second))
            .with_interval(options.keepalive_interval.max(second))
            .with_retries(options.keepalive_probes);
        socket.set_tcp_keepalive(&keepalive)
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

    /// Whether there may be something to read, as far as the event loop knows.
    fn may_have_bytes(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        dispatch!(self, Socket { Tcp, Unix }, io => io.poll_read_ready(&mut cx)).is_ready()
    }

    fn into_this_loop(self) -> io::Result<Self> {
        Ok(match self {
            Socket::Tcp(tcp) => Socket::Tcp(TcpStream::from_std(tcp.into_std()?)?),
            Socket::Unix(unix) => Socket::Unix(UnixStream::from_std(unix.into_std()?)?),
        })
    }

    /// The same connection, on the event loop of the calling thread.
    fn doubled(&self) -> io::Result<Self> {
        Ok(match self {
            Socket::Tcp(tcp) => {
                let double = std::net::TcpStream::from(tcp.as_fd().try_clone_to_owned()?);
                Socket::Tcp(TcpStream::from_std(double)?)
            }
            Socket::Unix(unix) => {
                let double =
                    std::os::unix::net::UnixStream::from(unix.as_fd().try_clone_to_owned()?);
                Socket::Unix(UnixStream::from_std(double)?)
            }
        })
    }

    /// Completes when the peer has closed the connection; never while bytes of it wait to be read.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut byte = [MaybeUninit::uninit()];
        loop {
            let ready = dispatch!(self, Socket { Tcp, Unix }, io => io.poll_read_ready(cx));
            if ready!(ready).is_err() {
                return Poll::Ready(());
            }
            let peeked = dispatch!(self, Socket { Tcp, Unix }, io => {
                io.try_io(Interest::READABLE, || SockRef::from(&*io).peek(&mut byte))
            });
            match peeked {
                Ok(1..) => return Poll::Pending,
                // The readiness was an old one, and is cleared.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
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

    /// Whether there may be something to read, or the end. Costs no system call; who was told that
    /// there is nothing is not woken when something comes.
    pub fn may_have_bytes(&mut self) -> bool {
        self.socket().may_have_bytes()
    }

    /// True when nothing came while the connection lay idle.
    pub fn is_quiet(&mut self) -> bool {
        self.idle_state() == IdleState::Quiet
    }

    /// Moves the connection to the event loop of the calling thread, from that where it was made.
    ///
    /// # Errors
    /// When no file descriptor is left for the move of a TLS connection.
    pub fn into_this_loop(self) -> io::Result<Self> {
        Ok(match self {
            Stream::Plain(socket) => Stream::Plain(socket.into_this_loop()?),
            Stream::TlsServer(mut tls) => {
                let socket = tls.get_mut().0;
                *socket = socket.doubled()?;
                Stream::TlsServer(tls)
            }
            Stream::TlsClient(mut tls) => {
                let socket = tls.get_mut().0;
                *socket = socket.doubled()?;
                Stream::TlsClient(tls)
            }
        })
    }

    /// Completes when the peer has closed the connection. Under TLS that is only seen when no
    /// record of it waits to be read.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket().poll_gone(cx)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tcp_options_are_set() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = TcpOptions {
            keepalive_idle: Duration::from_secs(7),
            keepalive_interval: Duration::from_millis(1),
            keepalive_probes: 3,
            user_timeout: Duration::from_millis(2500),
        };
        let socket = Socket::Tcp(TcpStream::connect(address).await.unwrap());
        socket.configure(&options).unwrap();
        let Socket::Tcp(tcp) = &socket else { unreachable!("made above") };
        let seen = SockRef::from(tcp);
        assert_eq!(seen.tcp_keepalive_time().unwrap(), Duration::from_secs(7));
        assert_eq!(seen.tcp_keepalive_interval().unwrap(), Duration::from_secs(1));
        assert_eq!(seen.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(seen.tcp_user_timeout().unwrap(), Some(Duration::from_millis(2500)));
        let socket = Socket::Tcp(TcpStream::connect(address).await.unwrap());
        socket.configure(&TcpOptions { keepalive_idle: Duration::ZERO, ..options }).unwrap();
        let Socket::Tcp(tcp) = &socket else { unreachable!("made above") };
        assert!(!SockRef::from(tcp).keepalive().unwrap(), "left to the kernel");
    }

    #[tokio::test]
    async fn a_peer_that_has_gone_is_noticed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut stream = Stream::Plain(Socket::Unix(ours));
        let gone = |stream: &mut Stream| {
            stream.poll_gone(&mut Context::from_waker(Waker::noop())).is_ready()
        };
        assert!(!gone(&mut stream));
        drop(theirs);
        std::future::poll_fn(|cx| stream.poll_gone(cx)).await;
        assert!(gone(&mut stream));
    }
}
