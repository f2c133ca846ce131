//! Owns the limits and timeouts of the configuration that bound what clients and servers may
//! take, and their reading.

use super::model::General;
use super::resolve::Reader;
use std::time::Duration;

/// Options of TCP connections, and of the ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Most client connections that have not logged in yet.
    pub max_logins: usize,
    /// Several processes may listen on the same addresses.
    pub reuse_port: bool,
    /// Options of TCP sockets.
    pub tcp: TcpOptions,
}

/// How dead TCP peers are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOptions {
    /// An idle peer is probed after this time; zero leaves it to the kernel.
    pub keepalive_idle: Duration,
    /// Period of the probes that are not answered.
    pub keepalive_interval: Duration,
    /// So many unanswered probes end the connection.
    pub keepalive_probes: u32,
    /// Bytes may be unacknowledged so long; zero leaves it to the kernel.
    pub user_timeout: Duration,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            keepalive_idle: Duration::from_secs(60),
            keepalive_interval: Duration::from_secs(10),
            keepalive_probes: 6,
            user_timeout: Duration::ZERO,
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self { max_logins: 1000, reuse_port: false, tcp: TcpOptions::default() }
    }
}

/// Who may wait for a server connection, and what is done for those who do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Most waiters of one pool.
    pub queue_max: usize,
    /// A client is told after this wait; `None`: never.
    pub notify: Option<Duration>,
    /// Connections beyond the pool's size.
    pub reserve_size: usize,
    /// They are opened after this wait.
    pub reserve_timeout: Duration,
    /// Most connections of the database per host; `usize::MAX` without a limit.
    pub max_db_connections: usize,
}

/// How long a session may do what; zero: for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionTimeouts {
    /// A statement on a server.
    pub query: Duration,
    /// Nothing inside a transaction.
    pub idle_transaction: Duration,
    /// A transaction.
    pub transaction: Duration,
    /// Nothing outside of transactions.
    pub client_idle: Duration,
}

impl SessionTimeouts {
    /// The shortest that is set.
    pub fn shortest(&self) -> Option<Duration> {
        let all = [self.query, self.idle_transaction, self.transaction, self.client_idle];
        all.into_iter().filter(|timeout| !timeout.is_zero()).min()
    }
}

/// The keys of `[general]`.
pub(super) fn network(reader: &Reader<'_>) -> Network {
    Network {
        max_logins: reader.count("max_logins"),
        reuse_port: reader.boolean("reuse_port"),
        tcp: TcpOptions {
            keepalive_idle: reader.duration_ms("tcp_keepalive_idle_ms"),
            keepalive_interval: reader.duration_ms("tcp_keepalive_interval_ms"),
            keepalive_probes: u32::try_from(reader.count("tcp_keepalive_probes")).unwrap_or(1),
            user_timeout: reader.duration_ms("tcp_user_timeout_ms"),
        },
    }
}

/// The keys of a database; `checkout_timeout` ends every wait.
pub(super) fn waiting(
    reader: &Reader<'_>,
    general: &General,
    checkout_timeout: Duration,
) -> Waiting {
    let notify = reader.duration_ms("query_wait_notify_ms");
    Waiting {
        queue_max: reader.optional_count("pool_queue_max").unwrap_or(general.max_clients),
        notify: Some(notify).filter(|time| !time.is_zero() && *time < checkout_timeout),
        reserve_size: reader.count("reserve_pool_size"),
        reserve_timeout: reader.duration_ms("reserve_pool_timeout_ms"),
        max_db_connections: reader.optional_count("max_db_connections").unwrap_or(usize::MAX),
    }
}

/// The timeouts of a database's sessions.
pub(super) fn session_timeouts(reader: &Reader<'_>) -> SessionTimeouts {
    SessionTimeouts {
        query: reader.duration_ms("query_timeout_ms"),
        idle_transaction: reader.duration_ms("idle_transaction_timeout_ms"),
        transaction: reader.duration_ms("transaction_timeout_ms"),
        client_idle: reader.duration_ms("client_idle_timeout_ms"),
    }
}
