//! Owns what both sides of a login share: protocol versions, cancel keys and the bounded reading
//! of the few frames before a session begins. It must not know what the frames mean.

use crate::wire::stream::Stream;
use bytes::{Buf, BufMut, BytesMut};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};
use std::io;
use subtle::ConstantTimeEq;
use tokio::io::AsyncReadExt;

/// First word of a CancelRequest, where a StartupMessage has its protocol version.
pub const CANCEL_REQUEST_CODE: u32 = 80_877_102;
/// First word of an SSLRequest.
pub const SSL_REQUEST_CODE: u32 = 80_877_103;
/// First word of a GSSENCRequest.
pub const GSSENC_REQUEST_CODE: u32 = 80_877_104;
/// Shortest secret of a cancel key: all that protocol 3.0 knows.
pub const MIN_CANCEL_SECRET_BYTES: usize = 4;
/// Longest secret of a cancel key, by the manual's bound for protocol 3.2.
pub const MAX_CANCEL_SECRET_BYTES: usize = 256;

/// Protocol versions that are spoken. 3.1 was never released; who asks for it gets 3.0's messages,
/// as from PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// 3.0: cancel keys have exactly four secret bytes.
    V3_0,
    /// 3.2: cancel keys have up to 256 secret bytes.
    V3_2,
}

/// What a CancelRequest must present, as given out by BackendKeyData.
#[derive(Clone, Eq)]
pub struct CancelKey {
    /// Process id of the server process, or whatever stands for it.
    pub process_id: u32,
    /// `MIN_CANCEL_SECRET_BYTES..=MAX_CANCEL_SECRET_BYTES` bytes.
    pub secret: SmallVec<[u8; 32]>,
}

impl CancelKey {
    /// Reads process id and secret; `None` when the length is out of bounds.
    #[must_use]
    pub fn decode(mut body: &[u8]) -> Option<Self> {
        let process_id = body.try_get_u32().ok()?;
        let fits = (MIN_CANCEL_SECRET_BYTES..=MAX_CANCEL_SECRET_BYTES).contains(&body.len());
        fits.then(|| Self { process_id, secret: SmallVec::from_slice(body) })
    }

    /// Appends a CancelRequest packet to `out`.
    pub fn encode_request(&self, out: &mut BytesMut) {
        out.put_u32(u32::try_from(12 + self.secret.len()).expect("invariant: a short secret"));
        out.put_u32(CANCEL_REQUEST_CODE);
        out.put_u32(self.process_id);
        out.put_slice(&self.secret);
    }
}

/// Takes the same time wherever two secrets differ.
impl PartialEq for CancelKey {
    fn eq(&self, other: &Self) -> bool {
        self.process_id == other.process_id && bool::from(self.secret.ct_eq(&other.secret))
    }
}

/// Leaves the secret out, so that a table's probing tells nothing of it.
impl Hash for CancelKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.process_id.hash(state);
    }
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CancelKey({}, ***)", self.process_id)
    }
}

/// One frame: its type byte and what follows the length.
#[derive(Debug)]
pub struct LoginFrame {
    /// Type byte.
    pub kind: u8,
    /// Everything after the length word.
    pub body: BytesMut,
}

/// Reads one frame and not a byte more. Not cancel safe: drop the stream after cancelling.
///
/// # Errors
/// `InvalidData` when the length is below 4 or the body longer than `max_body_bytes`; otherwise
/// what the stream says.
pub async fn read_frame(stream: &mut Stream, max_body_bytes: usize) -> io::Result<LoginFrame> {
    let mut header = [0; 5];
    stream.read_exact(&mut header).await?;
    let [kind, length @ ..] = header;
    let body_bytes = body_length(length, max_body_bytes)?;
    let mut body = BytesMut::zeroed(body_bytes);
    stream.read_exact(&mut body).await?;
    Ok(LoginFrame { kind, body })
}

/// Reads frames through `buffer`, which keeps what came beyond them. Cancel safe.
///
/// # Errors
/// As `read_frame`.
pub async fn read_frame_buffered(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    max_body_bytes: usize,
) -> io::Result<LoginFrame> {
    loop {
        if let Some(frame) = take_frame(buffer, max_body_bytes)? {
            return Ok(frame);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

pub(crate) fn take_frame(
    buffer: &mut BytesMut,
    max_body_bytes: usize,
) -> io::Result<Option<LoginFrame>> {
    let Some(&[kind, ref length @ ..]) = buffer.first_chunk::<5>() else { return Ok(None) };
    let body_bytes = body_length(*length, max_body_bytes)?;
    if buffer.len() < 5 + body_bytes {
        return Ok(None);
    }
    buffer.advance(5);
    Ok(Some(LoginFrame { kind, body: buffer.split_to(body_bytes) }))
}

fn body_length(length: [u8; 4], max_body_bytes: usize) -> io::Result<usize> {
    usize::try_from(u32::from_be_bytes(length))
        .ok()
        .and_then(|length| length.checked_sub(4))
        .filter(|&body_bytes| body_bytes <= max_body_bytes)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "invalid message length"))
}

/// Appends a frame whose body `write` appends.
pub fn put_frame(out: &mut BytesMut, kind: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    put_packet(out, write);
}

/// Appends a length word and the body that `write` appends; the form of packets without a type.
pub fn put_packet(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    write(out);
    let length = u32::try_from(out.len() - start).expect("invariant: login frames are short");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Cuts a NUL-terminated string off the front of `bytes`; `None` without a NUL.
pub fn take_cstr<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr::memchr(0, bytes)?;
    let (text, rest) = bytes.split_at(end);
    *bytes = rest.get(1..)?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancel_keys_are_bounded_and_come_back() {
        let mut packet = BytesMut::new();
        for secret_bytes in [3, 4, 32, 256, 257] {
            let key = CancelKey { process_id: 7, secret: SmallVec::from_elem(9, secret_bytes) };
            packet.clear();
            key.encode_request(&mut packet);
            let decoded = CancelKey::decode(&packet[8..]);
            assert_eq!(decoded == Some(key), (4..=256).contains(&secret_bytes), "{secret_bytes}");
        }
        assert_eq!(CancelKey::decode(&[0, 0, 1]), None);
    }

    #[test]
    fn cancel_keys_differ_by_every_part() {
        let key = |id, secret: &[u8]| CancelKey { process_id: id, secret: secret.into() };
        assert_eq!(key(1, b"abcd"), key(1, b"abcd"));
        assert_ne!(key(1, b"abcd"), key(2, b"abcd"));
        assert_ne!(key(1, b"abcd"), key(1, b"abce"));
        assert_ne!(key(1, b"abcd"), key(1, b"abcde"));
        assert_eq!(format!("{:?}", key(1, b"abcd")), "CancelKey(1, ***)");
    }

    #[test]
    fn frames_are_cut_only_when_whole_and_within_bounds() {
        let mut buffer = BytesMut::from(&b"R\0\0\0\x08abc"[..]);
        assert!(take_frame(&mut buffer, 4).expect("incomplete").is_none());
        buffer.put_slice(b"dZ");
        let frame = take_frame(&mut buffer, 4).expect("valid").expect("whole");
        assert_eq!((frame.kind, &frame.body[..], &buffer[..]), (b'R', &b"abcd"[..], &b"Z"[..]));
        for length in [0_u32, 3, 9, u32::MAX] {
            let mut bad = BytesMut::from(&b"R"[..]);
            bad.put_u32(length);
            assert!(take_frame(&mut bad, 4).is_err(), "{length}");
        }
    }
}
