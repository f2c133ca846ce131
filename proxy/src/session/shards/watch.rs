//! Owns what may end a statement of several shards before its time: the client's cancel request
//! reaches them by the session's handle; the session's timeouts and the end of the proxy are seen
//! here. It does not decide what follows.

use crate::backend::connection::ServerInfo;
use crate::server::ClientHandle;
use crate::server::timeouts::over;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

/// Why something was given up half-way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The servers did not end the statement after it was cancelled.
    Grace,
    /// `transaction_timeout_ms` is over.
    Transaction,
    /// The proxy stops.
    Stopped,
}

/// How something ended that was watched.
#[derive(Debug)]
pub(super) struct Watched<T> {
    /// What it gave, unless it was given up.
    pub(super) result: Result<T, Cut>,
    /// `query_timeout_ms` was over, and the servers were told.
    pub(super) timed_out: bool,
}

/// Runs something that servers work at, and gives it up when it must end.
pub(super) async fn watched<T>(
    handle: &ClientHandle,
    servers: &[Arc<ServerInfo>],
    run: impl Future<Output = T>,
) -> Watched<T> {
    let mut run = pin!(run);
    let mut timed_out = false;
    let result = poll_fn(|cx| {
        if let Poll::Ready(value) = run.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        if handle.ends_now() {
            return Poll::Ready(Err(Cut::Stopped));
        }
        if handle.pulse.is_over() {
            let over = handle.pulse.take_over();
            if over & over::TRANSACTION != 0 {
                return Poll::Ready(Err(Cut::Transaction));
            }
            if over & over::QUERY != 0 && !std::mem::replace(&mut timed_out, true) {
                cancel(servers);
            } else if over & over::QUERY_GRACE != 0 {
                return Poll::Ready(Err(Cut::Grace));
            }
        }
        Poll::Pending
    })
    .await;
    Watched { result, timed_out }
}

/// Sends a cancel request to each.
pub(super) fn cancel(servers: &[Arc<ServerInfo>]) {
    for server in servers.iter().cloned() {
        tokio::spawn(async move {
            let Some(key) = &server.cancel else { return };
            if let Err(error) = server.connector.send_cancel(&server.host, key).await {
                tracing::warn!(host = %server.host.address, %error, "cancel failed");
            }
        });
    }
}
