//! Owns what others may know of a session's last write: one word, stored by the session when a
//! write has ended, so that it costs the session nothing that others look.

use crate::cluster::WriteMark;
use pgmanifold_router::shard_map::ShardId;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of the shard, and of the flag beside it.
const SHARD_BITS: u32 = 16;
const SAMPLE_SHIFT: u32 = SHARD_BITS + 1;
/// A larger number is not kept; at a hundred samples a second that is after 44,000 years.
const SAMPLE_MAX: u64 = (1 << (64 - SAMPLE_SHIFT)) - 2;

/// The newest write of a session whose own reads must see it.
#[derive(Debug, Default)]
pub struct OwnWrite(AtomicU64);

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The last sample that had started when it ended.
    pub sample: u64,
    /// Where it wrote; 0 in a database that is not sharded.
    pub shard: ShardId,
    /// It may have been committed with `synchronous_commit = off`.
    pub async_commit: bool,
}

impl OwnWrite {
    /// Notes a write that has ended.
    #[inline]
    pub fn set(&self, mark: WriteMark, shard: ShardId, async_commit: bool) {
        let sample = mark.sample.min(SAMPLE_MAX) + 1;
        let word = sample << SAMPLE_SHIFT | u64::from(shard.0) << 1 | u64::from(async_commit);
        self.0.store(word, Ordering::Relaxed);
    }

    /// There is none any more, or its position means nothing.
    pub fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The newest one.
    pub fn get(&self) -> Option<Written> {
        let word = self.0.load(Ordering::Relaxed);
        let sample = (word >> SAMPLE_SHIFT).checked_sub(1)?;
        let shard = ShardId((word >> 1) as u16);
        Some(Written { sample, shard, async_commit: word & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let write = OwnWrite::default();
        assert_eq!(write.get(), None);
        for (sample, shard, async_commit) in
            [(0, 0, false), (7, 65_535, true), (SAMPLE_MAX, 1, false)]
        {
            let shard = ShardId(shard);
            write.set(WriteMark { generation: 3, sample }, shard, async_commit);
            assert_eq!(write.get(), Some(Written { sample, shard, async_commit }));
        }
        write.forget();
        assert_eq!(write.get(), None);
    }
}
