//! Owns the bare relay: bytes between one client socket and one server socket, and nothing else.
//! It is the floor the proxy is compared with, so it must not look at what it moves: no messages,
//! no login, no pool, no second thread. One `epoll` loop, edge-triggered, one scratch buffer.

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

/// The same read size as the proxy; larger buffers were measured to gain nothing.
const SCRATCH_BYTES: usize = 16 * 1024;
/// Events taken from the kernel at once.
const EVENTS: usize = 256;
const LISTENER: Token = Token(usize::MAX - 1);

/// A client and the server connection opened for it.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    /// What the server's socket had no room for.
    to_server: Vec<u8>,
    /// What the client's socket had no room for.
    to_client: Vec<u8>,
}

fn main() -> io::Result<()> {
    let mut addresses = std::env::args().skip(1).filter_map(|arg| arg.parse::<SocketAddr>().ok());
    match (addresses.next(), addresses.next()) {
        (Some(listen), Some(server)) => run(listen, server),
        _ => Err(io::Error::other("usage: relay LISTEN_IP:PORT SERVER_IP:PORT")),
    }
}

fn run(listen: SocketAddr, server: SocketAddr) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(listen)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut pairs: Vec<Option<Pair>> = Vec::new();
    let mut scratch = vec![0_u8; SCRATCH_BYTES];
    let mut events = Events::with_capacity(EVENTS);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        let mut clients_wait = false;
        for event in &events {
            if event.token() == LISTENER {
                clients_wait = true;
            } else if let Some(slot) = pairs.get_mut(event.token().0 / 2) {
                // Dropping a pair closes both sockets. A late event of it finds the slot empty.
                if slot.as_mut().is_some_and(|pair| !relay(pair, event, &mut scratch)) {
                    *slot = None;
                }
            }
        }
        // Only now: a new pair in a freed slot must not see the old pair's events.
        if clients_wait {
            accept_all(&listener, server, poll.registry(), &mut pairs)?;
        }
    }
}

/// Takes every waiting client and connects each to the server.
fn accept_all(
    listener: &TcpListener,
    server: SocketAddr,
    registry: &Registry,
    pairs: &mut Vec<Option<Pair>>,
) -> io::Result<()> {
    loop {
        let mut client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        // A blocking connect is good enough on the loopback, where servers accept at once.
        let Ok(stream) = std::net::TcpStream::connect(server) else { continue };
        stream.set_nonblocking(true)?;
        let mut server = TcpStream::from_std(stream);
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let slot = pairs.iter().position(Option::is_none).unwrap_or_else(|| {
            pairs.push(None);
            pairs.len() - 1
        });
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut client, Token(slot * 2), both)?;
        registry.register(&mut server, Token(slot * 2 + 1), both)?;
        pairs[slot] = Some(Pair { client, server, to_server: Vec::new(), to_client: Vec::new() });
    }
}

/// Serves one event; false when the pair is over.
fn relay(pair: &mut Pair, event: &Event, scratch: &mut [u8]) -> bool {
    let Pair { client, server, to_server, to_client } = pair;
    let from_client = event.token().0.is_multiple_of(2);
    let (near, far, out, back) = if from_client {
        (client, server, to_server, to_client)
    } else {
        (server, client, to_client, to_server)
    };
    if event.is_readable() {
        let goes_on = matches!(pump(near, far, out, scratch), Ok(true));
        // An end that came together with the last bytes raises no edge of its own.
        if !goes_on || (event.is_read_closed() && out.is_empty()) {
            return false;
        }
    }
    // Room in this socket matters only to bytes that waited for it.
    !event.is_writable() || back.is_empty() || matches!(pump(far, near, back, scratch), Ok(true))
}

/// Moves bytes until the source is dry or the sink full; false when the source has ended.
/// A full sink stops the reading of its source until the kernel reports room again.
fn pump(
    from: &mut TcpStream,
    to: &mut TcpStream,
    waiting: &mut Vec<u8>,
    scratch: &mut [u8],
) -> io::Result<bool> {
    if !waiting.is_empty() {
        let written = write_some(to, waiting)?;
        waiting.drain(..written);
        if !waiting.is_empty() {
            return Ok(true);
        }
    }
    loop {
        let count = match from.read(scratch) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        let written = write_some(to, &scratch[..count])?;
        if written < count {
            waiting.extend_from_slice(&scratch[written..count]);
            return Ok(true);
        }
        // A short read emptied the socket: the next byte raises a new edge.
        if count < scratch.len() {
            return Ok(true);
        }
    }
}

/// Writes until the socket is full; says how many bytes it took.
fn write_some(to: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match to.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
