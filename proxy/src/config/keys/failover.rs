//! Owns the keys of `[[shard]]` that say how servers are reached, and what happens while one is
//! lost.

use super::Absent::{Value, Words};
use super::Key;
use super::Kind::{Choice, File, Integer};
use super::Reload::{Live, NewConnections};
use super::sections::{HOUR_MS, MANY, key};

/// Part of `[[shard]]`.
pub(super) const FAILOVER_KEYS: &[Key] = &[
    key(
        "health_failures_max",
        Integer(1, 100),
        Value("5"),
        Live,
        "Failed checks in a row after which a host is given up: statements that run there fail and \
         its connections are closed. New statements, and reads that can be repeated, leave it \
         after the first.",
    ),
    key(
        "failover_wait_ms",
        Integer(0, HOUR_MS),
        Value("10000"),
        Live,
        "Longest time a statement that was not sent yet waits for a server that can run it: while \
         there is no primary, or the primary cannot be connected to. 0 refuses it at once.",
    ),
    key(
        "failover_queue_max",
        Integer(1, MANY),
        Value("10000"),
        Live,
        "Most clients that wait so at a time. One more is refused at once.",
    ),
];

/// Part of `[[shard]]` and `[[shard.host]]`.
pub(super) const HOST_OPTIONS: &[Key] = &[
    key(
        "tls_mode",
        Choice(&["disable", "prefer", "require", "verify-ca", "verify-full"]),
        Value("prefer"),
        NewConnections,
        "TLS towards servers, as libpq's `sslmode`. `prefer` and `require` do not check the \
         certificate. Never used over a Unix socket.",
    ),
    key(
        "tls_root_cert_file",
        File,
        Words("the system's trusted roots"),
        NewConnections,
        "PEM file of the roots that `verify-ca` and `verify-full` trust.",
    ),
    key(
        "connect_timeout_ms",
        Integer(1, HOUR_MS),
        Value("3000"),
        NewConnections,
        "Time to connect to a server and log in.",
    ),
];
