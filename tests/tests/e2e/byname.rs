//! End to end: SQL that names statements prepared by protocol, compared message by message with
//! PostgreSQL's own answers.

use pgmanifold_tests::client::exec;
use pgmanifold_tests::cluster::{self, USER};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw::{self, Raw};
use pgmanifold_tests::{client, run};

/// Prepares by protocol.
fn prepare(name: &str, sql: &str) -> Vec<u8> {
    [raw::parse(name, sql), raw::sync()].concat()
}

/// Runs a text by the extended protocol, described.
fn extended(sql: &str) -> Vec<u8> {
    let bound = [raw::parse("", sql), raw::describe(b'S', ""), raw::bind("", "", &[])];
    [bound.concat(), raw::describe(b'P', ""), raw::execute("", 0), raw::sync()].concat()
}

/// Runs a statement that is prepared under this name.
fn bound(name: &str) -> Vec<u8> {
    [raw::bind("", name, &[]), raw::execute("", 0), raw::sync()].concat()
}

fn steps() -> Vec<Vec<u8>> {
    let query = raw::query;
    vec![
        prepare("P 1", "select 40 + $1::int as n"),
        query("execute \"P 1\"(2)"),
        query("execute /* execute q */ \"P 1\"  (3);"),
        extended("execute \"P 1\"(4)"),
        query("explain (costs off) execute \"P 1\"(5)"),
        extended("explain (analyze, costs off, timing off, summary off) execute \"P 1\"(5)"),
        query("execute \"P 1\"('x')"),
        query("execute \"P 1\""),
        query("execute p1(1)"),
        // A call that is prepared itself means what the name stands for when it runs.
        prepare("call", "execute \"P 1\"(6)"),
        bound("call"),
        query("deallocate \"P 1\""),
        bound("call"),
        prepare("P 1", "select 'other ' || $1::int as n"),
        bound("call"),
        query("deallocate all"),
        // Writes, and DDL, and parameters.
        prepare("w", "insert into t values ($1::int) returning n"),
        query("begin"),
        query("execute w(1)"),
        query("rollback"),
        query("execute w(2)"),
        query("select * from t"),
        prepare("ddl", "create table made (a int)"),
        query("execute ddl"),
        query("execute ddl"),
        prepare("s", "set my.own = 'x'"),
        query("execute s"),
        query("select current_setting('my.own')"),
        // What the statement needs is gone.
        prepare("gone", "select a from made"),
        query("drop table made"),
        query("execute gone"),
        query("begin"),
        query("execute gone"),
        query("execute w(3)"),
        query("rollback"),
        query("select 1"),
        // Names are taken by either.
        query("prepare w as select 1"),
        query("begin"),
        query("prepare w as select 1"),
        query("select 1"),
        query("rollback"),
        query("prepare sq as select 'sql'"),
        prepare("sq", "select 'protocol'"),
        query("execute sq"),
        query("begin; prepare sq2 as select 'sql'"),
        prepare("sq2", "select 'protocol'"),
        query("rollback"),
        prepare("sq2", "select 'protocol'"),
        query("execute sq2"),
        query("deallocate sq"),
        prepare("sq", "select 'protocol'"),
        query("execute sq"),
    ]
}

#[test]
fn statements_prepared_by_protocol_are_called_by_name() {
    run(60, async {
        let fixture = Fixture::shared("byname", |config: ConfigText| config).await;
        let schema = "create table t (n int)";
        exec(&fixture.direct().await, schema).await;
        if is_direct() {
            return;
        }
        let primary = fixture.cluster.primary.address();
        let database = cluster::create_database(&fixture.cluster, "byname");
        exec(&client::connect(&primary, USER, &database).await, schema).await;
        let mut own = Raw::connect(&primary, USER, &database).await;
        let mut through = Raw::connect(&fixture.address, USER, &fixture.database).await;
        for (at, step) in steps().into_iter().enumerate() {
            // Another server, wherever that may be.
            let noise = Raw::connect(&fixture.address, USER, &fixture.database).await;
            let wanted = own.ask(&step, 1).await;
            // Errors that name the statement have the server's name for it.
            let told = through.ask(&step, 1).await.replace("\"pgm_2\"", "\"P 1\"");
            let shown = String::from_utf8_lossy(&step).replace('\0', " ");
            assert_eq!(told, wanted, "step {at}: {shown}");
            drop(noise);
        }
        // What PostgreSQL would run, and we cannot.
        through.ask(&prepare("b", "begin"), 1).await;
        let refused = through.ask(&raw::query("execute b"), 1).await;
        assert!(refused.starts_with("E ERROR 0A000"), "{refused}");
    });
}

#[test]
fn a_call_brings_its_statement_to_any_server() {
    run(60, async {
        let fixture =
            Fixture::shared("bynameany", |config: ConfigText| config.pool("pool_size = 3")).await;
        let mut raw = Raw::connect(&fixture.address, USER, &fixture.database).await;
        raw.ask(&prepare("p", "select 'it is ' || $1"), 1).await;
        let others = [fixture.client().await, fixture.client().await];
        for round in 0..12 {
            // One or two servers are kept from it.
            for other in others.iter().take(round % 3) {
                exec(other, "begin; create temp table x (n int) on commit drop").await;
            }
            let sql = format!("execute p('{round}')");
            let step = if round % 2 == 0 { raw::query(&sql) } else { extended(&sql) };
            let told = raw.ask(&step, 1).await;
            assert!(told.contains(&format!("it is {round}")), "{told}");
            for other in others.iter().take(round % 3) {
                exec(other, "rollback").await;
            }
        }
    });
}
