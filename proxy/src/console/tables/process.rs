//! Fills the tables of the process itself.

use super::Fill;
use crate::backend::connection::Server;
use crate::backend::prepared::Statement;
use crate::config::Config;
use crate::config::model::PoolMode;
use crate::console::commands::changeable;
use crate::pool::{Pool, PoolNumbers};
use crate::server::Shared;
use crate::session::Session;
use crate::session::settings::Settings;
use pgmanifold_console::Value;
use pgmanifold_console::value::Row;
use std::sync::Arc;

pub(super) const FILLS: &[(&str, Fill)] = &[
    ("version", version),
    ("config", config),
    ("mem", mem),
    ("peers", nothing),
    ("peer_pools", nothing),
    ("dns_hosts", nothing),
    ("dns_zones", nothing),
];

fn version(_: &Arc<Shared>) -> Vec<Row> {
    vec![vec![concat!("pgmanifold ", env!("CARGO_PKG_VERSION")).into()]]
}

/// What PgBouncer has and we do without.
fn nothing(_: &Arc<Shared>) -> Vec<Row> {
    Vec::new()
}

fn config(shared: &Arc<Shared>) -> Vec<Row> {
    let state = shared.state();
    let mut rows = as_pgbouncer(&state.config);
    let workers = state.config.general.workers.to_string();
    rows.extend(state.config.settings.iter().map(|setting| {
        let own = (&*setting.key == "general.workers").then_some(workers.as_str());
        vec![
            (&*setting.key).into(),
            setting.value.as_deref().or(own).into(),
            setting.default.as_deref().into(),
            yes_or_no(changeable(&setting.key)),
        ]
    }));
    rows
}

fn yes_or_no(is: bool) -> Value {
    if is { "yes" } else { "no" }.into()
}

/// PgBouncer's names that tools look for, in its units, with its defaults. What is ours by
/// database or user is shown as `[pool]` and all users have it.
fn as_pgbouncer(config: &Config) -> Vec<Row> {
    let of = |key: &str| {
        let found = config.settings.iter().find(|setting| *setting.key == *key);
        found.and_then(|setting| setting.value.as_deref())
    };
    let count = |key: &str| of(key).unwrap_or("0").to_owned();
    let seconds = |key: &str| {
        let ms: u64 = of(key).and_then(|text| text.parse().ok()).unwrap_or(0);
        match ms % 1000 {
            0 => (ms / 1000).to_string(),
            rest => format!("{}.{rest:03}", ms / 1000),
        }
    };
    let mode = of("pool.pool_mode").unwrap_or(mode_word(PoolMode::Transaction)).to_owned();
    [
        ("max_client_conn", count("general.max_clients"), "100"),
        ("default_pool_size", count("pool.pool_size"), "20"),
        ("min_pool_size", count("pool.min_idle"), "0"),
        ("reserve_pool_size", count("pool.reserve_pool_size"), "0"),
        ("reserve_pool_timeout", seconds("pool.reserve_pool_timeout_ms"), "5"),
        ("max_db_connections", count("pool.max_db_connections"), "0"),
        ("max_user_connections", user_limit(config), "0"),
        ("pool_mode", mode, "session"),
        ("server_lifetime", seconds("pool.max_lifetime_ms"), "3600"),
        ("server_idle_timeout", seconds("pool.idle_timeout_ms"), "600"),
        ("query_wait_timeout", seconds("pool.checkout_timeout_ms"), "120"),
        ("query_timeout", seconds("pool.query_timeout_ms"), "0"),
        ("idle_transaction_timeout", seconds("pool.idle_transaction_timeout_ms"), "0"),
        ("transaction_timeout", seconds("pool.transaction_timeout_ms"), "0"),
        ("client_idle_timeout", seconds("pool.client_idle_timeout_ms"), "0"),
        ("client_login_timeout", seconds("general.login_timeout_ms"), "60"),
        ("max_prepared_statements", count("pool.prepared_statements"), "200"),
    ]
    .map(|(key, value, default)| {
        vec![key.into(), value.into(), default.into(), yes_or_no(changeable(key))]
    })
    .into()
}

fn mode_word(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
        PoolMode::Statement => "statement",
    }
}

/// The limit that all users have; 0, no limit, when they differ.
fn user_limit(config: &Config) -> String {
    let mut limits = config.users.iter().map(|user| user.max_user_connections);
    let first = limits.next().filter(|limit| *limit != usize::MAX).unwrap_or(0);
    let all = limits.all(|limit| limit == first);
    if all { first } else { 0 }.to_string()
}

fn mem(shared: &Arc<Shared>) -> Vec<Row> {
    let pools = shared.state().all_pools();
    let hosts = pools.iter().flat_map(|own| own.pools.iter());
    let servers: PoolNumbers = hosts.clone().map(|pool| pool.numbers()).sum();
    let (statements, unused_statements) = shared.interner.counts();
    let (settings, unused_settings) = shared.settings.counts();
    let mut rows = vec![
        row("client_cache", size_of::<Session>(), shared.clients.count(), 0),
        row("server_cache", size_of::<Server>(), servers.open, 0),
        row("pool_cache", size_of::<Pool>(), hosts.count(), 0),
        row("statement_cache", size_of::<Statement>(), statements, unused_statements),
        row("settings_cache", size_of::<Settings>(), settings, unused_settings),
    ];
    if let Some(bytes) = crate::metrics::resident_bytes() {
        rows.push(row("resident", 1024, (bytes / 1024.0) as usize, 0));
    }
    rows
}

/// `all` counts the free ones too.
fn row(name: &str, size: usize, all: usize, free: usize) -> Row {
    let int4 = |count: usize| -> Value { i32::try_from(count).unwrap_or(i32::MAX).into() };
    let total = size.saturating_mul(all);
    vec![name.into(), int4(size), int4(all.saturating_sub(free)), int4(free), int4(total)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
        general = { max_clients = 77 }
        pool = { checkout_timeout_ms = 2500 }
        listener = [{ address = "127.0.0.1:1" }]
        user = [{ name = "a", password = "x", max_user_connections = 5 },
                { name = "b", password = "x", max_user_connections = 5 }]
        shard = [{ name = "main", hosts = ["h:1"], monitor_user = "m" }]
        database = [{ name = "app" }]
    "#;

    #[test]
    fn agents_find_pgbouncers_keys() {
        let of = |text: &str, key: &str| {
            let config = crate::config::parse(text, "test.toml").unwrap();
            let rows = as_pgbouncer(&config);
            let found = rows.into_iter().find(|row| row[0] == Value::from(key)).unwrap();
            found[1].to_string()
        };
        assert_eq!(of(CONFIG, "max_client_conn"), "77");
        assert_eq!(of(CONFIG, "max_user_connections"), "5");
        assert_eq!(of(CONFIG, "query_wait_timeout"), "2.500");
        assert_eq!(of(CONFIG, "pool_mode"), "transaction");
        let other = CONFIG.replacen("max_user_connections = 5", "max_user_connections = 6", 1);
        assert_eq!(of(&other, "max_user_connections"), "0");
    }

    #[test]
    fn every_key_shown_under_another_name_is_there() {
        let config = crate::config::parse(CONFIG, "test.toml").unwrap();
        let source = include_str!("process.rs");
        let named = source
            .split('"')
            .filter(|word| ["pool.", "general."].iter().any(|section| word.starts_with(section)));
        for key in named {
            let known = config.settings.iter().any(|setting| *setting.key == *key);
            assert!(known || key.ends_with('.'), "{key}");
        }
    }
}
