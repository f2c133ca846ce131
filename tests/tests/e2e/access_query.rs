//! Users whom only the servers know: their secrets are asked for, and the keys of their logins log
//! in to the servers. Users who share another's login on the servers.

use pgmanifold::config::model::Address;
use pgmanifold_tests::client::{self, code, text, value};
use pgmanifold_tests::cluster::{self, PASSWORD, USER};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::{eventually, run};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_postgres::{Client, Error};

/// Asks as the superuser, whom servers trust.
const QUERY: &str =
    "[auth]\nquery_user = \"postgres\"\nquery_cache_ms = 60000\nfailure_limit = 0\n";

fn fixture(test: &str, adjust: impl FnOnce(ConfigText) -> ConfigText) -> Fixture {
    on(cluster::shared(), test, adjust)
}

fn on(
    cluster: Arc<pgmanifold::demo::postgres::PgCluster>,
    test: &str,
    adjust: impl FnOnce(ConfigText) -> ConfigText,
) -> Fixture {
    let database = cluster::create_database(&cluster, test);
    let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
    let users = "[[user]]\nname = \"postgres\"\npassword = \"not used\"\n";
    let config =
        ConfigText::new(&hosts, &database).users(users).listener("auth = \"scram-sha-256\"");
    Fixture::with_config(cluster, database, &adjust(config))
}

async fn login(address: &Address, user: &str, password: &str, db: &str) -> Result<Client, Error> {
    let mut config = client::config(address, user, db);
    config.password(password);
    client::try_connect(&config).await
}

async fn enter(fixture: &Fixture, user: &str, password: &str) -> Result<Client, Error> {
    login(&fixture.address, user, password, &fixture.database).await
}

#[test]
fn the_keys_of_a_login_log_in_to_servers_that_ask_for_scram() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("passthrough", |config| config.section(QUERY));
        let client = enter(&fixture, "by_scram", PASSWORD).await.expect("the user of the server");
        assert_eq!(value(&client, "select current_user").await, "by_scram");
        // Reads reach replicas with the same keys.
        let seen = Mutex::new(BTreeSet::new());
        eventually("reads run everywhere", Duration::from_secs(15), async || {
            let place = value(&client, pgmanifold_tests::fixture::WHERE).await;
            let mut seen = seen.lock().expect("nobody panics");
            seen.insert(place);
            seen.len() > 1
        })
        .await;
        let wrong = enter(&fixture, "by_scram", "wrong").await.expect_err("refused");
        let unknown = enter(&fixture, "no_such_role", "wrong").await.expect_err("refused");
        assert_eq!(
            text(&wrong).replace("by_scram", "X"),
            text(&unknown).replace("no_such_role", "X")
        );
        // The same from the file: a stored secret is enough there too.
        let sql = "select rolpassword from pg_authid where rolname = 'by_scram'";
        let secret = fixture.cluster.primary.value(sql).expect("a secret");
        let user = format!("[[user]]\nname = \"by_scram\"\nsecret = {secret:?}\n");
        let stored = self::fixture("stored", |config| config.users(&user));
        let client = enter(&stored, "by_scram", PASSWORD).await.expect("a stored secret");
        assert_eq!(value(&client, "select current_user").await, "by_scram");
    });
}

#[test]
fn md5_secrets_log_in_to_servers_that_ask_for_md5() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("passmd5", |config| config.listener("auth = \"md5\"").section(QUERY));
        let client = enter(&fixture, "by_md5", PASSWORD).await.expect("an md5 login");
        assert_eq!(value(&client, "select current_user").await, "by_md5");
        assert_eq!(code(&enter(&fixture, "by_md5", "no").await.expect_err("refused")), "28P01");
        // A server that wants the password itself cannot have it: the client is told.
        let error = enter(&fixture, "by_password", PASSWORD).await.expect_err("no password");
        println!("{}", text(&error));
        assert!(code(&error) == "28000" && text(&error).contains("none is configured"));
    });
}

#[test]
fn who_asks_needs_no_more_than_one_function() {
    run(60, async {
        if is_direct() {
            return;
        }
        let cluster = cluster::shared();
        let fixture = fixture("function", |config| {
            let users = "[[user]]\nname = \"asker\"\npassword = \"not used\"\n";
            let database = "[[database]]\nname = \"asked\"\nserver_database = \"postgres\"\n";
            let query = "[auth]\nquery_user = \"asker\"\nquery_database = \"asked\"\n\
                         query = \"select * from pgm_auth.secret($1)\"\n";
            config.users(users).section(database).section(query)
        });
        let function = "create role asker login; create schema pgm_auth; \
            create function pgm_auth.secret(name text, out text, out text) stable strict \
            security definer set search_path = pg_catalog, pg_temp language sql as $$ \
            select usename::text, passwd from pg_shadow where usename = $1 and not usesuper $$; \
            revoke all on function pgm_auth.secret from public; \
            grant usage on schema pgm_auth to asker; \
            grant execute on function pgm_auth.secret to asker";
        cluster.primary.query_in("postgres", function).expect("a function");
        cluster.wait_caught_up().expect("replicas follow");
        let client = enter(&fixture, "by_scram", PASSWORD).await.expect("found by the function");
        assert_eq!(value(&client, "select current_user").await, "by_scram");
        let error = enter(&fixture, "postgres", "x").await.expect_err("not shown by the function");
        assert_eq!(code(&error), "28P01");
        let direct = client::connect(&cluster.primary.address(), "asker", "postgres").await;
        let error =
            direct.simple_query("select passwd from pg_shadow").await.expect_err("no right");
        assert_eq!(code(&error), "42501");
    });
}

#[test]
fn names_are_parameters_and_answers_are_for_them() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("injection", |config| config.section(QUERY));
        let odd = "o'ne \"two\" $1; --";
        let create = "create role \"o'ne \"\"two\"\" $1; --\" login password 'odd'";
        fixture.cluster.primary.query(create).expect("a role");
        let client = enter(&fixture, odd, "odd").await.expect("an odd name");
        assert_eq!(value(&client, "select current_user").await, odd);
        drop(client);
        for name in ["x' or '1'='1", "'; drop role app; --", "by_scram\u{1}", "BY_SCRAM"] {
            let error = enter(&fixture, name, PASSWORD).await.expect_err(name);
            assert_eq!(code(&error), "28P01", "{name}");
        }
        let error = enter(&fixture, &"x".repeat(64), PASSWORD).await.expect_err("too long");
        assert_eq!(code(&error), "28P01");
        // A question that answers for somebody else lets nobody in.
        let liar = "[auth]\nquery_user = \"postgres\"\n\
                    query = \"select 'other', passwd from pg_shadow where usename = 'by_scram' \
                    and $1 <> ''\"\n";
        let lying = self::fixture("liar", |config| config.section(liar));
        let error = enter(&lying, "victim", PASSWORD).await.expect_err("refused");
        assert_eq!(code(&error), "57P03", "{}", text(&error));
    });
}

#[test]
fn answers_hold_for_their_time_and_a_new_password_is_found() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("changing", |config| config.section(QUERY));
        let primary = &fixture.cluster.primary;
        let error = enter(&fixture, "changing", "one").await.expect_err("no such role yet");
        assert_eq!(code(&error), "28P01");
        primary.query("create role changing login password 'one'").expect("a role");
        // The answer "no such role" is doubted with each failure, once it is a second old.
        eventually("the new role is found", Duration::from_secs(10), async || {
            enter(&fixture, "changing", "one").await.is_ok()
        })
        .await;
        primary.query("alter role changing password 'two'").expect("a new password");
        eventually("the new password is found", Duration::from_secs(10), async || {
            enter(&fixture, "changing", "two").await.is_ok()
        })
        .await;
        assert_eq!(code(&enter(&fixture, "changing", "one").await.expect_err("old")), "28P01");
        primary.query("alter role changing valid until '2001-01-01'").expect("expired");
        fixture.reload(&{
            let hosts: Vec<_> = fixture.cluster.servers().map(|s| s.address()).collect();
            let users = "[[user]]\nname = \"postgres\"\npassword = \"not used\"\n";
            ConfigText::new(&hosts, &fixture.database)
                .users(users)
                .listener("auth = \"scram-sha-256\"")
                .section(QUERY)
        });
        let error = enter(&fixture, "changing", "two").await.expect_err("expired");
        assert_eq!(code(&error), "28P01");
    });
}

#[test]
fn without_servers_nobody_unknown_comes_in() {
    run(90, async {
        if is_direct() {
            return;
        }
        let fixture = on(cluster::private(0), "closed", |config| {
            config.section(&QUERY.replace("60000", "3000")).general("log_level = \"info\"")
        });
        let client = enter(&fixture, "by_scram", PASSWORD).await.expect("a login");
        assert_eq!(value(&client, "select 1").await, "1");
        drop(client);
        fixture.cluster.primary.kill();
        let error = enter(&fixture, "by_md5", PASSWORD).await.expect_err("nobody to ask");
        println!("{}", text(&error));
        assert_eq!(code(&error), "57P03");
        // Who was known goes on being checked, until the answer is too old.
        let error = enter(&fixture, "by_scram", "wrong").await.expect_err("checked");
        assert_eq!(code(&error), "28P01");
        tokio::time::sleep(Duration::from_millis(3100)).await;
        let error = enter(&fixture, "by_scram", PASSWORD).await.expect_err("too old");
        assert_eq!(code(&error), "57P03");
        fixture.cluster.primary.start().expect("the server comes back");
        eventually("logins are back", Duration::from_secs(20), async || {
            enter(&fixture, "by_scram", PASSWORD).await.is_ok()
        })
        .await;
    });
}

#[test]
fn users_only_servers_know_survive_a_reload() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("guests", |config| config.section(QUERY));
        let client = enter(&fixture, "by_scram", PASSWORD).await.expect("a login");
        assert_eq!(value(&client, "select current_user").await, "by_scram");
        let hosts: Vec<_> = fixture.cluster.servers().map(|server| server.address()).collect();
        let users = "[[user]]\nname = \"postgres\"\npassword = \"not used\"\n";
        let changed = ConfigText::new(&hosts, &fixture.database)
            .users(users)
            .listener("auth = \"scram-sha-256\"")
            .pool("pool_size = 7")
            .section(QUERY);
        fixture.reload(&changed);
        // New pools, opened with the keys that the login before the reload has shown.
        assert_eq!(value(&client, "select current_user").await, "by_scram");
        let again = enter(&fixture, "by_scram", PASSWORD).await.expect("a login");
        assert_eq!(value(&again, "select current_user").await, "by_scram");
    });
}

#[test]
fn a_database_may_have_one_login_for_all() {
    run(60, async {
        if is_direct() {
            return;
        }
        let users = format!(
            "[[user]]\nname = {USER:?}\npassword = {PASSWORD:?}\n\
             [[user]]\nname = \"other\"\npassword = \"other\"\n\
             [[user]]\nname = \"shared\"\nserver_user = \"by_scram\"\n\
             server_password = {PASSWORD:?}\npool_size = 1\n"
        );
        let fixture = fixture("forced", |config| {
            let database = "[[database]]\nname = \"one\"\nserver_database = \"postgres\"\n\
                            forced_user = \"shared\"\nread_replicas = false\n";
            config.users(&users).section(database)
        });
        let sql = "select current_user || ' ' || pg_backend_pid()";
        let mut seen = BTreeSet::new();
        for (user, password) in [(USER, PASSWORD), ("other", "other")] {
            let client = login(&fixture.address, user, password, "one").await.expect(user);
            seen.insert(value(&client, sql).await);
        }
        assert!(seen.len() == 1 && seen.first().is_some_and(|who| who.starts_with("by_scram ")));
        // Elsewhere they are themselves, and nobody logs in without a proof of his own.
        let client = enter(&fixture, "other", "other").await.expect("other");
        assert_eq!(value(&client, "select current_user").await, "other");
        let error = login(&fixture.address, "other", "no", "one").await.expect_err("refused");
        assert_eq!(code(&error), "28P01");
        let error = login(&fixture.address, "shared", PASSWORD, "one").await.expect_err("refused");
        assert_eq!(code(&error), "28P01");
    });
}
