//! Owns where slow arithmetic on passwords runs: on blocking threads, never on an event loop, and
//! on no more of them at once than there are cores, however many log in.

use std::sync::LazyLock;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

static PLACES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)));

/// Runs `work` on a blocking thread, after those that came before. Cancel safe while it waits.
///
/// # Errors
/// When the event loop stops first.
pub async fn derive<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let place = PLACES.acquire().await.expect("invariant: the semaphore is never closed");
    // The place is held by the work itself: giving up waiting does not end it.
    spawn_blocking(move || {
        let _place = place;
        work()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn no_more_than_there_are_cores_at_once() {
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        let (running, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..4 * most + 8)
            .map(|_| {
                let (running, seen) = (Arc::clone(&running), Arc::clone(&seen));
                tokio::spawn(derive(move || {
                    seen.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(2));
                    running.fetch_sub(1, Ordering::SeqCst);
                }))
            })
            .collect();
        for task in tasks {
            task.await.expect("the task").expect("the work");
        }
        assert!((1..=most).contains(&seen.load(Ordering::SeqCst)), "{seen:?} of {most}");
    }
}
