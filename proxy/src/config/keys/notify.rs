//! Owns the part of the key table about notifications. It belongs to `[pool]` and `[[database]]`.

use super::Absent::Value;
use super::Key;
use super::Kind::Integer;
use super::Reload::Live;
use super::sections::key;

/// Of `[pool]` and `[[database]]`.
pub(super) const NOTIFY_KEYS: &[Key] = &[key(
    "notify_queue_bytes",
    Integer(65_536, 1 << 30),
    Value("8388608"),
    Live,
    "Most notifications that wait for one session that listens and does not read, or stays in a \
     transaction. A session over it is closed, because it would miss some.",
)];
