//! Owns the proxy that runs inside the tests' own process, and its log.

use crate::tables::{self, TableRow};
use pgmanifold::config::model::{Address, Config};
use pgmanifold::console::ProcessSource;
use pgmanifold::server::StopMode;
use std::fs::File;
use std::sync::{Arc, Mutex, OnceLock};

pub(crate) struct Proxy(pgmanifold::server::Proxy);

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({:?})", self.0.addresses())
    }
}

fn parse(text: &str) -> Config {
    let parsed = pgmanifold::config::parse(text, "test.toml");
    parsed.unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

pub(crate) fn start(config: &str) -> (Proxy, Address) {
    begin_log();
    let proxy = pgmanifold::server::Proxy::start(parse(config)).expect("the proxy starts");
    let address = proxy.addresses().first().expect("a listener").clone();
    (Proxy(proxy), address)
}

pub(crate) fn reload(proxy: &Proxy, config: &str) {
    proxy.0.reload(parse(config)).expect("the proxy takes the configuration");
}

pub(crate) fn metrics(proxy: &Proxy) -> String {
    proxy.0.shared().metrics.scrape()
}

pub(crate) fn table(proxy: &Proxy, name: &str) -> Vec<TableRow> {
    tables::rows(&ProcessSource(Arc::clone(proxy.0.shared())), name)
}

pub(crate) fn stop(proxy: Proxy) {
    proxy.0.stop(StopMode::Now);
}

/// All proxies of this process write into one file.
fn begin_log() {
    static BEGUN: OnceLock<()> = OnceLock::new();
    BEGUN.get_or_init(|| {
        let file = File::create(crate::process::scratch_file("proxy.log")).expect("a log");
        let filter = std::env::var("PGM_LOG").unwrap_or_else(|_| "info".into());
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(Mutex::new(file));
        subscriber.with_env_filter(filter).init();
    });
}

pub(crate) fn log() -> String {
    std::fs::read_to_string(crate::process::scratch_file("proxy.log")).unwrap_or_default()
}
