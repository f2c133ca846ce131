//! PAUSE, RESUME, RECONNECT, WAIT_CLOSE, KILL, DISABLE and ENABLE.

use super::{Load, SOON, console, fixture, pids, refused, servers_in_use, with_console};
use pgmanifold::demo::postgres::Stop;
use pgmanifold_tests::client::{self, code, exec, rows, text, value};
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::{cluster, eventually, raw, run};
use std::time::{Duration, Instant};

#[test]
fn a_pause_waits_for_transactions_and_nobody_sees_an_error() {
    run(90, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("pause").await;
        let (load, open) = (Load::start(&fixture, 12).await, fixture.client().await);
        exec(&open, "begin; insert into t values (1)").await;
        let pausing = tokio::spawn({
            let console = console(&fixture).await;
            async move { console.simple_query("PAUSE").await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!pausing.is_finished(), "a transaction is open");
        assert_eq!(servers_in_use(&fixture), 1, "{:?}", pids(&fixture));
        // It goes on and ends as if nothing was.
        exec(&open, "insert into t values (2)").await;
        exec(&open, "commit").await;
        pausing.await.expect("no panic").expect("paused");
        assert_eq!(servers_in_use(&fixture), 0, "{:?}", pids(&fixture));
        let (before, admin) = (load.done(), console(&fixture).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!((load.done(), servers_in_use(&fixture)), (before, 0));
        // A login takes no server that is not there.
        let late = fixture.client().await;
        let state = rows(&admin, "SHOW STATE").await.expect("state");
        let state: Vec<_> = state.concat().into_iter().flatten().collect();
        assert_eq!(state, ["active", "no", "paused", "yes", "suspended", "no"]);
        for command in ["PAUSE".to_owned(), format!("PAUSE {}", fixture.database), "KILL".into()] {
            let (code, text) = refused(&admin, &command).await;
            assert_eq!(code, "55000", "{text}");
            assert!(text.contains("already suspended/paused"), "{text}");
        }
        exec(&admin, "RESUME").await;
        assert_eq!(value(&late, "select count(*) from t").await, "3");
        load.goes_on().await;
        let (done, errors) = load.finish().await;
        println!("{done} transactions");
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(refused(&admin, "RESUME").await.0, "55000");
    });
}

#[test]
fn a_database_is_paused_by_name_and_another_goes_on() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = Fixture::shared("pausename", |config| {
            let section = "[[database]]\nname = \"other\"\nserver_database = \"postgres\"\n";
            with_console(config.section(section))
        })
        .await;
        let admin = console(&fixture).await;
        let config = client::config(&fixture.address, cluster::USER, "other");
        let other = client::try_connect(&config).await.expect("the other database");
        value(&other, "select 1").await;
        let paused = fixture.client().await;
        let (pause, resume) =
            (format!("PAUSE {}", fixture.database), format!("RESUME {}", fixture.database));
        exec(&admin, &pause).await;
        exec(&admin, &pause).await;
        assert_eq!(value(&other, "select 1").await, "1");
        let waiting = tokio::spawn(async move { value(&paused, "select 7").await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!waiting.is_finished());
        let (code, text) = refused(&admin, "RESUME").await;
        assert!(code == "55000" && text.contains(&fixture.database), "{text}");
        assert_eq!(refused(&admin, "RESUME other").await.0, "55000");
        assert_eq!(refused(&admin, "PAUSE nowhere").await.0, "3D000");
        // The end of the other pause leaves this one as it is.
        exec(&admin, "PAUSE").await;
        exec(&admin, "RESUME").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!waiting.is_finished());
        exec(&admin, &resume).await;
        assert_eq!(waiting.await.expect("no panic"), "7");
    });
}

#[test]
fn who_waits_through_a_pause_can_cancel_leave_or_run_out_of_time() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = Fixture::shared("pausewait", |config| {
            with_console(
                config.pool("checkout_timeout_ms = 1500").pool("query_wait_notify_ms = 300"),
            )
        })
        .await;
        let admin = console(&fixture).await;
        let (patient, canceling, leaving) =
            (fixture.raw().await, fixture.client().await, fixture.raw().await);
        exec(&admin, "PAUSE").await;
        let cancel = canceling.cancel_token();
        let canceled = tokio::spawn(async move { canceling.simple_query("select 1").await });
        let (mut patient, mut leaving) = (patient, leaving);
        leaving.send(&raw::query("select 1")).await;
        eventually("both wait", SOON, async || waiting_clients(&fixture) >= 2.0).await;
        leaving.vanish();
        cancel.cancel_query(tokio_postgres::NoTls).await.expect("a cancel request is sent");
        let error = canceled.await.expect("no panic").expect_err("canceled");
        assert_eq!(code(&error), "57014", "{}", text(&error));
        eventually("nobody waits", SOON, async || waiting_clients(&fixture) == 0.0).await;
        let began = Instant::now();
        let answer = patient.ask(&raw::query("select 1"), 1).await;
        println!("{answer}");
        assert!(answer.contains("53300"), "{answer}");
        assert!(answer.contains("the query waits for a server connection"), "{answer}");
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(1500) && waited < Duration::from_secs(8));
        exec(&admin, "RESUME").await;
        let answer = patient.ask(&raw::query("select 5"), 1).await;
        assert!(answer.contains('5') && !answer.contains("53300"), "{answer}");
    });
}

fn waiting_clients(fixture: &Fixture) -> f64 {
    fixture.metric_sum("pgmanifold_clients", "state=\"waiting\"")
}

#[test]
fn a_tied_session_holds_a_pause_up_until_it_leaves() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("pausetied").await;
        let tied = fixture.client().await;
        exec(&tied, "create temp table mine (n int)").await;
        let pausing = tokio::spawn({
            let console = console(&fixture).await;
            async move { console.simple_query("PAUSE").await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(!pausing.is_finished());
        exec(&tied, "insert into mine values (1)").await;
        drop(tied);
        pausing.await.expect("no panic").expect("paused");
        assert_eq!(servers_in_use(&fixture), 0);
        exec(&console(&fixture).await, "RESUME").await;
    });
}

#[test]
fn a_reload_keeps_a_pause() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("pausereload").await;
        let (admin, client) = (console(&fixture).await, fixture.client().await);
        exec(&client, "begin; insert into t values (1)").await;
        let pausing = tokio::spawn({
            let (console, pause) = (console(&fixture).await, format!("PAUSE {}", fixture.database));
            async move { console.simple_query(&pause).await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        let hosts: Vec<_> = fixture.cluster.servers().map(|server| server.address()).collect();
        let config = super::ConfigText::new(&hosts, &fixture.database).pool("pool_size = 2");
        fixture.reload(&with_console(config));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!pausing.is_finished(), "its transaction is open in a pool of before");
        exec(&client, "commit").await;
        pausing.await.expect("no panic").expect("paused");
        let waiting = tokio::spawn(async move { value(&client, "select count(*) from t").await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished() && servers_in_use(&fixture) == 0);
        exec(&admin, &format!("RESUME {}", fixture.database)).await;
        assert_eq!(waiting.await.expect("no panic"), "2");
    });
}

#[test]
fn a_reconnect_changes_every_server_and_nobody_sees_an_error() {
    run(90, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("reconnect").await;
        let (load, admin) = (Load::start(&fixture, 12).await, console(&fixture).await);
        for round in 0..3 {
            let open = fixture.client().await;
            exec(&open, "begin; insert into t values (1)").await;
            let before = pids(&fixture);
            exec(&admin, &format!("RECONNECT {}", fixture.database)).await;
            let closing = tokio::spawn({
                let console = console(&fixture).await;
                async move { console.simple_query("WAIT_CLOSE").await.map(drop) }
            });
            load.goes_on().await;
            assert!(!closing.is_finished(), "a transaction is open on an old server");
            exec(&open, "commit").await;
            closing.await.expect("no panic").expect("closed");
            let after = pids(&fixture);
            println!("round {round}: {} servers before, {} after", before.len(), after.len());
            let left: Vec<_> = before.iter().filter(|pid| after.contains(pid)).collect();
            assert!(left.is_empty(), "{left:?}");
        }
        let (done, errors) = load.finish().await;
        println!("{done} transactions");
        assert!(errors.is_empty(), "{errors:?}");
    });
}

#[test]
fn a_killed_database_has_neither_clients_nor_servers_until_it_is_resumed() {
    run(90, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("kill").await;
        let (load, admin) = (Load::start(&fixture, 12).await, console(&fixture).await);
        let (idle, open) = (fixture.client().await, fixture.client().await);
        exec(&open, "begin; insert into t values (9)").await;
        exec(&admin, &format!("KILL {}", fixture.database)).await;
        // Servers that were at work are told so by a cancel request.
        eventually("no server is left", SOON, async || servers_in_use(&fixture) == 0).await;
        let (_, errors) = load.finish().await;
        assert_eq!(errors.len(), 12, "{errors:?}");
        // Who was told between two statements finds the connection closed.
        let told = errors.iter().filter(|error| error.contains("57P01")).count();
        let closed = errors.iter().filter(|error| error.contains("connection closed")).count();
        assert!(told > 0 && told + closed == 12, "{errors:?}");
        for client in [idle, open] {
            assert!(client.simple_query("select 1").await.is_err());
        }
        let next = fixture.client().await;
        let waiting = tokio::spawn(async move { value(&next, "select count(*) from t").await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished() && servers_in_use(&fixture) == 0);
        exec(&admin, &format!("RESUME {}", fixture.database)).await;
        assert_eq!(waiting.await.expect("no panic"), "1", "the open transaction is undone");
    });
}

#[test]
fn who_waits_for_the_end_of_a_pause_is_killed_too() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("killwait").await;
        let (admin, client) = (console(&fixture).await, fixture.client().await);
        exec(&admin, &format!("PAUSE {}", fixture.database)).await;
        let waiting = tokio::spawn(async move { client.simple_query("select 1").await });
        eventually("it waits", SOON, async || waiting_clients(&fixture) >= 1.0).await;
        exec(&admin, "KILL").await;
        let error = waiting.await.expect("no panic").expect_err("killed");
        assert_eq!(code(&error), "57P01", "{}", text(&error));
        exec(&admin, &format!("RESUME {}", fixture.database)).await;
        assert_eq!(value(&fixture.client().await, "select 1").await, "1");
    });
}

#[test]
fn a_disabled_database_lets_nobody_new_in() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("disable").await;
        let (load, admin) = (Load::start(&fixture, 6).await, console(&fixture).await);
        exec(&admin, &format!("DISABLE {}", fixture.database)).await;
        let config = client::config(&fixture.address, cluster::USER, &fixture.database);
        let error = client::try_connect(&config).await.expect_err("disabled");
        println!("{}", text(&error));
        assert_eq!(code(&error), "57P03");
        load.goes_on().await;
        exec(&admin, &format!("ENABLE {}", fixture.database)).await;
        assert_eq!(value(&fixture.client().await, "select 1").await, "1");
        let (_, errors) = load.finish().await;
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(refused(&admin, "DISABLE nowhere").await.0, "3D000");
        assert_eq!(refused(&admin, "SUSPEND").await.0, "0A000");
    });
}

#[test]
fn servers_are_restarted_under_a_pause_and_nobody_sees_an_error() {
    run(120, async {
        if is_direct() {
            return;
        }
        let cluster = cluster::private(0);
        let fixture = Fixture::on(cluster, "pauserestart", |config| {
            with_console(config.shard("failover_wait_ms = 1000").pool("pool_size = 4"))
        })
        .await;
        exec(&fixture.client().await, "create table t (n int); insert into t values (0)").await;
        let (load, admin) = (Load::start(&fixture, 8).await, console(&fixture).await);
        exec(&admin, "PAUSE").await;
        fixture.cluster.primary.stop(Stop::Fast).expect("it stops");
        // Longer than a statement waits for a server that is lost.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        fixture.cluster.primary.start().expect("it starts");
        exec(&admin, "RESUME").await;
        load.goes_on().await;
        let (done, errors) = load.finish().await;
        println!("{done} transactions");
        assert!(errors.is_empty(), "{errors:?}");
    });
}
