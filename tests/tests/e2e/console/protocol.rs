//! The protocol of the console, byte for byte.

use pgmanifold_tests::config::CONSOLE_ADMIN;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::raw::{self, Raw};
use pgmanifold_tests::run;
use std::time::Duration;

async fn raw(fixture: &Fixture) -> Raw {
    Raw::connect(&fixture.address, CONSOLE_ADMIN, "pgmanifold").await
}

/// What comes back up to ReadyForQuery, in short.
async fn ask(raw: &mut Raw, bytes: &[u8]) -> String {
    raw.send(bytes).await;
    let messages = raw.until_ready().await;
    let words = messages.iter().map(|message| {
        let tag = char::from(message.tag);
        match message.tag {
            b'E' | b'N' => {
                format!("{tag}({})", raw::field(&message.body, b'C').unwrap_or_default())
            }
            b'C' | b'Z' => format!("{tag}({})", raw::strings(&message.body)[0]),
            b'S' => format!("{tag}({})", raw::strings(&message.body)[..2].join("=")),
            b'D' => {
                let values = pgmanifold::wire::frame::data_row(&message.body).expect("a row");
                let texts = values.iter().map(|value| value.map_or("NULL".into(), text));
                format!("{tag}({})", texts.collect::<Vec<_>>().join(","))
            }
            _ => tag.to_string(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[test]
fn the_greeting_suits_drivers() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let parameters =
            [("user", CONSOLE_ADMIN), ("database", "pgbouncer"), ("application_name", "x")];
        let raw = Raw::connect_with(&fixture.address, raw::V3_2, &parameters).await;
        for (name, value) in [
            ("client_encoding", "UTF8"),
            ("server_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "GMT"),
            ("standard_conforming_strings", "on"),
            ("integer_datetimes", "on"),
            ("is_superuser", "on"),
            ("session_authorization", CONSOLE_ADMIN),
            ("application_name", "x"),
        ] {
            assert_eq!(raw.parameter(name), Some(value), "{name}");
        }
        let version = raw.parameter("server_version").expect("it is told");
        assert!(version.contains("(pgmanifold "), "{version}");
        assert!(raw.pid > 0 && raw.secret.len() == 32);
    });
}

#[test]
fn simple_queries() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let mut raw = raw(&fixture).await;
        for (sql, expected) in [
            ("", "I Z(I)"),
            ("SHOW client_encoding", "T D(UTF8) C(SHOW) Z(I)"),
            ("SHOW nonsense", "E(42704) Z(I)"),
            ("UPDATE x; SHOW VERSION", "E(42601) Z(I)"),
            ("SET extra_float_digits = 3; SHOW extra_float_digits", "C(SET) T D(3) C(SHOW) Z(I)"),
            ("SET application_name = 'y'", "S(application_name=y) C(SET) Z(I)"),
            ("SET client_encoding = 'LATIN1'", "E(0A000) Z(I)"),
            ("BEGIN", "C(BEGIN) Z(T)"),
            ("SHOW nonsense", "E(42704) Z(T)"),
            ("COMMIT", "C(COMMIT) Z(I)"),
        ] {
            assert_eq!(ask(&mut raw, &raw::query(sql)).await, expected, "{sql}");
        }
    });
}

fn messages(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), raw::sync()].concat()
}

#[test]
fn extended_queries() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let mut raw = raw(&fixture).await;
        let run = |name: &str, sql: &str| {
            let (bind, all) = (raw::bind("", name, &[]), raw::execute("", 0));
            vec![raw::parse(name, sql), raw::describe(b'S', name), bind, all]
        };
        for (parts, expected) in [
            (run("", "SHOW client_encoding"), "1 t T 2 D(UTF8) C(SHOW) Z(I)"),
            (run("", "SET application_name = 'x'"), "1 t n 2 S(application_name=x) C(SET) Z(I)"),
            (run("", " -- nothing"), "1 t n 2 I Z(I)"),
            (run("one", "SHOW client_encoding"), "1 t T 2 D(UTF8) C(SHOW) Z(I)"),
            // An error ends everything up to Sync, and nothing else.
            (run("one", "SHOW client_encoding"), "E(42P05) Z(I)"),
            (run("", "SHOW nonsense"), "E(42704) Z(I)"),
            (run("", "RELOAD; RELOAD"), "E(42601) Z(I)"),
            (vec![raw::bind("", "none", &[])], "E(26000) Z(I)"),
            (vec![raw::execute("none", 0), raw::execute("", 0)], "E(34000) Z(I)"),
            (vec![raw::bind("", "one", &[Some("1")])], "E(08P01) Z(I)"),
            (vec![raw::bind("p", "one", &[]), raw::bind("p", "one", &[])], "2 E(42P03) Z(I)"),
            (
                vec![raw::bind("p", "one", &[]), raw::close(b'P', "p"), raw::execute("p", 0)],
                "2 3 E(34000) Z(I)",
            ),
            (vec![raw::bind("p", "one", &[]), raw::describe(b'P', "p")], "2 T Z(I)"),
            // Portals end with the transaction.
            (vec![raw::execute("p", 0)], "E(34000) Z(I)"),
            (
                vec![raw::close(b'S', "one"), raw::close(b'S', "one"), raw::bind("", "one", &[])],
                "3 3 E(26000) Z(I)",
            ),
            (vec![raw::frame(b'F', &[0; 14])], "E(0A000) Z(I)"),
        ] {
            let bytes = messages(&parts);
            assert_eq!(ask(&mut raw, &bytes).await, expected, "{}", bytes.escape_ascii());
            if expected.ends_with("E(0A000) Z(I)") {
                raw.until_ready().await;
            }
        }
    });
}

#[test]
fn portals_give_some_rows_at_a_time() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let mut raw = raw(&fixture).await;
        let whole = ask(&mut raw, &raw::query("SHOW STATE")).await;
        let rows: Vec<&str> = whole.split(' ').filter(|word| word.starts_with('D')).collect();
        assert!(rows.len() >= 3, "{whole}");
        let parts =
            [raw::query("BEGIN"), raw::parse("", "SHOW STATE"), raw::bind("p", "", &[])].concat();
        raw.send(&parts).await;
        assert_eq!(raw.until_ready().await.len(), 2);
        let one = || messages(&[raw::execute("p", 1)]);
        let first = ask(&mut raw, &one()).await;
        assert_eq!(first, format!("1 2 {} s Z(T)", rows[0]));
        assert_eq!(ask(&mut raw, &one()).await, format!("{} s Z(T)", rows[1]));
        let rest = ask(&mut raw, &messages(&[raw::execute("p", 0)])).await;
        assert_eq!(rest, format!("{} C(SHOW) Z(T)", rows[2..].join(" ")));
        let ended = ask(&mut raw, &raw::query("COMMIT")).await;
        assert_eq!(ended, "C(COMMIT) Z(I)");
        assert_eq!(ask(&mut raw, &one()).await, "E(34000) Z(I)");
    });
}

#[test]
fn malformed_messages_end_their_connection_only() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let mut bystander = raw(&fixture).await;
        for bytes in [
            raw::frame(b'Q', b"SHOW VERSION"),
            raw::frame(b'Q', b"SHOW\0VERSION\0"),
            raw::frame(b'B', b"\0\0\0\0\0\x09\0\0\0\0"),
            raw::frame(b'P', b"\0SHOW VERSION\0\xff\xff"),
            raw::frame(b'D', b"Xname\0"),
            raw::frame(b'!', b""),
            raw::frame(b'p', b"password\0"),
            b"Q\xff\xff\xff\xff".to_vec(),
            b"S\0\0\0\x05x".to_vec(),
        ] {
            let mut raw = raw(&fixture).await;
            raw.send(&bytes).await;
            let error = raw.next().await.expect("an answer");
            assert_eq!(error.tag, b'E', "{}", bytes.escape_ascii());
            assert_eq!(raw::field(&error.body, b'C').as_deref(), Some("08P01"));
            assert_eq!(raw::field(&error.body, b'S').as_deref(), Some("FATAL"));
            assert!(raw.is_closed().await, "{}", bytes.escape_ascii());
        }
        let mut raw = raw(&fixture).await;
        assert_eq!(ask(&mut raw, &raw::frame(b'Q', b"SHOW \xff\0")).await, "E(22021) Z(I)");
        let answer = ask(&mut bystander, &raw::query("SHOW client_encoding")).await;
        assert_eq!(answer, "T D(UTF8) C(SHOW) Z(I)");
    });
}

#[test]
fn who_does_not_read_holds_up_nobody_else() {
    const COMMANDS: usize = 2_000;
    run(90, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let (mut reader, mut writer) = raw(&fixture).await.split();
        let writing = tokio::spawn(async move {
            let command = raw::query("SHOW CONFIG");
            for _ in 0..COMMANDS {
                tokio::io::AsyncWriteExt::write_all(&mut writer, &command).await.expect("taken");
            }
            writer
        });
        let mut other = raw(&fixture).await;
        for _ in 0..20 {
            let answer = ask(&mut other, &raw::query("SHOW client_encoding")).await;
            assert_eq!(answer, "T D(UTF8) C(SHOW) Z(I)");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for _ in 0..COMMANDS {
            assert_eq!(reader.until_ready().await.last().map(|last| last.tag), Some(b'Z'));
        }
        writing.await.expect("all was written");
    });
}
