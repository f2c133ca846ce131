//! Owns a fault relay: a TCP relay between proxy and server that can be told to delay, stall,
//! lose or cut. It knows nothing of the protocol it carries.

use pgmanifold::config::model::Address;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes carried at once.
const BUFFER_BYTES: usize = 16 * 1024;

/// What the relay does to its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Carries everything.
    None,
    /// Carries everything so much later.
    Delay(Duration),
    /// Keeps connections open and carries nothing until the fault is over.
    Stall,
    /// Keeps connections open and loses everything: they never work again, as when the other
    /// machine has forgotten them. New ones hang until the fault is over.
    Vanish,
    /// Closes all connections, and new ones at once.
    Cut,
}

/// A relay to one server; its port stays open until it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: Address,
    fault: Arc<watch::Sender<Fault>>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// Begins to relay to `port` on 127.0.0.1.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(port: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own_port = listener.local_addr().expect("bound").port();
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let watched = fault.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay_one(client, port, watched.subscribe()));
            }
        });
        Relay { address: Address::Tcp("127.0.0.1".into(), own_port), fault, accepting }
    }

    /// Where the proxy connects to.
    pub fn address(&self) -> Address {
        self.address.clone()
    }

    /// Changes what happens to all connections from now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.fault.send_replace(Fault::Cut);
    }
}

async fn relay_one(client: TcpStream, port: u16, mut fault: watch::Receiver<Fault>) {
    let over = fault.wait_for(|fault| *fault != Fault::Vanish).await;
    if over.map_or(Fault::Cut, |fault| *fault) == Fault::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let ((client_in, client_out), (server_in, server_out)) =
        (client.into_split(), server.into_split());
    let mut up = pin!(carry(client_in, server_out, fault.clone()));
    let mut down = pin!(carry(server_in, client_out, fault.clone()));
    let ends = |fault: &Fault| matches!(fault, Fault::Cut | Fault::Vanish);
    let how = tokio::select! {
        biased;
        how = fault.wait_for(ends) => how.map_or(Fault::Cut, |how| *how),
        () = &mut up => return,
        () = &mut down => return,
    };
    if how == Fault::Vanish {
        // Nobody reads or writes the sockets any more, and they stay open.
        let _ = fault.wait_for(|fault| *fault == Fault::Cut).await;
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut fault: watch::Receiver<Fault>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let delay = match fault.wait_for(|fault| *fault != Fault::Stall).await.as_deref() {
            Err(_) => return,
            Ok(Fault::Delay(delay)) => *delay,
            Ok(Fault::None | Fault::Stall | Fault::Vanish | Fault::Cut) => Duration::ZERO,
        };
        tokio::time::sleep(delay).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
