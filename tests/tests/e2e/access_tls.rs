//! Clients' certificates: who they let in and as whom; and certificates of listeners, read again
//! on reload.

use pgmanifold::config::model::Address;
use pgmanifold_tests::cluster::{self, PASSWORD, USER};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::process::Process;
use pgmanifold_tests::tls::Authority;
use pgmanifold_tests::{eventually, run};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

async fn psql(conninfo: &str, password: &str, sql: &str) -> Result<String, String> {
    let mut command = Command::new("psql");
    command.args(["-X", "-A", "-t", "-v", "VERBOSITY=verbose", "-c", sql, conninfo]);
    command.env("PGPASSWORD", password).env("PGCONNECT_TIMEOUT", "10").kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(20), command.output()).await;
    let output = output.expect("psql ends").expect("psql is installed");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn conninfo(address: &Address, user: &str, database: &str, more: &str) -> String {
    let Address::Tcp(host, port) = address else { panic!("a TCP listener") };
    format!("host={host} port={port} user={user} dbname={database} {more}")
}

fn directory(test: &str) -> PathBuf {
    let directory = cluster::shared().directory().join(test);
    std::fs::create_dir_all(&directory).expect("a directory");
    directory
}

fn with_tls(config: ConfigText, (cert, key): &(PathBuf, PathBuf)) -> ConfigText {
    config
        .listener(&format!("tls_cert_file = {:?}", cert.display().to_string()))
        .listener(&format!("tls_key_file = {:?}", key.display().to_string()))
}

fn with_certificate((cert, key): &(PathBuf, PathBuf), root: &Path) -> String {
    format!(
        "sslmode=verify-full sslrootcert={} sslcert={} sslkey={}",
        root.display(),
        cert.display(),
        key.display()
    )
}

const RULES: &str = r#"
[[user_map]]
map = "people"
system = '/^([a-z]+)@example\.com$'
user = '\1'

[[hba]]
type = "hostssl"
database = "all"
user = "postgres"
address = "all"
method = "scram-sha-256"
clientcert = "verify-full"

[[hba]]
type = "hostssl"
database = "mapped"
user = "all"
address = "all"
method = "cert"
map = "people"

[[hba]]
type = "hostssl"
database = "anycert"
user = "all"
address = "all"
method = "scram-sha-256"
clientcert = "verify-ca"

[[hba]]
type = "hostssl"
database = "all"
user = "all"
address = "all"
method = "cert"
"#;

/// A proxy with [`RULES`], and who signs its clients' certificates.
fn with_rules(test: &str) -> (Fixture, Authority) {
    let cluster = cluster::shared();
    let authority = Authority::create(&directory(test), "clients");
    let database = cluster::create_database(&cluster, test);
    let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
    let users = format!(
        "[[user]]\nname = {USER:?}\npassword = {PASSWORD:?}\n[[user]]\nname = \"other\"\n\
         [[user]]\nname = \"postgres\"\npassword = \"post\"\n"
    );
    let config = ConfigText::new(&hosts, &database).users(&users).listener_without("auth");
    let root = authority.root.display().to_string();
    let config = with_tls(config, &authority.issue("server", "localhost"))
        .listener(&format!("tls_client_ca_file = {root:?}"));
    let alias =
        |name: &str| format!("[[database]]\nname = {name:?}\nserver_database = {database:?}\n");
    let config = config.section(&alias("mapped")).section(&alias("anycert")).section(RULES);
    (Fixture::with_config(cluster, database, &config), authority)
}

#[test]
fn certificates_let_in_who_they_name() {
    run(90, async {
        if is_direct() {
            return;
        }
        let (fixture, authority) = with_rules("certs");
        let stranger = Authority::create(&directory("certs"), "strangers");
        let (app, mail) = (authority.issue("app", USER), authority.issue("m", "app@example.com"));
        let forged = stranger.issue("forged", USER);
        let ask =
            async |cert: Option<&(PathBuf, PathBuf)>, user: &str, db: &str, password: &str| {
                let more = match cert {
                    Some(cert) => with_certificate(cert, &authority.root),
                    None => format!(
                        "sslmode=require sslcert={}",
                        directory("certs").join("no").display()
                    ),
                };
                let info = conninfo(&fixture.address, user, db, &more);
                psql(&info, password, "select current_user").await
            };
        let own = fixture.database.as_str();
        assert_eq!(ask(Some(&app), USER, own, "").await, Ok(USER.into()));
        assert_eq!(ask(Some(&mail), USER, "mapped", "").await, Ok(USER.into()));
        assert_eq!(ask(Some(&mail), USER, "anycert", PASSWORD).await, Ok(USER.into()));
        let post = authority.issue("post", "postgres");
        assert_eq!(ask(Some(&post), "postgres", own, "post").await, Ok("postgres".into()));
        for (cert, user, db, password, wanted) in [
            (Some(&app), "other", own, "", "certificate authentication failed"),
            (Some(&mail), USER, own, "", "certificate authentication failed"),
            (Some(&app), USER, "mapped", "", "certificate authentication failed"),
            (Some(&mail), "other", "mapped", "", "certificate authentication failed"),
            (Some(&app), "postgres", own, "post", "certificate authentication failed"),
            (Some(&post), "postgres", own, "wrong", "password authentication failed"),
            (Some(&mail), USER, "anycert", "wrong", "password authentication failed"),
            (None, USER, own, "", "requires a valid client certificate"),
            (None, USER, "anycert", PASSWORD, "requires a valid client certificate"),
            (Some(&forged), USER, own, "", "unknown ca"),
        ] {
            let refused = ask(cert, user, db, password).await.expect_err(wanted);
            assert!(refused.contains(wanted), "{user} {db}: {refused}");
        }
        let plain = conninfo(&fixture.address, USER, own, "sslmode=disable");
        let refused = psql(&plain, PASSWORD, "select 1").await.expect_err("no rule");
        assert!(refused.contains("no pg_hba.conf entry"), "{refused}");
    });
}

#[test]
fn listeners_may_insist_on_certificates() {
    run(60, async {
        if is_direct() {
            return;
        }
        let cluster = cluster::shared();
        let authority = Authority::create(&directory("insist"), "insist");
        let database = cluster::create_database(&cluster, "insist");
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let root = authority.root.display().to_string();
        let config = ConfigText::new(&hosts, &database)
            .listener("auth = \"cert\"")
            .listener(&format!("tls_client_ca_file = {root:?}"))
            .listener("tls_client_cert_required = true");
        let config = with_tls(config, &authority.issue("server", "localhost"));
        let fixture = Fixture::with_config(cluster, database, &config);
        let app = with_certificate(&authority.issue("app", USER), &authority.root);
        let info = conninfo(&fixture.address, USER, &fixture.database, &app);
        assert_eq!(psql(&info, "", "select current_user").await, Ok(USER.into()));
        let none = conninfo(&fixture.address, USER, &fixture.database, "sslmode=require");
        let refused = psql(&none, "", "select 1").await.expect_err("no certificate");
        assert!(refused.contains("certificate required"), "{refused}");
        let plain = conninfo(&fixture.address, USER, &fixture.database, "sslmode=disable");
        let refused = psql(&plain, "", "select 1").await.expect_err("no TLS");
        assert!(refused.contains("requires a valid client certificate"), "{refused}");
    });
}

#[test]
fn sighup_reads_certificates_again() {
    run(90, async {
        if is_direct() {
            return;
        }
        let cluster = cluster::shared();
        let folder = directory("renewed");
        let (old, new) = (Authority::create(&folder, "old"), Authority::create(&folder, "new"));
        let files = old.issue("server", "localhost");
        let database = cluster::create_database(&cluster, "renewed");
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let config = with_tls(ConfigText::new(&hosts, &database), &files);
        let process = Process::start("renewed", &config.text()).await;
        let trusts = |root: &Path| {
            let more = format!("sslmode=verify-full sslrootcert={}", root.display());
            conninfo(&process.address(), USER, &database, &more)
        };
        // This client lives through everything that follows.
        let mut living = Command::new("psql");
        living.args(["-X", "-A", "-t", &trusts(&old.root)]);
        living.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut living = living.kill_on_drop(true).spawn().expect("psql");
        let mut input = living.stdin.take().expect("a pipe");
        use tokio::io::AsyncWriteExt;
        input.write_all(b"select 'before';\n").await.expect("psql reads");
        assert_eq!(psql(&trusts(&old.root), "", "select 1").await, Ok("1".into()));

        new.issue("server", "localhost");
        assert_eq!(psql(&trusts(&old.root), "", "select 1").await, Ok("1".into()));
        process.signal(Signal::HUP);
        eventually("the new certificate is shown", Duration::from_secs(10), async || {
            psql(&trusts(&new.root), "", "select 1").await == Ok("1".into())
        })
        .await;
        assert!(psql(&trusts(&old.root), "", "select 1").await.is_err());
        // A broken file changes nothing.
        std::fs::write(&files.0, "no certificate").expect("a file");
        process.signal(Signal::HUP);
        eventually("the log says so", Duration::from_secs(10), async || {
            process.log().contains("not reloaded")
        })
        .await;
        assert_eq!(psql(&trusts(&new.root), "", "select 1").await, Ok("1".into()));

        input.write_all(b"select 'after';\n").await.expect("psql reads");
        drop(input);
        let output = living.wait_with_output().await.expect("psql ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "before\nafter\n");
    });
}
