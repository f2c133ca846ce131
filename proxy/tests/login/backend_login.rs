//! Logins on a real PostgreSQL: every method, every `sslmode`, cancel requests.

use crate::certificates::{Certificates, Scratch};
use crate::frontend_login::hand_shake;
use crate::postgres::{PASSWORD, Postgres};
use crate::raw;
use crate::settings::{config, host, password};
use pgmanifold::backend::connect::{Connector, ServerLogin};
use pgmanifold::backend::error::ConnectError;
use pgmanifold::config::model::{Address, Host, ServerTlsMode};
use pgmanifold::wire::tls::{provider, read_certificates};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

type Result = std::result::Result<ServerLogin, ConnectError>;

async fn log_in(host: &Host, user: &str, given: Option<&str>, database: &str) -> Result {
    let connector = Connector::new(&config(vec![], vec![], vec![host.clone()])).expect("roots");
    let given = given.map(password);
    connector.connect(host, user, given.as_ref(), database, &[]).await
}

fn tcp(port: u16, mode: ServerTlsMode) -> Host {
    host(Address::Tcp("127.0.0.1".into(), port), mode, None)
}

fn server_code(result: Result) -> String {
    match result {
        Err(error @ ConnectError::Server(_)) => {
            assert!(!error.is_host_down(), "{error}");
            error.to_sql_error("here").sqlstate.into_owned()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_method_of_authentication() {
    let postgres = Postgres::shared().await;
    for mode in [ServerTlsMode::Disable, ServerTlsMode::Require] {
        let host = tcp(postgres.port, mode);
        log_in(&host, "trusty", None, "postgres").await.expect("trust");
        for user in ["clear", "hash", "scram"] {
            let login = log_in(&host, user, Some(PASSWORD), "postgres").await.expect(user);
            assert_eq!(login.stream.is_tls(), mode == ServerTlsMode::Require);
            let version = login.params.iter().find(|(name, _)| name == "server_version");
            assert!(version.is_some(), "{:?}", login.params);
            assert_eq!(login.cancel.expect("key").secret.len(), 4);
            let code = server_code(log_in(&host, user, Some("wrong"), "postgres").await);
            assert_eq!(code, "28P01", "{user}");
            let error = log_in(&host, user, None, "postgres").await.expect_err("no password");
            assert!(matches!(error, ConnectError::Auth(_)), "{error:?}");
        }
    }
    let plain = tcp(postgres.port, ServerTlsMode::Disable);
    let tlsonly = log_in(&plain, "tlsonly", Some(PASSWORD), "postgres").await;
    assert_eq!(server_code(tlsonly), "28000");
    let tls = tcp(postgres.port, ServerTlsMode::Prefer);
    log_in(&tls, "tlsonly", Some(PASSWORD), "postgres").await.expect("TLS is preferred");
}

#[tokio::test]
async fn the_servers_own_refusals_are_passed_on() {
    let postgres = Postgres::shared().await;
    let host = tcp(postgres.port, ServerTlsMode::Disable);
    let nowhere = log_in(&host, "trusty", None, "nowhere").await;
    assert_eq!(server_code(nowhere), "3D000");
    let full = log_in(&host, "limited", Some(PASSWORD), "postgres").await;
    assert_eq!(server_code(full), "53300");
    let no_entry = log_in(&host, "elsewhere", Some(PASSWORD), "postgres").await;
    assert_eq!(server_code(no_entry), "28000");
}

#[tokio::test]
async fn parameters_reach_the_server() {
    let postgres = Postgres::shared().await;
    let host = tcp(postgres.port, ServerTlsMode::Disable);
    let connector = Connector::new(&config(vec![], vec![], vec![host.clone()])).expect("roots");
    let params = [("application_name", "app"), ("DateStyle", "German"), ("work_mem", "123kB")];
    let login = connector.connect(&host, "trusty", None, "postgres", &params).await.expect("login");
    for (name, value) in [("application_name", "app"), ("DateStyle", "German, DMY")] {
        let reported = login.params.iter().find(|(reported, _)| reported == name).expect(name);
        assert_eq!(reported.1, value);
    }
    let bad = connector.connect(&host, "trusty", None, "postgres", &[("no_such", "1")]).await;
    assert_eq!(server_code(bad), "42704");
    let zero = connector.connect(&host, "trusty", None, "postgres", &[("a", "b\0c")]).await;
    assert!(matches!(zero, Err(ConnectError::Auth(_))));
}

#[tokio::test]
async fn unix_socket_without_tls_whatever_the_mode() {
    let postgres = Postgres::shared().await;
    for mode in [ServerTlsMode::Disable, ServerTlsMode::Require] {
        let login = log_in(&host(postgres.socket(), mode, None), "boss", None, "postgres").await;
        assert!(!login.expect("login").stream.is_tls());
    }
    let missing = host(Address::Unix("/nonexistent/.s".into()), ServerTlsMode::Disable, None);
    let error = log_in(&missing, "boss", None, "postgres").await.expect_err("no socket");
    assert!(error.is_host_down(), "{error}");
}

#[tokio::test]
async fn tls_modes_trust_what_they_should() {
    let postgres = Postgres::shared().await;
    let Certificates { root, other_root, .. } = &postgres.certificates;
    let (right, wrong) = (Some(root.clone()), Some(other_root.clone()));
    use ServerTlsMode::{Prefer, Require, VerifyCa, VerifyFull};
    let cases: [(&str, ServerTlsMode, Option<PathBuf>, bool); 13] = [
        ("localhost", VerifyFull, right.clone(), true),
        ("localhost", VerifyFull, wrong.clone(), false),
        ("localhost", VerifyFull, None, false),
        ("127.0.0.1", VerifyFull, right.clone(), false),
        ("127.0.0.1", VerifyCa, right.clone(), true),
        ("127.0.0.1", VerifyCa, wrong.clone(), false),
        ("127.0.0.1", VerifyCa, None, false),
        ("127.0.0.1", Require, None, true),
        ("127.0.0.1", Require, right.clone(), true),
        ("127.0.0.1", Require, wrong.clone(), false),
        ("127.0.0.1", Prefer, None, true),
        ("localhost", Prefer, right, true),
        ("localhost", Prefer, wrong, false),
    ];
    for (name, mode, roots, good) in cases {
        let host = host(Address::Tcp(name.into(), postgres.port), mode, roots.clone());
        match log_in(&host, "scram", Some(PASSWORD), "postgres").await {
            Ok(login) => {
                assert!(good, "{name} {mode:?} {roots:?} was trusted");
                assert!(login.stream.is_tls(), "{name} {mode:?}");
            }
            Err(ConnectError::Tls(reason)) => assert!(!good, "{name} {mode:?} {roots:?} {reason}"),
            Err(other) => panic!("{name} {mode:?} {other:?}"),
        }
    }
}

/// A man in the middle with a certificate of his own: ends TLS and begins it anew.
async fn intercept(
    postgres: &Arc<Postgres>,
    mode: ServerTlsMode,
) -> (u16, tokio::task::JoinHandle<()>) {
    let scratch = Scratch::new();
    let files = Certificates::new(&scratch.0);
    let chain = read_certificates(&files.cert).expect("certificate");
    let key = PrivateKeyDer::from_pem_file(&files.key).expect("key");
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("certificate");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let postgres = postgres.clone();
    let task = tokio::spawn(async move {
        let (mut victim, _) = listener.accept().await.expect("accept");
        let mut request = [0; 8];
        victim.read_exact(&mut request).await.expect("SSLRequest");
        raw::send(&mut victim, b"S").await;
        let mut victim = acceptor.accept(victim).await.expect("handshake");
        let mut server = TcpStream::connect(("127.0.0.1", postgres.port)).await.expect("connect");
        if mode == ServerTlsMode::Disable {
            let _ = tokio::io::copy_bidirectional(&mut victim, &mut server).await;
            return;
        }
        raw::send(&mut server, raw::SSL_REQUEST).await;
        assert_eq!(server.read_u8().await.expect("answer"), b'S');
        let mut server = hand_shake(&postgres.certificates, server, &[]).await.expect("handshake");
        let _ = tokio::io::copy_bidirectional(&mut victim, &mut server).await;
    });
    (port, task)
}

#[tokio::test]
async fn channel_binding_unmasks_a_man_in_the_middle() {
    let postgres = Postgres::shared().await;
    // md5 and passwords pass through him unharmed; SCRAM-PLUS does not.
    let (port, task) = intercept(&postgres, ServerTlsMode::Require).await;
    let host = tcp(port, ServerTlsMode::Require);
    log_in(&host, "hash", Some(PASSWORD), "postgres").await.expect("relayed");
    task.abort();
    let (port, task) = intercept(&postgres, ServerTlsMode::Require).await;
    let host = tcp(port, ServerTlsMode::Require);
    let error = log_in(&host, "scram", Some(PASSWORD), "postgres").await.expect_err("unmasked");
    assert!(error.to_string().contains("channel binding"), "{error}");
    task.abort();
    // He speaks plain to the server, which then offers no -PLUS: "y" is taken, as by PostgreSQL.
    let (port, task) = intercept(&postgres, ServerTlsMode::Disable).await;
    let host = tcp(port, ServerTlsMode::Require);
    log_in(&host, "scram", Some(PASSWORD), "postgres").await.expect("no binding to check");
    task.abort();
}

#[tokio::test]
async fn cancel_requests_stop_a_statement() {
    let postgres = Postgres::shared().await;
    for mode in [ServerTlsMode::Disable, ServerTlsMode::Require] {
        let host = tcp(postgres.port, mode);
        let connector = Connector::new(&config(vec![], vec![], vec![host.clone()])).expect("roots");
        let login = connector.connect(&host, "trusty", None, "postgres", &[]).await;
        let ServerLogin { mut stream, cancel, .. } = login.expect("login");
        raw::send(&mut stream, &raw::frame(b'Q', b"select pg_sleep(60)\0")).await;
        // A request that comes before the statement has begun hits nothing: ask until it does.
        let key = cancel.expect("key");
        let asking = async {
            loop {
                connector.send_cancel(&host, &key).await.expect("sent");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let answering = async {
            loop {
                let (kind, body) = raw::receive(&mut stream).await;
                if kind == b'E' {
                    return raw::error(&raw::frame(kind, &body)).1;
                }
            }
        };
        let sqlstate = tokio::select! { sqlstate = answering => sqlstate, () = asking => panic!() };
        assert_eq!(sqlstate, "57014", "{mode:?}");
    }
}
