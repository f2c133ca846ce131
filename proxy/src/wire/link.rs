//! Owns what a connection is to an observer: its two ends, and how it is protected. It is looked at
//! once, when the connection is made.

use super::stream::{Socket, Stream};
use crate::frontend::startup::Peer;
use std::net::SocketAddr;
use tokio_rustls::rustls::{CommonState, ProtocolVersion};

/// The two ends of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The peer's end; `None` for a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Our end; `None` for a Unix socket.
    pub local: Option<SocketAddr>,
    /// Process id of the peer; 0 unless it came over a Unix socket.
    pub peer_pid: i32,
    /// Version and cipher suite of TLS, as `TLSv1.3/TLS_AES_256_GCM_SHA384`; empty without.
    pub tls: Box<str>,
}

impl Link {
    /// What is known of a connection. One that broke has no ends.
    pub fn of(stream: &Stream) -> Self {
        let (socket, tls) = match stream {
            Stream::Plain(socket) => (socket, Box::default()),
            Stream::TlsServer(tls) => (tls.get_ref().0, tls_words(tls.get_ref().1)),
            Stream::TlsClient(tls) => (tls.get_ref().0, tls_words(tls.get_ref().1)),
        };
        match socket {
            Socket::Tcp(tcp) => {
                let (peer, local) = (tcp.peer_addr().ok(), tcp.local_addr().ok());
                Self { peer, local, peer_pid: 0, tls }
            }
            Socket::Unix(unix) => {
                let pid = unix.peer_cred().ok().and_then(|credentials| credentials.pid());
                Self { peer: None, local: None, peer_pid: pid.unwrap_or(0), tls }
            }
        }
    }

    /// The same, when a PROXY protocol header may have said where the peer is.
    #[must_use]
    pub fn from(mut self, peer: Peer) -> Self {
        self.peer = match peer {
            Peer::Tcp(address) => Some(address),
            Peer::Unix => None,
        };
        self
    }
}

/// As OpenSSL writes them, on which tools rely.
fn tls_words(state: &CommonState) -> Box<str> {
    let version = match state.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "TLS",
    };
    let suite = state.negotiated_cipher_suite();
    let suite = suite.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    format!("{version}/{}", suite.replacen("TLS13_", "TLS_", 1)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream, UnixStream};

    #[tokio::test]
    async fn both_ends_are_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ours = TcpStream::connect(address).await.unwrap();
        let own = ours.local_addr().unwrap();
        let link = Link::of(&Stream::Plain(Socket::Tcp(ours)));
        assert_eq!((link.peer, link.local), (Some(address), Some(own)));
        assert_eq!((link.peer_pid, &*link.tls), (0, ""));
    }

    #[tokio::test]
    async fn a_unix_socket_tells_the_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let link = Link::of(&Stream::Plain(Socket::Unix(ours)));
        assert_eq!((link.peer, link.local), (None, None));
        assert_eq!(link.peer_pid, i32::try_from(std::process::id()).unwrap());
    }
}
