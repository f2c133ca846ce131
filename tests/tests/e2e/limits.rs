//! What happens at the limits: pools that are used up, clients over a limit, logins that fail,
//! transactions where there are none.

use pgmanifold_tests::client::{self, code, exec, text, value};
use pgmanifold_tests::cluster::{PASSWORD, USER};
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw::Raw;
use pgmanifold_tests::{eventually, run};
use std::time::{Duration, Instant};

#[test]
fn an_exhausted_pool_is_a_clear_error_in_time() {
    run(60, async {
        let pool = |config: pgmanifold_tests::config::ConfigText| {
            config.pool("pool_size = 1").pool("checkout_timeout_ms = 600")
        };
        let fixture = Fixture::shared("exhausted", pool).await;
        if is_direct() {
            return;
        }
        let (holder, waiter) = (fixture.client().await, fixture.client().await);
        exec(&holder, "begin; create table t (n int)").await;
        let began = Instant::now();
        let error = waiter.batch_execute("create table u (n int)").await.expect_err("no server");
        let waited = began.elapsed();
        println!("exhausted after {waited:?}: {}", text(&error));
        assert!(
            waited > Duration::from_millis(500) && waited < Duration::from_secs(3),
            "{waited:?}"
        );
        assert_eq!(code(&error), "53300");
        assert!(error.as_db_error().is_some_and(|error| error.hint().is_some()), "a hint");
        exec(&holder, "commit").await;
        exec(&waiter, "create table u (n int)").await;
    });
}

#[test]
fn a_hundred_clients_share_ten_servers_fairly() {
    run(90, async {
        let fixture = Fixture::shared("fair", |config| config.pool("pool_size = 10")).await;
        let clients = (0..100).map(|_| fixture.client());
        let clients = futures_util::future::join_all(clients).await;
        let end = Instant::now() + Duration::from_secs(5);
        let loops = clients.iter().map(|client| async move {
            let mut done = 0_u32;
            while Instant::now() < end {
                exec(client, "/* pgm: primary */ select pg_sleep(0.002)").await;
                done += 1;
            }
            done
        });
        let counts = futures_util::future::join_all(loops).await;
        let total: u32 = counts.iter().sum();
        let mean = f64::from(total) / 100.0;
        let slowest = f64::from(*counts.iter().min().expect("a hundred"));
        println!(
            "100 clients, 10 servers: {total} queries, slowest {:.2} of the mean",
            slowest / mean
        );
        assert!(slowest >= 0.7 * mean, "slowest {slowest}, mean {mean}");
        if !is_direct() {
            assert!(fixture.server_sessions("usename = 'app'") <= 10);
        }
    });
}

async fn login_error(fixture: &Fixture, user: &str, password: &str, database: &str) -> String {
    let mut config = client::config(&fixture.address, user, database);
    config.password(password);
    match client::try_connect(&config).await {
        Ok(_) => "logged in".into(),
        Err(error) => code(&error),
    }
}

#[test]
fn client_limits_refuse_one_more_and_no_other() {
    run(60, async {
        if is_direct() {
            return;
        }
        for limited in ["general", "listener", "user", "database"] {
            let fixture = Fixture::shared("limits", |config| match limited {
                "general" => config.general("max_clients = 3"),
                "listener" => config.listener("max_clients = 3"),
                "user" => config.users("[[user]]\nname = \"app\"\nmax_clients = 3\n"),
                _ => config,
            })
            .await;
            if limited == "database" {
                let hosts: Vec<_> = fixture.cluster.servers().map(|s| s.address()).collect();
                let config = pgmanifold_tests::config::ConfigText::new(&hosts, "unused").section(
                    &format!("[[database]]\nname = {:?}\nmax_clients = 3", fixture.database),
                );
                fixture.reload(&config);
            }
            // The fixture's own first connection is on its way out.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let mut kept =
                vec![fixture.client().await, fixture.client().await, fixture.client().await];
            let refused = login_error(&fixture, USER, "", &fixture.database).await;
            assert_eq!(refused, "53300", "{limited}");
            kept.pop();
            let limit = Duration::from_secs(5);
            eventually("a client that left makes room", limit, async || {
                login_error(&fixture, USER, "", &fixture.database).await == "logged in"
            })
            .await;
            for client in &kept {
                assert_eq!(value(client, "select 1").await, "1");
            }
        }
    });
}

#[test]
fn login_errors_say_what_postgres_says() {
    run(60, async {
        if is_direct() {
            return;
        }
        for method in ["scram-sha-256", "md5"] {
            let fixture = {
                let cluster = pgmanifold_tests::cluster::shared();
                let database = pgmanifold_tests::cluster::create_database(&cluster, "login");
                let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
                let config = pgmanifold_tests::config::ConfigText::new(&hosts, &database)
                    .with_password(method)
                    .general("login_timeout_ms = 1000");
                Fixture::with_config(cluster, database, &config)
            };
            let database = fixture.database.as_str();
            assert_eq!(
                login_error(&fixture, USER, PASSWORD, database).await,
                "logged in",
                "{method}"
            );
            assert_eq!(login_error(&fixture, USER, "wrong", database).await, "28P01", "{method}");
            assert_eq!(
                login_error(&fixture, "nobody", "wrong", database).await,
                "28P01",
                "{method}"
            );
            assert_eq!(login_error(&fixture, USER, PASSWORD, "nowhere").await, "3D000", "{method}");
            // Who does not log in in time is shown out.
            let mut silent = Raw::open(&fixture.address).await;
            let began = Instant::now();
            assert!(silent.is_closed().await);
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        }
    });
}

#[test]
fn statement_pooling_refuses_transactions() {
    run(60, async {
        if is_direct() {
            return;
        }
        let mode = "pool_mode = \"statement\"";
        let fixture = Fixture::shared("statements", |config| config.pool(mode)).await;
        let client = fixture.client().await;
        exec(&client, "create table t (n int); insert into t values (1)").await;
        for sql in ["begin", "begin; select 1", "start transaction read only"] {
            let error = client.batch_execute(sql).await.expect_err("refused");
            println!("{sql}: {}", text(&error));
            assert!(error.as_db_error().is_some(), "{}", text(&error));
            assert_eq!(value(&client, "select n from t").await, "1");
        }
    });
}
