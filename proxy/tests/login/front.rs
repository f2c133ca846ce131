//! Owns a little server around `frontend::startup::accept` that completes logins, so that real
//! clients can be used.

use crate::raw;
use crate::settings::config;
use pgmanifold::config::model::{Listener, User};
use pgmanifold::frontend::startup::{
    Frontends, Incoming, Login, Peer, StartupError, StartupErrorKind, accept,
};
use pgmanifold::wire::protocol::{CancelKey, Protocol};
use pgmanifold::wire::stream::{Socket, Stream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What became of a connection.
#[derive(Debug)]
pub(crate) enum Event {
    Login {
        user: String,
        database: String,
        params: Vec<(String, String)>,
        protocol: Protocol,
        tls: bool,
    },
    Cancel(CancelKey),
    Closed,
    Failed(StartupErrorKind, String),
}

/// Serves on a TCP port, and on a Unix socket when asked to, until dropped.
pub(crate) struct Front {
    pub(crate) port: u16,
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    _tasks: JoinSet<()>,
}

impl Front {
    pub(crate) async fn new(
        listener: Listener,
        users: Vec<Arc<User>>,
        unix_path: Option<&Path>,
    ) -> Self {
        let frontends = Frontends::new(&config(vec![listener], users, vec![])).expect("valid");
        let (sender, events) = mpsc::unbounded_channel();
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = tcp.local_addr().expect("address").port();
        let mut tasks = JoinSet::new();
        let (tcp_sender, tcp_frontends) = (sender.clone(), frontends.clone());
        tasks.spawn(async move {
            loop {
                let (socket, address) = tcp.accept().await.expect("accept");
                let peer = Peer::Tcp(address);
                let (frontends, sender) = (tcp_frontends.clone(), tcp_sender.clone());
                tokio::spawn(serve(Socket::Tcp(socket), peer, frontends, sender));
            }
        });
        if let Some(path) = unix_path {
            let unix = UnixListener::bind(path).expect("bind");
            tasks.spawn(async move {
                loop {
                    let (socket, _) = unix.accept().await.expect("accept");
                    let (frontends, sender) = (frontends.clone(), sender.clone());
                    tokio::spawn(serve(Socket::Unix(socket), Peer::Unix, frontends, sender));
                }
            });
        }
        Self { port, events, _tasks: tasks }
    }

    /// What became of the next connection.
    pub(crate) async fn event(&mut self) -> Event {
        let event = timeout(Duration::from_secs(10), self.events.recv()).await;
        event.expect("an event in time").expect("the server runs")
    }

    /// The next connection must have failed: its kind and reason.
    pub(crate) async fn failure(&mut self) -> (StartupErrorKind, String) {
        match self.event().await {
            Event::Failed(kind, reason) => (kind, reason),
            other => panic!("{other:?}"),
        }
    }
}

async fn serve(
    socket: Socket,
    peer: Peer,
    frontends: Frontends,
    events: mpsc::UnboundedSender<Event>,
) {
    let event = match accept(socket, peer, 0, &frontends).await {
        Ok(Incoming::Login(login)) => {
            let Login { stream, user, database, params, protocol, .. } = *login;
            let user = user.name.clone();
            let tls = stream.is_tls();
            tokio::spawn(finish(stream));
            Event::Login { user, database, params, protocol, tls }
        }
        Ok(Incoming::Cancel { key, stream: _ }) => Event::Cancel(key),
        Ok(Incoming::Closed) => Event::Closed,
        Err(StartupError { kind, reason, .. }) => Event::Failed(kind, reason),
    };
    let _ = events.send(event);
}

/// Completes the login and answers every query with nothing.
async fn finish(mut stream: Stream) {
    let ready = raw::frame(b'Z', b"I");
    let mut greeting = raw::frame(b'R', &[0; 4]);
    for parameter in [&b"server_version\x0015.0\0"[..], b"client_encoding\0UTF8\0"] {
        greeting.extend(raw::frame(b'S', parameter));
    }
    greeting.extend(raw::frame(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]));
    greeting.extend(&ready);
    raw::send(&mut stream, &greeting).await;
    loop {
        let (Ok(kind), Ok(length)) = (stream.read_u8().await, stream.read_u32().await) else {
            return;
        };
        let mut body = vec![0; length as usize - 4];
        if stream.read_exact(&mut body).await.is_err() || kind == b'X' {
            return;
        }
        let answer = [raw::frame(b'C', b"SELECT 0\0"), ready.clone()].concat();
        let _ = stream.write_all(&answer).await;
    }
}
