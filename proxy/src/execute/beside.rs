//! Owns what servers say beside their answers: notices and changed parameters. Where all servers
//! do the same, what they all say is told once.

use bytes::BytesMut;
use pgmanifold_router::shard_map::ShardId;

/// Different messages remembered to tell them once; more are told each time.
const REMEMBERED_MAX: usize = 256;

/// What has been told.
#[derive(Debug)]
pub(super) struct Beside {
    /// All servers do the same: notices are told once, too.
    same: bool,
    deaf: bool,
    /// Who said it how often, and how often it was told.
    said: Vec<Said>,
    /// A notice was told: it does not wait for more.
    pub(super) flush: bool,
}

#[derive(Debug)]
struct Said {
    message: Box<[u8]>,
    by: Vec<(ShardId, u32)>,
    told: u32,
}

impl Beside {
    pub(super) fn new(same: bool) -> Self {
        Self { same, deaf: false, said: Vec::new(), flush: false }
    }

    /// Nothing is told.
    pub(super) fn deaf() -> Self {
        Self { deaf: true, ..Self::new(false) }
    }

    /// A NoticeResponse came.
    pub(super) fn notice(&mut self, shard: ShardId, message: &[u8], out: &mut BytesMut) {
        if !self.deaf && (!self.same || self.is_new(shard, message)) {
            out.extend_from_slice(message);
            self.flush = true;
        }
    }

    /// A ParameterStatus came.
    pub(super) fn parameter(&mut self, shard: ShardId, message: &[u8], out: &mut BytesMut) {
        if !self.deaf && self.is_new(shard, message) {
            out.extend_from_slice(message);
        }
    }

    /// Nobody has said it as often as this shard now.
    fn is_new(&mut self, shard: ShardId, message: &[u8]) -> bool {
        let Some(said) = self.said.iter_mut().find(|said| *said.message == *message) else {
            if self.said.len() < REMEMBERED_MAX {
                self.said.push(Said { message: message.into(), by: vec![(shard, 1)], told: 1 });
            }
            return true;
        };
        let times = match said.by.iter_mut().find(|(who, _)| *who == shard) {
            Some((_, times)) => {
                *times += 1;
                *times
            }
            None => {
                said.by.push((shard, 1));
                1
            }
        };
        let new = times > said.told;
        said.told = said.told.max(times);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_say_is_told_once() {
        let (mut beside, mut out) = (Beside::new(true), BytesMut::new());
        for (shard, message) in [(0, b"a"), (1, b"a"), (0, b"b"), (0, b"a"), (1, b"a"), (1, b"a")] {
            beside.notice(ShardId(shard), message, &mut out);
        }
        assert_eq!(&out[..], b"abaa", "shard 1 said a three times");
        let (mut beside, mut out) = (Beside::new(false), BytesMut::new());
        for shard in 0..3 {
            beside.notice(ShardId(shard), b"n", &mut out);
            beside.parameter(ShardId(shard), b"p", &mut out);
        }
        assert_eq!(&out[..], b"npnn");
    }
}
