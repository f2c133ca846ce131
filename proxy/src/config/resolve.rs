//! Owns the second reading: tables of typed values into the model, with every default filled in.
//! Where something is wrong it notes the problem and goes on with a harmless value; the result is
//! thrown away by the caller when there was any error.

use super::access;
use super::address;
use super::checks;
use super::document::{Span, Table, Value, full_name};
use super::errors::Problems;
use super::keys::{self, Absent, Kind};
use super::model::{
    Address, AuthMethod, Causality, Config, Database, General, Listener, ListenerTls, PoolMode,
    SequenceState, Shard, StatementOptions, TwoPhaseTimes, User,
};
use super::{catalog, console, limits, pem, secrets, servers, sharding, traces};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a reader may look at besides the file.
pub(crate) struct Context<'a> {
    /// Where problems go.
    pub(crate) problems: &'a Problems<'a>,
    /// Where relative paths start.
    pub(crate) folder: &'a Path,
    /// Looks up an environment variable.
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
}

/// Reads values of one table; what it lacks comes from `fallback`, then from the key table.
pub(crate) struct Reader<'a> {
    /// The table itself.
    pub(crate) table: &'a Table,
    /// Where its defaults stand.
    pub(crate) fallback: Option<&'a Table>,
    /// Problems, paths, environment.
    pub(crate) context: &'a Context<'a>,
}

impl<'a> Reader<'a> {
    /// A table without fallback.
    pub(crate) fn new(table: &'a Table, context: &'a Context<'a>) -> Self {
        Self { table, fallback: None, context }
    }

    /// The value given in the file, here or in the fallback.
    pub(crate) fn given(&self, key: &str) -> Option<&'a Value> {
        let fallback = self.fallback.and_then(|table| table.get(key));
        self.table.get(key).or(fallback).map(|(value, _)| value)
    }

    /// Where the value stands that holds for `key`; the table when none was given.
    pub(crate) fn span(&self, key: &str) -> &'a Span {
        let fallback = self.fallback.and_then(|table| table.get(key));
        self.table.get(key).or(fallback).map_or(&self.table.span, |(_, span)| span)
    }

    /// `section.key`, after the section that gave the value.
    fn full_name(&self, key: &str) -> String {
        let fallback = self.fallback.filter(|table| table.get(key).is_some());
        let giver =
            if self.table.get(key).is_some() { self.table } else { fallback.unwrap_or(self.table) };
        full_name(giver.section, key)
    }

    /// Notes an error about `key`.
    pub(crate) fn error(&self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        self.context.problems.error(self.span(key), self.full_name(key), message, help);
    }

    /// Notes a warning about `key`.
    pub(crate) fn warning(&self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        self.context.problems.warning(self.span(key), self.full_name(key), message, help);
    }

    /// The given value, or the default when that is a value.
    fn value(&self, key: &str) -> Option<Value> {
        if let Some(value) = self.given(key) {
            return Some(value.clone());
        }
        let key = self.table.section.key(key).expect("invariant: the key is in the table");
        match key.default {
            Absent::Value(text) => Some(default_value(key.kind, text)),
            Absent::Required | Absent::Words(_) => None,
        }
    }

    /// A number.
    pub(crate) fn integer(&self, key: &str) -> Option<u64> {
        match self.value(key) {
            Some(Value::Integer(number)) => Some(number),
            _ => None,
        }
    }

    /// A number used as a count or size in memory, with a default in the key table.
    pub(crate) fn count(&self, key: &str) -> usize {
        self.optional_count(key).unwrap_or_default()
    }

    /// A number used as a count, when given.
    pub(crate) fn optional_count(&self, key: &str) -> Option<usize> {
        self.integer(key).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }

    /// Milliseconds, with a default in the key table.
    pub(crate) fn duration_ms(&self, key: &str) -> Duration {
        Duration::from_millis(self.integer(key).unwrap_or_default())
    }

    /// `true` or `false`, with a default in the key table.
    pub(crate) fn boolean(&self, key: &str) -> bool {
        self.value(key) == Some(Value::Boolean(true))
    }

    /// Text, when given or defaulted.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        match self.value(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A path, when given.
    pub(crate) fn file(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(|text| self.context.folder.join(text))
    }

    /// A name a server or client may use: PostgreSQL cuts longer ones off.
    pub(crate) fn name(&self, key: &str) -> Option<String> {
        let name = self.text(key)?;
        if name.len() > MAX_NAME_BYTES {
            let message = format!("the name is longer than {MAX_NAME_BYTES} bytes");
            self.error(key, message, "PostgreSQL cuts longer names off");
        }
        Some(name)
    }
}

/// NAMEDATALEN - 1.
pub(super) const MAX_NAME_BYTES: usize = 63;

fn default_value(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Integer(..) => Value::Integer(text.parse().expect("invariant: checked by a test")),
        Kind::Boolean => Value::Boolean(text == "true"),
        _ => Value::Text(text.to_owned()),
    }
}

/// Builds the whole configuration.
pub(crate) fn config(tables: &[Table], context: &Context<'_>) -> Config {
    let absent_general = Table::absent(&keys::GENERAL);
    let absent_pool = Table::absent(&keys::POOL);
    let of = |name: &'static str| tables.iter().filter(move |table| table.section.name == name);
    let general = general(&Reader::new(of("general").next().unwrap_or(&absent_general), context));
    let pool = of("pool").next().unwrap_or(&absent_pool);
    let shards: Vec<Arc<Shard>> =
        of("shard").map(|table| Arc::new(servers::shard(&Reader::new(table, context)))).collect();
    let users: Vec<Arc<User>> = of("user")
        .map(|table| Arc::new(secrets::user(&Reader::new(table, context), &general)))
        .collect();
    let databases: Vec<Arc<Database>> = of("database")
        .filter_map(|table| {
            let reader = Reader { table, fallback: Some(pool), context };
            database(&reader, &general, &shards, &users).map(Arc::new)
        })
        .collect();
    let config = Config {
        listeners: of("listener")
            .map(|table| listener(&Reader::new(table, context), &general))
            .collect(),
        http: of("http").next().and_then(|table| http(&Reader::new(table, context))),
        status_page: of("http")
            .next()
            .is_some_and(|table| Reader::new(table, context).boolean("status_page")),
        access: access::access(tables, &users, context),
        maps: sharding::maps(tables, &databases, context),
        catalog: catalog::catalog(tables, context),
        settings: super::shown::settings(tables),
        source: None,
        console: console::console(tables, context),
        tracing: of("tracing").next().map(|table| traces::read(&Reader::new(table, context))),
        databases,
        users,
        shards,
        general,
    };
    checks::check(&config, tables, context);
    config
}

fn general(reader: &Reader<'_>) -> General {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let log_level = reader.text("log_level").unwrap_or_default();
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&log_level) {
        let help = "for example \"info\" or \"info,pgmanifold::pool=debug\"";
        reader.error("log_level", format!("not a log filter: {error}"), help);
    }
    General {
        workers: reader.optional_count("workers").unwrap_or((cores / 2).max(1)),
        log_level,
        log_json: reader.text("log_format").as_deref() == Some("json"),
        max_clients: reader.count("max_clients"),
        login_timeout: reader.duration_ms("login_timeout_ms"),
        drain_timeout: reader.duration_ms("drain_timeout_ms"),
        max_message_bytes: reader.count("max_message_bytes"),
        network: limits::network(reader),
        name: reader.name("name"),
        stats_period: Duration::from_secs(reader.integer("stats_period_s").unwrap_or_default()),
        statements: statements(reader),
    }
}

fn statements(reader: &Reader<'_>) -> StatementOptions {
    let slow = reader.duration_ms("log_slow_statement_ms");
    let sample = reader.count("log_sample_per_mille");
    StatementOptions {
        digests_max: reader.count("statement_digests_max"),
        slow: (!slow.is_zero()).then_some(slow),
        sample_per_mille: u32::try_from(sample).unwrap_or(u32::MAX),
        literals: reader.boolean("log_statement_literals"),
    }
}

fn http(reader: &Reader<'_>) -> Option<SocketAddr> {
    let text = reader.text("address")?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let message = format!("{text:?} is not an address to listen on");
        reader.error("address", message, "IP and port, such as \"127.0.0.1:9127\"");
    }
    parsed
}

fn listener(reader: &Reader<'_>, general: &General) -> Listener {
    let address = reader.text("address").map_or_else(Address::nowhere, |text| {
        let parsed = address::listen(&text);
        parsed.unwrap_or_else(|(message, help)| {
            reader.error("address", message, help);
            Address::nowhere()
        })
    });
    let auth = match reader.text("auth").as_deref() {
        Some("trust") => AuthMethod::Trust,
        Some("md5") => AuthMethod::Md5,
        Some("cert") => AuthMethod::Cert,
        _ => AuthMethod::ScramSha256,
    };
    let tls = listener_tls(reader, &address);
    let max_clients = reader.optional_count("max_clients").unwrap_or(general.max_clients);
    let proxy_protocol = access::proxy_protocol(reader, &address);
    Listener { address, tls, max_clients, auth, proxy_protocol }
}

fn listener_tls(reader: &Reader<'_>, address: &Address) -> Option<ListenerTls> {
    let required = reader.boolean("tls_required");
    let (cert_file, key_file) = match (reader.file("tls_cert_file"), reader.file("tls_key_file")) {
        (Some(cert_file), Some(key_file)) => (cert_file, key_file),
        (None, None) => {
            if reader.table.mention("tls_client_ca_file").is_some() {
                let help = "add `tls_cert_file` and `tls_key_file`";
                let message = "certificates of clients without TLS";
                reader.error("tls_client_ca_file", message, help);
            }
            if required {
                let help = "add `tls_cert_file` and `tls_key_file`";
                reader.error("tls_required", "TLS is required but there is no certificate", help);
            }
            return None;
        }
        (Some(_), None) => {
            reader.error("tls_cert_file", "a certificate without a key", "add `tls_key_file`");
            return None;
        }
        (None, Some(_)) => {
            reader.error("tls_key_file", "a key without a certificate", "add `tls_cert_file`");
            return None;
        }
    };
    if matches!(address, Address::Unix(_)) {
        let help = "leave the `tls_…` keys out, or listen on TCP";
        reader.error("tls_cert_file", "TLS is not spoken over Unix sockets", help);
    }
    pem::check_pair(reader, &cert_file, &key_file);
    let client_authority = access::client_authority(reader);
    Some(ListenerTls { cert_file, key_file, required, client_authority })
}

fn database(
    reader: &Reader<'_>,
    general: &General,
    shards: &[Arc<Shard>],
    users: &[Arc<User>],
) -> Option<Database> {
    let name = reader.name("name").unwrap_or_default();
    let place = sharding::place(reader, shards);
    let (pool_size, min_idle) = (reader.count("pool_size"), reader.count("min_idle"));
    if min_idle > pool_size {
        let message = format!("min_idle ({min_idle}) is larger than pool_size ({pool_size})");
        reader.error("min_idle", message, "pool_size counts idle connections too");
    }
    let pool_mode = match reader.text("pool_mode").as_deref() {
        Some("session") => PoolMode::Session,
        Some("statement") => PoolMode::Statement,
        _ => PoolMode::Transaction,
    };
    let causality = match reader.text("causality").as_deref() {
        Some("off") => Causality::Off,
        _ => Causality::Session,
    };
    let (shard, sharding) = place?;
    let observed = sharding::observed(reader, &shard, sharding.is_some());
    Some(Database {
        server_database: reader.name("server_database").unwrap_or_else(|| name.clone()),
        name,
        shard,
        sharding,
        observed,
        pool_mode,
        read_replicas: reader.boolean("read_replicas"),
        causality,
        sequence_state: match reader.text("sequence_state").as_deref() {
            Some("transaction") => SequenceState::Transaction,
            Some("session") => SequenceState::Session,
            _ => SequenceState::Auto,
        },
        application_name_add_host: reader.boolean("application_name_add_host"),
        max_replica_lag: reader.integer("max_replica_lag_ms").map(Duration::from_millis),
        max_replica_lag_bytes: reader.integer("max_replica_lag_bytes"),
        max_clients: reader.optional_count("max_clients").unwrap_or(general.max_clients),
        forced_user: forced_user(reader, users),
        pool_size,
        min_idle,
        idle_timeout: reader.duration_ms("idle_timeout_ms"),
        max_lifetime: reader.duration_ms("max_lifetime_ms"),
        checkout_timeout: reader.duration_ms("checkout_timeout_ms"),
        prepared_statements: reader.count("prepared_statements"),
        facts_interval: reader.duration_ms("facts_interval_ms"),
        notify_queue_bytes: reader.count("notify_queue_bytes"),
        waiting: limits::waiting(reader, general, reader.duration_ms("checkout_timeout_ms")),
        timeouts: limits::session_timeouts(reader),
        two_phase: TwoPhaseTimes {
            recovery_interval: reader.duration_ms("two_phase_recovery_interval_ms"),
            resolve_timeout: reader.duration_ms("two_phase_resolve_timeout_ms"),
        },
        move_wait: reader.duration_ms("move_wait_ms"),
    })
}

fn forced_user(reader: &Reader<'_>, users: &[Arc<User>]) -> Option<Arc<User>> {
    let name = reader.text("forced_user")?;
    let found = users.iter().find(|user| user.name == name);
    if found.is_none() {
        let message = format!("there is no [[user]] {name:?}");
        reader.error("forced_user", message, "its server login is shared by all clients");
    }
    found.cloned()
}
