//! Owns the running of one statement on several servers at once, and making one answer of theirs.
//! What is sent where, and how answers become one, is decided by the router; which servers take
//! part, in which transactions, by the session.

use crate::backend::connection::Server;
use crate::wire::error::SqlError;
use crate::wire::stream::Stream;
use bytes::BytesMut;
use pgmanifold_router::shard_map::ShardId;

/// One shard's server while it takes part in a statement. It owes nothing when a function of this
/// module begins or ends; one that failed otherwise has `lost` set and must be closed.
pub struct Participant<'a> {
    /// The shard.
    pub shard: ShardId,
    /// Its name, for errors.
    pub name: &'a str,
    /// The server; its `status` is kept up to date.
    pub server: &'a mut Server,
    /// The connection broke, or is in an unknown state.
    pub lost: bool,
}

/// The client's side: what is written to it goes through here, with back-pressure.
pub struct ClientSide<'a> {
    /// The socket.
    pub stream: &'a mut Stream,
    /// Bytes received and not yet taken.
    pub input: &'a mut BytesMut,
    /// Bytes to be written before anything else.
    pub output: &'a mut BytesMut,
}

/// How the client asked.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// A simple query: RowDescription goes before rows; all columns are text.
    Simple,
    /// An Execute of a portal.
    Portal {
        /// Everything of its Bind after the names: formats, values, result formats.
        bind: &'a [u8],
        /// Types declared by Parse, as OIDs.
        types: &'a [u32],
    },
}

/// How it ended on every participant.
#[derive(Debug)]
pub struct Done {
    /// The command tag for the client. CommandComplete is not sent yet: there may be a commit
    /// first.
    pub tag: String,
}

/// It did not end well. Whatever was written to the client stays written; the error is not
/// written yet.
#[derive(Debug)]
pub struct Failure {
    /// For the client.
    pub error: SqlError,
    /// The client itself is gone.
    pub client_gone: bool,
}
