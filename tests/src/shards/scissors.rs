//! Owns a relay before a server that stops at a chosen message: simple queries are counted, and one
//! of them is held back, or its answer. It knows that much of the protocol and no more.

use pgmanifold::config::model::Address;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Codes of requests that stand before the StartupMessage.
const REQUESTS: [u32; 2] = [80_877_103, 80_877_104];

/// Where it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The server has not seen the query.
    Before,
    /// The server has it and may be at work.
    Sent,
    /// The server has answered; the client has not seen it.
    After,
}

#[derive(Debug)]
struct Shared {
    /// Queries seen since it was armed.
    queries: AtomicUsize,
    /// At which it stops; 0 for none.
    at: AtomicUsize,
    when: std::sync::Mutex<When>,
    /// The answer is awaited, at whose end it stops.
    answering: AtomicBool,
    /// It has stopped.
    stopped: Notify,
    /// It may go on.
    resumed: Notify,
    /// Changes when all connections are to be cut.
    cuts: watch::Sender<u64>,
}

/// A relay to one server; its port stays open until it is dropped.
#[derive(Debug)]
pub struct Scissors {
    address: Address,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Scissors {
    /// Begins to relay to `port` on 127.0.0.1.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(port: u16) -> Scissors {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own_port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            queries: AtomicUsize::new(0),
            at: AtomicUsize::new(0),
            when: std::sync::Mutex::new(When::Before),
            answering: AtomicBool::new(false),
            stopped: Notify::new(),
            resumed: Notify::new(),
            cuts: watch::Sender::new(0),
        });
        let known = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, port, known.clone()));
            }
        });
        Scissors { address: Address::Tcp("127.0.0.1".into(), own_port), shared, accepting }
    }

    /// Where clients connect to.
    pub fn address(&self) -> Address {
        self.address.clone()
    }

    /// Stops at the `at`th query from now on, from 1; 0 never stops.
    ///
    /// # Panics
    /// Never.
    pub fn arm(&self, at: usize, when: When) {
        *self.shared.when.lock().expect("no panic under this lock") = when;
        self.shared.queries.store(0, Ordering::SeqCst);
        self.shared.answering.store(false, Ordering::SeqCst);
        self.shared.at.store(at, Ordering::SeqCst);
    }

    /// Waits until it has stopped.
    pub async fn stopped(&self) {
        self.shared.stopped.notified().await;
    }

    /// Lets what was stopped go on.
    pub fn resume(&self) {
        self.shared.resumed.notify_one();
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Scissors {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn relay(client: TcpStream, port: u16, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    // Without it, small messages wait for each other's acknowledgements.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_in, client_out), (server_in, server_out)) =
        (client.into_split(), server.into_split());
    let mut up = pin!(carry_up(client_in, server_out, &shared));
    let mut down = pin!(carry_down(server_in, client_out, &shared));
    tokio::select! {
        biased;
        _ = cuts.changed() => {}
        () = &mut up => {}
        () = &mut down => {}
    }
}

impl Shared {
    async fn stop(&self) {
        self.stopped.notify_one();
        self.resumed.notified().await;
    }

    /// A query has come; returns where to stop at it, if at all.
    fn count(&self) -> Option<When> {
        let number = self.queries.fetch_add(1, Ordering::SeqCst) + 1;
        let here = self.at.load(Ordering::SeqCst) == number;
        here.then(|| *self.when.lock().expect("no panic under this lock"))
    }
}

async fn carry_up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let (mut buffer, mut started) = (Vec::new(), false);
    while let Some(message) = next(&mut from, &mut buffer, started).await {
        let is_query = started && message.first() == Some(&b'Q');
        if !started {
            let code = message.get(4..8).and_then(|code| code.try_into().ok());
            started = !REQUESTS.contains(&code.map_or(0, u32::from_be_bytes));
        }
        let when = if is_query { shared.count() } else { None };
        if when == Some(When::Before) {
            shared.stop().await;
        }
        shared.answering.fetch_or(when == Some(When::After), Ordering::SeqCst);
        if to.write_all(&message).await.is_err() {
            return;
        }
        if when == Some(When::Sent) {
            shared.stop().await;
        }
    }
}

async fn carry_down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut buffer = Vec::new();
    let mut held = Vec::new();
    while let Some(message) = next(&mut from, &mut buffer, true).await {
        let ready = message.first() == Some(&b'Z');
        held.extend_from_slice(&message);
        if shared.answering.load(Ordering::SeqCst) {
            if !ready {
                continue;
            }
            shared.answering.store(false, Ordering::SeqCst);
            shared.stop().await;
        }
        if to.write_all(&held).await.is_err() {
            return;
        }
        held.clear();
    }
    // What a server says last, although it does not end an answer.
    let _ = to.write_all(&held).await;
}

/// The next whole message.
async fn next(from: &mut OwnedReadHalf, buffer: &mut Vec<u8>, typed: bool) -> Option<Vec<u8>> {
    let start = usize::from(typed);
    loop {
        if let Some(length) = buffer.get(start..start + 4) {
            let length = u32::from_be_bytes(length.try_into().ok()?) as usize + start;
            if buffer.len() >= length {
                let rest = buffer.split_off(length);
                return Some(std::mem::replace(buffer, rest));
            }
        }
        if from.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
