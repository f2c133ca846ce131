//! Owns what the end-to-end tests share: clusters, the proxy under test, a byte-exact client, a
//! fault relay, and the runner of driver programs. It must not know what any single test asserts.
//!
//! With `PGM_E2E_DIRECT=1` the tests that compare with PostgreSQL's own behaviour run against the
//! primary itself, without a proxy: so the tests are tested.

pub mod browser;
pub mod cases;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod config;
pub mod driver;
pub mod fixture;
mod front;
pub mod leak;
pub mod moves;
pub mod oracle;
pub mod process;
pub mod random;
pub mod raw;
pub mod relay;
pub mod shards;
pub mod tables;
pub mod tls;

use std::future::Future;
use std::time::Duration;

/// Runs one test on an event loop of its own, and ends it after `limit_seconds`.
///
/// # Panics
/// When the test takes longer.
pub fn run<F: Future<Output = ()>>(limit_seconds: u64, test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("invariant: the event loop starts");
    let limit = Duration::from_secs(limit_seconds);
    runtime.block_on(async {
        // Boxed, because a test's future is large and libtest's threads have small stacks.
        let test = Box::pin(test);
        tokio::time::timeout(limit, test).await.expect("the test ends within its time")
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// Looks at `done` until it is true.
///
/// # Panics
/// When it is not after `limit`.
pub async fn eventually<F: Future<Output = bool>>(
    what: &str,
    limit: Duration,
    mut done: impl FnMut() -> F,
) {
    let deadline = std::time::Instant::now() + limit;
    while !done().await {
        assert!(std::time::Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
