//! Cases in which a session through the proxy once differed from one on PostgreSQL, byte by byte:
//! found by the random comparison in `leak`, and kept small.

use pgmanifold_tests::client::{code, exec, rows, value};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw::{self, Raw};
use pgmanifold_tests::run;

fn one_server(config: ConfigText) -> ConfigText {
    config.pool("pool_size = 1")
}

/// The same bytes through the proxy and at the primary are answered alike.
async fn same(through: &mut Raw, plain: &mut Raw, bytes: &[u8], syncs: usize) -> String {
    let expected = plain.ask(bytes, syncs).await;
    assert_eq!(through.ask(bytes, syncs).await, expected);
    expected
}

fn batch(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), raw::sync()].concat()
}

fn run_of(name: &str) -> Vec<u8> {
    [raw::bind("", name, &[]), raw::execute("", 0)].concat()
}

#[test]
fn what_a_batch_sets_while_the_server_is_asked_is_not_lost() {
    run(60, async {
        let fixture = Fixture::shared("lookbatch", one_server).await;
        let (mut session, other) = (fixture.raw().await, fixture.client().await);
        for round in 1..40 {
            session.ask(&raw::query(&format!("set application_name to 'a{round}'")), 1).await;
            let set = raw::parse("", &format!("set work_mem to '{round}MB'"));
            session.ask(&batch(&[set, run_of("")]), 1).await;
            exec(&other, "create table if not exists made (n int)").await;
            let shown = session.ask(&raw::query("show work_mem"), 1).await;
            assert!(shown.contains(&format!("{round}MB")), "round {round}: {shown}");
        }
    });
}

#[test]
fn a_setting_of_ours_is_shown_behind_a_statement_of_the_same_batch() {
    if is_direct() {
        return;
    }
    run(60, async {
        let fixture = Fixture::shared("lsnbatch", one_server).await;
        let mut session = fixture.raw().await;
        let parts =
            [raw::parse("", "select 1"), run_of(""), raw::parse("l", "show pgm.lsn"), run_of("l")];
        for _ in 0..3 {
            let answer = session.ask(&batch(&parts), 1).await;
            assert!(answer.contains("SHOW") && answer.ends_with("Z I\n"), "{answer}");
            session.ask(&batch(&[raw::close(b'S', "l")]), 1).await;
        }
    });
}

#[test]
fn a_described_statement_is_compared_in_the_middle_of_a_batch() {
    run(60, async {
        let fixture = Fixture::shared("midbatch", one_server).await;
        exec(&fixture.direct().await, "create table t (id int, v text)").await;
        fixture.wait_replicas().await;
        let mut session = fixture.raw().await;
        let describe = [raw::parse("q", "select * from t"), raw::describe(b'S', "q")];
        session.ask(&batch(&describe), 1).await;
        let client = fixture.client().await;
        exec(&client, "create table another (n int)").await;
        let parts = [raw::parse("", "select 1"), run_of(""), run_of("q"), run_of("q")];
        let answer = session.ask(&batch(&parts), 1).await;
        assert!(answer.ends_with("Z I\n") && !answer.contains("E ERROR"), "{answer}");
    });
}

#[test]
fn a_transaction_that_failed_before_it_had_a_server_is_one() {
    run(60, async {
        let fixture = Fixture::shared("failedbegin", one_server).await;
        let (mut through, mut plain) = (fixture.raw().await, fixture.raw_direct().await);
        let fail = batch(&[run_of("unknown")]);
        let ends = [
            raw::query("rollback to savepoint b"),
            raw::query("commit and chain"),
            raw::query("select 1; rollback"),
            raw::query("rollback; select 1"),
            raw::query("selec 1"),
            raw::query(""),
            raw::query("select 1"),
            batch(&[raw::parse("", "rollback to b"), run_of("")]),
            batch(&[raw::parse("", "rollback"), run_of("")]),
            batch(&[raw::parse("", "commit"), run_of("")]),
            batch(&[raw::parse("", "select 1"), run_of("")]),
        ];
        for end in &ends {
            same(&mut through, &mut plain, &raw::query("begin isolation level serializable"), 1)
                .await;
            same(&mut through, &mut plain, &fail, 1).await;
            same(&mut through, &mut plain, end, 1).await;
            same(&mut through, &mut plain, &raw::query("show transaction_isolation"), 1).await;
            same(&mut through, &mut plain, &raw::query("rollback"), 1).await;
        }
    });
}

#[test]
fn a_text_accepted_under_one_search_path_is_refused_under_another() {
    run(60, async {
        let fixture = Fixture::shared("acceptpath", one_server).await;
        exec(&fixture.direct().await, "create schema here; create table here.t (n int)").await;
        let (mut through, mut plain) = (fixture.raw().await, fixture.raw_direct().await);
        let parse = batch(&[raw::close(b'S', "q"), raw::parse("q", "update t set n = 1")]);
        for path in ["here", "public", "here"] {
            let set = raw::query(&format!("set search_path to {path}"));
            same(&mut through, &mut plain, &set, 1).await;
            let answer = same(&mut through, &mut plain, &parse, 1).await;
            assert_eq!(answer.contains("42P01"), path == "public", "{answer}");
        }
    });
}

#[test]
fn parameters_keep_the_types_a_client_was_told() {
    run(60, async {
        let fixture = Fixture::shared("toldtypes", one_server).await;
        let table = "create table t (id int, v varchar(8)); insert into t values (2, 'x')";
        exec(&fixture.direct().await, table).await;
        fixture.wait_replicas().await;
        let (mut through, mut plain) = (fixture.raw().await, fixture.raw_direct().await);
        let update = "update t set v = $1 where id = 2 returning id";
        let describe = raw::describe(b'S', "u");
        let parts = [raw::parse("u", update), describe.clone()];
        let told = same(&mut through, &mut plain, &batch(&parts), 1).await;
        let silent = [raw::parse("n", "delete from t where v = $1"), raw::describe(b'S', "n")];
        same(&mut through, &mut plain, &batch(&silent), 1).await;
        exec(&fixture.client().await, "alter table t alter column v type text").await;
        let again = same(&mut through, &mut plain, &batch(&[describe]), 1).await;
        assert!(told.ends_with(&again), "{told}{again}");
        same(&mut through, &mut plain, &batch(&[raw::describe(b'S', "n")]), 1).await;
        let bind = [raw::bind("", "u", &[Some("longer than eight")]), raw::execute("", 0)];
        same(&mut through, &mut plain, &batch(&bind), 1).await;
    });
}

#[test]
fn a_result_told_of_a_portal_does_not_change_in_silence() {
    run(60, async {
        let fixture = Fixture::shared("toldportal", one_server).await;
        let table = "create table t (id int); insert into t values (1)";
        exec(&fixture.direct().await, table).await;
        fixture.wait_replicas().await;
        let mut session = fixture.raw().await;
        let bind = raw::bind("", "q", &[]);
        let first = [
            raw::parse("q", "select * from t"),
            bind.clone(),
            raw::describe(b'P', ""),
            raw::execute("", 0),
        ];
        session.ask(&batch(&first), 1).await;
        exec(&fixture.client().await, "alter table t add column more text default 'm'").await;
        let answer = session.ask(&batch(&[bind, raw::execute("", 0)]), 1).await;
        assert!(answer.contains("0A000 cached plan must not change result type"), "{answer}");
    });
}

#[test]
fn a_statement_that_an_error_kept_from_being_replaced_is_still_known() {
    run(60, async {
        let fixture = Fixture::shared("putback", one_server).await;
        exec(&fixture.direct().await, "create table t (n int)").await;
        fixture.wait_replicas().await;
        let (mut through, mut plain) = (fixture.raw().await, fixture.raw_direct().await);
        let parse = raw::parse("q", "select n from t");
        same(&mut through, &mut plain, &batch(std::slice::from_ref(&parse)), 1).await;
        exec(&fixture.client().await, "create table made (n int)").await;
        let fails = [
            raw::close(b'S', "q"),
            raw::parse("", "select 1/0"),
            run_of(""),
            parse.clone(),
            run_of("q"),
        ];
        same(&mut through, &mut plain, &batch(&fails), 1).await;
        let again = [raw::close(b'S', "q"), parse, run_of("q")];
        let answer = same(&mut through, &mut plain, &batch(&again), 1).await;
        assert!(!answer.contains("E ERROR"), "{answer}");
    });
}

#[test]
fn what_is_sent_ahead_of_a_copy_does_not_end_it() {
    run(60, async {
        let fixture = Fixture::shared("copybegin", one_server).await;
        exec(&fixture.direct().await, "create table t (n int)").await;
        let (mut through, mut plain) = (fixture.raw().await, fixture.raw_direct().await);
        same(&mut through, &mut plain, &raw::query("listen changes"), 1).await;
        let copy = |rows: &[u8]| {
            let (data, rest) = (raw::copy_data(rows), raw::copy_data(b"2\n"));
            let parts = [raw::query("copy t from stdin"), data, raw::flush(), raw::sync(), rest];
            [parts.concat(), raw::copy_done()].concat()
        };
        for _ in 0..10 {
            same(&mut through, &mut plain, &raw::query("begin"), 1).await;
            same(&mut through, &mut plain, &copy(b"1\n"), 1).await;
            same(&mut through, &mut plain, &raw::query("rollback"), 1).await;
        }
    });
}

#[test]
fn what_a_failed_transaction_did_not_drop_is_still_prepared() {
    run(60, async {
        let fixture = Fixture::shared("notdropped", one_server).await;
        let (mut through, mut plain) = (fixture.raw().await, fixture.raw_direct().await);
        let drop_all = batch(&[raw::parse("", "deallocate all"), run_of("")]);
        let steps = [
            raw::query("create temp table keeps (n int)"),
            batch(&[raw::parse("q", "select 1")]),
            raw::query("begin"),
            raw::query("select 1/0"),
            drop_all,
            batch(&[run_of("q")]),
            batch(&[raw::parse("once", "discard all"), run_of("once")]),
            raw::query("rollback"),
            batch(&[run_of("q")]),
            batch(&[raw::parse("once", "select 2"), run_of("once")]),
        ];
        for step in &steps {
            same(&mut through, &mut plain, step, 1).await;
        }
    });
}

#[test]
fn a_value_of_a_sequence_that_was_lost_is_refused_not_denied() {
    if is_direct() {
        return;
    }
    run(60, async {
        let fixture = Fixture::shared("lostvalue", one_server).await;
        exec(&fixture.direct().await, "create sequence s; create table t (n int)").await;
        let (client, other) = (fixture.client().await, fixture.client().await);
        value(&client, "select nextval('s')").await;
        // Within a transaction that ties nobody; from then on values are kept apart.
        exec(&other, "begin").await;
        exec(&other, "insert into t values (0)").await;
        let _ = rows(&other, "select lastval()").await;
        exec(&other, "rollback").await;
        exec(&other, "insert into t values (1)").await;
        exec(&client, "insert into t values (2)").await;
        for asks in ["select currval('s')", "select lastval()"] {
            let error = rows(&client, asks).await.expect_err("the value is gone");
            assert_eq!(code(&error), "0A000", "{asks}");
        }
    });
}
