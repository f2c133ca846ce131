//! Owns the keys about statements: how many are counted by shape, and which are logged.

use super::Absent::Value;
use super::Key;
use super::Kind::{Boolean, Integer};
use super::Reload::Live;
use super::sections::{HOUR_MS, key};

/// Of `[general]`.
pub(super) const STATEMENT_KEYS: &[Key] = &[
    key(
        "statement_digests_max",
        Integer(0, 100_000),
        Value("1000"),
        Live,
        "Most statement shapes counted one by one per database, on each worker and in what the \
         console shows; those used least are added up in one row. A shape takes about 1 KiB per \
         worker that runs it, 3 KiB at most. 0 counts no statements.",
    ),
    key(
        "log_slow_statement_ms",
        Integer(0, HOUR_MS),
        Value("0"),
        Live,
        "Log each statement that takes this long, from the request to the end of its answer, with \
         its route and what it waited for. 0 logs none. As `log_min_duration_statement`.",
    ),
    key(
        "log_sample_per_mille",
        Integer(0, 1_000),
        Value("0"),
        Live,
        "Of a thousand statements, how many are logged however long they take. As \
         `log_statement_sample_rate`.",
    ),
    key(
        "log_statement_literals",
        Boolean,
        Value("false"),
        Live,
        "These lines show texts as they came, with literals, up to 1 KiB. Literals may be \
         passwords or other people's data. Values bound to parameters are never shown.",
    ),
];
