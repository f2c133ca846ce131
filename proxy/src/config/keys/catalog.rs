//! Owns the part of the key table about the database that shard maps come from.

use super::Absent::{Required, Value, Words};
use super::Kind::{Addresses, File, Integer, Secret, Text};
use super::Reload::{Live, NewConnections, Restart};
use super::failover::HOST_OPTIONS;
use super::sections::{HOUR_MS, key};
use super::{Key, Section};

/// `[catalog]`
pub const CATALOG: Section = Section {
    name: "catalog",
    repeats: false,
    help: "The PostgreSQL database that the shard maps of all databases with `shards` come from, \
           so that several pgmanifold processes have the same one and it can change while they \
           run. `[[distribution]]` and `[[table]]` are then only what `pgmanifold map apply` \
           writes there.",
    groups: &[
        &[
            key(
                "hosts",
                Addresses,
                Required,
                Restart,
                "Addresses of its servers, `host:port` or a Unix socket file: a primary and its \
                 replicas, or one server.",
            ),
            key("database", Text, Value("pgmanifold"), Restart, "The database."),
            key("user", Text, Required, NewConnections, "Login; see operations.md for its rights."),
            key("password", Secret, Words("none"), NewConnections, "Its password."),
            key(
                "password_env",
                Text,
                Words("none"),
                NewConnections,
                "Environment variable that holds it.",
            ),
            key("password_file", File, Words("none"), NewConnections, "File that holds it."),
            key(
                "poll_interval_ms",
                Integer(100, HOUR_MS),
                Value("5000"),
                Live,
                "Time between two looks at the epoch, and between two reports of the epoch in use. \
                 A change is told at once; looking covers what was not heard.",
            ),
            key(
                "state_file",
                File,
                Words("none"),
                Live,
                "File that keeps a copy of the maps, for a start while the catalog cannot be \
                 reached. Each process needs its own.",
            ),
        ],
        HOST_OPTIONS,
    ],
    nested: &[],
};

/// Part of `[general]`.
pub(super) const NAME_KEYS: &[Key] = &[key(
    "name",
    Text,
    Words("host name, process id and a random number"),
    Restart,
    "Name of this process. In the catalog (`pgm.proxy`) and on shards (`pgm.attached`) the process \
     id and a random number follow, so that a process and the one that replaces it are told apart.",
)];
