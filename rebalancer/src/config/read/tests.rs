//! Files as people write them, right and wrong.

use super::*;

const GOOD: &str = "\
database = \"shop\"
[catalog]
url = \"postgresql://me:${PASSWORD}@cat/pgm?sslmode=disable\"
[[shard]]
name = \"north\"
url = \"postgresql://me@n1:5433,n2:5434/shop\"
[[shard]]
name = \"south\"
url = \"postgresql://me@s1/shop\"
subscription = \"host=inside password=${PASSWORD}\"
[limits]
copy_bytes_per_s = 1_000_000
lock_timeout_ms = 50
";

fn read(text: &str) -> Result<Config, String> {
    let environment = |name: &str| (name == "PASSWORD").then(|| "pw".to_owned());
    parse(text, Path::new("r.toml"), &environment).map_err(|error| error.to_string())
}

#[test]
fn a_whole_file_is_read() {
    let config = read(GOOD).unwrap();
    assert_eq!(config.database, "shop");
    assert_eq!(config.catalog.login.get_password(), Some("pw".as_bytes()));
    assert_eq!(config.shard("north").unwrap().server.login.get_hosts().len(), 2);
    assert!(config.shard("north").unwrap().subscription.contains("port='5433,5434'"));
    assert_eq!(config.shard("south").unwrap().subscription, "host=inside password=pw");
    assert_eq!(config.limits.copy_bytes_per_s, Some(1_000_000));
    assert_eq!(config.limits.lock_timeout.as_millis(), 50);
    assert_eq!(config.limits.lock_tries, Limits::default().lock_tries);
    assert!(config.shard("west").is_err());
    assert!(!format!("{config:?}").contains("pw\""), "no password is shown");
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text = "\
databse = \"shop\"
[catalog]
url = \"postgresql://me:${NOBODY}@cat/pgm\"
colour = 1
[[shard]]
url = \"postgresql://me:secret@n1:x/shop\"
ca_file = \"/nowhere/ca.pem\"
[[shard]]
name = 7
url = \"mysql://\"
[limits]
lock_timeout_ms = 0
copy_workers = \"two\"
cleanup_batch = 5
";
    let errors = read(text).unwrap_err();
    for expected in [
        "r.toml: database: it is missing",
        "r.toml:1: databse: unknown key",
        "r.toml:3: catalog.url: the environment has no variable \"NOBODY\"",
        "r.toml:4: catalog.colour: unknown key",
        "r.toml:5: shard.name: it is missing",
        "r.toml:6: shard.url: not a connection URL",
        "r.toml:7: shard.ca_file: /nowhere/ca.pem",
        "r.toml:9: shard.name: not a text in quotes",
        "r.toml:10: shard.url: not a connection URL",
        "r.toml:12: limits.lock_timeout_ms: not a whole number from 1 to 600000",
        "r.toml:13: limits.copy_workers: not a whole number",
        "r.toml:14: limits.cleanup_batch: unknown key",
    ] {
        assert!(errors.contains(expected), "{expected:?} is not in\n{errors}");
    }
    assert_eq!(errors.lines().count(), 12, "{errors}");
    assert!(!errors.contains("secret"), "{errors}");
}

#[test]
fn shards_have_names_of_their_own() {
    let errors = read(&GOOD.replace("south", "north")).unwrap_err();
    assert_eq!(errors, "r.toml:7: shard.name: \"north\" stands twice");
}

#[test]
fn certificates_are_only_named_where_they_are_looked_at() {
    let with = |url: &str| {
        let text = format!("ca_file = \"{}\"\nurl = ", env!("CARGO_MANIFEST_PATH"));
        GOOD.replace(&format!("url = \"{url}\""), &format!("{text}\"{url}\""))
    };
    let errors = read(&with("postgresql://me@s1/shop")).unwrap_err();
    assert!(errors.contains("no certificate in it"), "{errors}");
}

#[test]
fn broken_toml_has_a_line() {
    let errors = read("database = \"shop\nx").unwrap_err();
    assert!(errors.starts_with("r.toml:1: "), "{errors}");
}
