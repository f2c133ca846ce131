//! KILL_CLIENT and KILL QUERY: the right client, and no other.

use super::{Load, SOON, console, fixture, refused, with_console};
use pgmanifold_tests::client::{exec, value};
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw::{self, Raw};
use pgmanifold_tests::{eventually, run};
use std::time::{Duration, Instant};

/// Statements of this text that run on the primary.
fn running(fixture: &Fixture, mark: &str) -> u32 {
    fixture.server_sessions(&format!("state = 'active' and query like '%{mark}%'"))
}

/// Clients that have all sent a long statement.
async fn sleepers(fixture: &Fixture, count: usize) -> Vec<Raw> {
    let mut all = Vec::with_capacity(count);
    for number in 0..count {
        let mut client = fixture.raw().await;
        client.send(&raw::query(&format!("insert into t select {number} from pg_sleep(4)"))).await;
        all.push(client);
    }
    let count = u32::try_from(count).expect("few");
    eventually("all run", SOON, async || running(fixture, "pg_sleep(4)") == count).await;
    all
}

#[test]
fn one_statement_is_cancelled_and_the_others_go_on() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("killquery").await;
        let (load, admin) = (Load::start(&fixture, 3).await, console(&fixture).await);
        let mut all = sleepers(&fixture, 3).await;
        exec(&admin, &format!("KILL QUERY {}", all[1].pid)).await;
        for (number, client) in all.iter_mut().enumerate() {
            let answer = raw::transcript(&client.until_ready().await);
            assert_eq!(answer.contains("57014"), number == 1, "{number}: {answer}");
            let next = client.ask(&raw::query("select 5"), 1).await;
            assert!(next.contains('5'), "{next}");
        }
        let (code, text) = refused(&admin, &format!("KILL QUERY {}", all[1].pid)).await;
        assert_eq!(code, "55000", "it runs nothing now: {text}");
        assert_eq!(refused(&admin, "KILL QUERY 123456789").await.0, "42704");
        let (_, errors) = load.finish().await;
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(value(&fixture.client().await, "select count(*) from t").await, "3");
    });
}

#[test]
fn one_client_is_ended_and_the_others_go_on() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture = fixture("killclient").await;
        let (load, admin) = (Load::start(&fixture, 3).await, console(&fixture).await);
        let (mut all, mut idle) = (sleepers(&fixture, 3).await, fixture.raw().await);
        exec(&admin, &format!("KILL_CLIENT {}", all[0].pid)).await;
        exec(&admin, &format!("KILL_CLIENT {}", idle.pid)).await;
        for client in [&mut all[0], &mut idle] {
            let answer = raw::transcript(&client.until(b'E').await);
            assert!(answer.contains("FATAL") && answer.contains("57P01"), "{answer}");
            assert!(client.is_closed().await);
        }
        // Its statement ends with it.
        eventually("two run", SOON, async || running(&fixture, "pg_sleep(4)") == 2).await;
        for client in &mut all[1..] {
            let answer = raw::transcript(&client.until_ready().await);
            assert!(answer.contains("INSERT 0 1"), "{answer}");
        }
        assert_eq!(refused(&admin, &format!("KILL_CLIENT {}", idle.pid)).await.0, "42704");
        let (_, errors) = load.finish().await;
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(value(&fixture.client().await, "select count(*) from t").await, "3");
    });
}

#[test]
fn a_client_that_waits_for_a_server_can_be_ended_and_its_statement_cancelled() {
    run(60, async {
        if is_direct() {
            return;
        }
        let fixture =
            Fixture::shared("killwaiting", |config| with_console(config.pool("pool_size = 1")))
                .await;
        let (admin, holder) = (console(&fixture).await, fixture.client().await);
        let (mut one, mut other) = (fixture.raw().await, fixture.raw().await);
        exec(&holder, "begin; create table t (n int)").await;
        for client in [&mut one, &mut other] {
            client.send(&raw::query("create table never (n int)")).await;
        }
        let waiting = || fixture.metric_sum("pgmanifold_clients", "state=\"waiting\"");
        eventually("both wait", SOON, async || waiting() == 2.0).await;
        exec(&admin, &format!("KILL QUERY {}", one.pid)).await;
        let answer = raw::transcript(&one.until_ready().await);
        assert!(answer.contains("57014"), "{answer}");
        let began = Instant::now();
        exec(&admin, &format!("KILL_CLIENT {}", other.pid)).await;
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        let answer = raw::transcript(&other.until(b'E').await);
        assert!(answer.contains("FATAL") && answer.contains("57P01"), "{answer}");
        exec(&holder, "commit").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(value(&holder, "select to_regclass('never') is null").await, "t");
    });
}
