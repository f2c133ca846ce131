//! Everything that reads bytes of the network without I/O: no panic; no length below a type's
//! minimum is taken; what is handed out lies inside the message and says what stands there.
//!
//! The first byte chooses what the rest is: a client's stream, a server's stream, a first packet,
//! frames of a login, or one text.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pgmanifold::backend::error::ServerError;
use pgmanifold::cluster::Token;
use pgmanifold::fuzzing::{self, FirstPacket};
use pgmanifold::wire::error::SqlError;
use pgmanifold::wire::frame::{self, HEADER_BYTES, Header, MAX_NAME_BYTES};
use pgmanifold::wire::protocol::{CancelKey, take_cstr};
use pgmanifold::wire::scram::{MAX_ITERATIONS, StoredSecret};

/// Small, so that the bound is reached.
const MAX_MESSAGE_BYTES: usize = 2048;

/// Shortest length field of each type a client may send: the manual's section "Message Formats",
/// with every string and list empty.
const SHORTEST: &[(u8, usize)] = &[
    (b'Q', 4 + 1),
    (b'P', 4 + 1 + 1 + 2),
    (b'B', 4 + 1 + 1 + 2 + 2 + 2),
    (b'E', 4 + 1 + 4),
    (b'D', 4 + 1 + 1),
    (b'C', 4 + 1 + 1),
    (b'S', 4),
    (b'H', 4),
    (b'X', 4),
    (b'd', 4),
    (b'c', 4),
    (b'f', 4 + 1),
    (b'F', 4 + 4 + 2 + 2 + 2),
];

/// Whether `part` lies inside `whole`.
fn lies_in(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

/// Reads a header and compares it with the bytes.
fn peek(bytes: &[u8]) -> Option<Header> {
    let header = frame::peek(bytes);
    assert_eq!(header.is_some(), bytes.len() >= HEADER_BYTES);
    let header = header?;
    let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
    assert_eq!((header.kind, header.total), (bytes[0], length + 1));
    Some(header)
}

fn client_stream(mut rest: &[u8]) {
    while let Some(header) = peek(rest) {
        let taken = frame::check_frontend(header, MAX_MESSAGE_BYTES);
        let length = header.total - 1;
        let shortest = SHORTEST.iter().find(|(kind, _)| *kind == header.kind);
        if taken.is_err() {
            // A known type is refused for its length only.
            if let Some((kind, shortest)) = shortest {
                let longest = match kind {
                    b'S' | b'H' | b'c' | b'X' => 4,
                    b'E' | b'D' | b'C' => shortest - 1 + MAX_NAME_BYTES + 1,
                    _ => MAX_MESSAGE_BYTES,
                };
                assert!(length < *shortest || length > longest);
            }
            return;
        }
        let (_, shortest) = shortest.expect("only known types are taken");
        assert!(*shortest <= length && length <= MAX_MESSAGE_BYTES.max(4 + MAX_NAME_BYTES + 5));
        let Some(message) = rest.get(..header.total) else { return };
        client_body(header.kind, &message[HEADER_BYTES..]);
        rest = &rest[header.total..];
    }
}

fn client_body(kind: u8, body: &[u8]) {
    match kind {
        b'Q' => {
            if let Ok(text) = frame::query_text(body) {
                assert!(!text.contains(&0) && text.len() + 1 == body.len());
                assert!(lies_in(text, body));
            }
        }
        b'P' => {
            let Ok((name, definition)) = frame::cstr(body, kind) else { return };
            assert!(!name.contains(&0) && name.len() + 1 + definition.len() == body.len());
            if let Ok(text) = fuzzing::check_definition(definition) {
                assert!(!text.contains(&0) && lies_in(text, definition));
                let types = &definition[text.len() + 3..];
                let count = [definition[text.len() + 1], definition[text.len() + 2]];
                assert_eq!(types.len(), 4 * usize::from(u16::from_be_bytes(count)));
            }
        }
        b'D' | b'C' => {
            if let Ok((what, name)) = fuzzing::kind_and_name(body, kind) {
                assert!(what == b'S' || what == b'P');
                assert!(!name.contains(&0) && name.len() + 2 == body.len());
            }
        }
        _ => {
            if let Ok((text, after)) = frame::cstr(body, kind) {
                assert!(!text.contains(&0) && text.len() + 1 + after.len() == body.len());
                assert!(lies_in(text, body) && lies_in(after, body));
            }
        }
    }
}

fn server_stream(bytes: &[u8]) {
    // Passing over rows stops at a border that walking by headers reaches too.
    let end = fuzzing::pass_rows(bytes, 0);
    let mut at = 0;
    while at < end {
        let header = peek(&bytes[at..]).expect("only whole rows are passed");
        assert!(matches!(header.kind, b'D' | b'd') && header.total >= HEADER_BYTES);
        at += header.total;
    }
    assert!(at == end && end <= bytes.len());
    assert_eq!(fuzzing::pass_rows(bytes, end), end);
    fuzzing::pass_rows(bytes, bytes.len() + 1);

    let mut rest = &bytes[end..];
    while let Some(header) = peek(rest).filter(|header| header.total >= HEADER_BYTES) {
        let Some(message) = rest.get(..header.total) else { return };
        server_body(&message[HEADER_BYTES..]);
        rest = &rest[header.total..];
    }
}

fn server_body(body: &[u8]) {
    let error = ServerError::decode(body);
    for code in [b'S', b'V', b'C', b'M', 0, 0xff] {
        if let Some(text) = frame::error_field(body, code) {
            assert!(lies_in(text.as_bytes(), body) && !text.contains('\0'));
        }
    }
    // What a client is sent of it is one well-formed frame that reads as it was written.
    let mut out = BytesMut::new();
    let sql = SqlError::from(error.clone());
    sql.encode(&mut out);
    let header = peek(&out).expect("a frame");
    assert_eq!((header.kind, header.total), (b'E', out.len()));
    let again = ServerError::decode(&out[HEADER_BYTES..]);
    assert_eq!(
        (again.message, again.detail, again.hint),
        (error.message, error.detail, error.hint)
    );
    assert_eq!(again.sqlstate, error.sqlstate);

    if let Some(columns) = frame::data_row(body) {
        assert_eq!(columns.len(), usize::from(u16::from_be_bytes([body[0], body[1]])));
        for column in columns.into_iter().flatten() {
            assert!(lies_in(column, body));
        }
    }
    if let Some(key) = CancelKey::decode(body) {
        let mut request = BytesMut::new();
        key.encode_request(&mut request);
        assert_eq!(fuzzing::first_packet(&request[4..]), Ok(FirstPacket::Cancel(key)));
    }
    let mut left = body;
    while let Some(text) = take_cstr(&mut left) {
        assert!(lies_in(text, body) && lies_in(left, body) && !text.contains(&0));
    }
    assert!(!left.contains(&0));
}

fn first_packet(packet: &[u8]) {
    match fuzzing::first_packet(packet) {
        Err(error) => {
            let mut out = BytesMut::new();
            error.encode(&mut out);
            assert_eq!(peek(&out).map(|header| header.total), Some(out.len()));
        }
        Ok(FirstPacket::Encryption) => assert_eq!(packet.len(), 4),
        Ok(FirstPacket::Cancel(key)) => assert_eq!(key.secret.len() + 8, packet.len()),
        Ok(FirstPacket::Startup { user, database, params, negotiation }) => {
            assert!(!user.is_empty() && !database.is_empty());
            let texts = params.iter().flat_map(|(name, value)| [name, value]);
            for text in texts.chain([&user, &database]) {
                assert!(!text.contains('\0') && text.len() <= packet.len());
            }
            assert!(params.iter().all(|(name, _)| !name.is_empty()));
            if let Some(message) = negotiation {
                let header = peek(&message).expect("a frame");
                assert_eq!((header.kind, header.total), (b'v', message.len()));
            }
        }
    }
}

fn login_frames(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    let mut taken = 0;
    while let Ok(Some(frame)) = fuzzing::take_frame(&mut buffer, MAX_MESSAGE_BYTES) {
        assert!(frame.body.len() <= MAX_MESSAGE_BYTES);
        assert_eq!(bytes[taken], frame.kind);
        taken += 5 + frame.body.len();
        assert_eq!(bytes[taken - frame.body.len()..taken], frame.body[..]);
        assert_eq!(bytes.len() - taken, buffer.len());
    }
}

fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(token.to_string().parse(), Ok(token));
    }
    if let Some(secret) = StoredSecret::parse(text) {
        assert!((1..=MAX_ITERATIONS).contains(&secret.iterations) && !secret.salt.is_empty());
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, bytes)) = data.split_first() else { return };
    match kind % 5 {
        0 => client_stream(bytes),
        1 => server_stream(bytes),
        2 => first_packet(bytes),
        3 => login_frames(bytes),
        _ => text(bytes),
    }
});
