//! Owns the end of a statement that failed: the other servers are stopped, and every connection
//! is read to the end of its answer, or given up.

use super::feed::Feed;
use super::{Failure, Limits};
use crate::backend::connection::ServerInfo;
use crate::timer::timeout;
use futures_util::future::join_all;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long the others may take to end by themselves: most have nearly done what they do.
const GRACE: Duration = Duration::from_millis(10);

/// How long to wait for the end after a cancel request, before the next one. One may come before
/// its statement has begun, and is ignored then.
const PATIENCE: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(15),
];

/// Ends the statement on all feeds. Gives the failure back.
pub(super) async fn wind_up(feeds: &mut [Feed<'_>], failure: Failure, limits: &Limits) -> Failure {
    if timeout(GRACE, poll_fn(|cx| poll_end(feeds, limits, cx))).await.is_ok() {
        return failure;
    }
    for patience in PATIENCE {
        let owing: Vec<usize> = (0..feeds.len()).filter(|&number| !feeds[number].ended).collect();
        let servers: Vec<_> = owing.iter().map(|&number| feeds[number].info()).collect();
        let cancels = join_all(servers.iter().map(cancel));
        let ends = timeout(patience, poll_fn(|cx| poll_end(feeds, limits, cx)));
        let (sent, ended) = tokio::join!(cancels, ends);
        for (number, sent) in owing.into_iter().zip(sent) {
            // It may still arrive, and would hit whatever the server does then.
            if !sent {
                feeds[number].distrust();
            }
        }
        if ended.is_ok() {
            return failure;
        }
    }
    for feed in feeds.iter_mut().filter(|feed| !feed.ended) {
        tracing::warn!(shard = feed.name, "statement could not be cancelled");
        let _ = feed.lose("it does not end its statement");
    }
    failure
}

fn poll_end(feeds: &mut [Feed<'_>], limits: &Limits, cx: &mut Context<'_>) -> Poll<()> {
    let mut all = Poll::Ready(());
    for feed in feeds {
        if feed.poll_discard(cx, limits).is_pending() {
            all = Poll::Pending;
        }
    }
    all
}

/// Asks a server to stop. True when the request has done what it can.
async fn cancel(server: &Arc<ServerInfo>) -> bool {
    let Some(key) = &server.cancel else { return true };
    match server.connector.send_cancel(&server.host, key).await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(host = %server.host.address, %error, "cancel request failed");
            false
        }
    }
}
