//! The protocol of the console, byte for byte.

use pgmanifold_tests::config::CONSOLE_ADMIN;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::raw::{self, Raw};
use pgmanifold_tests::run;

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
