//! Owns the PROXY protocol, versions 1 and 2 (haproxy.org, `proxy-protocol.txt`): the header by
//! which a load balancer tells whose connection it passes on. Whom to believe is decided by the
//! caller; nothing is read beyond the header.
//!
//! Written here because the crates (ppp 2.3, proxy-header 0.1) parse buffers that were read
//! already: they leave open how many bytes to read, which is half of the work when the next byte
//! belongs to TLS, and they let pass what is refused here (leading zeros, broken TLVs).

use crate::frontend::startup::Peer;
use crate::wire::stream::Socket;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::AsyncReadExt;

/// First bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1, with its line end.
const MAX_LINE_BYTES: usize = 107;
/// Longest body of version 2. Addresses take at most 216 bytes; the rest is TLVs.
const MAX_BODY_BYTES: usize = 4096;
const IPV4_BYTES: usize = 12;
const IPV6_BYTES: usize = 36;
const UNIX_BYTES: usize = 216;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The connection is this client's.
    Client(Peer),
    /// The connection is the load balancer's own, or it does not know whose it is.
    Itself,
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something else came.
    #[error("PROXY protocol: {0}")]
    Malformed(&'static str),
}

use HeaderError::Malformed;

/// Reads the header at the front of a connection; `None` when it is closed without a byte, as
/// health checks do.
pub(super) async fn read(socket: &mut Socket) -> Result<Option<Told>, HeaderError> {
    // The shortest header of both versions is longer.
    let mut start = [0; SIGNATURE.len()];
    match socket.read(&mut start).await? {
        0 => return Ok(None),
        read => socket.read_exact(&mut start[read..]).await?,
    };
    if start == *SIGNATURE {
        let mut head = [0; 4];
        socket.read_exact(&mut head).await?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if length > MAX_BODY_BYTES {
            return Err(Malformed("the header is too long"));
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await?;
        return parse_v2([head[0], head[1]], &body).map(Some);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(Malformed("the connection does not begin with a header"));
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        // As many bytes as must still come: what follows the line is not ours.
        let mut next = [0; 2];
        let wanted = if line.ends_with(b"\r") { 1 } else { 2 };
        if line.len() + wanted > MAX_LINE_BYTES {
            return Err(Malformed("the line is too long"));
        }
        socket.read_exact(&mut next[..wanted]).await?;
        line.extend_from_slice(&next[..wanted]);
        if line.strip_suffix(b"\r\n").unwrap_or(&line).contains(&b'\n') {
            return Err(Malformed("the line has no end"));
        }
    }
    parse_v1(&line[..line.len() - 2]).map(Some)
}

/// Reads the line of version 1, without its end.
fn parse_v1(line: &[u8]) -> Result<Told, HeaderError> {
    let malformed = || Malformed("malformed line");
    let line = std::str::from_utf8(line).map_err(|_| malformed())?;
    let mut fields = line.split(' ');
    let (Some("PROXY"), Some(family)) = (fields.next(), fields.next()) else {
        return Err(malformed());
    };
    if family == "UNKNOWN" {
        // "The receiver must ignore anything presented before the CRLF is found."
        return Ok(Told::Itself);
    }
    let rest: Vec<&str> = fields.collect();
    let [source, destination, source_port, destination_port] = rest[..] else {
        return Err(malformed());
    };
    let v4 = |text: &str| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    let v6 = |text: &str| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let (source, destination) = match family {
        "TCP4" => (v4(source), v4(destination)),
        "TCP6" => (v6(source), v6(destination)),
        _ => return Err(malformed()),
    };
    let (Some(source), Some(_), Some(port), Some(_)) =
        (source, destination, port(source_port), port(destination_port))
    else {
        return Err(malformed());
    };
    Ok(Told::Client(Peer::Tcp(SocketAddr::new(source, port))))
}

/// A decimal number without sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let leading = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| plain && !leading)
}

/// Reads version 2: the two bytes after the signature, and what the length covers.
fn parse_v2([version_command, family]: [u8; 2], body: &[u8]) -> Result<Told, HeaderError> {
    let local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed("unknown version or command")),
    };
    let address_bytes = match family {
        // AF_UNSPEC: the sender knows no address.
        0x00 => 0,
        0x11 => IPV4_BYTES,
        0x21 => IPV6_BYTES,
        0x31 => UNIX_BYTES,
        // A health check's family says nothing.
        _ if local => return Ok(Told::Itself),
        _ => return Err(Malformed("the family is not a stream's")),
    };
    if local {
        return Ok(Told::Itself);
    }
    let Some((address, extensions)) = body.split_at_checked(address_bytes) else {
        return Err(Malformed("the addresses are cut off"));
    };
    check_extensions(extensions)?;
    let told = |address: IpAddr, port: &[u8]| {
        let port = <[u8; 2]>::try_from(port).map(u16::from_be_bytes).unwrap_or_default();
        Told::Client(Peer::Tcp(SocketAddr::new(address, port)))
    };
    Ok(match (family, address) {
        (0x11, [a, b, c, d, _, _, _, _, port @ .., _, _]) => {
            told(Ipv4Addr::new(*a, *b, *c, *d).into(), port)
        }
        (0x21, address) => {
            let source = address.first_chunk::<16>().copied().unwrap_or_default();
            told(Ipv6Addr::from(source).into(), address.get(32..34).unwrap_or_default())
        }
        (0x31, _) => Told::Client(Peer::Unix),
        _ => Told::Itself,
    })
}

/// Type-length-value fields: nothing of them is used, but they must be whole.
fn check_extensions(mut rest: &[u8]) -> Result<(), HeaderError> {
    while !rest.is_empty() {
        let Some(([_, high, low], values)) = rest.split_first_chunk::<3>() else {
            return Err(Malformed("an extension is cut off"));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((_, next)) = values.split_at_checked(length) else {
            return Err(Malformed("an extension is cut off"));
        };
        rest = next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    /// What is read from `bytes`, and what is left of them.
    async fn read_all(bytes: &[u8]) -> (Result<Option<Told>, HeaderError>, Vec<u8>) {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        theirs.write_all(bytes).await.expect("room for a header");
        drop(theirs);
        let mut socket = Socket::Unix(ours);
        let told = read(&mut socket).await;
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.expect("the rest");
        (told, rest)
    }

    fn client(text: &str) -> Told {
        Told::Client(Peer::Tcp(text.parse().expect("an address")))
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    const V4_BODY: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x19, 0x20];

    #[tokio::test]
    async fn headers_are_read_and_nothing_beyond() {
        let long = "PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
        let long = long.replace("ffff:f...f:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        let mut v6 = [0; 36];
        (v6[15], v6[32], v6[33]) = (1, 0x30, 0x39);
        let tlv = [&V4_BODY[..], &[4, 0, 2, 9, 9, 0x20, 0, 0]].concat();
        for (header, wanted) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 6432\r\n".to_vec(), client("192.0.2.7:12345")),
            (b"PROXY TCP6 ::1 2001:db8::1 1 0\r\n".to_vec(), client("[::1]:1")),
            (long.into_bytes(), client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Told::Itself),
            (b"PROXY UNKNOWN \xff what ever 1\r\n".to_vec(), Told::Itself),
            (v2(0x21, 0x11, &V4_BODY), client("192.0.2.7:12345")),
            (v2(0x21, 0x11, &tlv), client("192.0.2.7:12345")),
            (v2(0x21, 0x21, &v6), client("[::1]:12345")),
            (v2(0x21, 0x31, &[7; 216]), Told::Client(Peer::Unix)),
            (v2(0x21, 0x00, b""), Told::Itself),
            (v2(0x20, 0x00, b""), Told::Itself),
            (v2(0x20, 0x11, &V4_BODY), Told::Itself),
            (v2(0x20, 0xff, b"anything"), Told::Itself),
        ] {
            // A line that is no UTF-8 is the one thing said of UNKNOWN that is refused.
            let (told, rest) = read_all(&[&header[..], b"\0\0\0\x08next"].concat()).await;
            if header.contains(&0xff) && header.starts_with(b"PROXY") {
                assert!(told.is_err());
                continue;
            }
            let told = told.unwrap_or_else(|error| panic!("{header:?}: {error}"));
            assert_eq!(told, Some(wanted), "{header:?}");
            assert_eq!(rest, b"\0\0\0\x08next", "{header:?}");
        }
    }

    #[tokio::test]
    async fn everything_else_is_refused() {
        assert_eq!(read_all(b"").await.0.expect("a health check"), None);
        let lines = [
            "PROXY TCP4 192.0.2.7 10.0.0.1 12345\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 12345 1 2\r\n",
            "PROXY  TCP4 192.0.2.7 10.0.0.1 12345 1\r\n",
            "PROXY TCP4 192.0.2.07 10.0.0.1 12345 1\r\n",
            "PROXY TCP4 192.0.2.256 10.0.0.1 12345 1\r\n",
            "PROXY TCP4 ::1 ::1 12345 1\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 12345 1\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 012345 1\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1 1\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 65536 1\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 1 1\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 1\n\r\n",
            "proxy TCP4 192.0.2.7 10.0.0.1 1 1\r\n",
            "PROXY TCP4 192.0.2.7",
        ];
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        let mut bad: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        bad.push(endless.into_bytes());
        bad.push(b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\0".to_vec());
        bad.push(v2(0x22, 0x11, &V4_BODY));
        bad.push(v2(0x11, 0x11, &V4_BODY));
        bad.push(v2(0x21, 0x12, &V4_BODY));
        bad.push(v2(0x21, 0x11, &V4_BODY[..11]));
        bad.push(v2(0x21, 0x21, &[0; 35]));
        bad.push(v2(0x21, 0x31, &[0; 215]));
        bad.push(v2(0x21, 0x11, &[&V4_BODY[..], &[1, 0]].concat()));
        bad.push(v2(0x21, 0x11, &[&V4_BODY[..], &[1, 0, 9, 1]].concat()));
        bad.push(v2(0x21, 0x11, &vec![0; MAX_BODY_BYTES + 1]));
        let whole = v2(0x21, 0x11, &V4_BODY);
        bad.extend((1..whole.len()).map(|length| whole[..length].to_vec()));
        for header in bad {
            assert!(read_all(&header).await.0.is_err(), "{:?}", String::from_utf8_lossy(&header));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(start in prop::sample::select(vec![
            SIGNATURE.to_vec(), b"PROXY ".to_vec(), b"PROXY TCP4 ".to_vec(), Vec::new(),
        ]), rest in prop::collection::vec(any::<u8>(), 0..300), head in any::<[u8; 2]>()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()
                .expect("an event loop");
            let _ = runtime.block_on(read_all(&[start, rest.clone()].concat()));
            let _ = parse_v2(head, &rest);
            let _ = parse_v1(&rest);
        }
    }
}
