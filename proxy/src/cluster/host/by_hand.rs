//! Owns what an administrator has said of a host: no reads for a while, or nothing at all until he
//! takes it back. It concerns a replica; while the host is the primary it has no effect, so that a
//! failover is not held up by what was said before it.

use super::{BANNED, BANNED_BY_HAND, DRAINED, HostState, PRIMARY, Slow};
use crate::cluster::Cluster;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl HostState {
    /// Nothing is to be assigned to it, and what comes back from it is closed. One load.
    #[inline]
    pub fn is_drained(&self) -> bool {
        self.status.load(Ordering::Relaxed) & (DRAINED | PRIMARY) == DRAINED
    }

    /// Not chosen for reads, because an administrator says so.
    pub fn is_banned_by_hand(&self) -> bool {
        self.status.load(Ordering::Relaxed) & BANNED_BY_HAND != 0
    }

    pub(super) fn is_held_for_ever(&self, slow: &Slow) -> bool {
        let status = self.status.load(Ordering::Relaxed);
        let without_end = status & BANNED_BY_HAND != 0 && slow.by_hand_until.is_none();
        without_end || status & DRAINED != 0
    }

    /// True when it ended now.
    pub(super) fn end_ban_by_hand(&self, slow: &mut Slow, now: Instant) -> bool {
        let over = slow.by_hand_until.is_some_and(|until| until <= now);
        if over {
            slow.by_hand_until = None;
            self.status.fetch_and(!BANNED_BY_HAND, Ordering::AcqRel);
        }
        over
    }
}

impl Cluster {
    /// Keeps reads from a host until then; without an end until `unban`.
    pub fn ban_by_hand(&self, host: &HostState, until: Option<Instant>) {
        let mut slow = host.slow();
        slow.by_hand_until = until;
        host.status.fetch_or(BANNED_BY_HAND, Ordering::AcqRel);
        drop(slow);
        // Whoever ends bans learns of this one's end.
        self.wake.notify_one();
    }

    /// Assigns nothing to a host any more, until `unban`.
    pub fn drain(&self, host: &HostState) {
        let _writer = host.slow();
        host.status.fetch_or(DRAINED, Ordering::AcqRel);
    }

    /// Ends every ban of a host, and its drain. False when there was none.
    pub fn unban(&self, host: &HostState) -> bool {
        let mut slow = host.slow();
        (slow.banned_until, slow.by_hand_until) = (None, None);
        let all = BANNED | BANNED_BY_HAND | DRAINED;
        let before = host.status.fetch_and(!all, Ordering::AcqRel);
        drop(slow);
        self.turn();
        before & all != 0
    }

    /// Goes on from what an administrator has said of the hosts of the cluster before it.
    pub fn take_over_by_hand(&self, old: &Cluster) {
        for host in &self.hosts {
            let same = |known: &&HostState| known.host.address == host.host.address;
            let Some(before) = old.hosts.iter().find(same) else { continue };
            let said = before.status.load(Ordering::Relaxed) & (BANNED_BY_HAND | DRAINED);
            let until = before.slow().by_hand_until;
            host.slow().by_hand_until = until;
            host.status.fetch_or(said, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Role, Standing};
    use super::*;
    use crate::config::parse;
    use std::sync::Arc;
    use std::time::Duration;

    fn cluster() -> Arc<Cluster> {
        let text = r#"
            user = [{ name = "app", password = "x" }]
            listener = [{ address = "127.0.0.1:1" }]
            shard = [{ name = "main", hosts = ["a:1", "b:2"], monitor_user = "m" }]
            database = [{ name = "app" }]
        "#;
        Cluster::new(Arc::clone(&parse(text, "test.toml").unwrap().shards[0]))
    }

    #[test]
    fn a_ban_by_hand_ends_in_time_and_goes_over_a_reload() {
        let (one, now) = (cluster(), Instant::now());
        let host = &one.hosts()[1];
        host.probe_succeeded(Role::Replica, Some(1), Duration::ZERO, now);
        host.set_follows(true);
        assert_eq!(host.standing(), Standing::Candidate);
        let until = now + Duration::from_secs(9);
        one.ban_by_hand(host, Some(until));
        assert_eq!((host.standing(), host.banned_until()), (Standing::Banned, Some(until)));
        assert!(!host.end_ban(now) && host.is_banned_by_hand());
        let next = cluster();
        next.take_over_by_hand(&one);
        let host = &next.hosts()[1];
        assert!(host.is_banned_by_hand() && !next.hosts()[0].is_banned());
        host.probe_succeeded(Role::Replica, Some(1), Duration::ZERO, now);
        assert!(host.is_banned(), "a probe does not end it");
        assert!(host.end_ban(until) && !host.is_banned());
        assert!(!next.unban(host), "there is none any more");
    }

    #[test]
    fn a_primary_is_not_held_back() {
        let (cluster, now) = (cluster(), Instant::now());
        let host = &cluster.hosts()[1];
        cluster.drain(host);
        assert!(host.is_drained());
        host.probe_succeeded(Role::Primary, Some(2), Duration::ZERO, now);
        assert!(!host.is_drained() && host.is_banned());
        assert!(cluster.unban(host) && !host.is_banned());
    }
}
