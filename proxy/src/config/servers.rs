//! Owns the reading of `[[shard]]` and its hosts, and of references to a shard.

use super::address;
use super::document::{Span, Value, closest, full_name};
use super::model::{
    Address, Failover, Health, Host, MonitorLogin, ServerTls, ServerTlsMode, Shard,
};
use super::resolve::Reader;
use super::{pem, secrets};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::Arc;

/// Most hosts of one shard.
const MAX_HOSTS: usize = 64;

/// One `[[shard]]`.
pub(crate) fn shard(reader: &Reader<'_>) -> Shard {
    let name = reader.name("name").unwrap_or_default();
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
        reader.error("name", format!("{name:?} cannot name a shard"), "letters, digits, _ - .");
    }
    let health = Health {
        interval: reader.duration_ms("health_interval_ms"),
        timeout: reader.duration_ms("health_timeout_ms"),
        ban_min: reader.duration_ms("health_ban_min_ms"),
        ban_max: reader.duration_ms("health_ban_max_ms"),
        sample_interval: reader.duration_ms("sample_interval_ms"),
        failures_max: u32::try_from(reader.count("health_failures_max")).unwrap_or(u32::MAX),
    };
    let failover = Failover {
        wait: reader.duration_ms("failover_wait_ms"),
        queue_max: reader.count("failover_queue_max"),
    };
    if health.ban_min > health.ban_max {
        let help = "the first ban must not be longer than the longest";
        reader.error("health_ban_min_ms", "larger than health_ban_max_ms", help);
    }
    let monitor = MonitorLogin {
        user: reader.name("monitor_user").unwrap_or_default(),
        password: secrets::password(reader, "monitor_password"),
        database: reader.name("monitor_database").unwrap_or_default(),
    };
    let recovery = recovery(reader, &monitor);
    Shard { name, hosts: hosts(reader), monitor, recovery, health, failover }
}

fn recovery(reader: &Reader<'_>, monitor: &MonitorLogin) -> MonitorLogin {
    let password = secrets::password(reader, "recovery_password");
    match reader.name("recovery_user") {
        Some(user) => MonitorLogin { user, password, database: monitor.database.clone() },
        None => MonitorLogin { password: password.or(monitor.password.clone()), ..monitor.clone() },
    }
}

fn hosts(reader: &Reader<'_>) -> Vec<Arc<Host>> {
    let mut hosts: Vec<(Span, Host)> = Vec::new();
    if let Some(Value::List(list)) = reader.given("hosts") {
        let options = Reader::new(reader.table, reader.context);
        for (text, span) in list {
            hosts.extend(host(&options, "hosts", text, span).map(|host| (span.clone(), host)));
        }
    }
    for table in &reader.table.tables {
        let options = Reader { table, fallback: Some(reader.table), context: reader.context };
        let Some(text) = options.text("address") else { continue };
        let span = options.span("address");
        hosts.extend(host(&options, "address", &text, span).map(|host| (span.clone(), host)));
    }
    let empty = match reader.given("hosts") {
        Some(list) => *list == Value::List(Vec::new()),
        None => reader.table.mention("hosts").is_none(),
    };
    if empty && reader.table.tables.is_empty() {
        let help = "add `hosts = [\"127.0.0.1:5432\"]` or a `[[shard.host]]`";
        reader.error("hosts", "the shard has no hosts", help);
    }
    if hosts.len() > MAX_HOSTS {
        reader.error("hosts", format!("more than {MAX_HOSTS} hosts"), "split the shard");
    }
    let mut seen = HashSet::new();
    for (span, host) in &hosts {
        if !seen.insert(&host.address) {
            let message = format!("host {} is named twice", host.address);
            let key = full_name(reader.table.section, "hosts");
            reader.context.problems.error(span, key, message, "name every host once");
        }
    }
    hosts.into_iter().map(|(_, host)| Arc::new(host)).collect()
}

/// One host, with the options of `reader`.
pub(super) fn host(reader: &Reader<'_>, key: &str, text: &str, span: &Span) -> Option<Host> {
    let address = match address::connect(text) {
        Ok(address) => address,
        Err((message, help)) => {
            let key = full_name(reader.table.section, key);
            reader.context.problems.error(span, key, message, help);
            return None;
        }
    };
    let tls = server_tls(reader, &address);
    Some(Host { address, tls, connect_timeout: reader.duration_ms("connect_timeout_ms") })
}

fn server_tls(reader: &Reader<'_>, address: &Address) -> ServerTls {
    let mode = match reader.text("tls_mode").as_deref() {
        Some("disable") => ServerTlsMode::Disable,
        Some("require") => ServerTlsMode::Require,
        Some("verify-ca") => ServerTlsMode::VerifyCa,
        Some("verify-full") => ServerTlsMode::VerifyFull,
        _ => ServerTlsMode::Prefer,
    };
    let root_cert_file = reader.file("tls_root_cert_file");
    let verifies = matches!(mode, ServerTlsMode::VerifyCa | ServerTlsMode::VerifyFull);
    if let Some(file) = &root_cert_file {
        pem::check_roots(reader, file);
        if !verifies {
            // Silently not checking what somebody provided roots for would be a trap.
            let help = "use tls_mode = \"verify-full\", or leave the roots out";
            let message = "roots are given but `tls_mode` does not check certificates";
            reader.error("tls_root_cert_file", message, help);
        }
    }
    let unix = matches!(address, Address::Unix(_));
    if unix && !matches!(mode, ServerTlsMode::Disable | ServerTlsMode::Prefer) {
        let message = format!("{address}: TLS is not spoken over Unix sockets");
        reader.error("tls_mode", message, "use tls_mode = \"disable\" for this host");
    }
    let digest = |file| std::fs::read(file).ok().map(|bytes| Sha256::digest(bytes).into());
    let root_cert_digest = root_cert_file.as_ref().and_then(digest);
    let mode = if unix { ServerTlsMode::Disable } else { mode };
    ServerTls { mode, root_cert_file, root_cert_digest }
}

/// The shard a `[[database]]` lives on.
pub(crate) fn find_shard(reader: &Reader<'_>, shards: &[Arc<Shard>]) -> Option<Arc<Shard>> {
    let Some(name) = reader.text("shard") else {
        if reader.table.mention("shard").is_some() {
            return None;
        }
        if let [only] = shards {
            return Some(only.clone());
        }
        if !shards.is_empty() {
            let message = "`shard` is missing and there are several";
            reader.error("shard", message, format!("one of {}", names(shards)));
        }
        return None;
    };
    let found = shards.iter().find(|shard| shard.name == name);
    if found.is_none() {
        let help = match closest(&name, shards.iter().map(|shard| shard.name.as_str())) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None if shards.is_empty() => "add a `[[shard]]`".into(),
            None => format!("one of {}", names(shards)),
        };
        reader.error("shard", format!("there is no shard {name:?}"), help);
    }
    found.cloned()
}

fn names(shards: &[Arc<Shard>]) -> String {
    let names: Vec<String> = shards.iter().map(|shard| format!("{:?}", shard.name)).collect();
    names.join(", ")
}
