//! Owns the words for a cluster that has no primary: what a client is told, and what the log says.

use super::{Cluster, PrimaryState};
use crate::wire::error::SqlError;
use std::fmt::Write as _;

impl Cluster {
    pub(super) fn no_primary(&self, state: PrimaryState) -> SqlError {
        let error = match state {
            PrimaryState::Conflict => SqlError::error("55000", "two hosts claim to be the primary")
                .hint("Stop the one that is not: writing to either could split the data."),
            PrimaryState::Outdated => {
                SqlError::error("55000", "the only primary is on an outdated timeline").hint(
                    "A primary with a newer timeline was seen before. Start that one, or restart \
                     pgmanifold to accept what was lost.",
                )
            }
            PrimaryState::Foreign => {
                SqlError::error("55000", "the only primary belongs to another cluster").hint(
                    "Its system identifier is not the one seen before. Correct the list of hosts, \
                     or restart pgmanifold to accept it.",
                )
            }
            PrimaryState::NotChecked => {
                SqlError::error("57P03", "the hosts have not been checked yet").hint("Try again.")
            }
            PrimaryState::None | PrimaryState::Host(_) => {
                SqlError::error("57P03", "no primary is available")
                    .hint("Writes work again as soon as a primary is up; reads need not wait.")
            }
        };
        error.detail(self.describe_hosts())
    }

    pub(super) fn describe_hosts(&self) -> String {
        let mut text = format!("Hosts of shard \"{}\":", self.shard.name);
        for (index, host) in self.hosts.iter().enumerate() {
            let comma = if index == 0 { "" } else { ";" };
            let state = if host.is_up() { "up" } else { "down" };
            let role = host.role().word();
            let timeline = host.timeline();
            // Writing to a String does not fail.
            let _ = write!(text, "{comma} {} ({state}, {role}", host.host.address);
            if timeline != 0 {
                let _ = write!(text, ", timeline {timeline}");
            }
            match host.last_error().filter(|_| !host.is_up()) {
                Some(error) => _ = write!(text, ": {error})"),
                None => text.push(')'),
            }
        }
        text.push('.');
        text
    }
}
