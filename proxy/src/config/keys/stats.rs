//! Owns the part of the key table about statistics. It belongs to `[general]`.

use super::Absent::Value;
use super::Key;
use super::Kind::Integer;
use super::Reload::Live;
use super::sections::key;

/// Of `[general]`.
pub(super) const STATS_KEYS: &[Key] = &[key(
    "stats_period_s",
    Integer(1, 86_400),
    Value("60"),
    Live,
    "Time over which the console takes its averages (`avg_…` in SHOW STATS). They are those of the \
     last full period.",
)];
