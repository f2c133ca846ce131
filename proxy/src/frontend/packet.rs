//! Owns the packets before a login, as values: StartupMessage, SSLRequest, GSSENCRequest and
//! CancelRequest (manual, section 55.7). It does no I/O and trusts no byte.

use crate::frontend::options::parse_options;
use crate::wire::error::SqlError;
use crate::wire::protocol::{
    CANCEL_REQUEST_CODE, CancelKey, GSSENC_REQUEST_CODE, Protocol, SSL_REQUEST_CODE, put_frame,
    take_cstr,
};
use bytes::{BufMut, BytesMut};

/// Shortest packet: its length word and its code.
pub(crate) const MIN_PACKET_BYTES: usize = 8;
/// Longest packet, as in PostgreSQL.
pub(crate) const MAX_PACKET_BYTES: usize = 10_000;
/// Newest minor version that is spoken.
const NEWEST_MINOR: u32 = 2;

/// A packet, read.
#[derive(Debug, PartialEq)]
pub(crate) enum Packet {
    SslRequest,
    GssencRequest,
    Cancel(CancelKey),
    Startup(Startup),
}

/// A StartupMessage, read.
#[derive(Debug, PartialEq)]
pub(crate) struct Startup {
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) protocol: Protocol,
    /// What must be said before authentication, when the client asked for more than there is.
    pub(crate) negotiation: Option<Negotiation>,
}

/// NegotiateProtocolVersion.
#[derive(Debug, PartialEq)]
pub(crate) struct Negotiation {
    minor: u32,
    unknown_options: Vec<String>,
}

impl Negotiation {
    /// Appends the message to `out`.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_frame(out, b'v', |out| {
            out.put_u32(3 << 16 | self.minor);
            out.put_u32(u32::try_from(self.unknown_options.len()).expect("invariant: few"));
            for name in &self.unknown_options {
                out.put_slice(name.as_bytes());
                out.put_u8(0);
            }
        });
    }
}

/// Reads what follows the length word.
///
/// # Errors
/// A FATAL error for the client.
pub(crate) fn parse(packet: &[u8]) -> Result<Packet, SqlError> {
    let Some((code, body)) = packet.split_first_chunk::<4>() else {
        return Err(violation("invalid length of startup packet"));
    };
    match (u32::from_be_bytes(*code), body) {
        (SSL_REQUEST_CODE, []) => Ok(Packet::SslRequest),
        (GSSENC_REQUEST_CODE, []) => Ok(Packet::GssencRequest),
        (CANCEL_REQUEST_CODE, body) => match CancelKey::decode(body) {
            Some(key) => Ok(Packet::Cancel(key)),
            None => Err(violation("invalid length of query cancel packet")),
        },
        (version, body) if version >> 16 == 3 => {
            parse_startup(version & 0xffff, body).map(Packet::Startup)
        }
        (version, _) => {
            let (major, minor) = (version >> 16, version & 0xffff);
            let text = format!(
                "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2"
            );
            Err(SqlError::fatal("0A000", text))
        }
    }
}

fn parse_startup(minor: u32, body: &[u8]) -> Result<Startup, SqlError> {
    let (mut user, mut database) = (None, None);
    // As in PostgreSQL, parameters of their own win over `options`, wherever they stand.
    let (mut params, mut own, mut unknown_options) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value) in split_pairs(body)? {
        match name.as_str() {
            "user" => user = Some(value),
            "database" => database = Some(value),
            "replication" => refuse_replication(&value)?,
            "options" => {
                let settings = parse_options(&value);
                params.extend(settings.map_err(|text| SqlError::fatal("42601", text))?);
            }
            _ if name.starts_with("_pq_.") => unknown_options.push(name),
            _ => own.push((name, value)),
        }
    }
    params.append(&mut own);
    let user = user.filter(|user| !user.is_empty()).ok_or_else(|| {
        SqlError::fatal("28000", "no PostgreSQL user name specified in startup packet")
    })?;
    let database = database.filter(|name| !name.is_empty()).unwrap_or_else(|| user.clone());
    let protocol = if minor >= NEWEST_MINOR { Protocol::V3_2 } else { Protocol::V3_0 };
    let must_negotiate = minor > NEWEST_MINOR || !unknown_options.is_empty();
    let minor = minor.min(NEWEST_MINOR);
    let negotiation = must_negotiate.then_some(Negotiation { minor, unknown_options });
    Ok(Startup { user, database, params, protocol, negotiation })
}

/// Names and values up to the zero byte that must be the packet's last.
fn split_pairs(mut body: &[u8]) -> Result<Vec<(String, String)>, SqlError> {
    let layout = || violation("invalid startup packet layout: expected terminator as last byte");
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).map(str::to_owned);
        text.map_err(|_| violation("startup packet is not valid UTF-8"))
    };
    let mut pairs = Vec::new();
    loop {
        let name = take_cstr(&mut body).ok_or_else(layout)?;
        if name.is_empty() {
            return if body.is_empty() { Ok(pairs) } else { Err(layout()) };
        }
        let value = take_cstr(&mut body).ok_or_else(layout)?;
        pairs.push((text(name)?, text(value)?));
    }
}

fn refuse_replication(value: &str) -> Result<(), SqlError> {
    match value.to_ascii_lowercase().as_str() {
        "false" | "off" | "no" | "0" | "f" | "n" => Ok(()),
        _ => Err(SqlError::fatal("0A000", "replication is not supported through the proxy")
            .hint("Connect to the server itself for replication.")),
    }
}

/// A FATAL protocol violation.
pub(super) fn violation(message: &'static str) -> SqlError {
    SqlError::fatal("08P01", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn startup(minor: u32, pairs: &[(&str, &str)]) -> Result<Packet, SqlError> {
        let mut packet = BytesMut::new();
        packet.put_u32(3 << 16 | minor);
        for (name, value) in pairs {
            packet.put_slice(format!("{name}\0{value}\0").as_bytes());
        }
        packet.put_u8(0);
        parse(&packet)
    }

    fn ok(minor: u32, pairs: &[(&str, &str)]) -> Startup {
        match startup(minor, pairs) {
            Ok(Packet::Startup(startup)) => startup,
            other => panic!("{other:?}"),
        }
    }

    fn refused(minor: u32, pairs: &[(&str, &str)]) -> String {
        startup(minor, pairs).expect_err("refused").sqlstate.into_owned()
    }

    #[test]
    fn parameters_keep_their_order_behind_options() {
        let pairs = [
            ("user", "ann"),
            ("application_name", "x"),
            ("options", "-c a=1 --b-c=2"),
            ("client_encoding", "UTF8"),
        ];
        let found = ok(0, &pairs);
        assert_eq!((found.user.as_str(), found.database.as_str()), ("ann", "ann"));
        let names: Vec<_> = found.params.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b_c", "application_name", "client_encoding"]);
        assert_eq!(ok(0, &[("database", "d"), ("user", "a")]).database, "d");
        assert_eq!(ok(0, &[("database", ""), ("user", "a")]).database, "a");
    }

    #[test]
    fn versions_are_negotiated_down() {
        let user = ("user", "a");
        for (minor, protocol, answer) in [
            (0, Protocol::V3_0, None),
            (1, Protocol::V3_0, None),
            (2, Protocol::V3_2, None),
            (3, Protocol::V3_2, Some(&b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0"[..])),
            (9999, Protocol::V3_2, Some(&b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0"[..])),
        ] {
            let found = ok(minor, &[user]);
            assert_eq!(found.protocol, protocol, "{minor}");
            let mut out = BytesMut::new();
            if let Some(negotiation) = &found.negotiation {
                negotiation.encode(&mut out);
            }
            assert_eq!(&out[..], answer.unwrap_or_default(), "{minor}");
        }
        let found = ok(0, &[user, ("_pq_.x", "1"), ("_pq_.yz", "")]);
        assert!(found.params.is_empty());
        let mut out = BytesMut::new();
        found.negotiation.expect("unknown options").encode(&mut out);
        assert_eq!(&out[..], b"v\0\0\0\x1b\0\x03\0\0\0\0\0\x02_pq_.x\0_pq_.yz\0");
    }

    #[test]
    fn what_is_not_served_is_refused_with_its_code() {
        assert_eq!(refused(0, &[]), "28000");
        assert_eq!(refused(0, &[("user", "")]), "28000");
        assert_eq!(refused(0, &[("user", "a"), ("replication", "true")]), "0A000");
        assert_eq!(refused(0, &[("user", "a"), ("replication", "database")]), "0A000");
        assert_eq!(refused(0, &[("user", "a"), ("options", "-d 5")]), "42601");
        assert_eq!(ok(0, &[("user", "a"), ("replication", "false")]).params, []);
        for version in [0_u32, 2 << 16, 4 << 16, 1234 << 16 | 5681, u32::MAX] {
            let error = parse(&version.to_be_bytes()).expect_err("refused");
            assert_eq!(error.sqlstate, "0A000", "{version:x}");
        }
    }

    #[test]
    fn malformed_packets_are_violations() {
        for body in [
            &b"user"[..],
            b"user\0a",
            b"user\0a\0",
            b"user\0a\0\0x",
            b"user\0a\0\0\0",
            b"user\0\xff\0\0",
            b"\xff\0a\0\0",
            b"",
        ] {
            let packet = [&[0, 3, 0, 0], body].concat();
            assert_eq!(parse(&packet).expect_err("refused").sqlstate, "08P01", "{body:?}");
        }
        for short in [&b""[..], b"\0", b"\0\x03\0"] {
            assert_eq!(parse(short).expect_err("refused").sqlstate, "08P01");
        }
        let cancel = CANCEL_REQUEST_CODE.to_be_bytes();
        for key_bytes in [0, 7, 261] {
            let packet = [&cancel[..], &vec![1; key_bytes]].concat();
            assert_eq!(parse(&packet).expect_err("refused").sqlstate, "08P01", "{key_bytes}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(code in prop::sample::select(vec![
            3 << 16, 3 << 16 | 7, CANCEL_REQUEST_CODE, SSL_REQUEST_CODE, GSSENC_REQUEST_CODE, 7,
        ]), body in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&[&code.to_be_bytes()[..], &body].concat());
        }
    }
}
