//! Owns how fast work may be: between chunks of a copy and batches of a clean-up it says whether to
//! wait, and why. It must not know what the work is.
//!
//! ```text
//! sample   looks at each primary all the time
//! decide   what the samples mean: go on, wait, or stop
//! bucket   when bytes have been paid for
//! ```

mod bucket;
mod decide;
mod sample;

use crate::config::Limits;
use crate::connect::Session;
use crate::error::Error;
use bucket::Bucket;
use decide::{Bounds, Decision, Sample, decide};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// A shard's primary that is watched, over a session of the throttle's own.
#[derive(Debug)]
pub struct Watched {
    /// The session.
    pub session: Session,
    /// Name of a replication slot there whose WAL is not to grow beyond its limit.
    pub slot: Option<String>,
}

/// Asked by all workers of a move; cheap to clone. Watching ends with the last clone.
#[derive(Debug, Clone)]
pub struct Throttle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    bucket: Option<Mutex<Bucket>>,
    state: Arc<watch::Sender<State>>,
    watching: Vec<AbortHandle>,
}

/// What is known, and what was asked for.
#[derive(Debug, Default)]
struct State {
    /// The last one of each primary; none yet at first.
    samples: Vec<Option<Sample>>,
    /// A primary that cannot be asked any more: where, what was said, and its SQLSTATE.
    failed: Option<(String, String, Option<String>)>,
    paused: bool,
    stopped: Option<String>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.watching.iter().for_each(AbortHandle::abort);
    }
}

impl Throttle {
    /// Watches these primaries (and their replicas) from now on.
    pub fn start(limits: &Limits, watched: Vec<Watched>) -> Self {
        let samples = watched.iter().map(|_| None).collect();
        let state = Arc::new(watch::Sender::new(State { samples, ..State::default() }));
        let bounds = Bounds::of(limits);
        let watching = watched.into_iter().enumerate().map(|(at, one)| {
            let state = Arc::clone(&state);
            let task = tokio::spawn(async move {
                let publish = |sample| {
                    state.send_modify(|state| {
                        if let Some(place) = state.samples.get_mut(at) {
                            *place = Some(sample);
                        }
                    });
                };
                let error = sample::watch(&one, bounds.primary_latency, publish).await;
                let sqlstate = error.sqlstate().map(str::to_owned);
                let failed = (one.session.place.clone(), error.to_string(), sqlstate);
                state.send_modify(|state| state.failed = Some(failed));
            });
            task.abort_handle()
        });
        let watching = watching.collect();
        let bucket = limits.copy_bytes_per_s.map(|rate| Mutex::new(Bucket::new(rate)));
        Self { shared: Arc::new(Shared { bounds, bucket, state, watching }) }
    }

    /// Never makes anybody wait, unless it is told to.
    pub fn unlimited() -> Self {
        Self::start(&Limits { copy_bytes_per_s: None, ..Limits::default() }, Vec::new())
    }

    /// To be called after each chunk, with its bytes (0 where they do not count): returns when the
    /// next one may begin.
    ///
    /// # Errors
    /// Too much WAL is kept for the slot; a watched primary cannot be asked any more; somebody has
    /// called [`Throttle::stop`].
    pub async fn pass(&self, bytes: u64) -> Result<(), Error> {
        let paid_at = self.bucket(|bucket| bucket.take(bytes, Instant::now()));
        let mut news = self.shared.state.subscribe();
        loop {
            let decision = {
                let state = news.borrow_and_update();
                self.shared.decide(&state)
            };
            match decision {
                Decision::Stop(error) => return Err(error),
                Decision::Go => match paid_at.filter(|paid_at| *paid_at > Instant::now()) {
                    None => return Ok(()),
                    Some(paid_at) => tokio::select! {
                        () = tokio::time::sleep_until(paid_at) => {}
                        // The sender is in `self`.
                        _ = news.changed() => {}
                    },
                },
                Decision::Wait(_) => {
                    let _ = news.changed().await;
                }
            }
        }
    }

    /// Makes everybody wait at the next chunk, or go on.
    pub fn pause(&self, paused: bool) {
        self.shared.state.send_modify(|state| state.paused = paused);
    }

    /// Everybody ends at the next chunk with this as [`Error::Stopped`].
    pub fn stop(&self, why: &str) {
        self.shared.state.send_modify(|state| state.stopped = Some(why.to_owned()));
    }

    /// Why somebody waits now.
    pub fn reason(&self) -> Option<String> {
        let decision = self.shared.decide(&self.shared.state.borrow());
        match decision {
            Decision::Wait(reason) => Some(reason),
            Decision::Stop(_) => None,
            Decision::Go => self.bucket(|bucket| bucket.reason(Instant::now())),
        }
    }

    /// How far the replica is behind that is furthest, in bytes of WAL.
    pub fn replica_lag_bytes(&self) -> Option<u64> {
        let state = self.shared.state.borrow();
        let lags = state.samples.iter().flatten().filter_map(|sample| sample.replica.as_ref());
        lags.map(|(_, lag_bytes)| *lag_bytes).max()
    }

    fn bucket<T>(&self, ask: impl FnOnce(&mut Bucket) -> Option<T>) -> Option<T> {
        let bucket = self.shared.bucket.as_ref()?;
        ask(&mut bucket.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn decide(&self, state: &State) -> Decision {
        if let Some(why) = &state.stopped {
            return Decision::Stop(Error::Stopped(why.clone()));
        }
        if let Some((place, message, sqlstate)) = &state.failed {
            return Decision::Stop(Error::Server {
                place: place.clone(),
                message: format!("it is not known how it does any more: {message}"),
                sqlstate: sqlstate.clone(),
            });
        }
        decide(&self.bounds, state.paused, &state.samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn workers_wait_while_it_is_paused_and_end_when_it_is_stopped() {
        runtime().block_on(async {
            let throttle = Throttle::unlimited();
            throttle.pass(1 << 40).await.unwrap();
            assert_eq!(throttle.reason(), None);
            throttle.pause(true);
            assert_eq!(throttle.reason().as_deref(), Some("a pause was asked for"));
            let worker = throttle.clone();
            let worker = tokio::spawn(async move { worker.pass(1).await });
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!worker.is_finished());
            throttle.pause(false);
            worker.await.unwrap().unwrap();
            throttle.stop("enough");
            assert!(matches!(throttle.pass(1).await, Err(Error::Stopped(why)) if why == "enough"));
        });
    }

    #[test]
    fn bytes_are_paid_for_before_the_next_chunk() {
        runtime().block_on(async {
            let limits = Limits { copy_bytes_per_s: Some(1_000_000), ..Limits::default() };
            let throttle = Throttle::start(&limits, Vec::new());
            let begun = Instant::now();
            for _ in 0..4 {
                throttle.pass(100_000).await.unwrap();
            }
            let took = begun.elapsed();
            assert!(took >= Duration::from_millis(290), "{took:?}");
            throttle.pass(0).await.unwrap();
        });
    }
}
