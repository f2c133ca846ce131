//! Owns the wait of a session for a server connection: it ends when the request is cancelled or
//! the client leaves, and a client that waits long is told.

use super::{Session, pausing, place};
use crate::pool::{Claim, Lease, Pool};
use crate::timer::timeout;
use crate::wire::error::{Severity, SqlError};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

impl Session {
    /// A connection of the pool. Cancel safe.
    pub(super) async fn wait_for_server(
        &mut self,
        pool: &Arc<Pool>,
        claim: Claim,
    ) -> Result<Lease, SqlError> {
        let (handle, worker) = (Arc::clone(&self.handle), self.worker.index);
        let mut getting = pin!(async {
            tokio::select! {
                result = pool.get(worker, claim) => result,
                () = handle.wait_cancelled() => Err(place::cancelled()),
                () = pausing::ends_now(&handle) => Err(pausing::terminated()),
            }
        });
        if let Some(after) = self.pools.database.waiting.notify {
            match timeout(after, self.while_connected(getting.as_mut())).await {
                Ok(result) => return result,
                Err(_) => self.tell_waiting(after).await,
            }
        }
        self.while_connected(getting).await
    }

    /// Gives up when the client leaves: what it asked for would be done for nobody.
    async fn while_connected(
        &mut self,
        getting: impl Future<Output = Result<Lease, SqlError>>,
    ) -> Result<Lease, SqlError> {
        tokio::select! {
            biased;
            result = getting => result,
            () = poll_fn(|cx| self.client.poll_gone(cx)) => {
                Err(SqlError::error("57014", "the client has left"))
            }
        }
    }

    /// Sends a notice, as far as the client's socket takes it now.
    pub(super) async fn tell_waiting(&mut self, after: Duration) {
        let notice = SqlError {
            severity: Severity::Notice,
            ..SqlError::error("00000", "the query waits for a server connection")
        };
        let database = &self.pools.database;
        let (name, after) = (&database.name, after.as_millis());
        let why = match self.pools.lever.is_paused() {
            true => format!("Database \"{name}\" is paused, and the query has waited {after} ms"),
            false => format!(
                "All server connections for database \"{name}\" have been in use for {after} ms"
            ),
        };
        let detail = format!(
            "{why}; the query is given up after {} ms (checkout_timeout_ms).",
            database.checkout_timeout.as_millis()
        );
        notice.detail(detail).encode(&mut self.output);
        poll_fn(|cx| {
            // An error shows again, and is handled, when the client is polled.
            let _ = self.poll_write_client(cx);
            Poll::Ready(())
        })
        .await;
    }
}
