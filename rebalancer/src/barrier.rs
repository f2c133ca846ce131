//! Owns the wait until no proxy works by an older map: acknowledgements, and cutting off who
//! gives none. It must not change the map.

use crate::config::Config;
use crate::connect::Session;
use crate::error::Error;
use serde::Serialize;

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
/// A shard, or a listed replica, cannot be reached; a replica does not replay.
pub async fn barrier(
    _catalog: &Session,
    _config: &Config,
    _epoch: u64,
    _tell: &mut (dyn FnMut(&str) + Send),
) -> Result<Report, Error> {
    Err(Error::Refused("not yet".into()))
}
