//! Owns the tables of advice from measured traffic.

use crate::schema::Unit::{None, Percent};
use crate::schema::{Origin, Table, column};
use crate::value::Kind::{Float8, Int4, Text};

/// `SHOW ADVICE`
pub(super) static ADVICE: Table = Table {
    name: "advice",
    aliases: &[],
    origin: Origin::Own,
    help: "What would make the measured traffic faster, in the order in which it saves most: \
           first what requests wait for, then statements that take long and return little, then \
           replicas, and shards last. It rests on STATEMENTS, ROUTES, HOSTS, POOLS and STATS alone; \
           nothing is said of what has run less than 100 times or taken less than a second in all. \
           RESET STATS begins anew.",
    columns: &[
        column("rank", Int4, None, "1 comes first."),
        column(
            "kind",
            Text,
            None,
            "`pool_small`, `host_full`, `index`, `rows`, `calls`, `replica_lag`, `add_replica`, \
             `shard_key`, `scatter`, `hot_shard` or `pool_idle`.",
        ),
        column("database", Text, None, "Whose traffic it is; NULL for a host of several."),
        column("subject", Text, None, "A statement's fingerprint, a host, a pool or a shard."),
        column("advice", Text, None, "What to do, and why."),
        column("evidence", Text, None, "The numbers it rests on."),
        column("share_percent", Float8, Percent, "Part of the whole it is about; see `evidence`."),
        column("severity", Text, None, "`high` from 50 %, `medium` from 20 %, else `low`."),
    ],
};

/// Those of this file.
pub(super) static TABLES: &[&Table] = &[&ADVICE];
