//! Who may come in: rules, the PROXY protocol, limits on failed logins, and what the log may say.

use pgmanifold::config::model::Address;
use pgmanifold_tests::client::{self, code, text, value};
use pgmanifold_tests::cluster::{self, PASSWORD, USER};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::process::{Process, scratch_file};
use pgmanifold_tests::raw::{self, Raw, field};
use pgmanifold_tests::{eventually, run};
use rustix::process::Signal;
use std::time::Duration;
use tokio_postgres::Error;

/// A proxy before the shared cluster, which is not waited for.
fn start(test: &str, adjust: impl FnOnce(ConfigText) -> ConfigText) -> Fixture {
    let cluster = cluster::shared();
    let database = cluster::create_database(&cluster, test);
    let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
    let config = adjust(ConfigText::new(&hosts, &database));
    Fixture::with_config(cluster, database, &config)
}

/// Two users with passwords: the shared one, and `other`.
fn passwords() -> String {
    format!(
        "[[user]]\nname = {USER:?}\npassword = {PASSWORD:?}\n\
         [[user]]\nname = \"other\"\npassword = \"other\"\n"
    )
}

async fn log_in(
    address: &Address,
    user: &str,
    password: &str,
    database: &str,
) -> Result<(), Error> {
    let mut config = client::config(address, user, database);
    config.password(password);
    client::try_connect(&config).await.map(drop)
}

/// SQLSTATE and message of a refused login.
fn refusal(login: Result<(), Error>) -> (String, String) {
    let error = login.expect_err("refused");
    let message = error.as_db_error().map_or_else(|| text(&error), |db| db.message().to_owned());
    (code(&error), message)
}

#[test]
fn rules_decide_in_their_order() {
    run(60, async {
        if is_direct() {
            return;
        }
        let socket = scratch_file(".s.PGSQL.7433");
        let rules = format!(
            "[[hba]]\ntype = \"local\"\ndatabase = \"all\"\nuser = \"/^app$\"\n\
             method = \"trust\"\n\
             [[hba]]\ntype = \"host\"\ndatabase = \"all\"\nuser = \"other\"\n\
             address = \"127.0.0.0/8\"\nmethod = \"reject\"\n\
             [[hba]]\ntype = \"hostssl\"\ndatabase = \"all\"\nuser = \"all\"\n\
             address = \"all\"\nmethod = \"trust\"\n\
             [[hba]]\ntype = \"host\"\ndatabase = [\"rules_no\", \"second\"]\nuser = [{USER:?}]\n\
             address = [\"10.0.0.0/8\", \"127.0.0.1\"]\nmethod = \"scram-sha-256\"\n\
             [[listener]]\naddress = {:?}\n",
            socket.display().to_string()
        );
        let fixture = start("rules", |config| {
            let second = "[[database]]\nname = \"second\"\nserver_database = \"postgres\"\n";
            config.users(&passwords()).listener_without("auth").section(second).section(&rules)
        });
        let login = async |user: &str, password: &str, database: &str| {
            log_in(&fixture.address, user, password, database).await
        };
        login(USER, PASSWORD, "second").await.expect("the last rule");
        let wrong = refusal(login(USER, "no", "second").await);
        assert_eq!(wrong.0, "28P01");
        let none = refusal(login(USER, PASSWORD, &fixture.database).await);
        assert_eq!(none.0, "28000");
        let wanted = format!(
            "no pg_hba.conf entry for host \"127.0.0.1\", user \"{USER}\", \
             database \"{}\", no encryption",
            fixture.database
        );
        assert_eq!(none.1, wanted);
        let rejected = refusal(login("other", "other", "second").await);
        assert!(rejected.0 == "28000" && rejected.1.starts_with("pg_hba.conf rejects"));
        // A socket in this directory, by libpq's own way of naming it.
        let local = Address::Unix(socket.clone());
        let mut config = client::config(&local, USER, &fixture.database);
        config.host_path("/nowhere");
        let stream = tokio::net::UnixStream::connect(&socket).await.expect("the socket");
        let (client, connection) =
            config.connect_raw(stream, tokio_postgres::NoTls).await.expect("trusted");
        tokio::spawn(connection);
        assert_eq!(value(&client, "select current_user").await, USER);
    });
}

#[test]
fn files_of_rules_are_read_and_a_reload_reads_them_again() {
    run(60, async {
        if is_direct() {
            return;
        }
        let file = scratch_file("rules.conf");
        let write = |rules: &str| std::fs::write(&file, rules).expect("a file");
        write("# closed\nhost all all all reject\n");
        let cluster = cluster::shared();
        let database = cluster::create_database(&cluster, "rules_file");
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let config = ConfigText::new(&hosts, &database)
            .users(&passwords())
            .listener_without("auth")
            .section(&format!("[auth]\nhba_file = {:?}\n", file.display().to_string()));
        let fixture = Fixture::with_config(cluster, database, &config);
        let login = async || log_in(&fixture.address, USER, PASSWORD, &fixture.database).await;
        assert_eq!(refusal(login().await).0, "28000");
        write("host all app 127.0.0.1 255.255.255.255 scram-sha-256\n");
        fixture.reload(&config);
        login().await.expect("the new rule");
        // A file that cannot be read or understood never opens the door.
        write("host all all all ident\n");
        let errors = pgmanifold::config::parse(&config.text(), "test.toml").expect_err("refused");
        let errors = errors.to_string();
        assert!(errors.contains("auth.hba_file") && errors.contains("rules.conf:1: method"));
        std::fs::remove_file(&file).expect("the file");
        assert!(pgmanifold::config::parse(&config.text(), "test.toml").is_err());
    });
}

#[test]
fn strangers_are_not_told_which_databases_there_are() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = start("strangers", |config| {
            config.users(&passwords()).listener("auth = \"scram-sha-256\"")
        });
        let login = async |user: &str, password: &str, database: &str| {
            refusal(log_in(&fixture.address, user, password, database).await)
        };
        let there = login("nobody", "x", &fixture.database).await;
        assert_eq!(there, login("nobody", "x", "no_such_database").await);
        let wrong = login(USER, "x", &fixture.database).await;
        assert_eq!(wrong, login(USER, "x", "no_such_database").await);
        assert_eq!(login(USER, PASSWORD, "no_such_database").await.0, "3D000");
    });
}

#[test]
fn failed_logins_are_slowed_down() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = start("throttle", |config| {
            config
                .users(&passwords())
                .listener("auth = \"scram-sha-256\"")
                .section("[auth]\nfailure_limit = 3\nfailure_window_ms = 1500\n")
        });
        let login = async |user: &str, password: &str| {
            log_in(&fixture.address, user, password, &fixture.database).await
        };
        for _ in 0..2 {
            assert_eq!(refusal(login(USER, "wrong").await).0, "28P01");
        }
        // A right password wipes the slate.
        login(USER, PASSWORD).await.expect("the right password");
        for _ in 0..3 {
            assert_eq!(refusal(login(USER, "wrong").await).0, "28P01");
            assert_eq!(refusal(login("nobody", "wrong").await).0, "28P01");
        }
        for user in [USER, "nobody"] {
            let refused = refusal(login(user, PASSWORD).await);
            assert_eq!(refused, ("28000".into(), "too many failed logins".into()));
        }
        login("other", "other").await.expect("another user is not concerned");
        // 30 failures of one address, whoever it says it is: 8 were above.
        for user in 0..22 {
            assert_eq!(refusal(login(&format!("u{user}"), "wrong").await).0, "28P01", "{user}");
        }
        assert_eq!(refusal(login("other", "other").await).1, "too many failed logins");
        eventually("it is forgotten", Duration::from_secs(10), async || {
            login(USER, PASSWORD).await.is_ok()
        })
        .await;
    });
}

fn v2_header(address: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(address);
    header.extend([127, 0, 0, 1, 0x30, 0x39, 0x19, 0x20]);
    header
}

/// The told address stands in the log, and failures count for it and nobody else.
async fn told_addresses_count(process: &Process, database: &str) {
    use tokio::io::AsyncWriteExt;
    let Address::Tcp(host, port) = process.address() else { panic!("a TCP listener") };
    let login = async |last: u8| {
        let stream = tokio::net::TcpStream::connect((host.as_str(), port)).await;
        let mut stream = stream.expect("somebody listens");
        stream.write_all(&v2_header([192, 0, 2, last])).await.expect("send");
        let mut config = client::config(&process.address(), USER, database);
        config.password("wrong");
        refusal(config.connect_raw(stream, tokio_postgres::NoTls).await.map(drop)).1
    };
    for _ in 0..2 {
        assert!(login(9).await.starts_with("password authentication failed"));
    }
    assert_eq!(login(9).await, "too many failed logins");
    assert!(login(8).await.starts_with("password authentication failed"));
    // A line may be written after its client has got the answer.
    eventually("the log tells the addresses", Duration::from_secs(5), async || {
        let log = process.log();
        log.contains("peer=192.0.2.9:12345") && log.contains("peer=192.0.2.8:12345")
    })
    .await;
}

#[test]
fn load_balancers_tell_whose_connection_it_is() {
    run(60, async {
        if is_direct() {
            return;
        }
        let rules = "[[hba]]\ntype = \"host\"\ndatabase = \"all\"\nuser = \"all\"\n\
                     address = \"192.0.2.7\"\nmethod = \"trust\"\n";
        let fixture = start("proxied", |config| {
            config
                .listener_without("auth")
                .listener("proxy_protocol = true")
                .listener("proxy_protocol_from = [\"127.0.0.1\", \"10.0.0.0/8\"]")
                .section(rules)
        });
        let startup = raw::startup(raw::V3_0, &[("user", USER), ("database", &fixture.database)]);
        let answer = async |header: &[u8]| {
            let mut raw = Raw::open(&fixture.address).await;
            // In one packet: nothing behind the header may be lost.
            raw.send(&[header, &startup].concat()).await;
            raw.next().await
        };
        for header in
            [b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n".to_vec(), v2_header([192, 0, 2, 7])]
        {
            let first = answer(&header).await.expect("an answer");
            assert_eq!(first.tag, b'R', "{first:?}");
        }
        for (header, host) in [
            (b"PROXY TCP4 192.0.2.8 127.0.0.1 1 2\r\n".to_vec(), "192.0.2.8"),
            (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(), "2001:db8::1"),
            (v2_header([192, 0, 2, 6]), "192.0.2.6"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "127.0.0.1"),
        ] {
            let first = answer(&header).await.expect("an answer");
            let message = field(&first.body, b'M').expect("a message");
            assert!(message.contains(&format!("host \"{host}\"")), "{message}");
        }
        // Without a header there is no answer, only the end.
        assert_eq!(answer(b"").await, None);
        assert_eq!(answer(b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\n").await, None);

        let database = "proxied_log";
        let hosts: Vec<_> = fixture.cluster.servers().map(|server| server.address()).collect();
        let config = ConfigText::new(&hosts, database)
            .listener("auth = \"scram-sha-256\"")
            .users(&passwords())
            .section("[auth]\nfailure_limit = 2\n")
            .listener("proxy_protocol = true")
            .listener("proxy_protocol_from = \"127.0.0.1\"");
        let process = Process::start(database, &config.text()).await;
        told_addresses_count(&process, database).await;

        let strange = start("unproxied", |config| {
            config
                .listener("proxy_protocol = true")
                .listener("proxy_protocol_from = \"192.0.2.0/24\"")
        });
        let mut raw = Raw::open(&strange.address).await;
        let sent = raw.try_send(b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n").await;
        assert!(sent.is_err() || raw.next().await.is_none());
    });
}

#[test]
fn secrets_are_read_again_on_reload() {
    run(60, async {
        if is_direct() {
            return;
        }
        let (file, cluster) = (scratch_file("reloaded-password"), cluster::shared());
        std::fs::write(&file, "first\n").expect("a file");
        let database = cluster::create_database(&cluster, "secrets");
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let user = format!("[[user]]\nname = {USER:?}\npassword_file = {:?}\n", file.display());
        let config = ConfigText::new(&hosts, &database)
            .users(&user)
            .listener("auth = \"scram-sha-256\"")
            .general("log_level = \"info\"");
        let process = Process::start("secrets", &config.text()).await;
        let login =
            async |password: &str| log_in(&process.address(), USER, password, &database).await;
        login("first").await.expect("the first password");
        let mut connected = client::config(&process.address(), USER, &database);
        connected.password("first");
        let old = client::try_connect(&connected).await.expect("a client");
        std::fs::write(&file, "second\n").expect("a file");
        assert!(login("second").await.is_err(), "nothing was reloaded yet");
        process.signal(Signal::HUP);
        eventually("the new password holds", Duration::from_secs(10), async || {
            login("second").await.is_ok()
        })
        .await;
        assert_eq!(refusal(login("first").await).0, "28P01");
        assert_eq!(value(&old, "select 1").await, "1");
        std::fs::remove_file(&file).expect("the file");
    });
}

#[test]
fn names_cannot_forge_log_lines() {
    run(60, async {
        if is_direct() {
            return;
        }
        let cluster = cluster::shared();
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let config = ConfigText::new(&hosts, "forged").general("log_level = \"debug\"");
        let process = Process::start("forged", &config.text()).await;
        let forged = "x\n2026-01-01T00:00:00Z ERROR forged";
        for (user, database) in [(forged, "forged"), (USER, forged)] {
            let mut raw = Raw::open(&process.address()).await;
            let parameters = [("user", user), ("database", database)];
            raw.send(&raw::startup(raw::V3_0, &parameters)).await;
            while raw.next().await.is_some() {}
        }
        let log = process.log();
        assert!(log.matches("forged").count() > 2, "{log}");
        let forged: Vec<&str> = log.lines().filter(|line| line.starts_with("2026-01-01")).collect();
        assert!(forged.is_empty(), "{forged:#?}");
    });
}

/// Every way to log in, rightly and wrongly, and what must not be found in any log of it.
#[test]
fn no_log_holds_a_secret() {
    run(90, async {
        if is_direct() {
            return;
        }
        let cluster = cluster::shared();
        let database = cluster::create_database(&cluster, "silent");
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let sql = "select rolpassword from pg_authid where rolname = ";
        let secret = |role: &str| cluster.primary.value(&format!("{sql}'{role}'")).expect("secret");
        let (scram, md5) = (secret("by_scram"), secret("by_md5"));
        let users = format!(
            "[[user]]\nname = {USER:?}\npassword = {PASSWORD:?}\n\
             [[user]]\nname = \"asks\"\npassword = \"asks-secret\"\nserver_user = \"postgres\"\n\
             [[user]]\nname = \"by_password\"\npassword = {PASSWORD:?}\n"
        );
        let rules = "[auth]\nquery_user = \"asks\"\n\
            [[hba]]\ntype = \"host\"\ndatabase = \"all\"\nuser = \"by_md5\"\naddress = \"all\"\n\
            method = \"md5\"\n\
            [[hba]]\ntype = \"host\"\ndatabase = \"all\"\nuser = \"all\"\naddress = \"all\"\n\
            method = \"scram-sha-256\"\n";
        let config = ConfigText::new(&hosts, &database)
            .users(&users)
            .listener_without("auth")
            .general("log_level = \"trace\"")
            .section(rules);
        let process = Process::start("silent", &config.text()).await;
        let mut keys = Vec::new();
        for user in [USER, "by_scram", "by_md5", "by_password"] {
            let mut config = client::config(&process.address(), user, &database);
            let wrong = config.password("wrong-secret").clone();
            assert!(client::try_connect(&wrong).await.is_err());
            config.password(PASSWORD);
            let client = client::try_connect(&config).await.expect(user);
            let hidden = client.query_one("select $1::text || 'x'", &[&"param-secret"]).await;
            assert_eq!(hidden.expect("a row").get::<_, String>(0), "param-secretx");
            client.batch_execute("select 'literal-secret'").await.expect("a statement");
            client.batch_execute("select 'literal-secret'::int").await.expect_err("no number");
            keys.push(client);
        }
        process.rewrite_config(&config.text().replace("address = \"all\"", "adress = \"all\""));
        process.signal(Signal::HUP);
        eventually("the broken file is reported", Duration::from_secs(10), async || {
            process.log().contains("not reloaded")
        })
        .await;
        let log = process.log();
        assert!(log.contains("TRACE") && log.contains("by_scram"), "the log is as full as it gets");
        let parts = scram.split(['$', ':']).filter(|part| part.len() > 12);
        let digits = md5.trim_start_matches("md5");
        let texts = ["asks-secret", "wrong-secret", "param-secret", "literal-secret"];
        for secret in [PASSWORD, &md5, digits].into_iter().chain(texts).chain(parts) {
            let found: Vec<&str> = log.lines().filter(|line| line.contains(secret)).collect();
            assert!(found.is_empty(), "the log holds {secret:?}: {found:#?}");
        }
    });
}
