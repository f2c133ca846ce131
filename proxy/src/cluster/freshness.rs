//! Owns what a read needs of a replica (`Freshness`), why none would do (`Stale`), and the words
//! that sessions and the monitor share to decide it. No I/O, no clock, no locks.
//!
//! # Why a mark is covered
//! One number counts the samples of the primary's WAL position that were *started*. A session that
//! has received the ReadyForQuery of a write takes the number `s`; the write is covered by every
//! sample `n > s`, because sample `n` was sent to the primary after that ReadyForQuery arrived.
//!
//! For this the session must not see an old value of the counter, so both sides use atomic
//! read-modify-write operations on the one word, which always act on the newest value: if the
//! sampler's increment to `n` comes after the session's operation, it acquires what the session
//! released, so "ReadyForQuery received" happens before "sample `n` sent"; if it comes before, the
//! session sees `n` and waits for `n + 1`. A plain load could be satisfied early and is not enough.
//!
//! # Why a generation change cannot be mixed up
//! A replica's cover is one word that holds the generation *and* the sample number, so the two can
//! never come from different times. Sample numbers are never reused in the life of the process,
//! whatever the generation. A cover counts when its generation is the one the reader has loaded and
//! its number is larger than the mark's. If the generation changes between the reader's two loads,
//! either the tags differ (refused), or both were read as of before the change: then the replica
//! had truly replayed the write on the old timeline, and the read is ordered before the change. A
//! mark of an older generation needs no special case: only a sample of the current generation can
//! be tagged with it, and it must have started after the mark.

use super::token::Token;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The end of a write: covered by the first sample that started after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteMark {
    /// Generation of the cluster when the mark was taken.
    pub generation: u64,
    /// Last sample that had been started then.
    pub sample: u64,
}

impl WriteMark {
    /// The mark that is covered only when both are.
    #[must_use]
    pub fn latest(self, other: Self) -> Self {
        Self {
            generation: self.generation.max(other.generation),
            sample: self.sample.max(other.sample),
        }
    }
}

/// What a read needs of a replica. The default needs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Freshness {
    /// The reader's last write.
    pub mark: Option<WriteMark>,
    /// A position the reader asked for.
    pub token: Option<Token>,
    /// Longest staleness allowed.
    pub max_lag: Option<Duration>,
    /// Largest distance to the primary's flushed WAL allowed, in bytes.
    pub max_lag_bytes: Option<u64>,
    /// The mark's write may have been committed with `synchronous_commit = off`: the flushed
    /// position does not cover it, the insert position does.
    pub async_commit: bool,
}

/// Why no replica could be used. When hosts differ, the reason of the one that came closest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stale {
    /// No replica is configured or up.
    NoReplica,
    /// Replicas are up, but banned after failures.
    Banned,
    /// Replicas are up, but follow another timeline or belong to another cluster.
    NotFollowing,
    /// The token belongs to another timeline or cluster than the current primary's.
    TokenVoid,
    /// Replicas are further behind than the reader allows, or it is not known how far.
    BehindMaxLag,
    /// Replicas have not replayed the reader's token.
    BehindToken,
    /// Replicas have not replayed rows that another shard has handed over.
    BehindHandOver,
    /// Replicas have not replayed the reader's own write.
    BehindOwnWrite,
}

impl Stale {
    /// The reason as a short lowercase sentence.
    pub fn reason(self) -> &'static str {
        match self {
            Stale::NoReplica => "no replica is up",
            Stale::Banned => "all replicas are banned after failures",
            Stale::NotFollowing => "no replica follows the current primary",
            Stale::TokenVoid => "the token is of another timeline than the current primary",
            Stale::BehindMaxLag => "no replica is within the allowed lag",
            Stale::BehindToken => "no replica has replayed the token",
            Stale::BehindHandOver => {
                "no replica has replayed the rows that another shard handed over"
            }
            Stale::BehindOwnWrite => "no replica has replayed the session's own write",
        }
    }
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// A write ended since the last sample was started.
const WRITTEN: u64 = 1;
/// A reader was refused a replica since the flag was last taken.
const DEMAND: u64 = 2;
/// Somebody waits for the next sample itself.
const WANTED: u64 = 4;
/// The sampler sleeps for long and must be woken.
const SLEEPING: u64 = 8;
const FLAG_BITS: u32 = 4;
const FLAGS: u64 = (1 << FLAG_BITS) - 1;

/// The count of started samples, with the flags by which sessions and sampler talk, in one word.
#[derive(Debug, Default)]
pub(super) struct SampleClock(AtomicU64);

/// What was pending when a sample was started or demand was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    /// Number of the newest started sample.
    pub(super) number: u64,
    /// See `WRITTEN`.
    pub(super) written: bool,
    /// See `DEMAND`.
    pub(super) demand: bool,
    /// See `WANTED`.
    pub(super) wanted: bool,
}

impl Pending {
    fn of(word: u64) -> Self {
        Self {
            number: word >> FLAG_BITS,
            written: word & WRITTEN != 0,
            demand: word & DEMAND != 0,
            wanted: word & WANTED != 0,
        }
    }
}

impl SampleClock {
    /// Session: a write ended. Returns the newest started sample, and whether to wake the sampler.
    pub(super) fn mark(&self) -> (u64, bool) {
        self.raise(WRITTEN)
    }

    /// Session: wants the next sample itself. As `mark`.
    pub(super) fn want(&self) -> (u64, bool) {
        self.raise(WANTED)
    }

    /// Session: was refused. Returns whether to wake the sampler. Nothing hangs on its order, so
    /// a flag that is seen to be up already is left alone and the line stays shared.
    pub(super) fn demand(&self) -> bool {
        self.0.load(Ordering::Relaxed) & DEMAND == 0 && self.raise(DEMAND).1
    }

    /// Only the first to raise a flag wakes, so a sleeping sampler costs one notification.
    fn raise(&self, flag: u64) -> (u64, bool) {
        let old = self.0.fetch_or(flag, Ordering::AcqRel);
        (old >> FLAG_BITS, old & SLEEPING != 0 && old & flag == 0)
    }

    /// Sampler: counts a sample that is about to be sent. Flags raised until now are answered by
    /// it and taken down.
    pub(super) fn start(&self) -> Pending {
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            let new = ((old >> FLAG_BITS) + 1) << FLAG_BITS | (old & SLEEPING);
            match self.0.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Pending { number: new >> FLAG_BITS, ..Pending::of(old) },
                Err(seen) => old = seen,
            }
        }
    }

    /// Sampler: takes down `DEMAND` and says what is pending.
    pub(super) fn take_demand(&self) -> Pending {
        Pending::of(self.0.fetch_and(!DEMAND, Ordering::AcqRel))
    }

    /// Sampler: what is pending.
    pub(super) fn pending(&self) -> Pending {
        Pending::of(self.0.load(Ordering::Acquire))
    }

    /// Sampler: from now on whoever raises a flag wakes it. Flags that are already up are
    /// returned; the sampler must look at them before it sleeps.
    pub(super) fn sleep(&self) -> Pending {
        Pending::of(self.0.fetch_or(SLEEPING, Ordering::AcqRel))
    }

    /// Sampler: is awake.
    pub(super) fn awake(&self) {
        self.0.fetch_and(!SLEEPING, Ordering::AcqRel);
    }

    /// Newest started sample.
    pub(super) fn number(&self) -> u64 {
        (self.0.load(Ordering::Acquire) & !FLAGS) >> FLAG_BITS
    }
}

/// Bits of a cover that hold the sample number: 348 years of samples every 10 ms.
const SAMPLE_BITS: u32 = 40;
/// Largest generation a cover can hold. Beyond it nothing is ever covered.
const GENERATION_MAX: u64 = (1 << (64 - SAMPLE_BITS)) - 1;

/// The newest sample a replica has replayed, with the generation it belongs to, in one word.
/// Zero covers nothing. Written by the monitor under the host's lock, read by sessions.
#[derive(Debug, Default)]
pub(super) struct Cover(AtomicU64);

impl Cover {
    /// Release: whoever sees the cover also sees the generation change before it.
    pub(super) fn publish(&self, generation: u64, sample: u64) {
        let fits = generation <= GENERATION_MAX && sample >> SAMPLE_BITS == 0;
        let word = if fits { generation << SAMPLE_BITS | sample } else { 0 };
        self.0.store(word, Ordering::Release);
    }

    pub(super) fn void(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// The covered sample, when it is of this generation; 0 covers nothing.
    pub(super) fn sample(&self, generation: u64) -> u64 {
        let word = self.0.load(Ordering::Acquire);
        if word >> SAMPLE_BITS == generation { word & ((1 << SAMPLE_BITS) - 1) } else { 0 }
    }
}

/// Words that belong to one generation, for readers without a lock (a sequence lock whose
/// sequence is the generation). Used for the replay position of a host and for the identity
/// (system id, timeline) of the primary.
#[derive(Debug)]
pub(super) struct Tagged<const N: usize> {
    generation: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Default for Tagged<N> {
    fn default() -> Self {
        Self { generation: AtomicU64::new(0), words: [const { AtomicU64::new(0) }; N] }
    }
}

impl<const N: usize> Tagged<N> {
    /// One writer at a time. While the words change under another tag, the tag is 0: a reader
    /// that sees a new word (acquire) also sees the tag that was stored before it (release), so
    /// its second look at the tag differs from the first.
    pub(super) fn publish(&self, generation: u64, words: [u64; N]) {
        if self.generation.load(Ordering::Relaxed) != generation {
            self.generation.store(0, Ordering::Relaxed);
        }
        for (slot, word) in self.words.iter().zip(words) {
            slot.store(word, Ordering::Release);
        }
        self.generation.store(generation, Ordering::Release);
    }

    pub(super) fn void(&self) {
        self.generation.store(0, Ordering::Release);
    }

    /// The words, when they are of this generation. Within one generation and without `void`
    /// between, each word is either the newest or the one before.
    pub(super) fn read(&self, generation: u64) -> Option<[u64; N]> {
        if self.generation.load(Ordering::Acquire) != generation || generation == 0 {
            return None;
        }
        let words = std::array::from_fn(|index| self.words[index].load(Ordering::Acquire));
        (self.generation.load(Ordering::Acquire) == generation).then_some(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_covered_only_by_a_sample_started_after_it() {
        let clock = SampleClock::default();
        assert_eq!(clock.mark(), (0, false));
        let first = clock.start();
        assert_eq!((first.number, first.written), (1, true));
        assert_eq!(clock.mark(), (1, false));
        let second = clock.start();
        assert_eq!((second.number, second.written), (2, true));
        assert!(!clock.start().written);
        assert_eq!(clock.number(), 3);
    }

    #[test]
    fn only_the_first_flag_wakes_a_sleeper() {
        let clock = SampleClock::default();
        assert!(!clock.sleep().written);
        assert!(clock.mark().1);
        assert!(!clock.mark().1);
        assert!(clock.demand());
        assert!(!clock.demand());
        assert!(clock.want().1);
        let pending = clock.take_demand();
        assert!(pending.demand && pending.written && pending.wanted);
        clock.awake();
        assert!(!clock.demand());
        let pending = clock.start();
        assert!(pending.written && pending.wanted && pending.demand);
    }

    #[test]
    fn a_cover_counts_for_its_own_generation_only() {
        let cover = Cover::default();
        assert_eq!(cover.sample(0), 0);
        cover.publish(3, 17);
        assert_eq!((cover.sample(3), cover.sample(2), cover.sample(4)), (17, 0, 0));
        cover.publish(GENERATION_MAX + 1, 17);
        assert_eq!(cover.sample(GENERATION_MAX + 1), 0);
        cover.publish(1, 1 << SAMPLE_BITS);
        assert_eq!((cover.sample(1), cover.sample(2)), (0, 0));
    }

    #[test]
    fn tagged_words_never_mix_generations() {
        let tagged = Tagged::<2>::default();
        assert_eq!(tagged.read(0), None);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for generation in 1..200_000 {
                    tagged.publish(generation, [generation, generation]);
                }
            });
            while !writer.is_finished() {
                let generation = tagged.generation.load(Ordering::Acquire);
                if let Some(words) = tagged.read(generation) {
                    assert_eq!(words, [generation, generation]);
                }
            }
        });
        tagged.void();
        assert_eq!(tagged.read(199_999), None);
    }
}
