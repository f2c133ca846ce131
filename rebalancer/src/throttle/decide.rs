//! Owns what samples mean: whether work goes on, waits or stops. It reads no clock and asks nobody.

use crate::config::Limits;
use crate::error::Error;
use std::time::Duration;

/// How far others may be held up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) replica_lag_bytes: u64,
    pub(super) primary_latency: Duration,
    pub(super) retained_wal_bytes: u64,
}

impl Bounds {
    pub(super) fn of(limits: &Limits) -> Self {
        let Limits { replica_lag_bytes, primary_latency, retained_wal_bytes, .. } = *limits;
        Self { replica_lag_bytes, primary_latency, retained_wal_bytes }
    }
}

/// How a primary does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Sample {
    /// Which.
    pub(super) place: String,
    /// How long a trivial query took: the middle one of the last three.
    pub(super) latency: Duration,
    /// The replica that is furthest behind, and how far, in bytes of WAL.
    pub(super) replica: Option<(String, u64)>,
    /// The slot, and the WAL that is kept for it in bytes; `None` when it has been lost.
    pub(super) slot: Option<(String, Option<u64>)>,
}

/// What is to be done before the next chunk.
#[derive(Debug)]
pub(super) enum Decision {
    /// Nothing.
    Go,
    /// Wait until this is over.
    Wait(String),
    /// End.
    Stop(Error),
}

pub(super) fn decide(bounds: &Bounds, paused: bool, samples: &[Option<Sample>]) -> Decision {
    for sample in samples.iter().flatten() {
        if let Some(stopped) = lost(bounds, sample) {
            return Decision::Stop(Error::Stopped(stopped));
        }
    }
    if paused {
        return Decision::Wait("a pause was asked for".to_owned());
    }
    for sample in samples.iter().flatten() {
        if let Some((name, lag_bytes)) = &sample.replica
            && *lag_bytes > bounds.replica_lag_bytes
        {
            return Decision::Wait(format!(
                "replica {name} of {} is {lag_bytes} bytes behind (at most {})",
                sample.place, bounds.replica_lag_bytes
            ));
        }
        if sample.latency > bounds.primary_latency {
            return Decision::Wait(format!(
                "a trivial query on {} takes {} ms (at most {})",
                sample.place,
                sample.latency.as_millis(),
                bounds.primary_latency.as_millis()
            ));
        }
    }
    // Before the first look nobody knows.
    match samples.iter().any(Option::is_none) {
        true => Decision::Wait("both primaries are looked at first".to_owned()),
        false => Decision::Go,
    }
}

/// Why the changes that a slot keeps cannot be relied on any more.
fn lost(bounds: &Bounds, sample: &Sample) -> Option<String> {
    let (name, kept) = sample.slot.as_ref()?;
    let place = &sample.place;
    match kept {
        None => Some(format!(
            "{place} has lost the replication slot {name}: what has changed since cannot follow \
             any more; begin the move again, with max_slot_wal_keep_size larger"
        )),
        Some(bytes) if *bytes > bounds.retained_wal_bytes => Some(format!(
            "{place} keeps {bytes} bytes of WAL for the replication slot {name}, more than \
             retained_wal_bytes = {}: abort the move to free them, or raise the limit and go on",
            bounds.retained_wal_bytes
        )),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        replica_lag_bytes: 100,
        primary_latency: Duration::from_millis(50),
        retained_wal_bytes: 1000,
    };

    fn sample() -> Sample {
        Sample { place: "shard n".into(), ..Sample::default() }
    }

    fn reason(paused: bool, sample: Sample) -> Option<String> {
        match decide(&BOUNDS, paused, &[Some(self::sample()), Some(sample)]) {
            Decision::Go => None,
            Decision::Wait(reason) => Some(format!("wait: {reason}")),
            Decision::Stop(error) => Some(format!("stop: {error}")),
        }
    }

    #[test]
    fn work_waits_for_others_and_stops_for_the_disk() {
        assert_eq!(reason(false, sample()), None);
        assert!(matches!(decide(&BOUNDS, false, &[None]), Decision::Wait(_)));
        assert!(matches!(decide(&BOUNDS, false, &[]), Decision::Go));
        assert_eq!(reason(true, sample()).unwrap(), "wait: a pause was asked for");

        let at_limit = Sample {
            latency: Duration::from_millis(50),
            replica: Some(("r".into(), 100)),
            slot: Some(("s".into(), Some(1000))),
            ..sample()
        };
        assert_eq!(reason(false, at_limit.clone()), None);
        let behind = Sample { replica: Some(("r".into(), 101)), ..at_limit.clone() };
        let text = "wait: replica r of shard n is 101 bytes behind (at most 100)";
        assert_eq!(reason(false, behind).unwrap(), text);
        let slow = Sample { latency: Duration::from_millis(51), ..at_limit.clone() };
        let text = "wait: a trivial query on shard n takes 51 ms (at most 50)";
        assert_eq!(reason(false, slow.clone()).unwrap(), text);
        // The disk fills up while it is paused, too.
        let full = Sample { slot: Some(("s".into(), Some(1001))), ..slow };
        let text = reason(true, full).unwrap();
        assert!(text.starts_with("stop: shard n keeps 1001 bytes of WAL"), "{text}");
        let lost = reason(false, Sample { slot: Some(("s".into(), None)), ..at_limit }).unwrap();
        assert!(lost.starts_with("stop: shard n has lost the replication slot s"), "{lost}");
    }
}
