//! Owns cancel requests between processes. With `reuse_port` a cancel request may reach another
//! process than the one whose client is meant. Each process has a tag, which is part of the numbers
//! of its clients, and an abstract Unix socket named after it, where the others pass such requests
//! on.
//!
//! Whoever connects there can do what the listeners allow anybody: present a key.

use super::Shared;
use super::login::cancel_here;
use super::logins::LoginPlace;
use crate::frontend::packet::{self, MAX_PACKET_BYTES, MIN_PACKET_BYTES, Packet};
use crate::wire::protocol::CancelKey;
use bytes::BytesMut;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdUnixListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// Bits of a client's number below its process's tag.
pub(super) const SERIAL_BITS: u32 = 21;

/// Tags are in 1 .. this; a client's number has 31 bits.
const TAGS: u32 = 1 << (31 - SERIAL_BITS);

/// Tags tried before a process goes without.
const TRIES: usize = 64;

/// Longest time a request takes on its way through another process.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after accepting has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A tag nobody else on this machine has, and where its requests come in.
pub(super) fn bind() -> Option<(u32, StdUnixListener)> {
    (0..TRIES).find_map(|_| {
        let tag = rand::random_range(1..TAGS);
        let listener =
            StdUnixListener::bind_addr(&SocketAddr::from_abstract_name(name(tag)).ok()?).ok()?;
        listener.set_nonblocking(true).ok()?;
        Some((tag, listener))
    })
}

/// Name of a process's socket.
fn name(tag: u32) -> String {
    format!("pgmanifold-cancel-{tag}")
}

/// Takes requests that other processes pass on.
pub(super) async fn serve(listener: StdUnixListener, shared: Arc<Shared>) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!(%error, "cancel requests of peers cannot be taken"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (place, shared) = (LoginPlace::enter(&shared), Arc::clone(&shared));
                tokio::spawn(take(stream, place, shared));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn take(mut stream: UnixStream, mut place: LoginPlace, shared: Arc<Shared>) {
    let taking = timeout(PEER_TIMEOUT, async {
        if let Ok(Some(key)) = read_request(&mut stream).await {
            cancel_here(&shared, &key).await;
        }
    });
    tokio::select! {
        _ = taking => {}
        () = place.taken() => {}
    }
}

async fn read_request(stream: &mut UnixStream) -> io::Result<Option<CancelKey>> {
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if !(MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&length) {
        return Ok(None);
    }
    let mut bytes = BytesMut::zeroed(length - 4);
    stream.read_exact(&mut bytes).await?;
    match packet::parse(&bytes) {
        Ok(Packet::Cancel(key)) => Ok(Some(key)),
        _ => Ok(None),
    }
}

/// Passes a request on to the process whose client it is for, and waits until that has dealt with
/// it. False when there is no such process.
pub(super) async fn pass_on(key: &CancelKey, own_tag: u32) -> bool {
    let tag = key.process_id >> SERIAL_BITS;
    if tag == 0 || tag == own_tag || tag >= TAGS {
        return false;
    }
    let sending = async {
        let mut stream = UnixStream::connect(format!("\0{}", name(tag))).await?;
        let mut packet = BytesMut::new();
        key.encode_request(&mut packet);
        stream.write_all(&packet).await?;
        stream.read(&mut [0]).await.map(drop)
    };
    matches!(timeout(PEER_TIMEOUT, sending).await, Ok(Ok(())))
}
