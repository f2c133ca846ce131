//! Owns the part of the key table about commits over several shards: who recovers them, and how
//! long that may take.

use super::Absent::{Value, Words};
use super::Key;
use super::Kind::{File, Integer, Secret, Text};
use super::Reload::NewConnections;
use super::sections::{HOUR_MS, key};

/// Of `[[shard]]`.
pub(super) const RECOVERY_KEYS: &[Key] = &[
    key(
        "recovery_user",
        Text,
        Words("`monitor_user`"),
        NewConnections,
        "Login that ends prepared transactions whose commit was interrupted. PostgreSQL lets only \
         a superuser end those of others. Only used for databases with `shards`.",
    ),
    key(
        "recovery_password",
        Secret,
        Words("`monitor_password`, when `recovery_user` is not given"),
        NewConnections,
        "Its password.",
    ),
    key(
        "recovery_password_env",
        Text,
        Words("none"),
        NewConnections,
        "Environment variable that holds it.",
    ),
    key("recovery_password_file", File, Words("none"), NewConnections, "File that holds it."),
];

/// Of `[pool]` and `[[database]]`.
pub(super) const TWO_PHASE_KEYS: &[Key] = &[
    key(
        "two_phase_recovery_interval_ms",
        Integer(50, HOUR_MS),
        Value("5000"),
        NewConnections,
        "Time between two looks for interrupted commits over several shards, and how long a part \
         stays prepared before another proxy takes its commit for interrupted. A commit that \
         takes longer to prepare than this fails with SQLSTATE 40001. The same on every proxy.",
    ),
    key(
        "two_phase_resolve_timeout_ms",
        Integer(1, HOUR_MS),
        Value("10000"),
        NewConnections,
        "When the server that decides a commit over several shards is lost on the way: longest \
         time to find out how the commit ended. After it the client is told, with SQLSTATE PGM06, \
         that this is not known.",
    ),
];
