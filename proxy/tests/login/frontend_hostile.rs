//! Clients that do not behave: each loses its own connection, and the next client is served.

use crate::certificates::{Certificates, Scratch};
use crate::front::{Event, Front};
use crate::raw::{self, GSSENC_REQUEST, SSL_REQUEST};
use crate::settings::{listener, password, user};
use pgmanifold::config::model::{AuthMethod, ListenerTls, Secret};
use pgmanifold::frontend::startup::StartupErrorKind;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

async fn front(auth: AuthMethod) -> Front {
    let users = vec![user("ann", Some(Secret::Password(password("pw"))))];
    Front::new(listener(auth, None), users, None).await
}

/// The server still serves: a cancel request goes the whole way.
async fn assert_serves(front: &mut Front) {
    let mut stream = raw::connect(front.port).await;
    raw::send(&mut stream, &raw::packet(&[4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2])).await;
    loop {
        match front.event().await {
            Event::Cancel(_) => return,
            Event::Login { .. } => panic!("nobody should have been let in"),
            Event::Closed | Event::Failed(..) => {}
        }
    }
}

#[tokio::test]
async fn bytes_after_ssl_request_are_refused() {
    let scratch = Scratch::new();
    let files = Certificates::new(&scratch.0);
    let (cert_file, key_file) = (files.cert, files.key);
    let tls = ListenerTls { cert_file, key_file, required: false, client_authority: None };
    let users = vec![user("ann", None)];
    let mut front = Front::new(listener(AuthMethod::Trust, Some(tls)), users, None).await;
    let mut stream = raw::connect(front.port).await;
    let injected = [SSL_REQUEST, &raw::startup(0, &[("user", "ann")])].concat();
    raw::send(&mut stream, &injected).await;
    let answer = raw::receive_all(&mut stream).await;
    let (severity, sqlstate, message) = raw::error(&answer);
    assert_eq!((severity.as_str(), sqlstate.as_str()), ("FATAL", "08P01"));
    assert_eq!(message, "received unencrypted data after SSL request");
    assert_eq!(front.failure().await.0, StartupErrorKind::Protocol);
    // Bytes that come only after the "S" are no TLS either.
    let mut stream = raw::connect(front.port).await;
    raw::send(&mut stream, SSL_REQUEST).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    raw::send(&mut stream, &raw::startup(0, &[("user", "ann")])).await;
    let answer = raw::receive_all(&mut stream).await;
    assert!(!answer.contains(&b'R'), "{answer:?}");
    assert_eq!(front.failure().await.0, StartupErrorKind::Tls);
    assert_serves(&mut front).await;
}

#[tokio::test]
async fn encryption_is_asked_for_once() {
    let mut front = front(AuthMethod::Trust).await;
    for twice in [SSL_REQUEST, GSSENC_REQUEST] {
        let mut stream = raw::connect(front.port).await;
        raw::send(&mut stream, &[twice, twice].concat()).await;
        let answer = raw::receive_all(&mut stream).await;
        assert_eq!(answer[0], b'N');
        assert_eq!(raw::error(&answer[1..]).1, "08P01");
        assert_eq!(front.failure().await.0, StartupErrorKind::Protocol);
    }
    assert_serves(&mut front).await;
}

#[tokio::test]
async fn malformed_startup_packets_close_one_connection() {
    let mut front = front(AuthMethod::Trust).await;
    let version = [0, 3, 0, 0];
    let with_length = |length: u32| [&length.to_be_bytes(), &version[..]].concat();
    for (bytes, sqlstate) in [
        (with_length(0), "08P01"),
        (with_length(3), "08P01"),
        (with_length(7), "08P01"),
        (with_length(10_001), "08P01"),
        (with_length(u32::MAX), "08P01"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "08P01"),
        (raw::packet(&version), "08P01"),
        (raw::packet(&[&version, &b"user\0ann\0"[..]].concat()), "08P01"),
        (raw::packet(&[&version, &b"user\0ann\0\0more"[..]].concat()), "08P01"),
        (raw::packet(&[&version, &b"user\0\xff\xfe\0\0"[..]].concat()), "08P01"),
        (raw::packet(&[&version, &[b'x'; 9000][..]].concat()), "08P01"),
        (raw::startup(0, &[]), "28000"),
        (raw::packet(&[0, 2, 0, 0, 0]), "0A000"),
        (raw::packet(&[4, 210, 22, 46, 0, 0, 0, 1]), "08P01"),
    ] {
        let mut stream = raw::connect(front.port).await;
        raw::send(&mut stream, &bytes).await;
        let answer = raw::receive_all(&mut stream).await;
        // Where bytes were left unread the kernel may throw the answer away.
        if !answer.is_empty() {
            assert_eq!(raw::error(&answer).1, sqlstate, "{bytes:?}");
        }
        assert_eq!(front.failure().await.0, StartupErrorKind::Protocol, "{bytes:?}");
        assert_serves(&mut front).await;
    }
    // Cut off in the middle: the client sees nothing, and nobody waits for ever.
    for cut in [1, 4, 6] {
        let mut stream = raw::connect(front.port).await;
        raw::send(&mut stream, &raw::startup(0, &[("user", "ann")])[..cut]).await;
        stream.shutdown().await.expect("shutdown");
        assert_eq!(raw::receive_all(&mut stream).await, b"");
        assert_eq!(front.failure().await.0, StartupErrorKind::Io);
    }
}

#[tokio::test]
async fn malformed_password_messages_close_one_connection() {
    for method in [AuthMethod::ScramSha256, AuthMethod::Md5] {
        let mut front = front(method).await;
        for answer in [
            b"p\0\0\0\0".to_vec(),
            b"p\0\0\0\x03".to_vec(),
            b"p\xff\xff\xff\xff".to_vec(),
            b"p\0\x01\0\0".to_vec(),
            raw::frame(b'p', b""),
            raw::frame(b'p', b"md5 without end"),
            raw::frame(b'p', b"md5\0md5\0"),
            raw::frame(b'p', b"SCRAM-SHA-256"),
            raw::frame(b'p', b"SCRAM-SHA-256\0\0\0\0\x09n,,"),
            raw::frame(b'p', b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
            raw::sasl_initial("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,r=a"),
            raw::sasl_initial("SCRAM-SHA-256", "n,,n=,r="),
            raw::frame(b'Q', b"select 1\0"),
        ] {
            let mut stream = raw::connect(front.port).await;
            raw::send(&mut stream, &raw::startup(0, &[("user", "ann")])).await;
            assert_eq!(raw::receive(&mut stream).await.0, b'R');
            raw::send(&mut stream, &answer).await;
            let end = raw::receive_all(&mut stream).await;
            if !end.is_empty() {
                assert_eq!(raw::error(&end).0, "FATAL", "{answer:?}");
            }
            front.failure().await;
            assert_serves(&mut front).await;
        }
    }
}

#[tokio::test]
async fn random_bytes_never_get_in() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut front = front(AuthMethod::ScramSha256).await;
    for round in 0..300 {
        let mut bytes: Vec<u8> =
            (0..random.random_range(0..200)).map(|_| random.random()).collect();
        // Half of them get past the length and the version.
        if random.random() {
            let body = [&[0, 3, 0, random.random_range(0..4)], &bytes[..]].concat();
            bytes = raw::packet(&body);
        }
        // A third of them get past the StartupMessage.
        if random.random_range(0..3) == 0 {
            bytes = [raw::startup(0, &[("user", "ann")]), raw::frame(b'p', &bytes)].concat();
        }
        let mut stream = raw::connect(front.port).await;
        raw::send(&mut stream, &bytes).await;
        stream.shutdown().await.ok();
        raw::receive_all(&mut stream).await;
        if round % 30 == 0 {
            assert_serves(&mut front).await;
        }
    }
    assert_serves(&mut front).await;
}
