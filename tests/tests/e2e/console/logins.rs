//! Who comes in to the console, and who may do what there.

use super::admin;
use pgmanifold_tests::client::{self, code, exec, value};
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::config::{CONSOLE_ADMIN, ConfigText};
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::run;

#[test]
fn both_names_lead_to_the_console() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let version = value(&admin(&fixture).await, "SHOW VERSION").await;
        assert!(version.starts_with("pgmanifold "), "{version}");
        let alias = client::connect(&fixture.address, USER, "pgbouncer").await;
        assert_eq!(value(&alias, "SELECT version;").await, version);
    });
}

#[test]
fn others_are_refused_with_a_hint() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let config = client::config(&fixture.address, "other", "pgmanifold");
        let error = client::try_connect(&config).await.expect_err("neither admin nor stats user");
        assert_eq!(code(&error), "42501");
        let hint = error.as_db_error().and_then(|error| error.hint()).expect("a hint");
        assert!(hint.contains("admin_users"), "{hint}");
    });
}

#[test]
fn a_reload_changes_roles_at_the_next_command() {
    run(60, async {
        let console = |admins: &str, stats: &str| {
            format!(
                "[console]\nadmin_users = [{admins}]\nstats_users = [{stats}]\nmax_clients = 2\n"
            )
        };
        let mut written: Option<ConfigText> = None;
        let fixture = Fixture::shared("console", |config| {
            written = Some(config.clone());
            config.section(&console("\"postgres\"", ""))
        })
        .await;
        let written = written.expect("it was asked for");
        let client = admin(&fixture).await;
        exec(&client, "SHOW VERSION").await;
        fixture.reload(&written.clone().section(&console("", "\"postgres\"")));
        exec(&client, "SHOW VERSION").await;
        let refused = client.simple_query("RELOAD").await.expect_err("a stats user now");
        assert_eq!(code(&refused), "42501");
        fixture.reload(&written.section(&console("", "\"other\"")));
        let refused = client.simple_query("SHOW VERSION").await.expect_err("nobody now");
        assert_eq!(code(&refused), "42501");
        client::connect(&fixture.address, "other", "pgmanifold").await;
    });
}

#[test]
fn connections_are_limited_apart_from_clients() {
    run(60, async {
        let fixture = Fixture::shared("console", |config| {
            let section = "[console]\nadmin_users = \"postgres\"\nmax_clients = 2\n";
            config.general("max_clients = 1").section(section)
        })
        .await;
        let client = fixture.client().await;
        exec(&client, "select 1").await;
        let first = admin(&fixture).await;
        let _second = admin(&fixture).await;
        let config = client::config(&fixture.address, CONSOLE_ADMIN, "pgmanifold");
        let error = client::try_connect(&config).await.expect_err("a third");
        assert_eq!(code(&error), "53300");
        drop(first);
        pgmanifold_tests::eventually("a place is free", super::SOON, async || {
            client::try_connect(&config).await.is_ok()
        })
        .await;
    });
}
