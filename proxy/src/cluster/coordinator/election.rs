//! Owns the election: who the primary is by what the hosts say, which generation that is, and who
//! only claims to be it. A former primary that returns is fenced, not followed.

use super::{At, Coordinator, Identity, PrimaryState, Seen};
use crate::cluster::{pack_view, unpack_view};
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Coordinator {
    /// The primary is the host out of recovery with the highest timeline. Two on one timeline, or
    /// of two clusters, are none. Nor is one with a lower timeline than any host of its cluster was
    /// seen on, be it a replica that follows somebody we cannot reach: it is a former primary, and
    /// what was written since would be missing from it. Nor is another cluster's, unless it stands
    /// where ours stood.
    pub(super) fn elect(&mut self, now: Instant) {
        let (best, conflict) = self.claims();
        if let Some(system_id) = self.system_id(best) {
            let seen = self.records.iter().filter_map(|record| record.seen);
            let told = seen.filter(|seen| seen.system_id == system_id).map(|seen| seen.told());
            self.cluster.remember(system_id, told.max().unwrap_or(0));
        }
        let hosts = &self.cluster.hosts;
        let state = match (best, self.identity) {
            // A host not heard of yet may be a second primary.
            (_, None) if hosts.iter().any(|h| h.probes() + h.failures() == 0) => {
                PrimaryState::NotChecked
            }
            (Some(_), _) if conflict => PrimaryState::Conflict,
            (Some(new), _) if new.timeline < self.cluster.remembered(new.system_id) => {
                PrimaryState::Outdated
            }
            (Some(new), Some(old)) if new.system_id != old.system_id && new.host != old.host => {
                PrimaryState::Foreign
            }
            (Some(new), _) => PrimaryState::Host(new.host),
            (None, _) => PrimaryState::None,
        };
        if let (PrimaryState::Host(_), Some(new)) = (state, best)
            && self.identity != Some(new)
        {
            self.begin_generation(new);
        }
        self.missing_since = match state {
            PrimaryState::Host(_) => None,
            _ => self.missing_since.or(Some(now)),
        };
        self.announce(state);
        self.fence(state);
    }

    /// The claimant with the highest timeline, and whether another one has as good a claim.
    fn claims(&self) -> (Option<Identity>, bool) {
        let mut best: Option<Identity> = None;
        let mut conflict = false;
        for (host, record) in self.records.iter().enumerate() {
            let Some(Seen { system_id, at: At::Primary { timeline, .. }, .. }) = record.seen else {
                continue;
            };
            let claim = Identity { host, system_id, timeline };
            match best {
                Some(other) if other.system_id != system_id => conflict = true,
                Some(other) if other.timeline == timeline => conflict = true,
                Some(other) if other.timeline > timeline => {}
                _ => {
                    (best, conflict) =
                        (Some(claim), conflict && best.is_some_and(|b| b.system_id != system_id))
                }
            }
        }
        (best, conflict)
    }

    /// The cluster whose timelines matter.
    fn system_id(&self, best: Option<Identity>) -> Option<u64> {
        let replicas = || self.records.iter().find_map(|record| record.seen);
        let known = self.identity.or(best).map(|identity| identity.system_id);
        known.or_else(|| replicas().map(|seen| seen.system_id))
    }

    /// Nothing that began on a host which is not the primary, but claims to be, may end there.
    fn fence(&self, state: PrimaryState) {
        let mut fenced = false;
        for (index, (host, record)) in self.cluster.hosts.iter().zip(&self.records).enumerate() {
            let claims = record.seen.is_some_and(|seen| matches!(seen.at, At::Primary { .. }));
            let is_primary = matches!(state, PrimaryState::Host(primary) if primary == index);
            if host.set_fenced(claims && !is_primary && state != PrimaryState::NotChecked) {
                fenced = true;
                let (shard, host) = (&self.cluster.shard.name, &host.host.address);
                tracing::error!(shard, %host, "host fenced: it claims to be the primary");
            }
        }
        if fenced {
            self.cluster.tell_loss();
        }
    }

    /// Sessions may see the new identity only with its generation, and the generation only after
    /// the identity: the view is stored last (in `announce`). Covers need no change: their tags
    /// are old from then on.
    pub(super) fn begin_generation(&mut self, identity: Identity) {
        self.generation += 1;
        self.identity = Some(identity);
        self.cluster.history().clear();
        for record in &mut self.records {
            record.proven = None;
        }
        // Marks of older generations are covered again only after a sample that starts from now.
        self.needed = self.cluster.clock.number() + 1;
        let words = [identity.system_id, u64::from(identity.timeline)];
        self.cluster.identity.publish(self.generation, words);
        tracing::info!(
            shard = self.cluster.shard.name,
            primary = %self.cluster.hosts[identity.host].host.address,
            generation = self.generation,
            timeline = identity.timeline,
            system_id = identity.system_id,
            "new generation: own-write marks wait for a new sample, older tokens are void"
        );
    }

    pub(super) fn announce(&self, state: PrimaryState) {
        let view = pack_view(self.generation, state);
        let old = self.cluster.view.swap(view, Ordering::AcqRel);
        let old = unpack_view(old).1;
        if old == state {
            return;
        }
        self.cluster.turn();
        let shard = &self.cluster.shard.name;
        match state {
            PrimaryState::Host(index) => {
                let primary = &self.cluster.hosts[index].host.address;
                tracing::info!(shard, %primary, generation = self.generation, "primary");
            }
            PrimaryState::NotChecked => {}
            PrimaryState::None => {
                tracing::warn!(shard, hosts = self.cluster.describe_hosts(), "no primary");
            }
            PrimaryState::Conflict => {
                let hosts = self.cluster.describe_hosts();
                tracing::error!(shard, hosts, "two primaries: writes are refused");
            }
            PrimaryState::Foreign => {
                let hosts = self.cluster.describe_hosts();
                tracing::error!(shard, hosts, "primary of another cluster: writes are refused");
            }
            PrimaryState::Outdated => {
                let hosts = self.cluster.describe_hosts();
                tracing::error!(shard, hosts, "outdated primary: writes are refused");
            }
        }
    }
}
