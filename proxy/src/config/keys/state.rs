//! Owns the keys about what a session is to servers: names and values they keep for it. They stand
//! in `[pool]` and `[[database]]`.

use super::Absent::Value;
use super::Key;
use super::Kind::{Boolean, Choice};
use super::Reload::NewConnections;
use super::sections::key;

pub(super) const STATE_KEYS: &[Key] = &[
    key(
        "sequence_state",
        Choice(&["auto", "transaction", "session"]),
        Value("auto"),
        NewConnections,
        "How `currval` and `lastval` are kept right. `transaction`: servers are wiped of other \
         sessions' values before they write for a session, so both work in the transaction that \
         used the sequence. `auto`: the same from the first time somebody asks for such a value. \
         `session`: a session keeps its server from its first write on, so they always work.",
    ),
    key(
        "application_name_add_host",
        Boolean,
        Value("false"),
        NewConnections,
        "Add the client's address and port to the `application_name` given at login, so that \
         `pg_stat_activity` shows whom a server works for. A later `SET application_name` is \
         passed on as it is.",
    ),
];
