//! Debian's prometheus-pgbouncer-exporter, as it is installed, before a proxy under load. It asks
//! for names that PgBouncer had until 1.7 and fails at any later one; `legacy_columns` has them.

use super::SOON;
use pgmanifold::config::model::Address;
use pgmanifold_tests::client::exec;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::process::free_port;
use pgmanifold_tests::{eventually, run};
use std::collections::BTreeMap;
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Whom the exporter logs in as unless it is told otherwise.
const EXPORTER_USER: &str = "pgbouncer";

/// What a scrape holds: values by series.
type Series = BTreeMap<String, f64>;

struct Exporter {
    _process: Child,
    port: u16,
}

impl Exporter {
    /// Started as its service is, with the address given on the command line.
    async fn start(fixture: &Fixture) -> Exporter {
        let Address::Tcp(host, pooler) = &fixture.address else { panic!("the exporter uses TCP") };
        let port = free_port();
        let process = Command::new("prometheus-pgbouncer-exporter")
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--pgbouncer-host", host, "--pgbouncer-port", &pooler.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the exporter is installed: make test does it");
        let exporter = Exporter { _process: process, port };
        eventually("the exporter listens", SOON, async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        exporter
    }

    async fn scrape(&self) -> Series {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it answers");
        assert!(text.contains("200 OK"), "{text}");
        let lines = text.lines().filter(|line| line.starts_with("pgbouncer_"));
        let series = lines.map(|line| line.rsplit_once(' ').expect("a name and a value"));
        series.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
    }
}

/// Every family the installed exporter knows, from itself.
async fn families() -> Vec<String> {
    let program = "from prometheus_pgbouncer_exporter import collectors as c\n\
                   for kind in vars(c).values():\n    \
                   for name, _ in getattr(kind, 'metrics', {}).values(): print(name)";
    let output = Command::new("/usr/bin/python3").args(["-c", program]).output().await;
    let output = output.expect("Debian's Python");
    let names = String::from_utf8(output.stdout).expect("names");
    names.lines().map(|name| format!("pgbouncer_{name}")).collect()
}

#[test]
fn debians_exporter_exports_every_family() {
    run(90, async {
        if is_direct() {
            return;
        }
        let fixture = Fixture::shared("exporter", |config| {
            let user = format!("[[user]]\nname = {EXPORTER_USER:?}\n");
            let console =
                format!("[console]\nstats_users = {EXPORTER_USER:?}\nlegacy_columns = true\n");
            config.pool("pool_size = 1").section(&user).section(&console)
        })
        .await;
        let exporter = Exporter::start(&fixture).await;
        let before = exporter.scrape().await;
        let families = families().await;
        assert!(families.len() >= 20, "{families:?}");
        for family in &families {
            let of_family = |name: &&String| name.split('{').next() == Some(family);
            assert!(before.keys().any(|name| of_family(&name)), "{family}: {before:?}");
        }

        let database = &fixture.database;
        let of = |series: &Series, family: &str| -> f64 {
            let name = format!("pgbouncer_{family}{{database=\"{database}\"");
            let found = series.iter().filter(|(key, _)| key.starts_with(&name));
            found.map(|(_, value)| value).sum()
        };
        assert_eq!(of(&before, "pool_size"), 1.0);
        let client = fixture.client().await;
        for _ in 0..200 {
            exec(&client, "select 1").await;
        }
        let after = exporter.scrape().await;
        assert_eq!(of(&after, "requests_total") - of(&before, "requests_total"), 200.0);
        let sent = of(&after, "sent_bytes_total") - of(&before, "sent_bytes_total");
        assert!((200.0 * 50.0..200.0 * 200.0).contains(&sent), "{sent}");
        assert!(of(&after, "query_microseconds_total") > of(&before, "query_microseconds_total"));

        exec(&client, "begin; create table held (n int)").await;
        let others = [fixture.client().await, fixture.client().await];
        let waiting: Vec<_> = others
            .into_iter()
            .map(|other| tokio::spawn(async move { exec(&other, "create temp table x ()").await }))
            .collect();
        eventually("the others wait", SOON, async || {
            let now = exporter.scrape().await;
            of(&now, "waiting_clients") == 2.0 && of(&now, "active_clients") == 1.0
        })
        .await;
        exec(&client, "rollback").await;
        for task in waiting {
            task.await.expect("it had its turn");
        }
    });
}
