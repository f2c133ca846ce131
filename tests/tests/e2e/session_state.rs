//! What a session was promised, statement by statement: several sessions over fewer servers do the
//! same as sessions with a server of their own, and nothing stays tied when its reason has ended.

use pgmanifold_tests::client::{self, code, exec, rows, text, value};
use pgmanifold_tests::cluster::{self, USER};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw::{self, Raw};
use pgmanifold_tests::{eventually, run};
use std::time::Duration;
use tokio_postgres::Client;

/// Sessions of one test; the pool has two servers on the primary.
const SESSIONS: usize = 5;

/// A session through the proxy beside one with a server of its own, each in its own database.
struct Twin {
    through: Client,
    own: Client,
}

/// What a query string answered, comparable.
async fn answer(client: &Client, sql: &str) -> String {
    match rows(client, sql).await {
        Ok(rows) => format!("{rows:?}"),
        Err(error) => match error.as_db_error() {
            Some(db) => format!("{} {}", db.code().code(), db.message()),
            None => text(&error),
        },
    }
}

impl Twin {
    /// Runs a query string in both and compares the answers.
    async fn same(&self, sql: &str) -> String {
        let (through, own) = (answer(&self.through, sql).await, answer(&self.own, sql).await);
        assert_eq!(through, own, "{sql}");
        own
    }
}

struct Bench {
    fixture: Fixture,
    database: String,
}

impl Bench {
    async fn new(test: &str, adjust: impl FnOnce(ConfigText) -> ConfigText) -> Self {
        let two = |config: ConfigText| adjust(config.pool("pool_size = 2"));
        let fixture = Fixture::shared(test, two).await;
        let database = cluster::create_database(&fixture.cluster, test);
        Self { fixture, database }
    }

    /// Runs SQL in both databases, beside all sessions.
    async fn prepare(&self, sql: &str) {
        exec(&self.fixture.direct().await, sql).await;
        exec(&self.own().await, sql).await;
        let known = "create function known_now() returns text language sql stable \
                     as 'select place()'";
        exec(&self.fixture.direct().await, known).await;
        if !is_direct() {
            // What calls a function that is known to read runs on a replica. Reads of other tests
            // there may hold up replay for 30 s (max_standby_streaming_delay).
            let client = self.fixture.client().await;
            eventually("the functions are known", Duration::from_secs(50), async || {
                value(&client, "select known_now()").await != "primary"
            })
            .await;
        }
    }

    async fn own(&self) -> Client {
        client::connect(&self.fixture.cluster.primary.address(), USER, &self.database).await
    }

    async fn twin(&self) -> Twin {
        Twin { through: self.fixture.client().await, own: self.own().await }
    }

    /// Several sessions do the same, one statement of each in turn; `{n}` is the session's number.
    async fn in_turns(&self, script: &[&str]) {
        let mut twins = Vec::new();
        for _ in 0..SESSIONS {
            twins.push(self.twin().await);
        }
        // A transaction is one turn: it has its server to itself.
        let ends = |line: &&str| *line == "commit" || *line == "rollback";
        let mut rest = script;
        while let Some((first, _)) = rest.split_first() {
            let end = if *first == "begin" { rest.iter().position(ends) } else { None };
            let (turn, next) = rest.split_at(end.unwrap_or(0) + 1);
            for (number, twin) in twins.iter().enumerate() {
                for line in turn {
                    twin.same(&line.replace("{n}", &number.to_string())).await;
                }
            }
            rest = next;
        }
        self.released().await;
    }

    fn pinned(&self) -> f64 {
        let labels = format!("database=\"{}\"", self.fixture.database);
        self.fixture.metric_sum("pgmanifold_pinned_sessions", &labels)
    }

    /// Nothing is tied any more, and every server is back in its pool.
    async fn released(&self) {
        if is_direct() {
            return;
        }
        eventually("nothing is pinned", Duration::from_secs(5), async || self.pinned() == 0.0)
            .await;
        let active =
            async || self.fixture.metric_sum("pgmanifold_servers", "state=\"active\"") == 0.0;
        eventually("servers are back", Duration::from_secs(5), active).await;
    }
}

#[test]
fn pins_end_with_their_reason() {
    run(60, async {
        let bench = Bench::new("unpin", |config| config).await;
        let twin = bench.twin().await;
        for (take, reason, end) in [
            ("create temp table tt (n int)", "temp_object", "drop table tt"),
            ("create temp table tt (n int)", "temp_object", "discard temp"),
            ("create temp view tt as select 1 as n", "temp_object", "drop view tt"),
            ("create temp sequence tt", "temp_object", "discard all"),
            (
                "create function pg_temp.f() returns int language sql as 'select 1'",
                "temp_object",
                "drop function pg_temp.f()",
            ),
            ("create type pg_temp.ttt as enum ('a')", "temp_object", "drop type pg_temp.ttt"),
            ("select 1 as n into temp tt", "temp_object", "drop table tt"),
            ("select pg_advisory_lock(1)", "advisory_lock", "select pg_advisory_unlock(1)"),
            (
                "select pg_advisory_lock(1), pg_advisory_lock_shared(2)",
                "advisory_lock",
                "select pg_advisory_unlock_all()",
            ),
            ("select pg_try_advisory_lock(1)", "advisory_lock", "discard all"),
            ("begin; declare c cursor with hold for select 1; commit", "hold_cursor", "close c"),
            ("begin; declare c cursor with hold for select 1; commit", "hold_cursor", "close all"),
            ("prepare p as select 1", "sql_prepare", "deallocate p"),
            ("prepare p as select 1", "sql_prepare", "deallocate all"),
            (
                "do $$ begin perform pg_advisory_lock(1); end $$",
                "advisory_lock",
                "do $$ begin perform pg_advisory_unlock(1); end $$",
            ),
            (
                "set search_path = pg_temp; create table tt (n int)",
                "temp_object",
                "drop table tt; reset search_path",
            ),
        ] {
            twin.same(take).await;
            twin.same("select 1").await;
            if !is_direct() {
                let held = bench.pinned();
                assert_eq!(held, 1.0, "{take}");
                let reason = format!("reason=\"{reason}\"");
                assert_eq!(bench.fixture.metric_sum("pgmanifold_pinned_sessions", &reason), 1.0);
            }
            twin.same("begin").await;
            twin.same("savepoint s").await;
            twin.same(end).await;
            let refused = twin.same("rollback").await;
            assert_eq!(refused, "[]", "{end}");
            twin.same(end).await;
            bench.released().await;
        }
    });
}

#[test]
fn what_was_not_taken_ties_nobody() {
    run(60, async {
        let bench = Bench::new("unpinned", |config| config).await;
        let holder = bench.twin().await;
        holder.same("select pg_advisory_lock(7)").await;
        let twin = bench.twin().await;
        for sql in [
            "select pg_try_advisory_lock(7)",
            "create temp table tt (n int) on commit drop",
            "begin; create temp table tt (n int); rollback",
            "begin; create temp table tt (n int) on commit drop; insert into tt values (1); commit",
            "create temp table tt (n no_such_type)",
            "prepare p as select * from no_such_table",
            "begin; declare c cursor with hold for select 1; rollback",
            "begin; savepoint s; create temp table tt (n int); rollback to s; commit",
            "select pg_advisory_lock(8); select pg_advisory_unlock(8)",
            "begin; select pg_advisory_xact_lock(9); commit",
            "do $$ begin create temp table tt (n int) on commit drop; end $$",
            "declare c cursor with hold for select 1/0",
            "listen x; unlisten x",
        ] {
            twin.same(sql).await;
            twin.same("rollback; select 1").await;
            if !is_direct() {
                assert_eq!(bench.pinned(), 1.0, "only the holder: {sql}");
            }
        }
        holder.same("select pg_advisory_unlock(7)").await;
        bench.released().await;
    });
}

#[test]
fn discard_resets_and_releases() {
    run(60, async {
        let bench = Bench::new("discard", |config| config).await;
        bench
            .in_turns(&[
                "set application_name = 'a{n}'",
                "set my.var = 'v{n}'",
                "show application_name",
                "begin",
                "discard all",
                "rollback",
                "show application_name",
                "begin",
                "set local work_mem = '1{n}MB'; show work_mem",
                "commit",
                "show work_mem",
                "discard all",
                "show application_name",
                "select coalesce(current_setting('my.var', true), '')",
                "discard plans",
                "discard sequences",
                "discard temp",
                "begin",
                "discard temp",
                "discard plans",
                "discard sequences",
                "commit",
            ])
            .await;
    });
}

#[test]
fn settings_follow_transactions_and_savepoints() {
    run(60, async {
        let bench = Bench::new("guc", |config| config).await;
        bench
            .in_turns(&[
                "set work_mem = '1{n}MB'",
                "begin",
                "set work_mem = '2{n}MB'",
                "savepoint a",
                "set work_mem = '3{n}MB'",
                "rollback to a",
                "show work_mem",
                "release a",
                "commit",
                "show work_mem",
                "begin",
                "select set_config('work_mem', '4{n}MB', true), set_config('my.a', 'x{n}', false)",
                "show work_mem",
                "commit",
                "show work_mem",
                "select current_setting('my.a')",
                "begin",
                "set my.a = 'y{n}'",
                "select 1/0",
                "set my.a = 'z{n}'",
                "commit",
                "select current_setting('my.a')",
                "set work_mem = 'nonsense'",
                "show work_mem",
                "begin; set timezone = 'Asia/Tokyo'; commit; show timezone",
                "begin; set timezone = 'Asia/Seoul'; rollback; show timezone",
                "set local work_mem = '9MB'",
                "show work_mem",
                "set session characteristics as transaction isolation level serializable",
                "show transaction_isolation",
                "reset default_transaction_isolation",
                "show transaction_isolation",
                "reset all",
                "show timezone",
                "show work_mem",
                "set role other",
                "select current_user, session_user",
                "reset role",
                "select current_user, session_user",
                "set session authorization other",
                "set session authorization app",
                "select current_user, session_user",
            ])
            .await;
    });
}

#[test]
fn statements_prepared_by_protocol_outlive_what_failed() {
    run(60, async {
        let bench = Bench::new("keepstmt", |config| config).await;
        let twin = bench.twin().await;
        let through = twin.through.prepare("select 40 + 2").await.expect("prepares");
        exec(&twin.through, "begin").await;
        let refused = twin.through.batch_execute("discard all").await.expect_err("in transaction");
        assert_eq!(code(&refused), "25001");
        exec(&twin.through, "rollback").await;
        for _ in 0..3 {
            let row = twin.through.query_one(&through, &[]).await.expect("still prepared");
            assert_eq!(row.get::<_, i32>(0), 42);
        }
        exec(&twin.through, "discard all").await;
        let gone = twin.through.query_one(&through, &[]).await.expect_err("gone");
        assert_eq!(code(&gone), "26000");
        // Others' statements of the same text are not hurt, nor is the server closed for it.
        for _ in 0..4 {
            let other = bench.fixture.client().await;
            let statement = other.prepare("select 40 + 2").await.expect("prepares");
            assert_eq!(other.query_one(&statement, &[]).await.expect("runs").get::<_, i32>(0), 42);
            exec(&other, "deallocate all").await;
        }
        assert_eq!(value(&bench.fixture.client().await, "select 1").await, "1");
        bench.released().await;
    });
}

/// Runs the statement and says what came: the columns' types and first value, or the error's code.
async fn outcome(client: &Client, statement: &tokio_postgres::Statement) -> String {
    match client.query(statement, &[]).await {
        Ok(rows) => match rows.first() {
            Some(row) => format!("{} columns, first {}", row.len(), row.columns()[0].type_()),
            None => "no row".into(),
        },
        Err(error) => code(&error),
    }
}

#[test]
fn a_statement_prepared_anew_never_meets_an_old_plan() {
    run(90, async {
        let bench = Bench::new("newplan", |config| config).await;
        bench.prepare("create table t (n int); insert into t values (1)").await;
        let text = "select * from t";
        for round in 0..8 {
            let inside = round % 2 == 0;
            // Both servers have the statement.
            let (one, two) = (bench.fixture.client().await, bench.fixture.client().await);
            let old_one = one.prepare(text).await.expect("prepares");
            let old_two = two.prepare(text).await.expect("prepares");
            exec(&one, "begin").await;
            assert_ne!(outcome(&one, &old_one).await, "0A000");
            assert_ne!(outcome(&two, &old_two).await, "0A000");
            exec(&one, "commit").await;
            let changer =
                if inside { bench.fixture.client().await } else { bench.fixture.direct().await };
            exec(&changer, &format!("alter table t add column c{round} int")).await;
            for _ in 0..3 {
                let (a, b) = (bench.fixture.client().await, bench.fixture.client().await);
                let (in_a, in_b) = (a.prepare(text).await, b.prepare(text).await);
                let (in_a, in_b) = (in_a.expect("prepares"), in_b.expect("prepares"));
                let wanted = format!("{} columns, first int4", round + 2);
                assert_eq!(outcome(&b, &in_b).await, wanted, "round {round}");
                assert_eq!(in_a.columns().len(), round + 2, "round {round}");
                assert_eq!(outcome(&a, &in_a).await, wanted, "round {round}");
                exec(&a, "begin").await;
                assert_eq!(outcome(&a, &in_a).await, wanted, "round {round}");
                assert_eq!(outcome(&b, &in_b).await, wanted, "round {round}");
                exec(&a, "commit").await;
            }
            // Who was told of fewer columns gets PostgreSQL's error, on whatever server.
            for _ in 0..3 {
                assert_eq!(outcome(&one, &old_one).await, "0A000", "round {round}");
                assert_eq!(outcome(&two, &old_two).await, "0A000", "round {round}");
            }
        }
        bench.released().await;
    });
}

#[test]
fn ddl_that_changes_no_result_hurts_nobody() {
    run(60, async {
        let bench = Bench::new("sameplan", |config| config).await;
        bench.prepare("create table t (n int); insert into t values (1)").await;
        let (one, two) = (bench.fixture.client().await, bench.fixture.client().await);
        let first = one.prepare("select n from t").await.expect("prepares");
        let second = two.prepare("select n from t").await.expect("prepares");
        for round in 0..5 {
            exec(&two, &format!("alter table t add column c{round} int")).await;
            for _ in 0..3 {
                assert_eq!(outcome(&one, &first).await, "1 columns, first int4");
                assert_eq!(outcome(&two, &second).await, "1 columns, first int4");
            }
            exec(&one, "begin; create temp table x (n int) on commit drop").await;
            assert_eq!(outcome(&one, &first).await, "1 columns, first int4");
            assert_eq!(outcome(&two, &second).await, "1 columns, first int4");
            exec(&one, "commit").await;
        }
        bench.released().await;
    });
}

#[test]
fn one_text_in_several_search_paths() {
    run(60, async {
        let bench = Bench::new("paths", |config| config.pool("pool_size = 1")).await;
        let schema = "create schema a; create table a.t (n int); insert into a.t values (1);\
             create schema b; create table b.t (n text); insert into b.t values ('x')";
        bench.prepare(schema).await;
        let mut sessions = Vec::new();
        for (path, kind) in [("a", "int4"), ("b", "text"), ("a", "int4"), ("b", "text")] {
            let client = bench.fixture.client().await;
            exec(&client, &format!("set search_path = {path}")).await;
            let statement = client.prepare("select n from t").await.expect("prepares");
            sessions.push((client, statement, format!("1 columns, first {kind}")));
        }
        for _ in 0..3 {
            for (client, statement, wanted) in &sessions {
                assert_eq!(&outcome(client, statement).await, wanted);
            }
        }
        // Who changes its own path gets what PostgreSQL gives.
        let (own, through) = (bench.own().await, bench.fixture.client().await);
        let mut answers = Vec::new();
        for client in [own, through] {
            exec(&client, "set search_path = a").await;
            let statement = client.prepare("select n from t").await.expect("prepares");
            let mut seen = vec![outcome(&client, &statement).await];
            exec(&client, "set search_path = b").await;
            seen.push(outcome(&client, &statement).await);
            exec(&client, "set search_path = a").await;
            seen.push(outcome(&client, &statement).await);
            exec(&client, "begin; set local search_path = b").await;
            seen.push(outcome(&client, &statement).await);
            exec(&client, "rollback").await;
            seen.push(outcome(&client, &statement).await);
            exec(&client, "begin; set local search_path = b").await;
            let inner = client.prepare("select n from t").await.expect("prepares");
            seen.push(outcome(&client, &inner).await);
            exec(&client, "commit").await;
            seen.push(outcome(&client, &inner).await);
            answers.push(seen);
        }
        assert_eq!(answers[0], answers[1]);
        for (client, statement, wanted) in &sessions {
            assert_eq!(&outcome(client, statement).await, wanted);
        }
        bench.released().await;
    });
}

#[test]
fn functions_may_change_the_session() {
    run(120, async {
        let bench = Bench::new("bodies", |config| config).await;
        bench
            .prepare(
                "create function set_it(v text) returns void language plpgsql as $$ begin \
                 perform set_config('my.inside', v, false); set work_mem = '7MB'; end $$;\
                 create function outer_set(v text) returns void language sql as \
                 'select set_it(v)';\
                 create function take(n int) returns void language plpgsql as \
                 'begin perform pg_advisory_lock(n); end';\
                 create function give(n int) returns void language sql as \
                 'select pg_advisory_unlock(n)';\
                 create function make_temp() returns void language plpgsql as \
                 'begin execute ''create temp table made (n int)''; end';\
                 create function any_name(k text, v text) returns void language plpgsql as \
                 'begin perform set_config(''my.'' || k, v, false); end';\
                 create view setting as select set_it('from view')::text as s;\
                 create procedure proc(v text) language plpgsql as \
                 'begin perform set_it(v); commit; set work_mem = ''8MB''; end'",
            )
            .await;
        bench
            .in_turns(&[
                "select outer_set('v{n}')",
                "select current_setting('my.inside'), current_setting('work_mem')",
                "call proc('p{n}')",
                "select current_setting('my.inside'), current_setting('work_mem')",
                "begin",
                "select set_it('undone')",
                "rollback",
                "select current_setting('my.inside'), current_setting('work_mem')",
                "select s from setting",
                "select current_setting('my.inside'), current_setting('work_mem')",
                "do $$ begin perform set_config('my.done', 'd{n}', false); end $$",
                "select current_setting('my.done')",
                "select pg_advisory_lock({n}), pg_advisory_unlock({n})",
                "reset all",
                "select coalesce(current_setting('my.done'), ''), current_setting('work_mem')",
            ])
            .await;
        let twin = bench.twin().await;
        for (take, end) in
            [("select take(3)", "select give(3)"), ("select make_temp()", "drop table made")]
        {
            twin.same(take).await;
            twin.same("select 1").await;
            assert!(is_direct() || bench.pinned() == 1.0, "{take}");
            twin.same(end).await;
            bench.released().await;
        }
        // A name nobody can read beforehand: the session keeps its server.
        let (other, third) = (bench.twin().await, bench.twin().await);
        for twin in [&twin, &other] {
            twin.same("select any_name('x', 'secret')").await;
        }
        for twin in [&twin, &other] {
            twin.same("select current_setting('my.x')").await;
        }
        drop((twin, other));
        bench.released().await;
        for _ in 0..4 {
            third.same("select coalesce(current_setting('my.x', true), '') = 'secret'").await;
        }
    });
}

#[test]
fn names_bound_later_are_found() {
    run(60, async {
        let bench = Bench::new("bound", |config| config.pool("pool_size = 1")).await;
        let (one, two) = (bench.fixture.client().await, bench.fixture.client().await);
        for (client, wanted) in [(&one, "first"), (&two, "second")] {
            let sql = "select set_config($1, $2, false)";
            client.query(sql, &[&"my.bound", &wanted]).await.expect("sets");
        }
        for _ in 0..3 {
            for (client, wanted) in [(&one, "first"), (&two, "second")] {
                assert_eq!(value(client, "select current_setting('my.bound')").await, wanted);
            }
        }
        bench.released().await;
    });
}

/// What a session with a server of its own answers, or a refusal: never another's value.
async fn right_or_refused(twin: &Twin, sql: &str) -> bool {
    let (through, own) = (answer(&twin.through, sql).await, answer(&twin.own, sql).await);
    let refused = through.starts_with("0A000 currval and lastval");
    assert!(refused || through == own, "{sql}: {through} instead of {own}");
    refused
}

const SERIALS: &str = "create table s1 (id serial, t int); create table s2 (id serial, t int)";

#[test]
fn values_of_sequences_are_right_in_their_transaction() {
    run(60, async {
        let bench = Bench::new("currval", |config| config).await;
        bench.prepare(SERIALS).await;
        let mut twins = Vec::new();
        for _ in 0..SESSIONS {
            twins.push(bench.twin().await);
        }
        let mut refusals = 0;
        for round in 0..6 {
            for (number, twin) in twins.iter().enumerate() {
                let table = if (number + round) % 3 == 0 { "s2" } else { "s1" };
                twin.same("begin").await;
                twin.same(&format!("insert into {table} (t) values ({round})")).await;
                for sql in ["select lastval()", &format!("select currval('{table}_id_seq')")] {
                    if right_or_refused(twin, sql).await {
                        refusals += 1;
                        break;
                    }
                }
                exec(&twin.through, "rollback").await;
                exec(&twin.own, "rollback").await;
                let both = "insert into s1 (t) values (1); select lastval()";
                if !right_or_refused(twin, both).await {
                    continue;
                }
                refusals += 1;
                twin.own.batch_execute("select 1").await.expect("goes on");
                exec(&twin.through, "insert into s1 (t) values (1)").await;
            }
        }
        assert!(refusals <= 1, "{refusals} refusals; one server has others' values at first");
        bench.released().await;
    });
}

#[test]
fn who_asks_for_values_of_sequences_keeps_its_server() {
    run(60, async {
        let bench = Bench::new("lastval", |config| config.pool("pool_size = 3")).await;
        bench.prepare(SERIALS).await;
        let noise = [bench.fixture.client().await, bench.fixture.client().await];
        let twins = [bench.twin().await, bench.twin().await];
        twins[0].same("select lastval()").await;
        let mut refusals = Vec::new();
        for round in 0..5 {
            let mut refused = 0;
            for (number, twin) in twins.iter().enumerate() {
                for client in &noise {
                    exec(client, "insert into s2 (t) values (1)").await;
                }
                let table = if number == 0 { "s1" } else { "s2" };
                let insert = format!("insert into {table} (t) values (100 + {round})");
                let last = |client| value(client, "select lastval()");
                exec(&twin.through, &insert).await;
                for client in &noise {
                    exec(client, "begin; insert into s1 (t) values (1); commit").await;
                }
                let newest = format!("select max(id) from {table} where t = 100 + {round}");
                match answer(&twin.through, "select lastval()").await {
                    told if told.starts_with("0A000") => refused += 1,
                    _ => {
                        let told = last(&twin.through).await;
                        assert_eq!(told, value(&noise[0], &newest).await, "{insert}");
                        let sql = format!("select currval('{table}_id_seq')");
                        assert_eq!(told, value(&twin.through, &sql).await);
                    }
                }
            }
            refusals.push(refused);
        }
        assert_eq!(refusals[1..], [0, 0, 0, 0], "a session that asks keeps its server");
        assert!(is_direct() || bench.pinned() == 2.0);
        exec(&twins[0].through, "discard sequences").await;
        let gone = answer(&twins[0].through, "select lastval()").await;
        assert!(gone.starts_with("55000"), "{gone}");
        exec(&twins[1].through, "discard all").await;
        drop((twins, noise));
        bench.released().await;
    });
}

#[test]
fn the_clients_address_joins_its_name() {
    run(60, async {
        let adjust = |config: ConfigText| config.pool("application_name_add_host = true");
        let bench = Bench::new("addhost", adjust).await;
        if is_direct() {
            return;
        }
        let mut config = client::config(&bench.fixture.address, USER, &bench.fixture.database);
        config.application_name("shop");
        let client = client::try_connect(&config).await.expect("logs in");
        let name = value(&client, "show application_name").await;
        assert!(name.starts_with("shop - 127.0.0.1:"), "{name}");
        let seen = "select application_name from pg_stat_activity where pid = pg_backend_pid()";
        assert_eq!(value(&client, seen).await, name);
        exec(&client, "set application_name = 'later'").await;
        assert_eq!(value(&client, seen).await, "later");
        let unnamed = value(&bench.fixture.client().await, "show application_name").await;
        assert!(unnamed.starts_with("app - 127.0.0.1:"), "{unnamed}");
    });
}

#[test]
fn a_session_keeps_its_server_when_it_asks_to() {
    run(60, async {
        let bench = Bench::new("keep", |config| config).await;
        if is_direct() {
            return;
        }
        let client = bench.fixture.client().await;
        let pid = "select pg_backend_pid()";
        exec(&client, "set pgm.keep_server = on").await;
        let own = value(&client, pid).await;
        for _ in 0..3 {
            let other = bench.fixture.client().await;
            assert_ne!(value(&other, pid).await, own);
            assert_eq!(value(&client, pid).await, own);
        }
        assert_eq!(bench.pinned(), 1.0);
        exec(&client, "begin").await;
        exec(&client, "set pgm.keep_server = off").await;
        exec(&client, "rollback").await;
        assert_eq!(bench.pinned(), 1.0, "undone");
        let all = rows(&client, "show pgm.all").await.expect("a list");
        let keep = all.iter().find(|row| row[0].as_deref() == Some("pgm.keep_server"));
        assert_eq!(keep.expect("is listed")[1].as_deref(), Some("on"));
        let listed = client.prepare("show pgm.all").await.expect("prepares");
        assert_eq!(listed.columns().len(), 3);
        assert_eq!(client.query(&listed, &[]).await.expect("lists").len(), all.len());
        exec(&client, "reset pgm.keep_server").await;
        bench.released().await;
        let mut config = client::config(&bench.fixture.address, USER, &bench.fixture.database);
        config.options("-c pgm.keep_server=on");
        let asked = client::try_connect(&config).await.expect("logs in");
        assert_eq!(value(&asked, pid).await, value(&asked, pid).await);
        assert_eq!(bench.pinned(), 1.0);
        drop(asked);
        bench.released().await;
        let bad = client.batch_execute("set pgm.keep_server = maybe").await.expect_err("no bool");
        assert_eq!(code(&bad), "22023");
    });
}

#[test]
fn statements_prepared_by_protocol_are_deallocated_by_name() {
    run(60, async {
        let bench = Bench::new("dealloc", |config| config).await;
        for address in [&bench.fixture.address, &bench.fixture.cluster.primary.address()] {
            let mut raw = Raw::connect(address, USER, &bench.fixture.database).await;
            let batch =
                |name: &str| [raw::bind("", name, &[]), raw::execute("", 0), raw::sync()].concat();
            let answer = [raw::parse("P 1", "select 1"), raw::sync()].concat();
            assert!(raw.ask(&answer, 1).await.starts_with("1 "));
            assert!(raw.ask(&batch("P 1"), 1).await.contains("SELECT 1"));
            let answer = raw.ask(&raw::query("deallocate \"P 1\""), 1).await;
            assert_eq!(answer, "C DEALLOCATE\\x00\nZ I\n");
            assert!(raw.ask(&batch("P 1"), 1).await.starts_with("E ERROR 26000"));
            let again = [raw::parse("P 1", "select 1"), raw::sync()].concat();
            assert!(raw.ask(&again, 1).await.starts_with("1 "));
            let by_batch = [
                raw::parse("", "deallocate prepare \"P 1\""),
                raw::bind("", "", &[]),
                raw::describe(b'P', ""),
                raw::execute("", 0),
                raw::sync(),
            ];
            let answer = raw.ask(&by_batch.concat(), 1).await;
            assert_eq!(answer, "1 \n2 \nn \nC DEALLOCATE\\x00\nZ I\n");
            let answer = raw.ask(&raw::query("deallocate \"P 1\""), 1).await;
            assert!(answer.starts_with("E ERROR 26000"), "{answer}");
            let in_failed = [raw::parse("x", "select 1"), raw::sync()].concat();
            raw.ask(&in_failed, 1).await;
            raw.ask(&raw::query("begin; select 1/0"), 1).await;
            let answer = raw.ask(&raw::query("deallocate x"), 1).await;
            assert!(answer.starts_with("E ERROR 25P02"), "{answer}");
            raw.ask(&raw::query("rollback"), 1).await;
            assert!(raw.ask(&batch("x"), 1).await.contains("SELECT 1"));
        }
        bench.released().await;
    });
}

#[test]
fn reset_goes_back_to_what_was_given_at_connect_time() {
    run(60, async {
        let bench = Bench::new("first", |config| config).await;
        let mut twins = Vec::new();
        for zone in ["Asia/Tokyo", "Europe/Paris", "Asia/Seoul", "America/Lima"] {
            let connect = async |address, database: &str| {
                let mut config = client::config(address, USER, database);
                config.options(format!("-c timezone={zone} -c work_mem=3MB -c my.own=x"));
                config.application_name(zone);
                client::try_connect(&config).await.expect("logs in")
            };
            let own = &bench.fixture.cluster.primary.address();
            twins.push(Twin {
                through: connect(&bench.fixture.address, &bench.fixture.database).await,
                own: connect(own, &bench.database).await,
            });
        }
        let shown = "select current_setting('timezone'), current_setting('work_mem'), \
                     current_setting('application_name'), current_setting('my.own')";
        for script in [
            &["set timezone = 'UTC'", "reset timezone"][..],
            &["set timezone = 'UTC'", "set timezone to default"],
            &["set timezone = 'UTC'; set work_mem = '9MB'", "reset all"],
            &["set timezone = 'UTC'", "discard all"],
            &["begin", "set timezone = 'UTC'", "reset timezone", shown, "commit"],
            &["begin", "set timezone = 'UTC'", "reset all", shown, "rollback"],
            &["set work_mem = '5MB'", "begin", "reset work_mem", shown, "rollback", shown],
            &["begin", "set local timezone = 'UTC'", "reset timezone", shown, "commit"],
            &["begin", "select 1/0", "reset timezone", "rollback"],
            &["set application_name = 'other'", "reset application_name"],
        ] {
            for twin in &twins {
                for sql in script {
                    twin.same(sql).await;
                }
                twin.same(shown).await;
            }
            for twin in &twins {
                twin.same(shown).await;
            }
        }
        bench.released().await;
    });
}

#[test]
fn roles_and_session_users_follow() {
    run(60, async {
        let bench = Bench::new("roles", |config| config).await;
        let roles = "create role twin_role; grant twin_role to app; grant twin_role to other";
        bench.fixture.cluster.primary.query(roles).expect("roles");
        let mut twins = Vec::new();
        for _ in 0..SESSIONS {
            let own = &bench.fixture.cluster.primary.address();
            let through = &bench.fixture.address;
            twins.push(Twin {
                through: client::connect(through, "postgres", &bench.fixture.database).await,
                own: client::connect(own, "postgres", &bench.database).await,
            });
        }
        let who = "select current_user, session_user, current_setting('role')";
        for (number, (user, other)) in [("app", "other"), ("other", "app")].iter().enumerate() {
            for twin in &twins {
                twin.same(&format!("set session authorization {user}")).await;
            }
            for twin in &twins {
                twin.same(who).await;
                twin.same("set role twin_role").await;
            }
            for twin in twins.iter().skip(number) {
                twin.same(who).await;
                twin.same(&format!("set session authorization {other}")).await;
                twin.same(who).await;
                twin.same("set role twin_role").await;
            }
            for twin in &twins {
                twin.same(who).await;
                twin.same("begin; reset role; savepoint a; reset session authorization").await;
                twin.same(who).await;
                twin.same("rollback to a").await;
                twin.same(who).await;
                twin.same("commit").await;
                twin.same(who).await;
            }
            for twin in &twins {
                twin.same("reset session authorization").await;
                twin.same(who).await;
            }
        }
        drop(twins);
        bench.released().await;
        let gone = "revoke twin_role from app, other; drop role twin_role";
        bench.fixture.cluster.primary.query(gone).expect("roles go");
    });
}
