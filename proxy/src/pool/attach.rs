//! Owns how a new server connection of a sharded database says, before it carries the first
//! statement, whose it is and by which maps its statements may go. The shard refuses it when keys
//! were moved since; who must have newer maps first waits elsewhere.
//!
//! Why it is enough to say it once, at the beginning. A connection says the oldest epoch in use at
//! a moment before it is lent. Epochs in use only grow: a statement takes the newest map when it
//! begins, and keeps it, so nothing that is sent over the connection later goes by an older map
//! than was said. What was said may be older than what holds when the answer comes, which makes
//! the shard stricter, never laxer. A mover that must be rid of an epoch raises what the shard asks
//! for, under a lock that excludes those who are just saying it; afterwards each connection either
//! is refused, or is in the shard's list, with its process: if that has acknowledged the epoch,
//! nothing of it is older, and otherwise the connection is ended.
//!
//! Nothing of this is on the way of a query: it is one round trip per connection.

use crate::backend::connection::Server;
use crate::backend::error::{ConnectError, ServerError};
use crate::backend::exec;
use crate::shard_map::ShardedDatabase;
use crate::timer::timeout;
use crate::wire::error::SqlError;
use pgmanifold_router::ownership::quote_text;
use pgmanifold_router::shard_map::ShardId;
use pgmanifold_router::shard_schema::TOO_OLD;
use std::sync::Arc;
use std::time::Duration;

/// No such function, schema, or table: the shard's schema is missing, or older than this program.
const NOT_INSTALLED: [&str; 3] = ["42883", "3F000", "42P01"];
/// The server turns out to be a replica, or one where transactions only read.
const NO_WRITES: [&str; 2] = ["0A000", "25006"];

/// What the connections of a pool say.
#[derive(Debug, Clone)]
pub struct Attach {
    /// The database whose statements they carry.
    pub database: Arc<ShardedDatabase>,
    /// The shard they go to.
    pub shard: ShardId,
    /// Name of this process in the catalog.
    pub process: Arc<str>,
}

impl Attach {
    /// Says it over a connection that has just logged in. Not cancel safe: close the connection
    /// when this was not finished, or failed.
    pub(super) async fn say(
        &self,
        server: &mut Server,
        to_replica: bool,
        limit: Duration,
    ) -> Result<(), ConnectError> {
        match timeout(limit, self.say_somehow(server, to_replica)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.explain(error)),
            Err(_) => Err(ConnectError::Timeout(limit)),
        }
    }

    async fn say_somehow(&self, server: &mut Server, to_replica: bool) -> Result<(), SqlError> {
        let first = exec::run(server, &self.text(to_replica)).await;
        match first {
            // What is known of the host's role may be out of date.
            Err(error) if NO_WRITES.contains(&&*error.sqlstate) && server.status == b'I' => {
                exec::run(server, &self.text(!to_replica)).await.map(drop)
            }
            result => result.map(drop),
        }
    }

    /// The transaction is one that sees what was committed while it waited for the lock, may
    /// write, and does not wait for replicas, whatever the login's defaults are.
    fn text(&self, to_replica: bool) -> String {
        let process = quote_text(&self.process);
        let epoch = self.database.epoch_for_shards();
        let attach = format!("select pgm.attach({process}::text, {epoch}::int8)");
        match to_replica {
            true => attach,
            false => format!(
                "begin isolation level read committed read write; \
                 set local synchronous_commit = off; {attach}; commit"
            ),
        }
    }

    fn explain(&self, error: SqlError) -> ConnectError {
        if error.sqlstate == "08006" {
            let source = std::io::Error::other(error.detail.unwrap_or(error.message));
            return ConnectError::Io { step: "attach", source };
        }
        if error.sqlstate == TOO_OLD {
            self.database.look_at_catalog();
        }
        let shard = self.database.shard_name(self.shard);
        if NOT_INSTALLED.contains(&&*error.sqlstate) {
            return ConnectError::NotInstalled {
                shard: shard.to_owned(),
                said: error.message.into(),
            };
        }
        ConnectError::Server(Box::new(ServerError {
            severity: "ERROR".to_owned(),
            sqlstate: error.sqlstate.into_owned(),
            message: error.message.into_owned(),
            detail: error.detail.map(Into::into),
            hint: error.hint.map(Into::into),
        }))
    }
}
