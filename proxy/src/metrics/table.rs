//! Owns the table of every metric family: name, type, labels, help. The encoder and
//! docs/metrics.md are both made from it. Labels take their values from the configuration and from
//! fixed lists only, so that the number of series is bounded.

/// One metric family.
#[derive(Debug)]
pub struct Family {
    /// Name as exposed; the unit comes last, counters end in `_total`.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Label names.
    pub labels: &'static [&'static str],
    /// A sentence for the documentation and the exposition.
    pub help: &'static str,
}

/// Type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of durations, in seconds.
    Histogram,
}

/// Upper bounds of the buckets of every histogram, in microseconds; `+Inf` follows.
pub const BUCKETS_US: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

macro_rules! families {
    ($($constant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help]
        pub static $constant: Family = Family {
            name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help,
        };)*
        /// Every family, in the order of the documentation.
        pub static FAMILIES: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    BUILD_INFO Gauge "pgmanifold_build_info" ["version"]
        "Always 1; the label is the version that runs.";
    START_TIME Gauge "pgmanifold_start_time_seconds" []
        "When the process started, in seconds since 1970.";
    RESIDENT_MEMORY Gauge "pgmanifold_resident_memory_bytes" []
        "Resident memory of the process.";
    OPEN_FILES Gauge "pgmanifold_open_files" []
        "Open file descriptors of the process.";
    TASKS Gauge "pgmanifold_tasks" ["loop"]
        "Tasks alive on the event loops of each kind.";
    RELOADS Counter "pgmanifold_config_reloads_total" ["result"]
        "Reloads of the configuration: ok, or refused because of errors in the file.";
    CLIENTS_LOGIN Gauge "pgmanifold_clients_login" []
        "Client connections that have not finished TLS and login.";
    LOGIN_FAILURES Counter "pgmanifold_login_failures_total" ["reason"]
        "Client connections refused before or during login.";
    CLIENTS Gauge "pgmanifold_clients" ["database", "state"]
        "Logged-in client connections: idle, active, waiting for a server, or idle in a \
         transaction.";
    CLIENTS_LIMIT Gauge "pgmanifold_clients_limit" []
        "Most client connections there may be: `general.max_clients`.";
    CLIENT_CONNECTIONS Counter "pgmanifold_client_connections_total" ["database"]
        "Client connections that logged in.";
    QUERIES Counter "pgmanifold_queries_total" ["database", "route"]
        "Requests (query strings, or extended-query batches up to Sync) by where they went.";
    QUERY_SECONDS Histogram "pgmanifold_query_seconds" ["database", "route"]
        "Time from the last byte of a request to the last byte of its answer, waiting included.";
    SERVER_SECONDS Histogram "pgmanifold_server_seconds" ["database", "route"]
        "The part of it with a server: without the wait for a server connection, and only of \
         requests that had one.";
    CLIENT_WAIT_SECONDS Histogram "pgmanifold_client_wait_seconds" ["database"]
        "Time between an answer and the client's next request inside a transaction, while its \
         server waits.";
    TRANSACTIONS Counter "pgmanifold_transactions_total" ["database"]
        "Transactions that have ended on servers, of one statement or of many; one over several \
         shards counts once.";
    SERVER_ASSIGNMENTS Counter "pgmanifold_server_assignments_total" ["database"]
        "Times a client was given a server connection.";
    CLIENT_PARSES Counter "pgmanifold_client_parses_total" ["database"]
        "Statements that clients have prepared under a name.";
    SERVER_PARSES Counter "pgmanifold_server_parses_total" ["database"]
        "Statements that were prepared under a name on servers.";
    BINDS Counter "pgmanifold_binds_total" ["database"]
        "Binds of named statements that were sent to servers.";
    PLAN_LOOKUPS Counter "pgmanifold_plan_lookups_total" ["database", "result"]
        "Statement texts looked up among those planned before: hit, or miss (it was planned then).";
    POOL_WAIT_SECONDS Histogram "pgmanifold_pool_wait_seconds" ["database"]
        "Time a client waited for a server connection, when none was free at once.";
    CHECKOUT_TIMEOUTS Counter "pgmanifold_checkout_timeouts_total" ["database"]
        "Waits given up after `checkout_timeout_ms`.";
    SESSION_TIMEOUTS Counter "pgmanifold_session_timeouts_total" ["database", "kind"]
        "Statements cancelled and sessions closed because a time limit was over.";
    LIMIT_REFUSALS Counter "pgmanifold_limit_refusals_total" ["limit"]
        "Clients and requests turned away, or logins cut short, because a limit was reached.";
    ERRORS Counter "pgmanifold_errors_total" ["database", "class", "origin"]
        "Errors sent to clients, by SQLSTATE class and by who made them: server or pgmanifold.";
    PINS Counter "pgmanifold_pins_total" ["database", "reason"]
        "Reasons to keep a server beyond a transaction that sessions have had.";
    PINNED Gauge "pgmanifold_pinned_sessions" ["database", "reason"]
        "Sessions that keep their server between transactions now; one with two reasons is \
         counted under both.";
    LISTENER_CONNECTIONS Gauge "pgmanifold_listener_connections" ["database"]
        "Server connections that listen for all sessions of the database: 1, or 0 when nobody \
         listens.";
    LISTENING_SESSIONS Gauge "pgmanifold_listening_sessions" ["database"]
        "Sessions that listen to at least one channel through that connection.";
    LISTENING_CHANNELS Gauge "pgmanifold_listening_channels" ["database"]
        "Channels that connection listens to.";
    NOTIFICATIONS Counter "pgmanifold_notifications_total" ["database"]
        "Notifications handed to sessions: one for each session that listens to the channel.";
    SHARD_MAP_EPOCH Gauge "pgmanifold_shard_map_epoch" ["database"]
        "Epoch of the shard map in use; 0 while none is known.";
    SHARD_MAP_ACKNOWLEDGED Gauge "pgmanifold_shard_map_acknowledged_epoch" ["database"]
        "Epoch below which no statement or transaction runs any more.";
    SHARD_MAP_UNACKNOWLEDGED Gauge "pgmanifold_shard_map_unacknowledged_seconds" ["database"]
        "How long a statement or transaction goes on by a shard map that was replaced; 0 when \
         there is none.";
    MOVES_ACTIVE Gauge "pgmanifold_moves_active" ["database"]
        "Moves of keys to another shard that have not ended, as far as the catalog could be read.";
    HELD_STATEMENTS Counter "pgmanifold_held_statements_total" ["database"]
        "Statements that waited because their keys were about to be handed over to another shard.";
    MOVED_REPEATS Counter "pgmanifold_moved_repeats_total" ["database"]
        "Statements that were sent again because a shard had to give their keys away.";
    HELD_SECONDS Histogram "pgmanifold_held_seconds" ["database"]
        "Each wait of a statement for the shard map that says who has its keys.";
    CLIENT_RECEIVED Counter "pgmanifold_client_received_bytes_total" ["database"]
        "Bytes received from clients after login.";
    CLIENT_SENT Counter "pgmanifold_client_sent_bytes_total" ["database"]
        "Bytes sent to clients after login.";
    SERVERS Gauge "pgmanifold_servers" ["shard", "host", "state"]
        "Server connections: connecting, idle in the pool, or active (lent to a client).";
    SERVER_CONNECTS Counter "pgmanifold_server_connects_total" ["shard", "host"]
        "Server connections that logged in.";
    SERVER_CONNECT_FAILURES Counter "pgmanifold_server_connect_failures_total" ["shard", "host"]
        "Attempts to connect to a server that failed.";
    QUEUE_REFUSALS Counter "pgmanifold_pool_queue_refusals_total" ["shard", "host"]
        "Requests refused because `pool_queue_max` clients waited for the host already.";
    POOL_WAITING Gauge "pgmanifold_pool_waiting" ["shard", "host"]
        "Clients that wait for a server connection to the host.";
    POOL_OLDEST_WAIT Gauge "pgmanifold_pool_oldest_wait_seconds" ["shard", "host"]
        "How long the client that waits longest for the host has waited.";
    HOST_QUERIES Counter "pgmanifold_host_queries_total" ["shard", "host"]
        "Requests the host has answered; one over several shards counts on each of them.";
    HOST_ERRORS Counter "pgmanifold_host_errors_total" ["shard", "host"]
        "Errors the host has answered clients with, and requests that lost their connection to it.";
    HOST_QUERY_SECONDS Histogram "pgmanifold_host_query_seconds" ["shard", "host"]
        "Time from a request having a connection to the host to the end of the host's answer.";
    HOST_POOL_WAIT_SECONDS Histogram "pgmanifold_host_pool_wait_seconds" ["shard", "host"]
        "Time a request waited for a connection to the host, when none was free at once.";
    HOST_UP Gauge "pgmanifold_host_up" ["shard", "host"]
        "1 when the last health check of the host succeeded, else 0.";
    HOST_ROLE Gauge "pgmanifold_host_role" ["shard", "host", "role"]
        "1 for the role the host was last seen in: primary or replica.";
    HOST_BANNED Gauge "pgmanifold_host_banned" ["shard", "host"]
        "1 while the host gets no clients because it failed.";
    HOST_FENCED Gauge "pgmanifold_host_fenced" ["shard", "host"]
        "1 while the host claims to be the primary and is not taken for it: nothing is written \
         there.";
    HOST_CIRCUIT Gauge "pgmanifold_host_circuit" ["shard", "host", "state"]
        "1 for the state of the host's circuit breaker: closed, open (no attempt to connect), or \
         half_open (one attempt at a time).";
    HOST_LOSSES Counter "pgmanifold_host_losses_total" ["shard", "host"]
        "Times the host was given up: connections to it were closed and what ran there failed.";
    PRIMARY_STATE Gauge "pgmanifold_primary_state" ["shard", "state"]
        "1 for the state of the shard's primary: up, missing, conflict (two hosts claim to be it), \
         outdated (the only one is on an older timeline), foreign (it belongs to another cluster) \
         or not_checked. In all but up, writes wait or are refused.";
    PRIMARY_CHANGES Counter "pgmanifold_primary_changes_total" ["shard"]
        "Times another host or timeline became the primary, the first one included.";
    FAILOVER_WAITING Gauge "pgmanifold_failover_waiting" ["shard"]
        "Clients whose statement waits for a server to be there at all.";
    FAILOVER_WAITS Counter "pgmanifold_failover_waits_total" ["shard", "result"]
        "Such waits by their end: served, timeout (`failover_wait_ms`), queue_full \
         (`failover_queue_max`) or cancelled (also when the client left).";
    REPLICA_LAG_BYTES Gauge "pgmanifold_replica_lag_bytes" ["shard", "host"]
        "WAL the primary has flushed and the replica has not replayed.";
    REPLICA_LAG_SECONDS Gauge "pgmanifold_replica_lag_seconds" ["shard", "host"]
        "How long ago the primary was where the replica is now.";
    TWO_PHASE_COMMITS Counter "pgmanifold_two_phase_commits_total" ["database", "outcome"]
        "Transactions that wrote on several shards, by how their commit ended: committed, \
         rolled_back, or unknown (the client was told so; recovery ends them).";
    TWO_PHASE_READY Gauge "pgmanifold_two_phase_ready" ["database", "shard"]
        "1 when the shard can take part in transactions that write on several shards: it has the \
         schema pgm, and max_prepared_transactions is not 0.";
    TWO_PHASE_IN_DOUBT Gauge "pgmanifold_two_phase_in_doubt" ["database", "shard"]
        "Prepared parts of transactions on the shard that no commit of this process is about to \
         end. They keep locks: a number that stays above 0 is an alarm.";
    TWO_PHASE_RECOVERED Counter "pgmanifold_two_phase_recovered_total"
        ["database", "shard", "outcome"]
        "Prepared parts that recovery has ended: committed, rolled_back, or lost: the commit was \
         decided, and the shard has gone back to an earlier state (a failover to a replica that \
         was behind). Each lost one is an alarm.";
    TRACE_SPANS Counter "pgmanifold_trace_spans_total" ["result"]
        "Spans of traces: exported, dropped because the queue was full, or failed because the \
         collector did not take them.";
    TRACE_QUEUE Gauge "pgmanifold_trace_queue_spans" []
        "Spans on their way to the collector.";
}
