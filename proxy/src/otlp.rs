//! Owns traces in the form of OpenTelemetry: which requests are traced, and the queue of spans on
//! their way to a collector. What a span says of a request belongs to the session.
//!
//! The exporter is our own: a few hundred lines on hyper, which serves the HTTP port anyway. The
//! official crates would bring more than thirty others with them (reqwest, prost, tower, url and
//! ICU tables among them) and a second HTTP client, for one POST of JSON.
//!
//! Nothing here waits: a session gives its spans to a bounded queue, which drops and counts what
//! it has no room for. They are sent from another thread.

mod export;
mod json;
mod parent;
mod span;

pub use export::run;
pub use parent::{Parent, parent_of};
pub use span::{Kind, Span, Value};

use crate::config::model::Tracing;
use crate::metrics::{Samples, table};
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Traces on their way to the exporter.
const QUEUE_TRACES: usize = 1024;
/// Spans on their way to the exporter. With [`QUEUE_TRACES`] this bounds the memory they take: a
/// span has at most some 3 KiB.
const QUEUE_SPANS: u64 = 8192;

/// Longest time the end of the process waits for spans to be exported.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Period of looking whether they are.
const FLUSH_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What became of spans.
#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    /// Waiting in the queue.
    queued: AtomicU64,
}

/// Decides what is traced, and takes spans.
#[derive(Debug)]
pub struct Tracer {
    is_on: AtomicBool,
    /// A random number below it is traced.
    below: AtomicU64,
    settings: ArcSwapOption<Tracing>,
    queue: mpsc::Sender<Vec<Span>>,
    counts: Counts,
    /// Told when what is queued is not to wait for more.
    hurry: Notify,
}

/// Where the spans of a request belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The trace.
    pub trace: u128,
    /// The span the request is a child of.
    pub parent: Option<u64>,
}

/// The end of the queue from which spans are exported.
#[derive(Debug)]
pub struct Outlet(mpsc::Receiver<Vec<Span>>);

impl Tracer {
    /// Without settings nothing is traced.
    pub fn new(settings: Option<&Tracing>) -> (Arc<Self>, Outlet) {
        let (queue, outlet) = mpsc::channel(QUEUE_TRACES);
        let tracer = Self {
            is_on: AtomicBool::new(false),
            below: AtomicU64::new(0),
            settings: ArcSwapOption::empty(),
            queue,
            counts: Counts::default(),
            hurry: Notify::new(),
        };
        tracer.set(settings);
        (Arc::new(tracer), Outlet(outlet))
    }

    /// Takes other settings into use.
    pub fn set(&self, settings: Option<&Tracing>) {
        let ratio = settings.map_or(0.0, |settings| settings.sample_ratio);
        // A ratio of 1 is more than 64 bits can say; the cast takes the largest number there is.
        self.below.store((ratio * 2f64.powi(64)) as u64, Relaxed);
        self.settings.store(settings.cloned().map(Arc::new));
        self.is_on.store(settings.is_some(), Relaxed);
    }

    /// Some requests may be traced.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// Where a request belongs that is traced; `None` when it is not.
    pub fn sample(&self, parent: Option<&Parent>) -> Option<Place> {
        if let Some(parent) = parent {
            let place = Place { trace: parent.trace, parent: Some(parent.span) };
            return parent.sampled.then_some(place);
        }
        let below = self.below.load(Relaxed);
        let is_taken = below == u64::MAX || rand::random::<u64>() < below;
        is_taken.then(|| Place { trace: id(), parent: None })
    }

    /// Takes the spans of a request, or drops them when there is no room.
    pub fn send(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let queued = self.counts.queued.fetch_add(count, Relaxed);
        if queued + count > QUEUE_SPANS || self.queue.try_send(spans).is_err() {
            self.counts.queued.fetch_sub(count, Relaxed);
            self.counts.dropped.fetch_add(count, Relaxed);
        }
    }

    /// Waits until what is queued is exported, but not long. It blocks its thread.
    pub fn flush(&self) {
        let began = Instant::now();
        while self.counts.queued.load(Relaxed) > 0 && began.elapsed() < FLUSH_TIMEOUT {
            self.hurry.notify_one();
            std::thread::sleep(FLUSH_POLL_INTERVAL);
        }
    }

    /// Adds what became of spans to a scrape.
    pub fn collect(&self, samples: &mut Samples) {
        let counts = &self.counts;
        for (count, result) in [
            (&counts.exported, "exported"),
            (&counts.dropped, "dropped"),
            (&counts.failed, "failed"),
        ] {
            samples.counter(&table::TRACE_SPANS, &[result], count.load(Relaxed));
        }
        samples.gauge(&table::TRACE_QUEUE, &[], counts.queued.load(Relaxed) as f64);
    }
}

/// An identifier that is not zero.
pub fn id<T: Default + PartialEq>() -> T
where
    rand::distr::StandardUniform: rand::distr::Distribution<T>,
{
    loop {
        let id = rand::random();
        if id != T::default() {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Endpoint;

    fn settings(sample_ratio: f64) -> Tracing {
        Tracing {
            endpoint: Endpoint::default(),
            sample_ratio,
            service_name: "test".into(),
            headers: Vec::new(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_ratio_decides_where_no_parent_does() {
        let (tracer, _outlet) = Tracer::new(None);
        assert!(!tracer.is_on());
        for (ratio, range) in [(0.0, 0..=0), (0.25, 2000..=3000), (1.0, 10_000..=10_000)] {
            tracer.set(Some(&settings(ratio)));
            let taken = (0..10_000).filter(|_| tracer.sample(None).is_some()).count();
            assert!(range.contains(&taken), "{ratio}: {taken}");
        }
        let parent = |sampled| Parent { trace: 7, span: 8, sampled };
        assert_eq!(tracer.sample(Some(&parent(false))), None);
        tracer.set(Some(&settings(0.0)));
        let place = Place { trace: 7, parent: Some(8) };
        assert_eq!(tracer.sample(Some(&parent(true))), Some(place));
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let (tracer, _outlet) = Tracer::new(Some(&settings(1.0)));
        for _ in 0..QUEUE_TRACES + 5 {
            tracer.send(vec![Span::default(); 2]);
        }
        assert_eq!(tracer.counts.dropped.load(Relaxed), 10);
        assert_eq!(tracer.counts.queued.load(Relaxed), 2 * QUEUE_TRACES as u64);
        let (tracer, _outlet) = Tracer::new(Some(&settings(1.0)));
        tracer.send(vec![Span::default(); 8192]);
        tracer.send(vec![Span::default()]);
        assert_eq!(tracer.counts.dropped.load(Relaxed), 1, "spans are counted, not traces only");
    }
}
