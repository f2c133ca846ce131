//! Clients that behave: every method, with psql (libpq), tokio-postgres, rustls and our own
//! backend as the client.

use crate::certificates::{Certificates, Scratch};
use crate::front::{Event, Front};
use crate::raw::{self, GSSENC_REQUEST, SSL_REQUEST};
use crate::settings::{config, host, listener, password, user};
use pgmanifold::backend::connect::Connector;
use pgmanifold::config::model::{
    Address, AuthMethod, Listener, ListenerTls, Secret, ServerTlsMode, User,
};
use pgmanifold::frontend::startup::{Frontends, StartupErrorKind};
use pgmanifold::wire::protocol::Protocol;
use pgmanifold::wire::tls::{provider, read_certificates};
use rustls::pki_types::ServerName;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PASSWORD: &str = "s\u{e9}cret ,=";

/// One user per kind of secret, all with `PASSWORD`.
fn users() -> Vec<Arc<User>> {
    let scram = postgres_protocol::password::scram_sha_256(PASSWORD.as_bytes());
    let md5 = postgres_protocol::password::md5(PASSWORD.as_bytes(), "hashed");
    vec![
        user("clear", Some(Secret::Password(password(PASSWORD)))),
        user("stored", Some(Secret::Scram(password(&scram)))),
        user("hashed", Some(Secret::Md5(password(&md5)))),
        user("nothing", None),
    ]
}

fn tls_listener(scratch: &Scratch, required: bool) -> (Listener, Certificates) {
    let files = Certificates::new(&scratch.0);
    let (cert_file, key_file) = (files.cert.clone(), files.key.clone());
    let tls = ListenerTls { cert_file, key_file, required, client_authority: None };
    (listener(AuthMethod::ScramSha256, Some(tls)), files)
}

/// Runs a statement with psql; its error output when it fails.
async fn psql(conninfo: &str, password: &str) -> Result<(), String> {
    let output = tokio::process::Command::new("psql")
        .args(["-X", "-w", "-c", "select 1", conninfo])
        .env("PGPASSWORD", password)
        .env("PGCONNECT_TIMEOUT", "10")
        .stdin(Stdio::null())
        .output()
        .await
        .expect("psql runs");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

async fn login_of(front: &mut Front) -> (String, bool) {
    match front.event().await {
        Event::Login { user, tls, .. } => (user, tls),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn scram_with_libpq_and_tokio_postgres() {
    let scratch = Scratch::new();
    let socket = scratch.0.join(".s.PGSQL.5432");
    let plain = listener(AuthMethod::ScramSha256, None);
    let mut front = Front::new(plain, users(), Some(&socket)).await;
    let port = front.port;
    for name in ["clear", "stored"] {
        for place in [format!("127.0.0.1 port={port}"), scratch.0.display().to_string()] {
            let conninfo = format!("host={place} user={name} dbname=d");
            psql(&conninfo, PASSWORD).await.expect("login");
            assert_eq!(login_of(&mut front).await, (name.to_owned(), false));
            let refused = psql(&conninfo, "wrong").await.expect_err("refused");
            let text = format!("FATAL:  password authentication failed for user \"{name}\"");
            assert!(refused.contains(&text), "{refused}");
            let (kind, reason) = front.failure().await;
            assert_eq!(kind, StartupErrorKind::Authentication);
            assert!(reason.ends_with(": wrong password"), "{reason}");
        }
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(port).user(name).password(PASSWORD);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("login");
        let connection = tokio::spawn(connection);
        client.simple_query("select 1").await.expect("answer");
        drop(client);
        connection.await.expect("task").expect("connection");
        login_of(&mut front).await;
    }
}

#[tokio::test]
async fn scram_plus_with_libpq() {
    let scratch = Scratch::new();
    let (listener, files) = tls_listener(&scratch, true);
    let mut front = Front::new(listener, users(), None).await;
    let root = files.root.display();
    for name in ["clear", "stored"] {
        for binding in ["require", "prefer", "disable"] {
            let conninfo = format!(
                "host=localhost hostaddr=127.0.0.1 port={} user={name} dbname=d \
                 sslmode=verify-full sslrootcert={root} channel_binding={binding}",
                front.port
            );
            psql(&conninfo, PASSWORD).await.expect("login");
            assert_eq!(login_of(&mut front).await, (name.to_owned(), true));
            psql(&conninfo, "wrong").await.expect_err("refused");
            assert_eq!(front.failure().await.0, StartupErrorKind::Authentication);
        }
    }
    let plain = format!("host=127.0.0.1 port={} user=clear dbname=d sslmode=disable", front.port);
    let refused = psql(&plain, PASSWORD).await.expect_err("refused");
    assert!(refused.contains("connections without TLS are not allowed"), "{refused}");
    assert_eq!(front.failure().await.0, StartupErrorKind::TlsRequired);
}

#[tokio::test]
async fn our_own_backend_logs_in_with_channel_binding() {
    let scratch = Scratch::new();
    let (listener, files) = tls_listener(&scratch, true);
    let mut front = Front::new(listener, users(), None).await;
    let address = Address::Tcp("localhost".into(), front.port);
    let server = host(address, ServerTlsMode::VerifyFull, Some(files.root));
    let connector = Connector::new(&config(vec![], vec![], vec![server.clone()])).expect("roots");
    for (name, given, good) in
        [("clear", PASSWORD, true), ("stored", PASSWORD, true), ("clear", "wrong", false)]
    {
        let given = password(given);
        let result = connector.connect(&server, name, Some(&given), "d", &[]).await;
        assert_eq!(result.is_ok(), good, "{name} {result:?}");
        front.event().await;
    }
}

#[tokio::test]
async fn md5_with_libpq() {
    let mut front = Front::new(listener(AuthMethod::Md5, None), users(), None).await;
    // A SCRAM secret makes the server ask for SCRAM even here.
    for name in ["clear", "hashed", "stored"] {
        let conninfo = format!("host=127.0.0.1 port={} user={name} dbname=d", front.port);
        psql(&conninfo, PASSWORD).await.expect("login");
        assert_eq!(login_of(&mut front).await.0, name);
        psql(&conninfo, "wrong").await.expect_err("refused");
        assert_eq!(front.failure().await.0, StartupErrorKind::Authentication);
    }
    for name in ["nobody", "nothing"] {
        let conninfo = format!("host=127.0.0.1 port={} user={name} dbname=d", front.port);
        let refused = psql(&conninfo, PASSWORD).await.expect_err("refused");
        assert!(refused.contains("password authentication failed"), "{refused}");
        front.failure().await;
    }
}

#[tokio::test]
async fn trust_asks_nothing_of_known_users() {
    let mut front = Front::new(listener(AuthMethod::Trust, None), users(), None).await;
    let conninfo = |name: &str| format!("host=127.0.0.1 port={} user={name} dbname=d", front.port);
    let (known, unknown) = (conninfo("nothing"), conninfo("nobody"));
    psql(&known, "").await.expect("login");
    assert_eq!(login_of(&mut front).await.0, "nothing");
    let refused = psql(&unknown, "").await.expect_err("refused");
    assert!(refused.contains("role \"nobody\" does not exist"), "{refused}");
}

/// The shape of the whole exchange with a wrong proof: types and lengths of the answers.
async fn shape_of_failure(port: u16, name: &str) -> (Vec<(u8, usize)>, Vec<u8>, String) {
    let mut stream = raw::connect(port).await;
    raw::send(&mut stream, &raw::startup(0, &[("user", name)])).await;
    let offer = raw::receive(&mut stream).await;
    raw::send(&mut stream, &raw::sasl_initial("SCRAM-SHA-256", "n,,n=,r=abc")).await;
    let challenge = raw::receive(&mut stream).await;
    let text = String::from_utf8(challenge.1[4..].to_vec()).expect("text");
    let mut fields = text.split(',');
    let nonce = fields.next().expect("nonce").to_owned();
    let salt = fields.next().expect("salt").to_owned();
    let proof = "A".repeat(43);
    let last = format!("c=biws,{nonce},p={proof}=");
    raw::send(&mut stream, &raw::frame(b'p', last.as_bytes())).await;
    let end = raw::receive_all(&mut stream).await;
    let shape = vec![(offer.0, offer.1.len()), (challenge.0, challenge.1.len())];
    (shape, end, salt)
}

#[tokio::test]
async fn unknown_users_see_what_a_wrong_password_sees() {
    let mut front = Front::new(listener(AuthMethod::ScramSha256, None), users(), None).await;
    let known = shape_of_failure(front.port, "stored").await;
    assert!(front.failure().await.1.ends_with(": wrong password"));
    // As long as "stored", so that the answers can be compared byte for byte.
    for (name, reason) in [("nosuch", "unknown user"), ("hashed", "an md5 secret")] {
        let first = shape_of_failure(front.port, name).await;
        let again = shape_of_failure(front.port, name).await;
        assert_eq!(known.0, first.0, "{name}");
        let end = String::from_utf8_lossy(&known.1).replace("stored", name);
        assert_eq!(end, String::from_utf8_lossy(&first.1), "{name}");
        assert_eq!(raw::error(&first.1).1, "28P01");
        assert_eq!(first.2, again.2, "a salt that changes would give the unknown user away");
        assert_ne!(first.2, known.2);
        for _ in 0..2 {
            assert!(front.failure().await.1.contains(reason));
        }
    }
}

#[tokio::test]
async fn gssenc_then_tls_then_startup() {
    let scratch = Scratch::new();
    let (listener, files) = tls_listener(&scratch, false);
    let mut front =
        Front::new(Listener { auth: AuthMethod::Trust, ..listener }, users(), None).await;
    let mut stream = raw::connect(front.port).await;
    raw::send(&mut stream, GSSENC_REQUEST).await;
    assert_eq!(stream.read_u8().await.expect("answer"), b'N');
    raw::send(&mut stream, SSL_REQUEST).await;
    assert_eq!(stream.read_u8().await.expect("answer"), b'S');
    let mut tls = hand_shake(&files, stream, &[]).await.expect("handshake");
    raw::send(&mut tls, &raw::startup(0, &[("user", "clear")])).await;
    assert_eq!(raw::receive(&mut tls).await, (b'R', vec![0; 4]));
    assert_eq!(login_of(&mut front).await, ("clear".to_owned(), true));
}

#[tokio::test]
async fn direct_tls_needs_alpn() {
    let scratch = Scratch::new();
    let (listener, files) = tls_listener(&scratch, false);
    let mut front =
        Front::new(Listener { auth: AuthMethod::Trust, ..listener }, users(), None).await;
    let stream = raw::connect(front.port).await;
    let mut tls = hand_shake(&files, stream, &["postgresql"]).await.expect("handshake");
    raw::send(&mut tls, &raw::startup(0, &[("user", "clear")])).await;
    assert_eq!(raw::receive(&mut tls).await, (b'R', vec![0; 4]));
    assert_eq!(login_of(&mut front).await, ("clear".to_owned(), true));
    for alpn in [&[][..], &["http/1.1"]] {
        let stream = raw::connect(front.port).await;
        if let Ok(mut tls) = hand_shake(&files, stream, alpn).await {
            raw::send(&mut tls, &raw::startup(0, &[("user", "clear")])).await;
            assert_eq!(raw::receive_all(&mut tls).await, b"", "{alpn:?}");
        }
        assert_eq!(front.failure().await.0, StartupErrorKind::Tls, "{alpn:?}");
    }
}

/// TLS as a client that trusts the root of `files`.
pub(crate) async fn hand_shake(
    files: &Certificates,
    stream: TcpStream,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    for root in read_certificates(&files.root).expect("root") {
        roots.add(root).expect("root");
    }
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn versions_options_and_parameters() {
    let mut front = Front::new(listener(AuthMethod::Trust, None), users(), None).await;
    let negotiated = |minor: u8, names: &[u8], count: u8| {
        raw::frame(b'v', &[&[0, 3, 0, minor, 0, 0, 0, count], names].concat())
    };
    let pairs = [("user", "clear"), ("database", "d"), ("options", "-c a=b\\ c"), ("x", "y")];
    for (minor, extra, first, protocol) in [
        (0, None, None, Protocol::V3_0),
        (2, None, None, Protocol::V3_2),
        (99, None, Some(negotiated(2, b"", 0)), Protocol::V3_2),
        (0, Some("_pq_.new"), Some(negotiated(0, b"_pq_.new\0", 1)), Protocol::V3_0),
    ] {
        let mut all = pairs.to_vec();
        all.extend(extra.map(|name| (name, "1")));
        let mut stream = raw::connect(front.port).await;
        raw::send(&mut stream, &raw::startup(minor, &all)).await;
        if let Some(first) = first {
            let (kind, body) = raw::receive(&mut stream).await;
            assert_eq!(raw::frame(kind, &body), first);
        }
        assert_eq!(raw::receive(&mut stream).await, (b'R', vec![0; 4]));
        let Event::Login { database, params, protocol: found, .. } = front.event().await else {
            panic!("no login");
        };
        assert_eq!((database.as_str(), found), ("d", protocol));
        let expected = [("a", "b c"), ("x", "y")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(params, expected);
    }
}

#[tokio::test]
async fn cancel_requests_of_any_length_and_clients_that_leave() {
    let plain = listener(AuthMethod::ScramSha256, None);
    let mut front = Front::new(plain, users(), None).await;
    for secret_bytes in [4, 32, 256] {
        let secret = vec![7; secret_bytes];
        let body = [&[4, 210, 22, 46, 0, 0, 1, 2], &secret[..]].concat();
        let mut stream = raw::connect(front.port).await;
        raw::send(&mut stream, &raw::packet(&body)).await;
        let Event::Cancel(key) = front.event().await else { panic!("no cancel") };
        assert_eq!((key.process_id, &key.secret[..]), (258, &secret[..]));
        assert_eq!(raw::receive_all(&mut stream).await, b"");
    }
    drop(raw::connect(front.port).await);
    assert!(matches!(front.event().await, Event::Closed));
    // As psql does before it asks for a password.
    let mut stream = raw::connect(front.port).await;
    raw::send(&mut stream, &raw::startup(0, &[("user", "clear")])).await;
    raw::receive(&mut stream).await;
    drop(stream);
    assert!(matches!(front.event().await, Event::Closed));
}

#[test]
fn unusable_files_are_named() {
    let scratch = Scratch::new();
    let (good, files) = tls_listener(&scratch, false);
    let with = |cert: &std::path::Path, key: &std::path::Path| {
        let (cert_file, key_file) = (cert.into(), key.into());
        let tls = ListenerTls { cert_file, key_file, required: false, client_authority: None };
        let listener = Listener { tls: Some(tls), ..good.clone() };
        Frontends::new(&config(vec![listener], vec![], vec![])).err().map(|error| error.to_string())
    };
    assert_eq!(with(&files.cert, &files.key), None);
    let missing = scratch.0.join("missing");
    assert!(with(&missing, &files.key).expect("refused").contains("missing"));
    assert!(with(&files.cert, &missing).expect("refused").contains("missing"));
    assert!(with(&files.key, &files.key).expect("refused").contains("no certificate"));
    assert!(with(&files.root, &files.key).expect("refused").contains("root.crt"));
}
