//! Owns the resolved configuration: every value checked, every default filled in, secrets read.
//! Nothing here knows of TOML; nothing here changes after it was built.

mod access;
mod console;
mod sharding;
mod traces;

pub use access::*;
pub use console::*;
pub use sharding::*;
pub use traces::*;

use super::limits::{Network, SessionTimeouts, Waiting};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[general]`
    pub general: General,
    /// `[[listener]]`
    pub listeners: Vec<Listener>,
    /// `[http]`: `/health`, `/ready`, `/metrics`, and the status page.
    pub http: Option<SocketAddr>,
    /// The HTTP port shows the status page.
    pub status_page: bool,
    /// `[auth]`, `[[hba]]`, `[[user_map]]`
    pub access: Access,
    /// `[[user]]`
    pub users: Vec<Arc<User>>,
    /// `[[shard]]`: a primary and its replicas.
    pub shards: Vec<Arc<Shard>>,
    /// `[[database]]`
    pub databases: Vec<Arc<Database>>,
    /// `[[distribution]]` and `[[table]]`, for each database with shards.
    pub maps: Vec<DeclaredMap>,
    /// `[catalog]`
    pub catalog: Option<Arc<CatalogServers>>,
    /// Every key with what holds, to be shown.
    pub settings: Vec<super::Setting>,
    /// What it was made from, for changes of single keys.
    pub source: Option<super::Source>,
    /// `[console]`
    pub console: Console,
    /// `[tracing]`
    pub tracing: Option<Tracing>,
}

/// Process-wide settings.
#[derive(Debug, Clone, PartialEq)]
pub struct General {
    /// Worker threads, each with its own event loop.
    pub workers: usize,
    /// Filter for log lines, in `tracing_subscriber::EnvFilter` syntax.
    pub log_level: String,
    /// Log lines as JSON objects.
    pub log_json: bool,
    /// Most client connections of the whole process.
    pub max_clients: usize,
    /// Time a client has to finish TLS and login.
    pub login_timeout: Duration,
    /// Time a drain (SIGTERM) waits for clients before it closes them.
    pub drain_timeout: Duration,
    /// Largest message a client may send.
    pub max_message_bytes: usize,
    /// Ways in, and options of TCP connections.
    pub network: Network,
    /// Name of the process in the catalog, when one is given.
    pub name: Option<String>,
    /// Time over which the console's averages are taken.
    pub stats_period: Duration,
    /// What is counted and logged of statements.
    pub statements: StatementOptions,
}

/// What is counted and logged of statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementOptions {
    /// Most statement shapes counted per database.
    pub digests_max: usize,
    /// Statements that take this long are logged.
    pub slow: Option<Duration>,
    /// Of a thousand statements, how many are logged however long they take.
    pub sample_per_mille: u32,
    /// Lines show texts with their literals.
    pub literals: bool,
}

/// Where clients come in.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// TCP address or Unix socket path.
    pub address: Address,
    /// TLS towards clients.
    pub tls: Option<ListenerTls>,
    /// Most client connections on this listener.
    pub max_clients: usize,
    /// How clients prove who they are, when there are no rules.
    pub auth: AuthMethod,
    /// Connections begin with a PROXY protocol header.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// PEM certificate chain.
    pub cert_file: PathBuf,
    /// PEM private key.
    pub key_file: PathBuf,
    /// Refuse clients that do not use TLS.
    pub required: bool,
    /// Ask clients for certificates.
    pub client_authority: Option<ClientAuthority>,
}

/// Authentication of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// SCRAM-SHA-256, and SCRAM-SHA-256-PLUS over TLS.
    ScramSha256,
    /// MD5 challenge (a user with only a SCRAM secret falls back to SCRAM).
    Md5,
    /// No proof asked for.
    Trust,
    /// A certificate with the user's name.
    Cert,
    /// Nobody comes in.
    Reject,
}

/// A TCP host and port, or the path of a Unix socket file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// Host name or IP address, and port.
    Tcp(String, u16),
    /// The socket file itself, for example `/run/postgresql/.s.PGSQL.5432`.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Someone who may log in.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Name, as clients give it.
    pub name: String,
    /// What the client's proof is checked against; `None` only allows `trust`.
    pub secret: Option<Secret>,
    /// Login name on the servers.
    pub server_user: String,
    /// Password for the servers (clear text), when they ask for one.
    pub server_password: Option<Password>,
    /// Most client connections of this user.
    pub max_clients: usize,
    /// Overrides the database's `pool_size`.
    pub pool_size: Option<usize>,
    /// Most server connections per host, over all databases; `usize::MAX` without a limit.
    pub max_user_connections: usize,
    /// Not in the file: known from a server's answer to the query for secrets.
    pub fetched: bool,
}

/// A clear-text password: never printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Zeroizing<String>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What a client's proof is checked against.
#[derive(Debug, Clone, PartialEq)]
pub enum Secret {
    /// The password itself.
    Password(Password),
    /// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, as in `pg_authid.rolpassword`.
    Scram(Password),
    /// `md5` + 32 hex digits, as in `pg_authid.rolpassword`.
    Md5(Password),
}

/// A primary and its replicas; which host is which is found out, not configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Shard {
    /// Name, as shown in logs and metrics.
    pub name: String,
    /// All hosts of the shard.
    pub hosts: Vec<Arc<Host>>,
    /// How the monitor logs in (needs `pg_monitor`).
    pub monitor: MonitorLogin,
    /// How hosts are watched.
    pub health: Health,
    /// How recovery of commits over several shards logs in; its database is not used.
    pub recovery: MonitorLogin,
    /// What statements do while there is no server for them.
    pub failover: Failover,
}

/// The monitor's login.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorLogin {
    /// User name on the servers.
    pub user: String,
    /// Password, when the servers ask for one.
    pub password: Option<Password>,
    /// Database to connect to.
    pub database: String,
}

/// How hosts are watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// Period of health checks while nobody waits for a fresh sample.
    pub interval: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// First ban of a failing host; doubles up to `ban_max`.
    pub ban_min: Duration,
    /// Longest ban.
    pub ban_max: Duration,
    /// Period of LSN samples while a session waits for replicas to catch up.
    pub sample_interval: Duration,
    /// Failed checks in a row after which what runs on the host is given up.
    pub failures_max: u32,
}

/// What statements do while there is no server for them.
#[derive(Debug, Clone, PartialEq)]
pub struct Failover {
    /// Longest wait of a statement that was not sent yet; zero for none.
    pub wait: Duration,
    /// Most clients that wait so.
    pub queue_max: usize,
}

/// One PostgreSQL server.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Where it listens.
    pub address: Address,
    /// TLS towards it.
    pub tls: ServerTls,
    /// Time to connect and log in.
    pub connect_timeout: Duration,
}

/// TLS towards servers, as libpq's `sslmode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// How much is asked for.
    pub mode: ServerTlsMode,
    /// PEM file of trusted roots; the system's roots when absent.
    pub root_cert_file: Option<PathBuf>,
    /// SHA-256 of that file when the configuration was read: new roots are a new setting.
    pub root_cert_digest: Option<[u8; 32]>,
}

/// libpq's `sslmode`, without `allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerTlsMode {
    /// Never TLS.
    Disable,
    /// TLS when the server offers it.
    Prefer,
    /// TLS, without checking the certificate.
    Require,
    /// TLS with a certificate from a trusted root.
    VerifyCa,
    /// As `VerifyCa`, and the certificate names the host.
    VerifyFull,
}

/// How long commits over several shards may be in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoPhaseTimes {
    /// Between two rounds of recovery; and as long a part stays prepared before it counts as
    /// abandoned.
    pub recovery_interval: Duration,
    /// Longest wait for the outcome of a commit whose server was lost.
    pub resolve_timeout: Duration,
}

/// How long a client keeps a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// Until the transaction ends.
    Transaction,
    /// Until the client disconnects.
    Session,
    /// Until the statement ends; explicit transactions are refused.
    Statement,
}

/// Default scope of read-your-writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Causality {
    /// A session sees its own writes.
    Session,
    /// No promise.
    Off,
}

/// How `currval` and `lastval` are kept right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceState {
    /// As `Transaction`, from the first time somebody asks for such a value.
    Auto,
    /// Right within the transaction that used the sequence.
    Transaction,
    /// Sessions keep their server from their first write on.
    Session,
}

/// A database clients may ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// Name, as clients give it.
    pub name: String,
    /// Name on the servers.
    pub server_database: String,
    /// Where it lives; of a sharded database the home shard.
    pub shard: Arc<Shard>,
    /// The shards it is spread over.
    pub sharding: Option<Arc<Sharding>>,
    /// Shards that are only thought of: its rules are tried, and nothing is spread.
    pub observed: Option<Arc<Sharding>>,
    /// How long a client keeps a server.
    pub pool_mode: PoolMode,
    /// Send reads to replicas.
    pub read_replicas: bool,
    /// Read-your-writes scope of sessions that set none.
    pub causality: Causality,
    /// How `currval` and `lastval` are kept right.
    pub sequence_state: SequenceState,
    /// Client address and port are added to the `application_name` given at login.
    pub application_name_add_host: bool,
    /// A replica further behind is not read from.
    pub max_replica_lag: Option<Duration>,
    /// The same in bytes of WAL.
    pub max_replica_lag_bytes: Option<u64>,
    /// Most client connections of this database.
    pub max_clients: usize,
    /// Whose login all clients share on the servers; their own when `None`.
    pub forced_user: Option<Arc<User>>,
    /// Most server connections per user and host.
    pub pool_size: usize,
    /// Server connections per user and host kept open when idle.
    pub min_idle: usize,
    /// An idle server connection is closed after this time.
    pub idle_timeout: Duration,
    /// A server connection is closed when older than this (with up to 10 % jitter).
    pub max_lifetime: Duration,
    /// Longest wait for a server connection.
    pub checkout_timeout: Duration,
    /// Prepared statements kept per server connection.
    pub prepared_statements: usize,
    /// Period of reloading catalog facts (functions, views).
    pub facts_interval: Duration,
    /// Most notifications that wait for one session, in bytes.
    pub notify_queue_bytes: usize,
    /// Who may wait for a server connection.
    pub waiting: Waiting,
    /// How long sessions may do what.
    pub timeouts: SessionTimeouts,
    /// How long commits over several shards may be in doubt.
    pub two_phase: TwoPhaseTimes,
    /// Longest wait of a statement for keys that change hands.
    pub move_wait: Duration,
}
