//! Owns the table of everything that may be said in the configuration file: sections, keys, types,
//! limits, defaults, and what a reload does with a change. The reader of the file and
//! docs/configuration.md are both made from it; nothing else may know a key's default.

use super::Absent::{Required, Value, Words};
use super::Kind::{Address, Addresses, Boolean, Choice, File, Integer, Secret, Text};
use super::Reload::{Live, NewConnections, Restart};
use super::access::{AUTH, HBA, LISTENER, USER_MAP};
use super::catalog::CATALOG;
use super::console::CONSOLE;
use super::failover::{FAILOVER_KEYS, HOST_OPTIONS};
use super::notify::NOTIFY_KEYS;
use super::sharding::{DATABASE_SHARD_KEYS, DISTRIBUTION, MOVE_KEYS, TABLE};
use super::state::STATE_KEYS;
use super::traces::TRACING;
use super::two_phase::{RECOVERY_KEYS, TWO_PHASE_KEYS};
use super::{Absent, Key, Kind, Reload, Section};

pub(super) const HOUR_MS: u64 = 3_600_000;
pub(super) const MONTH_MS: u64 = 30 * 24 * HOUR_MS;
pub(super) const MANY: u64 = 1_000_000;

pub(super) const fn key(
    name: &'static str,
    kind: Kind,
    default: Absent,
    reload: Reload,
    help: &'static str,
) -> Key {
    Key { name, kind, default, reload, help }
}

/// Every section, in the order of the documentation.
pub const SECTIONS: &[&Section] = &[
    &GENERAL,
    &LISTENER,
    &HTTP,
    &USER,
    &AUTH,
    &HBA,
    &USER_MAP,
    &SHARD,
    &DATABASE,
    &DISTRIBUTION,
    &TABLE,
    &CATALOG,
    &CONSOLE,
    &TRACING,
    &POOL,
];

/// `[general]`
pub const GENERAL: Section = Section {
    name: "general",
    repeats: false,
    help: "Settings of the whole process.",
    groups: &[&[
        key(
            "workers",
            Integer(1, 256),
            Words("half of the cores, at least 1"),
            Restart,
            "Worker threads. Each has its own event loop and its own server connections.",
        ),
        key(
            "log_level",
            Text,
            Value("info"),
            Live,
            "Which log lines are written: `error`, `warn`, `info`, `debug`, `trace`, or a filter \
             such as `info,pgmanifold::pool=debug`.",
        ),
        key(
            "log_format",
            Choice(&["text", "json"]),
            Value("text"),
            Restart,
            "Form of a log line, on standard error.",
        ),
        key(
            "max_clients",
            Integer(1, MANY),
            Value("10000"),
            Live,
            "Most client connections of the process. One more is refused with SQLSTATE 53300.",
        ),
        key(
            "login_timeout_ms",
            Integer(1, HOUR_MS),
            Value("15000"),
            NewConnections,
            "Time a client has to finish TLS and login.",
        ),
        key(
            "drain_timeout_ms",
            Integer(0, 24 * HOUR_MS),
            Value("30000"),
            Live,
            "Time SIGTERM and SIGINT give clients to finish before they are closed. 0 closes \
             them at once; there is no setting that waits for ever.",
        ),
        key(
            "max_message_bytes",
            Integer(65_536, 2_147_483_647),
            Value("1073741824"),
            Live,
            "Largest message a client may send. PostgreSQL itself stops at 1 GiB.",
        ),
    ]],
    nested: &[],
};

/// `[http]`
pub const HTTP: Section = Section {
    name: "http",
    repeats: false,
    help: "`/health`, `/ready`, `/metrics`, and a status page at `/`. Without this section no HTTP \
           port is opened. It has neither TLS nor login: keep it on a private address.",
    groups: &[&[
        key(
            "address",
            Address,
            Required,
            Restart,
            "`IP:port` to listen on; port 0 takes a free one.",
        ),
        key(
            "status_page",
            Boolean,
            Value("true"),
            Live,
            "Whether `/` shows the status page: hosts, pools, and texts of statements without \
             their literals. See [security.md](security.md).",
        ),
    ]],
    nested: &[],
};

/// `[[user]]`
pub const USER: Section = Section {
    name: "user",
    repeats: true,
    help: "Who may log in. At least one. Of `password…` and `secret…` at most one key is given; a \
           user without any comes in by a certificate, by `trust`, or by the secret that \
           `auth.query` finds.",
    groups: &[&[
        key("name", Text, Required, NewConnections, "Name, as clients give it."),
        key("password", Secret, Words("none"), NewConnections, "The password itself."),
        key(
            "password_env",
            Text,
            Words("none"),
            NewConnections,
            "Environment variable that holds the password.",
        ),
        key(
            "password_file",
            File,
            Words("none"),
            NewConnections,
            "File that holds the password; one newline at its end is left out.",
        ),
        key(
            "secret",
            Secret,
            Words("none"),
            NewConnections,
            "A stored secret as in `pg_authid.rolpassword`: `SCRAM-SHA-256$…` or `md5…`.",
        ),
        key(
            "secret_env",
            Text,
            Words("none"),
            NewConnections,
            "Environment variable that holds the stored secret.",
        ),
        key(
            "secret_file",
            File,
            Words("none"),
            NewConnections,
            "File that holds the stored secret.",
        ),
        key("server_user", Text, Words("`name`"), NewConnections, "Login name on the servers."),
        key(
            "server_password",
            Secret,
            Words("the user's `password…`, if any"),
            NewConnections,
            "Password on the servers, in clear text, for servers that ask for one.",
        ),
        key(
            "server_password_env",
            Text,
            Words("as `server_password`"),
            NewConnections,
            "Environment variable that holds it.",
        ),
        key(
            "server_password_file",
            File,
            Words("as `server_password`"),
            NewConnections,
            "File that holds it.",
        ),
        key(
            "max_clients",
            Integer(1, MANY),
            Words("`general.max_clients`"),
            Live,
            "Most client connections of this user.",
        ),
        key(
            "pool_size",
            Integer(1, 10_000),
            Words("the database's `pool_size`"),
            Live,
            "Most server connections per database and host for this user.",
        ),
    ]],
    nested: &[],
};

/// `[[shard]]`
pub const SHARD: Section = Section {
    name: "shard",
    repeats: true,
    help: "A primary and its replicas. Which host is the primary is found out, not configured, and \
           followed when it changes. TLS and connect options given here are the defaults of \
           the shard's hosts.",
    groups: &[
        &[
            key(
                "name",
                Text,
                Required,
                Live,
                "Name in logs and metrics: letters, digits, `_`, `-` and `.`.",
            ),
            key(
                "hosts",
                Addresses,
                Words("the `[[shard.host]]` tables"),
                Live,
                "Addresses of all servers of the shard, `host:port` or a Unix socket file.",
            ),
            key(
                "monitor_user",
                Text,
                Required,
                NewConnections,
                "Login of the health checks on every host; it needs the role `pg_monitor`.",
            ),
            key("monitor_password", Secret, Words("none"), NewConnections, "Its password."),
            key(
                "monitor_password_env",
                Text,
                Words("none"),
                NewConnections,
                "Environment variable that holds it.",
            ),
            key(
                "monitor_password_file",
                File,
                Words("none"),
                NewConnections,
                "File that holds it.",
            ),
            key(
                "monitor_database",
                Text,
                Value("postgres"),
                NewConnections,
                "Database the health checks connect to.",
            ),
            key(
                "health_interval_ms",
                Integer(10, HOUR_MS),
                Value("1000"),
                Live,
                "Time between two health checks of a host.",
            ),
            key(
                "health_timeout_ms",
                Integer(10, HOUR_MS),
                Value("1000"),
                Live,
                "A health check that takes longer has failed.",
            ),
            key(
                "health_ban_min_ms",
                Integer(1, HOUR_MS),
                Value("1000"),
                Live,
                "First ban of a failing host from reads, and first pause between attempts to \
                 connect to it. Each further failure doubles it.",
            ),
            key(
                "health_ban_max_ms",
                Integer(1, HOUR_MS),
                Value("30000"),
                Live,
                "Longest ban and longest pause.",
            ),
            key(
                "sample_interval_ms",
                Integer(1, 60_000),
                Value("10"),
                Live,
                "Time between two samples of WAL positions while a session waits for replicas to \
                 catch up with its write. Reads stay on the primary for about that long plus the \
                 real lag.",
            ),
        ],
        FAILOVER_KEYS,
        RECOVERY_KEYS,
        HOST_OPTIONS,
    ],
    nested: &[&HOST],
};

/// `[[shard.host]]`
pub const HOST: Section = Section {
    name: "shard.host",
    repeats: true,
    help: "A host of the shard above it, for hosts that need options of their own. May be mixed \
           with `hosts`.",
    groups: &[
        &[key("address", Address, Required, Live, "`host:port` or a Unix socket file.")],
        HOST_OPTIONS,
    ],
    nested: &[],
};

/// `[[database]]`
pub const DATABASE: Section = Section {
    name: "database",
    repeats: true,
    help: "A database clients may ask for. At least one. Takes every key of `[pool]` too, for this \
           database alone.",
    groups: &[
        &[
            key("name", Text, Required, NewConnections, "Name, as clients give it."),
            key(
                "shard",
                Text,
                Words("the only shard, when there is one"),
                NewConnections,
                "Name of the `[[shard]]` it lives on.",
            ),
            key("server_database", Text, Words("`name`"), NewConnections, "Name on the servers."),
            key(
                "forced_user",
                Text,
                Words("each client's own"),
                NewConnections,
                "Name of a `[[user]]` whose server login, pools and `pool_size` all clients of \
                 this database share. They still log in to pgmanifold as themselves.",
            ),
            key(
                "max_clients",
                Integer(1, MANY),
                Words("`general.max_clients`"),
                Live,
                "Most client connections of this database.",
            ),
        ],
        DATABASE_SHARD_KEYS,
        POOL_KEYS,
        STATE_KEYS,
        NOTIFY_KEYS,
        TWO_PHASE_KEYS,
        MOVE_KEYS,
    ],
    nested: &[],
};

/// `[pool]`
pub const POOL: Section = Section {
    name: "pool",
    repeats: false,
    help: "Defaults for every `[[database]]`. Each of these keys may also stand there.",
    groups: &[POOL_KEYS, STATE_KEYS, NOTIFY_KEYS, TWO_PHASE_KEYS, MOVE_KEYS],
    nested: &[],
};

const POOL_KEYS: &[Key] = &[
    key(
        "pool_mode",
        Choice(&["transaction", "session", "statement"]),
        Value("transaction"),
        NewConnections,
        "How long a client keeps a server: until its transaction ends, until it disconnects, or \
         until its statement ends (explicit transactions are then refused).",
    ),
    key(
        "pool_size",
        Integer(1, 10_000),
        Value("20"),
        Live,
        "Most server connections per user and host.",
    ),
    key(
        "min_idle",
        Integer(0, 10_000),
        Value("0"),
        Live,
        "Server connections per user and host that are kept open when idle.",
    ),
    key(
        "checkout_timeout_ms",
        Integer(1, HOUR_MS),
        Value("5000"),
        Live,
        "Longest wait of a client for a server connection.",
    ),
    key(
        "idle_timeout_ms",
        Integer(1, MONTH_MS),
        Value("600000"),
        Live,
        "An idle server connection is closed after this time.",
    ),
    key(
        "max_lifetime_ms",
        Integer(1, MONTH_MS),
        Value("3600000"),
        Live,
        "A server connection older than this is closed when it is returned, with up to 10 % \
         jitter.",
    ),
    key(
        "prepared_statements",
        Integer(0, 100_000),
        Value("200"),
        Live,
        "Prepared statements kept per server connection; the one used longest ago goes first.",
    ),
    key(
        "read_replicas",
        Boolean,
        Value("true"),
        NewConnections,
        "Send reads to replicas. Has no effect with `pool_mode = \"session\"`.",
    ),
    key(
        "causality",
        Choice(&["session", "off"]),
        Value("session"),
        NewConnections,
        "`session`: a session always reads its own writes. `off`: it may read from a replica that \
         has not replayed them. A session may change it with `SET pgm.causality`.",
    ),
    key(
        "max_replica_lag_ms",
        Integer(0, MONTH_MS),
        Words("no limit"),
        Live,
        "A replica further behind is not read from.",
    ),
    key(
        "max_replica_lag_bytes",
        Integer(0, i64::MAX as u64),
        Words("no limit"),
        Live,
        "The same in bytes of WAL.",
    ),
    key(
        "facts_interval_ms",
        Integer(100, MONTH_MS),
        Value("60000"),
        Live,
        "Time between two loads of catalog facts (functions, views), which decide what is a read.",
    ),
];
