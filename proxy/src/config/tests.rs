//! Tests of the configuration as a whole: text in, model or problems out.

use super::keys::{Absent, Kind, SECTIONS, Section};
use super::model::{Address, Causality, PoolMode, Secret, ServerTlsMode};
use super::*;
use std::time::Duration;

const MINIMAL: &str = r#"[[listener]]
address = "127.0.0.1:6432"

[[user]]
name = "app"
password = "hunter2"

[[shard]]
name = "main"
hosts = ["127.0.0.1:5432", "127.0.0.1:5433"]
monitor_user = "monitor"

[[database]]
name = "app"
"#;

fn environment(name: &str) -> Option<String> {
    match name {
        "EMPTY" => Some(String::new()),
        name if name.ends_with("PASSWORD") => Some(format!("from {name}")),
        _ => None,
    }
}

fn read(text: &str) -> Result<Loaded, ConfigErrors> {
    super::read(text, "test.toml", &environment)
}

/// The plain lines `text` is refused with.
fn refused(text: &str) -> Vec<String> {
    let errors = read(text).expect_err("should have been refused");
    errors.to_string().lines().map(str::to_owned).collect()
}

/// Asserts that MINIMAL with `from` replaced by `to` is refused with exactly one line, which
/// contains `wanted`.
fn refuses(from: &str, to: &str, wanted: &str) {
    assert!(MINIMAL.contains(from), "{from:?} is not in the minimal configuration");
    let lines = refused(&MINIMAL.replace(from, to));
    assert!(lines.len() == 1 && lines[0].contains(wanted), "wanted {wanted:?}, got {lines:#?}");
}

#[test]
fn a_minimal_file_gets_sensible_defaults() {
    let loaded = read(MINIMAL).unwrap();
    assert!(loaded.warnings.problems().is_empty(), "{}", loaded.warnings);
    let config = loaded.config;
    assert!(config.general.workers >= 1);
    assert_eq!(config.general.max_clients, 10_000);
    assert_eq!(config.general.login_timeout, Duration::from_secs(15));
    assert_eq!(config.general.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.general.max_message_bytes, 1 << 30);
    assert!(config.http.is_none() && !config.general.log_json);
    let database = &config.databases[0];
    assert_eq!(database.server_database, "app");
    assert_eq!((database.pool_size, database.min_idle), (20, 0));
    assert_eq!(database.checkout_timeout, Duration::from_secs(5));
    assert_eq!(database.idle_timeout, Duration::from_secs(600));
    assert_eq!(database.max_lifetime, Duration::from_secs(3600));
    assert_eq!(database.facts_interval, Duration::from_secs(60));
    assert_eq!(database.prepared_statements, 200);
    assert_eq!(
        (database.pool_mode, database.causality),
        (PoolMode::Transaction, Causality::Session)
    );
    assert!(database.read_replicas && database.max_replica_lag.is_none());
    let shard = &database.shard;
    assert_eq!(shard.hosts.len(), 2);
    assert_eq!(shard.hosts[1].address, Address::Tcp("127.0.0.1".into(), 5433));
    assert_eq!(shard.hosts[0].tls.mode, ServerTlsMode::Prefer);
    assert_eq!(shard.hosts[0].connect_timeout, Duration::from_secs(3));
    assert_eq!(shard.health.interval, Duration::from_secs(1));
    assert_eq!(shard.health.timeout, Duration::from_secs(1));
    assert_eq!(shard.health.ban_min, Duration::from_secs(1));
    assert_eq!(shard.health.ban_max, Duration::from_secs(30));
    assert_eq!(shard.health.sample_interval, Duration::from_millis(10));
    assert_eq!(shard.monitor.database, "postgres");
    let user = &config.users[0];
    assert_eq!((user.server_user.as_str(), user.max_clients), ("app", 10_000));
    assert_eq!(user.server_password.as_ref().unwrap().0.as_str(), "hunter2");
}

#[test]
fn the_examples_of_the_documentation_are_accepted() {
    let text = include_str!("configuration.head.md");
    let examples: Vec<&str> =
        text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        read(example).unwrap_or_else(|errors| panic!("{errors}"));
    }
    let config = read(text.split("```toml\n").nth(2).unwrap().split("```").next().unwrap());
    let config = config.unwrap().config;
    assert_eq!(config.databases[0].pool_size, 40, "[pool] gives the default");
    assert_eq!(config.databases[1].pool_size, 5, "[[database]] overrides it");
    assert_eq!(config.databases[1].max_replica_lag, Some(Duration::from_secs(10)));
    let hosts = &config.shards[0].hosts;
    assert_eq!(hosts[0].tls.mode, ServerTlsMode::Require, "[[shard]] gives the default");
    assert_eq!(hosts[2].tls.mode, ServerTlsMode::Disable, "[[shard.host]] overrides it");
    assert!(matches!(config.users[0].secret, Some(Secret::Scram(_))));
    assert_eq!(
        config.users[0].server_password.as_ref().unwrap().0.as_str(),
        "from APP_SERVER_PASSWORD"
    );
}

#[test]
fn every_error_is_named_at_once_with_its_line() {
    let text = MINIMAL
        .replace("address = \"127.0.0.1:6432\"", "adress = \"127.0.0.1:6432\"\nmax_clients = 0")
        .replace("monitor_user = \"monitor\"", "health_interval_ms = \"1s\"")
        .replace("[[database]]", "[[database]]\nshard = \"mian\"\npool_mode = \"transactions\"")
        + "\n[loging]\nlevel = 1\n";
    let lines = refused(&text);
    let wanted = [
        "test.toml:1: listener.address: `address` is missing in [[listener]]",
        "test.toml:2: listener.adress: unknown key `adress` in [[listener]] (did you mean `addr",
        "test.toml:3: listener.max_clients: 0 is not a value of `max_clients`",
        "test.toml:9: shard.monitor_user: `monitor_user` is missing",
        "test.toml:12: shard.health_interval_ms: \"1s\" is not a value",
        "test.toml:15: database.shard: there is no shard \"mian\" (did you mean \"main\"?)",
        "test.toml:16: database.pool_mode: \"transactions\" is not a value",
        "test.toml:19: loging: unknown section or key `loging`",
    ];
    assert_eq!(lines.len(), wanted.len(), "{lines:#?}");
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{line}\nwanted {wanted}");
    }
}

#[test]
fn broken_toml_is_an_error_with_its_line() {
    let lines = refused("[general]\nworkers = = 3\n");
    assert!(lines.iter().any(|line| line.starts_with("test.toml:2: not valid TOML")), "{lines:?}");
}

#[test]
fn refuses_what_cannot_work() {
    refuses("name = \"main\"", "name = \"a b\"", "cannot name a shard");
    refuses(
        "\"127.0.0.1:5433\"",
        "\"127.0.0.1:5432\"",
        "test.toml:10: shard.hosts: host 127.0.0.1:5432 is named twice",
    );
    refuses("\"127.0.0.1:5433\"", "\"127.0.0.1\"", "has no port");
    refuses("hosts = [\"127.0.0.1:5432\", \"127.0.0.1:5433\"]", "", "the shard has no hosts");
    refuses(
        "hosts = [\"127.0.0.1:5432\", \"127.0.0.1:5433\"]",
        "hosts = []",
        "the shard has no hosts",
    );
    refuses(
        "[[database]]",
        "[[database]]\nmin_idle = 21",
        "min_idle (21) is larger than pool_size",
    );
    refuses("[[database]]", "[pool]\nmin_idle = 21\n[[database]]", "pool.min_idle");
    refuses("password =", "pool_size = 0\npassword =", "a whole number from 1");
    refuses("password = \"hunter2\"", "", "no listener lets it in");
    refuses("password = ", "secret = ", "not a stored secret");
    refuses("password = ", "password_env = \"X\"\npassword = ", "both given");
    refuses("password = \"hunter2\"", "password_env = \"UNSET\"", "UNSET is not set");
    refuses("password = \"hunter2\"", "password_env = \"EMPTY\"", "EMPTY is empty");
    refuses("password = \"hunter2\"", "password_file = \"/nowhere\"", "/nowhere: No such file");
    refuses("password = \"hunter2\"", "password = 5", "this is not a value of `password`");
    refuses("name = \"app\"\npass", "name = \"\"\npass", "\"\" is not a value");
    refuses(
        "[[user]]",
        "[[user]]\nname = \"app\"\npassword = \"x\"\n[[user]]",
        "a second [[user]]",
    );
    refuses("[[database]]", "[[database]]\nname = \"app\"\n[[database]]", "a second [[database]]");
    refuses(
        "[[listener]]",
        "[http]\naddress = \"127.0.0.1:6432\"\n[[listener]]",
        "the same address",
    );
    refuses(
        "[[listener]]",
        "[http]\naddress = \"localhost:1\"\n[[listener]]",
        "not an address to listen on",
    );
    refuses("[[listener]]", "[listener]", "wrong form");
    refuses("[[listener]]", "[general]\nlog_level = \"a=b=c\"\n[[listener]]", "not a log filter");
    refuses("[[user]]", "tls_required = true\n[[user]]", "there is no certificate");
    refuses("[[user]]", "tls_cert_file = \"a.pem\"\n[[user]]", "without a key");
    refuses("monitor_user", "health_ban_max_ms = 1\nmonitor_user", "larger than health_ban_max_ms");
    refuses(
        "monitor_user",
        "tls_mode = \"verify_full\"\nmonitor_user",
        "did you mean `verify-full`?",
    );
    refuses("\"127.0.0.1:5433\"]", "\"/run/x\"]\ntls_mode = \"require\"", "not spoken over Unix");
    refuses(
        "[[database]]",
        "[[database]]\nserver_database = \"x\"\nlog_level = \"x\"",
        "it belongs into [general]",
    );
}

#[test]
fn an_empty_file_says_what_is_needed() {
    let lines = refused("");
    let wanted = ["[[listener]]", "[[user]]", "[[shard]]", "[[database]]"];
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.contains(wanted), "{line}");
    }
}

#[test]
fn an_md5_secret_needs_an_md5_listener() {
    let md5 =
        MINIMAL.replace("password = \"hunter2\"", &format!("secret = \"md5{}\"", "0a".repeat(16)));
    assert!(refused(&md5)[0].contains("scram-sha-256"), "{:?}", refused(&md5));
    let both = md5.clone() + "[[listener]]\naddress = \"127.0.0.1:0\"\nauth = \"md5\"\n";
    assert!(read(&both).unwrap().warnings.to_string().contains("some listeners refuse it"));
    let only = md5.replace("6432\"", "6432\"\nauth = \"md5\"");
    assert!(read(&only).unwrap().warnings.problems().is_empty());
}

#[test]
fn a_database_of_several_shards_must_name_its_own() {
    let second = "[[shard]]\nname = \"b\"\nhosts = [\"h:1\"]\nmonitor_user = \"m\"\n";
    let lines = refused(&(MINIMAL.to_owned() + second));
    assert!(lines.len() == 1 && lines[0].contains("one of \"main\", \"b\""), "{lines:?}");
}

#[test]
fn neither_form_of_an_error_shows_a_secret() {
    let text = MINIMAL
        .replace("password = \"hunter2\"", "pasword = 'hunter2'\npassword = \"hunter2\"\nx = 1")
        .replace("monitor_user", "monitor_password = \"\"\"\nhunter2\n\"\"\"\nmoniter_user")
        + "[[user]]\nname = \"b\"\nsecret = \"hunter2\"\n"
        + "[[user]]\nname = \"c\"\nserver_password=[\"hunter2\"]\n";
    let errors = read(&text).unwrap_err();
    assert!(errors.problems().len() >= 5, "{errors}");
    for shown in [errors.to_string(), errors.report(false), errors.report(true)] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let config = read(MINIMAL).unwrap().config;
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn masking_keeps_every_offset() {
    let text =
        "a = 1\npassword = \"gé€heim\" # x\nb = 2\nserver_password = '''\nab\nc''' \nd = 1\n";
    let masked = mask_secrets(text);
    assert_eq!(masked.len(), text.len());
    assert_eq!(masked.lines().count(), text.lines().count());
    assert!(!masked.contains("heim") && !masked.contains("ab") && masked.ends_with("\nd = 1\n"));
}

#[test]
fn the_report_shows_the_line_and_the_remedy() {
    let report = read(&MINIMAL.replace("[[database]]", "[[database]]\npool_sise = 3"))
        .unwrap_err()
        .report(false);
    for wanted in ["test.toml", "pool_sise = 3", "did you mean `pool_size`?", "database.pool_sise"]
    {
        assert!(report.contains(wanted), "{wanted} is not in\n{report}");
    }
}

#[test]
fn an_unreadable_file_is_an_error() {
    let errors = load(Path::new("/nowhere/pgmanifold.toml")).unwrap_err();
    assert!(errors.to_string().starts_with("/nowhere/pgmanifold.toml: cannot read the file"));
}

#[test]
fn pem_files_are_checked_and_public_keys_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("pgmanifold-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        std::fs::write(folder.join(name), text).unwrap();
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let one = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let two = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    write("one.pem", &one.cert.pem(), 0o600);
    write("one.key", &one.signing_key.serialize_pem(), 0o644);
    write("two.key", &two.signing_key.serialize_pem(), 0o600);
    write("bad.pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", 0o600);
    write("password", "x\n", 0o604);
    let read = |cert: &str, key: &str| {
        let tls = format!("tls_cert_file = \"{cert}\"\ntls_key_file = \"{key}\"\n[[user]]");
        let text = MINIMAL
            .replace("[[user]]", &tls)
            .replace("password = \"hunter2\"", "password_file = \"password\"");
        super::read(&text, folder.join("test.toml").to_str().unwrap(), &environment)
    };
    let good = read("one.pem", "one.key").unwrap();
    let warnings = good.warnings.to_string();
    assert!(warnings.contains("one.key can be read by every user"), "{warnings}");
    assert!(warnings.contains("password can be read by every user"), "{warnings}");
    assert_eq!(good.config.listeners[0].tls.as_ref().unwrap().key_file, folder.join("one.key"));
    for (cert, key, wanted) in [
        ("one.pem", "two.key", "must belong to the first certificate"),
        ("bad.pem", "two.key", "not valid PEM"),
        ("none.pem", "two.key", "none.pem: No such file"),
        ("two.key", "two.key", "no certificate in it"),
        ("one.pem", "one.pem", "private key"),
    ] {
        let errors = read(cert, key).unwrap_err().to_string();
        assert!(errors.contains(wanted), "{wanted} is not in {errors}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_key_table_agrees_with_itself() {
    fn walk(section: &Section) {
        let mut seen = std::collections::HashSet::new();
        for key in section.keys() {
            assert!(seen.insert(key.name), "{} stands twice in {}", key.name, section.name);
            assert!(!key.help.is_empty());
            match (key.kind, key.default) {
                (Kind::Integer(min, max), Absent::Value(text)) => {
                    assert!((min..=max).contains(&text.parse().unwrap()), "{}", key.name);
                }
                (Kind::Boolean, Absent::Value(text)) => assert!(["true", "false"].contains(&text)),
                (Kind::Choice(words), Absent::Value(text)) => assert!(words.contains(&text)),
                _ => {}
            }
        }
        section.nested.iter().for_each(|nested| walk(nested));
    }
    SECTIONS.iter().for_each(|section| walk(section));
}

/// MINIMAL with `text` at its end.
fn with(text: &str) -> String {
    format!("{MINIMAL}\n{text}")
}

/// Asserts that MINIMAL with `text` at its end is refused, with exactly one line.
fn refuses_more(text: &str, wanted: &str) {
    let lines = refused(&with(text));
    assert!(lines.len() == 1 && lines[0].contains(wanted), "wanted {wanted:?}, got {lines:#?}");
}

const RULE: &str = "[[hba]]\ntype = \"host\"\ndatabase = \"all\"\nuser = \"all\"\n\
                    address = \"all\"\nmethod = \"scram-sha-256\"\n";

#[test]
fn rules_keep_their_order_and_know_their_lines() {
    let second = RULE.replace("\"all\"\nmethod", "[\"10.0.0.1\", \"::/0\"]\nmethod");
    let access = read(&with(&format!("{RULE}{second}"))).unwrap().config.access;
    let rules = access.rules.unwrap();
    assert_eq!(rules.len(), 2);
    assert_eq!(rules[0].place, "[[hba]] in line 16");
    assert!(rules[0].addresses.is_none());
    let networks: Vec<String> =
        rules[1].addresses.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.1/32", "::/0"]);
    let plain = read(MINIMAL).unwrap().config.access;
    assert!(plain.rules.is_none() && plain.maps.is_empty() && plain.query.is_none());
    assert_eq!((plain.failures.limit, plain.failures.window), (30, Duration::from_secs(60)));
}

#[test]
fn rules_that_cannot_hold_are_refused() {
    for (from, to, wanted) in [
        ("\"host\"", "\"hostgss\"", "test.toml:17: hba.type: \"hostgss\" is not a value"),
        ("address = \"all\"\n", "", "`address` is missing in [[hba]]"),
        ("address = \"all\"", "address = []", "the list is empty"),
        ("address = \"all\"", "address = \"db1\"", "test.toml:20: hba.address: \"db1\" is not"),
        ("address = \"all\"", "address = \"10.0.0.0/40\"", "is not an IP address or network"),
        ("address = \"all\"", "address = 5", "a list such as"),
        ("user = \"all\"", "user = [\"a\", \"+b\"]", "test.toml:19: hba.user: \"+b\""),
        ("user = \"all\"", "user = \"/(\"", "not a regular expression"),
        ("database = \"all\"", "database = \"replication\"", "\"replication\" is not supported"),
        ("database = \"all\"\n", "", "`database` is missing"),
        ("\"host\"", "\"local\"", "Unix sockets have no addresses"),
        ("\"scram-sha-256\"", "\"cert\"", "certificates are only had with type hostssl"),
        ("\"scram-sha-256\"", "\"peer\"", "\"peer\" is not a value of `method`"),
        ("\"scram-sha-256\"", "\"md5\"\nclientcert = \"verify-ca\"", "only had with type hostssl"),
    ] {
        assert!(RULE.contains(from), "{from:?}");
        let lines = refused(&with(&RULE.replace(from, to)));
        assert!(lines.len() <= 2 && lines[0].contains(wanted), "wanted {wanted:?}, got {lines:#?}");
    }
    let mapped = RULE
        .replace("\"host\"", "\"hostssl\"")
        .replace("\"scram-sha-256\"", "\"cert\"\nmap = \"m\"");
    let lines = refused(&with(&mapped));
    assert!(lines.iter().any(|line| line.contains("there is no user map \"m\"")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("no listener asks for certificates")));
    let unmapped = with(&(RULE.to_owned() + "map = \"m\"\n"));
    assert!(refused(&unmapped).iter().any(|line| line.contains("maps are for method cert")));
    let both = MINIMAL.replace("6432\"", "6432\"\nauth = \"trust\"") + RULE;
    assert!(refused(&both)[0].contains("test.toml:3: listener.auth: `auth` beside [[hba]] rules"));
}

#[test]
fn access_keys_that_cannot_hold_are_refused() {
    refuses_more("[auth]\nquery = \"x\"", "`query` without `query_user`");
    refuses_more("[auth]\nquery_user = \"x\"", "there is no [[user]] \"x\"");
    let unknown = "[auth]\nquery_user = \"app\"\nquery_database = \"x\"";
    refuses_more(unknown, "test.toml:18: auth.query_database: there is no [[database]] \"x\"");
    refuses_more("[auth]\nhba_file = \"/nowhere\"", "/nowhere: No such file");
    refuses_more("forced_user = \"x\"", "there is no [[user]] \"x\"");
    let pattern = "[[user_map]]\nmap = \"m\"\nsystem = \"/(\"\nuser = \"x\"";
    refuses_more(pattern, "user_map.system: \"(\" is not a regular expression");
    refuses("[[user]]", "proxy_protocol = true\n[[user]]", "anybody could claim any address");
    refuses("[[user]]", "proxy_protocol_from = \"::1\"\n[[user]]", "no PROXY protocol is spoken");
    let strange = "proxy_protocol = true\nproxy_protocol_from = [\"::1\", \"x\"]\n[[user]]";
    let lines = refused(&MINIMAL.replace("[[user]]", strange));
    assert!(lines.iter().any(|line| line.contains("\"x\" is not an IP address")), "{lines:?}");
    refuses("[[user]]", "auth = \"cert\"\n[[user]]", "clients are not asked for certificates");
    refuses(
        "[[user]]",
        "tls_client_ca_file = \"x\"\n[[user]]",
        "certificates of clients without TLS",
    );
}

#[test]
fn a_user_without_secret_may_come_in_by_other_ways() {
    let bare = "[[user]]\nname = \"bare\"\n";
    refuses_more(bare, "user \"bare\" has no password: no listener lets it in");
    let query = "[auth]\nquery_user = \"app\"\n";
    assert!(read(&with(&format!("{bare}{query}"))).is_ok(), "a server has its secret");
    let forced = MINIMAL.to_owned() + "forced_user = \"bare\"\n" + bare;
    assert!(read(&forced).is_ok(), "its server login is used by others");
    let trusted =
        RULE.replace("user = \"all\"", "user = \"bare\"").replace("scram-sha-256", "trust");
    let loaded = read(&with(&format!("{bare}{trusted}"))).unwrap();
    let warnings = loaded.warnings.to_string();
    assert!(warnings.contains("user \"app\" has no rule that lets it in"), "{warnings}");
}

#[test]
fn new_roots_are_a_new_setting() {
    let folder = std::env::temp_dir().join(format!("pgmanifold-roots-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let read = || {
        let roots = "tls_mode = \"verify-full\"\ntls_root_cert_file = \"roots.pem\"\nmonitor_user";
        let text = MINIMAL.replace("monitor_user", roots);
        let name = folder.join("test.toml");
        super::read(&text, name.to_str().unwrap(), &environment).unwrap().config.shards
    };
    let write = || {
        let root = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("roots.pem"), root.cert.pem()).unwrap();
    };
    write();
    let (first, again) = (read(), read());
    write();
    assert_eq!(first, again);
    assert_ne!(first, read(), "the shard's connections are replaced");
    std::fs::remove_dir_all(&folder).unwrap();
}
