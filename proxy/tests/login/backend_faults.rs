//! Servers that are not there, or are not PostgreSQL: an error in time, never a hang or a panic.

use crate::raw::{frame, receive, send};
use crate::settings::{config, host, password};
use pgmanifold::backend::connect::{Connector, ServerLogin};
use pgmanifold::backend::error::ConnectError;
use pgmanifold::config::model::{Address, Host, ServerTlsMode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

type Result = std::result::Result<ServerLogin, ConnectError>;

async fn log_in(host: &Host) -> Result {
    let connector = Connector::new(&config(vec![], vec![], vec![host.clone()])).expect("roots");
    connector.connect(host, "user", Some(&password("pw")), "db", &[]).await
}

fn tcp(port: u16, mode: ServerTlsMode) -> Host {
    host(Address::Tcp("127.0.0.1".into(), port), mode, None)
}

/// Logs in on a server that answers each packet of the client with the next of `answers`, and
/// then says nothing more; `hang_up` ends the connection instead.
async fn log_in_on(mode: ServerTlsMode, answers: Vec<Vec<u8>>, hang_up: bool) -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let mut host = tcp(listener.local_addr().expect("address").port(), mode);
    host.connect_timeout = Duration::from_millis(if hang_up { 10_000 } else { 200 });
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let mut packet = [0; 2000];
        for answer in answers {
            if stream.read(&mut packet).await.expect("read") == 0 {
                return;
            }
            let _ = stream.write_all(&answer).await;
        }
        if !hang_up {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let result = log_in(&host).await;
    server.abort();
    result
}

fn authentication(code: u32, data: &[u8]) -> Vec<u8> {
    frame(b'R', &[&code.to_be_bytes(), data].concat())
}

fn ready() -> Vec<u8> {
    [authentication(0, b""), frame(b'K', &[0; 8]), frame(b'Z', b"I")].concat()
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    drop(listener);
    let error = log_in(&tcp(port, ServerTlsMode::Disable)).await.expect_err("refused");
    assert!(matches!(error, ConnectError::Io { .. }) && error.is_host_down(), "{error:?}");
    let sql = error.to_sql_error("db:1");
    assert_eq!(sql.sqlstate, "08001");
    assert!(sql.message.starts_with("could not connect to server \"db:1\": connect: "), "{sql}");
    let unknown = host(Address::Tcp("no.such.invalid".into(), 1), ServerTlsMode::Disable, None);
    let error = log_in(&unknown).await.expect_err("no such name");
    assert!(error.is_host_down(), "{error:?}");
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    for mode in [ServerTlsMode::Disable, ServerTlsMode::Require] {
        let begun = Instant::now();
        let error = log_in_on(mode, vec![], false).await.expect_err("silent");
        assert!(matches!(error, ConnectError::Timeout(_)), "{error:?}");
        assert!(error.is_host_down());
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    // One that greets and then falls silent.
    let answers = vec![authentication(0, b"")];
    let error = log_in_on(ServerTlsMode::Disable, answers, false).await.expect_err("silent");
    assert!(matches!(error, ConnectError::Timeout(_)), "{error:?}");
}

#[tokio::test]
async fn answers_to_ssl_request() {
    let plain = log_in_on(ServerTlsMode::Prefer, vec![b"N".to_vec(), ready()], false).await;
    assert!(!plain.expect("plain").stream.is_tls());
    let error = log_in_on(ServerTlsMode::Require, vec![b"N".to_vec()], false).await;
    assert!(matches!(error, Err(ConnectError::Tls(_))), "{error:?}");
    let injected = [&b"S"[..], &ready()].concat();
    for answer in [injected, b"E".to_vec(), frame(b'E', b"SFATAL\0\0"), b"x".to_vec()] {
        let error = log_in_on(ServerTlsMode::Require, vec![answer], false).await;
        assert!(matches!(error, Err(ConnectError::Protocol(_))), "{error:?}");
    }
    let error = log_in_on(ServerTlsMode::Require, vec![b"Snot TLS".to_vec()], true).await;
    assert!(error.expect_err("no TLS").is_host_down());
}

#[tokio::test]
async fn malformed_logins_are_violations() {
    let ok = authentication(0, b"");
    let with_ok = |rest: Vec<u8>| [ok.clone(), rest].concat();
    for answer in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        b"R\0\0\0\0".to_vec(),
        b"R\0\0\0\x03".to_vec(),
        b"R\xff\xff\xff\xff".to_vec(),
        frame(b'R', b""),
        frame(b'R', b"\0\0"),
        frame(b'Z', b"I"),
        frame(b'v', &[0; 8]),
        authentication(5, b"abc"),
        with_ok(frame(b'S', b"name")),
        with_ok(frame(b'S', b"name\0value")),
        with_ok(frame(b'S', b"name\0value\0more\0")),
        with_ok(frame(b'S', b"name\0\xff\0")),
        with_ok(frame(b'K', b"1234567")),
        with_ok(frame(b'K', &[0; 261])),
        with_ok(frame(b'Z', b"T")),
        with_ok(frame(b'D', b"")),
        with_ok(ok.clone()),
        with_ok(frame(b'N', b"Mhi\0\0").repeat(2000)),
        [ready(), frame(b'T', b"")].concat(),
    ] {
        let error = log_in_on(ServerTlsMode::Disable, vec![answer.clone()], false).await;
        assert!(matches!(error, Err(ConnectError::Protocol(_))), "{answer:?} {error:?}");
    }
    let late = [ready(), frame(b'N', b"Mhi\0\0"), frame(b'S', b"a\0b\0")].concat();
    let login = log_in_on(ServerTlsMode::Disable, vec![late], false).await.expect("login");
    assert_eq!(login.params, [("a".to_owned(), "b".to_owned())]);
}

#[tokio::test]
async fn impostors_cannot_skip_the_proof() {
    let offer = authentication(10, b"SCRAM-SHA-256\0\0");
    let challenge = |text: &str| authentication(11, text.as_bytes());
    for answer in [
        ready(),
        authentication(12, b"v=AAAA"),
        challenge(""),
        challenge("r=,s=AAAA,i=4096"),
        challenge("r=not-ours,s=AAAA,i=4096"),
    ] {
        let answers = vec![offer.clone(), answer.clone()];
        let error = log_in_on(ServerTlsMode::Disable, answers, true).await;
        assert!(matches!(error, Err(ConnectError::Protocol(_))), "{answer:?} {error:?}");
    }
    for answer in [authentication(10, b"OAUTHBEARER\0\0"), authentication(7, b"")] {
        let error = log_in_on(ServerTlsMode::Disable, vec![answer], true).await;
        assert!(matches!(error, Err(ConnectError::Auth(_))), "{error:?}");
    }
}

/// A server that knows the rules of SCRAM but not the password: its third answer is `last`.
async fn log_in_on_impostor(last: Vec<u8>) -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let host = tcp(listener.local_addr().expect("address").port(), ServerTlsMode::Disable);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let mut startup = [0; 2000];
        assert_ne!(stream.read(&mut startup).await.expect("StartupMessage"), 0);
        send(&mut stream, &authentication(10, b"SCRAM-SHA-256\0\0")).await;
        let (_, first) = receive(&mut stream).await;
        let first = String::from_utf8_lossy(&first).into_owned();
        let (_, nonce) = first.rsplit_once("r=").expect("nonce");
        let challenge = format!("r={nonce}more,s=c2FsdA==,i=2");
        send(&mut stream, &authentication(11, challenge.as_bytes())).await;
        receive(&mut stream).await;
        send(&mut stream, &last).await;
    });
    let result = log_in(&host).await;
    server.await.expect("server");
    result
}

#[tokio::test]
async fn impostors_cannot_fake_the_signature() {
    let error = log_in_on_impostor(ready()).await;
    assert!(matches!(error, Err(ConnectError::Protocol(_))), "{error:?}");
    let other = authentication(12, b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let error = log_in_on_impostor([other, ready()].concat()).await.expect_err("unmasked");
    assert!(matches!(error, ConnectError::Auth(_)), "{error:?}");
    assert_eq!(error.to_string(), "the server does not know the password");
}

#[tokio::test]
async fn starting_servers_count_as_down() {
    let starting = frame(b'E', b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0");
    let error = log_in_on(ServerTlsMode::Disable, vec![starting], true).await.expect_err("refused");
    assert!(error.is_host_down());
    let sql = error.to_sql_error("db:1");
    assert_eq!((&*sql.sqlstate, &*sql.message), ("57P03", "the database system is starting up"));
}

#[tokio::test]
async fn random_answers_are_errors() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..300 {
        let bytes: Vec<u8> = (0..random.random_range(0..100)).map(|_| random.random()).collect();
        let answer = match random.random_range(0..4) {
            0 => bytes,
            1 => frame(random.random(), &bytes),
            2 => authentication(random.random_range(0..14), &bytes),
            _ => [
                authentication(0, b""),
                frame(*b"SKZENv".get(random.random_range(0..6)).expect("index"), &bytes),
            ]
            .concat(),
        };
        let result = log_in_on(ServerTlsMode::Disable, vec![answer.clone()], true).await;
        assert!(result.is_err(), "{answer:?}");
    }
}
