//! TLS to clients and to servers, channel binding, Unix sockets, and the ways servers ask for
//! passwords.

use pgmanifold_tests::client::{self, text, value};
use pgmanifold_tests::cluster::{PASSWORD, USER};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw::{self, Raw};
use pgmanifold_tests::tls::Certificates;
use pgmanifold_tests::{cluster, eventually, run};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// SSLRequest.
const SSL_REQUEST: u32 = 80_877_103;
/// GSSENCRequest.
const GSS_REQUEST: u32 = 80_877_104;

fn certificates(cluster: &pgmanifold::demo::postgres::PgCluster, name: &str) -> Certificates {
    let directory = cluster.directory().join(name);
    std::fs::create_dir_all(&directory).expect("a directory");
    Certificates::create(&directory)
}

async fn psql(conninfo: &str, sql: &str) -> Result<String, String> {
    let mut command = Command::new("psql");
    command.args(["-X", "-A", "-t", "-v", "VERBOSITY=verbose", "-c", sql, conninfo]);
    command.env("PGPASSWORD", PASSWORD).env("PGCONNECT_TIMEOUT", "10").kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(20), command.output()).await;
    let output = output.expect("psql ends").expect("psql is installed");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn conninfo(fixture: &Fixture, more: &str) -> String {
    let pgmanifold::config::model::Address::Tcp(host, port) = &fixture.address else {
        panic!("a TCP listener")
    };
    format!("host={host} port={port} user={USER} dbname={} {more}", fixture.database)
}

async fn with_tls(test: &str, method: &str, required: bool) -> (Fixture, Certificates) {
    let cluster = cluster::shared();
    let files = certificates(&cluster, test);
    let fixture =
        Fixture::with_config(cluster.clone(), cluster::create_database(&cluster, test), &{
            let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
            ConfigText::new(&hosts, &format!("{test}_unused"))
        });
    let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
    let config = ConfigText::new(&hosts, &fixture.database)
        .with_password(method)
        .listener(&format!("tls_cert_file = {:?}", files.cert))
        .listener(&format!("tls_key_file = {:?}", files.key))
        .listener(&format!("tls_required = {required}"));
    let (cluster, database) = (fixture.cluster.clone(), fixture.database.clone());
    drop(fixture);
    (Fixture::with_config(cluster, database, &config), files)
}

#[test]
fn clients_use_tls_and_bind_their_channel() {
    run(60, async {
        if is_direct() {
            return;
        }
        let (fixture, files) = with_tls("tls", "scram-sha-256", true).await;
        let root = files.root.display();
        for mode in [
            "sslmode=require".to_owned(),
            format!("sslmode=verify-full sslrootcert={root}"),
            format!("sslmode=verify-full sslrootcert={root} channel_binding=require"),
            format!("sslmode=verify-full sslrootcert={root} channel_binding=disable"),
            format!("sslmode=verify-full sslrootcert={root} ssl_max_protocol_version=TLSv1.2"),
        ] {
            let answer = psql(&conninfo(&fixture, &mode), "select 41 + 1").await;
            assert_eq!(answer, Ok("42".into()), "{mode}");
        }
        let refused = psql(&conninfo(&fixture, "sslmode=disable"), "select 1").await;
        println!("without TLS: {refused:?}");
        assert!(refused.is_err_and(|error| error.contains("TLS") || error.contains("SSL")));
        let large = "select md5(string_agg(i::text, '')), length(repeat('x', 5000000)) \
                     from generate_series(1, 50000) i";
        let through = psql(&conninfo(&fixture, "sslmode=require"), large).await;
        let direct = value(
            &fixture.direct().await,
            "select md5(string_agg(i::text, '')) \
                     from generate_series(1, 50000) i",
        )
        .await;
        assert_eq!(through, Ok(format!("{direct}|5000000")));
    });
}

#[test]
fn plaintext_sent_before_the_handshake_is_refused() {
    run(60, async {
        if is_direct() {
            return;
        }
        let (fixture, _files) = with_tls("inject", "trust", false).await;
        let mut raw = Raw::open(&fixture.address).await;
        let startup = raw::startup(raw::V3_0, &[("user", USER), ("database", &fixture.database)]);
        raw.send(&[raw::untagged(&SSL_REQUEST.to_be_bytes()), startup].concat()).await;
        // Whatever comes, it is no session.
        assert!(raw.is_closed().await);
        assert!(raw.parameters.is_empty(), "{:?}", raw.parameters);
    });
}

/// One answer byte to a request before login.
async fn answer_to(fixture: &Fixture, code: u32) -> (char, tokio::net::TcpStream) {
    let pgmanifold::config::model::Address::Tcp(host, port) = &fixture.address else {
        panic!("a TCP listener")
    };
    let stream = tokio::net::TcpStream::connect((host.as_str(), *port)).await;
    let mut stream = stream.expect("somebody listens");
    stream.write_all(&raw::untagged(&code.to_be_bytes())).await.expect("send");
    (char::from(stream.read_u8().await.expect("an answer")), stream)
}

#[test]
fn encryption_requests_are_answered() {
    run(60, async {
        if is_direct() {
            return;
        }
        let (fixture, _files) = with_tls("requests", "trust", false).await;
        assert_eq!(answer_to(&fixture, GSS_REQUEST).await.0, 'N');
        assert_eq!(answer_to(&fixture, SSL_REQUEST).await.0, 'S');
        // GSS declined, then TLS on the same connection, as libpq does.
        let (_, mut stream) = answer_to(&fixture, GSS_REQUEST).await;
        stream.write_all(&raw::untagged(&SSL_REQUEST.to_be_bytes())).await.expect("send");
        assert_eq!(stream.read_u8().await.expect("an answer"), b'S');

        let plain = Fixture::shared("plain", |config| config).await;
        assert_eq!(answer_to(&plain, SSL_REQUEST).await.0, 'N');
        let answer = psql(&conninfo(&plain, "sslmode=prefer"), "select 1").await;
        assert_eq!(answer, Ok("1".into()));
    });
}

#[test]
fn direct_tls_needs_no_request() {
    run(60, async {
        if is_direct() {
            return;
        }
        let (fixture, files) = with_tls("direct", "trust", true).await;
        let pgmanifold::config::model::Address::Tcp(host, port) = &fixture.address else {
            panic!("a TCP listener")
        };
        let stream = tokio::net::TcpStream::connect((host.as_str(), *port)).await.expect("connect");
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        let connector = tokio_rustls::TlsConnector::from(client_tls(&files.root));
        let mut stream = connector.connect(name, stream).await.expect("a handshake");
        let startup = raw::startup(raw::V3_0, &[("user", USER), ("database", &fixture.database)]);
        stream.write_all(&startup).await.expect("send");
        assert_eq!(stream.read_u8().await.expect("an answer"), b'R');
    });
}

fn client_tls(root: &Path) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    let root = rustls::pki_types::CertificateDer::from_pem_file(root).expect("a certificate");
    roots.add(root).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Arc::new(config)
}

#[test]
fn servers_are_reached_by_tls() {
    run(90, async {
        if is_direct() {
            return;
        }
        let cluster = cluster::private(1);
        if cluster.primary.value("show ssl_library").expect("a setting").is_empty() {
            println!("not tested: these servers were built without TLS");
            return;
        }
        // In the data directory, because servers run as another user than tests run by root.
        let authority = Certificates::create(cluster.primary.data_dir());
        for server in cluster.servers() {
            let (cert, key) = (authority.cert.display(), authority.key.display());
            server.configure("ssl_cert_file", &cert.to_string()).expect("setting");
            server.configure("ssl_key_file", &key.to_string()).expect("setting");
            server.configure("ssl", "on").expect("setting");
        }
        let user = format!(
            "[[user]]\nname = {USER:?}\nserver_user = \"by_tls\"\nserver_password = {PASSWORD:?}\n"
        );
        let root = format!("tls_root_cert_file = {:?}", authority.root);
        for mode in ["prefer", "require", "verify-ca", "verify-full"] {
            let fixture = Fixture::on(cluster.clone(), "servertls", |config| {
                let config = config.users(&user).shard(&format!("tls_mode = {mode:?}"));
                if mode.starts_with("verify") { config.shard(&root) } else { config }
            })
            .await;
            let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
            for _ in 0..4 {
                assert_eq!(value(&fixture.client().await, sql).await, "t", "{mode}");
            }
        }
        // Another authority is not trusted, and the client is told.
        let stranger = certificates(&cluster, "stranger");
        let database = cluster::create_database(&cluster, "untrusted");
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let config = ConfigText::new(&hosts, &database)
            .users(&user)
            .shard("tls_mode = \"verify-full\"")
            .shard(&format!("tls_root_cert_file = {:?}", stranger.root));
        let fixture = Fixture::with_config(cluster, database, &config);
        let config = client::config(&fixture.address, USER, &fixture.database);
        let error = match client::try_connect(&config).await {
            Err(error) => error,
            Ok(client) => client.batch_execute("select 1").await.expect_err("untrusted"),
        };
        println!("an untrusted server: {}", text(&error));
        assert!(error.as_db_error().is_some() && text(&error).contains("certificate"));
    });
}

#[test]
fn servers_ask_for_passwords_in_three_ways() {
    run(60, async {
        if is_direct() {
            return;
        }
        for user in ["by_scram", "by_md5", "by_password"] {
            let section = format!(
                "[[user]]\nname = {USER:?}\nserver_user = {user:?}\n\
                 server_password = {PASSWORD:?}\n"
            );
            let fixture = Fixture::shared("passwords", |config| config.users(&section)).await;
            fixture.wait_replicas().await;
            let answer = value(&fixture.client().await, "select current_user").await;
            assert_eq!(answer, user);
        }
    });
}

#[test]
fn unix_sockets_on_both_sides() {
    run(60, async {
        if is_direct() {
            return;
        }
        let cluster = cluster::shared();
        let directory = cluster.directory().join("unix");
        std::fs::create_dir_all(&directory).expect("a directory");
        let socket = directory.join(".s.PGSQL.7432");
        let database = cluster::create_database(&cluster, "unix");
        let hosts: Vec<_> = cluster.servers().map(|server| server.unix_address()).collect();
        let config = ConfigText::new(&hosts, &database)
            .listener(&format!("address = {:?}", socket.display().to_string()));
        let fixture = Fixture::with_config(cluster, database, &config);
        let conninfo = format!(
            "host={} port=7432 user={USER} dbname={}",
            directory.display(),
            fixture.database
        );
        eventually("the socket answers", Duration::from_secs(15), async || {
            psql(&conninfo, "select 1").await == Ok("1".into())
        })
        .await;
        let sql = "select coalesce(host(inet_client_addr()), 'socket')";
        assert_eq!(psql(&conninfo, sql).await, Ok("socket".into()));
        fixture.wait_replicas().await;
        drop(fixture);
        assert!(!socket.exists(), "the socket file is removed");
    });
}
