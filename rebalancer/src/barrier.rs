//! Owns the wait until no proxy works by an older map: acknowledgements, and cutting off who
//! gives none. It must not change the map.
//!
//! Whoever was cut off cannot come back with what it has: every shard refuses connections of
//! processes in which something older is still in use, from before the first one is ended.

mod proxies;
mod shards;

use crate::config::Config;
use crate::connect::{self, Session};
use crate::error::Error;
use proxies::Proxies;
use serde::Serialize;
use std::fmt;
use std::time::Instant;

/// Who was waited for, and who was cut off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The epoch.
    pub epoch: u64,
    /// Processes that acknowledged it, and after how many milliseconds.
    pub acknowledged: Vec<(String, u64)>,
    /// Processes that did not, and were cut off.
    pub cut_off: Vec<String>,
    /// Server processes that were ended, by place.
    pub ended: Vec<(String, u32)>,
    /// How long it all took, in milliseconds.
    pub took_ms: u64,
}

/// Waits until nothing runs anywhere by a map older than `epoch`. Processes that do not acknowledge
/// it within `acknowledge_timeout` are cut off from all shards. `tell` hears what is waited for.
/// It can be repeated: nothing is left half done by a crash.
///
/// # Errors
/// A shard, or a replica that must be cut off, cannot be reached; a replica does not replay.
pub async fn barrier(
    catalog: &Session,
    config: &Config,
    epoch: u64,
    tell: &mut (dyn FnMut(&str) + Send),
) -> Result<Report, Error> {
    let begun = Instant::now();
    let proxies = Proxies { catalog, database: &config.database, epoch };
    let acknowledged = proxies.wait(config.limits.acknowledge_timeout, tell).await?;
    let mut primaries = Vec::new();
    for shard in &config.shards {
        let session = connect::primary(&shard.server, &format!("shard {}", shard.name)).await?;
        shards::raise(&session, epoch).await?;
        primaries.push(session);
    }
    // Who has acknowledged in the meantime is left alone.
    let (current, late) = proxies.current_and_late().await?;
    let mut report = Report { epoch, acknowledged, cut_off: late, ..Report::default() };
    let mut strangers = Vec::new();
    for session in &primaries {
        let older = shards::attached_older(session, epoch, &current).await?;
        strangers.extend(older.into_iter().filter(|name| !report.cut_off.contains(name)));
    }
    strangers.sort();
    strangers.dedup();
    report.cut_off.extend(strangers);
    if !report.cut_off.is_empty() {
        tell(&format!("cutting off {}", report.cut_off.join(", ")));
        for (shard, primary) in config.shards.iter().zip(&primaries) {
            let ended = shards::cut_off(shard, primary, epoch, &current).await?;
            report.ended.extend(ended.into_iter().filter(|(_, ended)| *ended > 0));
        }
        proxies.forget(&report.cut_off).await?;
    }
    report.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let acknowledged = self.acknowledged.iter();
        let acknowledged: Vec<String> =
            acknowledged.map(|(name, after_ms)| format!("{name} after {after_ms} ms")).collect();
        write!(f, "epoch {} ", self.epoch)?;
        match acknowledged.is_empty() {
            true => f.write_str("was acknowledged by nobody")?,
            false => write!(f, "was acknowledged by {}", acknowledged.join(", "))?,
        }
        if !self.cut_off.is_empty() {
            write!(f, "; cut off: {}", self.cut_off.join(", "))?;
            let ended: Vec<String> =
                self.ended.iter().map(|(place, ended)| format!("{ended} on {place}")).collect();
            match ended.is_empty() {
                true => f.write_str(" (no connections)")?,
                false => write!(f, " (connections ended: {})", ended.join(", "))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_who_and_how_many() {
        let mut report = Report {
            epoch: 7,
            acknowledged: vec![("a".into(), 3), ("b".into(), 20)],
            ..Report::default()
        };
        assert_eq!(report.to_string(), "epoch 7 was acknowledged by a after 3 ms, b after 20 ms");
        report.cut_off.push("c".into());
        assert!(report.to_string().ends_with("; cut off: c (no connections)"));
        report.ended.push(("shard n".into(), 4));
        assert!(report.to_string().ends_with("(connections ended: 4 on shard n)"));
    }
}
