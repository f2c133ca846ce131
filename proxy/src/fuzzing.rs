//! Opens to `proxy/fuzz` what reads bytes of the network and is private otherwise. It adds nothing
//! of its own, and nothing else may use it.

use crate::frontend::packet::{self, Packet};
use crate::session::{extended, reply};
use crate::wire::error::SqlError;
use crate::wire::frame::FrameError;
use crate::wire::protocol::{self, CancelKey, LoginFrame};
use bytes::BytesMut;
use std::io;

/// A packet before the login, as far as it can be looked at from outside.
#[derive(Debug, PartialEq)]
pub enum FirstPacket {
    /// SSLRequest or GSSENCRequest.
    Encryption,
    /// CancelRequest.
    Cancel(CancelKey),
    /// StartupMessage.
    Startup {
        /// Never empty.
        user: String,
        /// Never empty.
        database: String,
        /// In order, with `options` taken apart.
        params: Vec<(String, String)>,
        /// NegotiateProtocolVersion, when it must be sent.
        negotiation: Option<BytesMut>,
    },
}

/// Reads what follows the length word of a first packet.
///
/// # Errors
/// A FATAL error for the client.
pub fn first_packet(packet: &[u8]) -> Result<FirstPacket, SqlError> {
    Ok(match packet::parse(packet)? {
        Packet::SslRequest | Packet::GssencRequest => FirstPacket::Encryption,
        Packet::Cancel(key) => FirstPacket::Cancel(key),
        Packet::Startup(startup) => {
            let negotiation = startup.negotiation.map(|negotiation| {
                let mut out = BytesMut::new();
                negotiation.encode(&mut out);
                out
            });
            let packet::Startup { user, database, params, .. } = startup;
            FirstPacket::Startup { user, database, params, negotiation }
        }
    })
}

/// Cuts one login frame off `buffer`; `None` when it is not whole.
///
/// # Errors
/// When its length is impossible.
pub fn take_frame(buffer: &mut BytesMut, max_body_bytes: usize) -> io::Result<Option<LoginFrame>> {
    protocol::take_frame(buffer, max_body_bytes)
}

/// The text of a Parse body after its name.
///
/// # Errors
/// When the body is malformed.
pub fn check_definition(definition: &[u8]) -> Result<&[u8], FrameError> {
    extended::check_definition(definition)
}

/// Kind and name of a Describe or Close body.
///
/// # Errors
/// When the body is malformed.
pub fn kind_and_name(body: &[u8], message: u8) -> Result<(u8, &[u8]), FrameError> {
    extended::kind_and_name(body, message)
}

/// The end of the whole rows that stand at `at`.
pub fn pass_rows(bytes: &[u8], at: usize) -> usize {
    reply::pass_rows(bytes, at, b'D')
}
