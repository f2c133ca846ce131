//! Owns the smallest configurations that tests need.

use pgmanifold::config::model::{
    Access, Address, AuthMethod, Config, Console, Failover, FailureLimits, General, Health, Host,
    Listener, ListenerTls, MonitorLogin, Password, Secret, ServerTls, ServerTlsMode, Shard,
    StatementOptions, User,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A configuration with these parts and nothing else.
pub(crate) fn config(listeners: Vec<Listener>, users: Vec<Arc<User>>, hosts: Vec<Host>) -> Config {
    let second = Duration::from_secs(1);
    let health = Health {
        interval: second,
        timeout: second,
        ban_min: second,
        ban_max: second,
        sample_interval: second,
        failures_max: 2,
    };
    let failover = Failover { wait: second, queue_max: 10 };
    let monitor = MonitorLogin { user: "m".into(), password: None, database: "m".into() };
    let hosts = hosts.into_iter().map(Arc::new).collect();
    Config {
        general: General {
            workers: 1,
            log_level: "info".into(),
            log_json: false,
            max_clients: 100,
            login_timeout: second,
            drain_timeout: second,
            max_message_bytes: 1 << 20,
            network: pgmanifold::config::limits::Network::default(),
            stats_period: Duration::from_secs(60),
            name: None,
            statements: StatementOptions {
                digests_max: 1_000,
                slow: None,
                sample_per_mille: 0,
                literals: false,
            },
        },
        listeners,
        source: None,
        tracing: None,
        http: None,
        status_page: false,
        access: Access {
            rules: None,
            maps: vec![],
            query: None,
            failures: FailureLimits { limit: 0, window: second },
        },
        users,
        shards: vec![Arc::new(Shard {
            name: "main".into(),
            hosts,
            recovery: monitor.clone(),
            monitor,
            health,
            failover,
        })],
        databases: vec![],
        maps: vec![],
        catalog: None,
        settings: vec![],
        console: Console::default(),
    }
}

/// A listener; its address is not used.
pub(crate) fn listener(auth: AuthMethod, tls: Option<ListenerTls>) -> Listener {
    let address = Address::Tcp("127.0.0.1".into(), 0);
    Listener { address, tls, max_clients: 100, auth, proxy_protocol: None }
}

/// A user with this secret.
pub(crate) fn user(name: &str, secret: Option<Secret>) -> Arc<User> {
    Arc::new(User {
        name: name.into(),
        secret,
        server_user: name.into(),
        server_password: None,
        max_clients: 100,
        pool_size: None,
        max_user_connections: usize::MAX,
        fetched: false,
    })
}

/// A password.
pub(crate) fn password(text: &str) -> Password {
    Password(text.to_owned().into())
}

/// A host with ten seconds to connect.
pub(crate) fn host(address: Address, mode: ServerTlsMode, roots: Option<PathBuf>) -> Host {
    let tls = ServerTls { mode, root_cert_file: roots, root_cert_digest: None };
    Host { address, tls, connect_timeout: Duration::from_secs(10) }
}
