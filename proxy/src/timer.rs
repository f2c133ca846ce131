//! Owns timeouts of what runs on workers. Their event loops have no timers of their own: a loop
//! that has them reads the clock and searches its timers at every turn, for every query. One
//! thread of the process keeps time for all; it only wakes when a timeout is set or runs out.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, Timeout};

static CLOCK: LazyLock<Handle> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("invariant: an event loop without sockets can be made");
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("timer".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .expect("invariant: the process can start one thread more");
    handle
});

/// As `tokio::time::timeout`, on any thread. Cancel safe if `future` is.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    let _inside = CLOCK.enter();
    tokio::time::timeout(limit, future)
}

/// As `tokio::time::timeout_at`, on any thread. Cancel safe if `future` is.
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    let _inside = CLOCK.enter();
    tokio::time::timeout_at(deadline, future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_run_out_on_an_event_loop_without_timers() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let never = std::future::pending::<()>();
        assert!(
            runtime.block_on(async { timeout(Duration::from_millis(5), never).await }).is_err()
        );
        let at_once = async { timeout(Duration::from_secs(5), std::future::ready(7)).await };
        assert_eq!(runtime.block_on(at_once).unwrap(), 7);
    }
}
