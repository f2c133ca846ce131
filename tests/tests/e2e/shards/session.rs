//! Sessions of sharded databases: statements of one session and one transaction on several shards.

use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::eventually;
use pgmanifold_tests::raw::{
    Raw, bind, copy_data, copy_done, describe, execute, parse, query, sync,
};
use pgmanifold_tests::run;
use pgmanifold_tests::shards::layout::Layout;
use pgmanifold_tests::shards::{Options, Shards};
use std::time::Duration;

const SCHEMA: &str = "create table item (id int primary key, body text);";

async fn start(name: &str) -> Shards {
    start_with(Options::new(name), |config| config).await
}

async fn start_with(options: Options, adjust: impl FnOnce(ConfigText) -> ConfigText) -> Shards {
    let layout = Layout::new().hash("item", &["integer"]).table("item", &["id"]);
    let shards = Shards::start(options.tables(layout, SCHEMA), adjust).await;
    // The first statement waits for the catalog.
    shards.client().await.simple_query("delete from item").await.expect("deletes");
    shards
}

/// A statement for one shard, as it is.
fn on(shard: usize, sql: &str) -> String {
    format!("/* pgm: shard=s{shard} */ {sql}")
}

/// Ids of the items on each shard.
fn items(shards: &Shards) -> Vec<String> {
    let found = shards.on_shards("select string_agg(id::text, ',' order by id) from item");
    found.into_iter().map(|rows| rows[0][0].clone().unwrap_or_default()).collect()
}

/// Runs texts one after the other by the simple protocol; their answers, without rows' details.
async fn play(raw: &mut Raw, texts: &[String]) -> String {
    let mut answers = String::new();
    for text in texts {
        answers += &raw.ask(&query(text), 1).await;
    }
    answers
}

fn insert(shard: usize, id: u32) -> String {
    on(shard, &format!("insert into item values ({id}, 'x')"))
}

#[test]
fn statements_turn_from_shard_to_shard() {
    run(60, async {
        let shards = start("turn").await;
        let mut raw = shards.raw().await;
        for round in 0..3_u32 {
            for shard in 0..3 {
                let id = round * 10 + shard as u32;
                let answer = raw.ask(&query(&insert(shard, id)), 1).await;
                assert_eq!(answer, "C INSERT 0 1\\x00\nZ I\n");
            }
        }
        assert_eq!(items(&shards), ["0,10,20", "1,11,21", "2,12,22"]);
        let client = shards.client().await;
        for shard in 0..3 {
            let sql = on(shard, "select count(*), min(id) from item where id % 10 = $1");
            let statement = client.prepare(&sql).await.unwrap();
            for digit in 0..3_i32 {
                let row = client.query_one(&statement, &[&digit]).await.unwrap();
                let here = usize::try_from(digit).unwrap() == shard;
                assert_eq!(row.get::<_, i64>(0), if here { 3 } else { 0 }, "{shard} {digit}");
            }
        }
    });
}

#[test]
fn a_transaction_over_shards_is_one() {
    run(60, async {
        let shards = start("transaction").await;
        let mut raw = shards.raw().await;
        let begin = || "begin".to_owned();
        let texts = [begin(), insert(0, 1), insert(1, 2), insert(2, 3), "commit".into()];
        let answer = play(&mut raw, &texts).await;
        assert!(answer.ends_with("C INSERT 0 1\\x00\nZ T\nC COMMIT\\x00\nZ I\n"), "{answer}");
        assert_eq!(items(&shards), ["1", "2", "3"]);
        let texts = [begin(), insert(1, 12), insert(0, 11), "rollback".into()];
        let answer = play(&mut raw, &texts).await;
        assert!(answer.ends_with("C ROLLBACK\\x00\nZ I\n"), "{answer}");
        let texts = [begin(), insert(1, 22), insert(0, 1), insert(2, 23), "commit".into()];
        let answer = play(&mut raw, &texts).await;
        assert!(answer.contains(" 23505 ") && answer.contains(" 25P02 "), "{answer}");
        assert!(answer.ends_with("C ROLLBACK\\x00\nZ I\n"), "{answer}");
        assert_eq!(items(&shards), ["1", "2", "3"]);
        nothing_is_prepared(&shards);
    });
}

#[test]
fn savepoints_hold_for_all_participants() {
    run(60, async {
        let shards = start("savepoint").await;
        let mut raw = shards.raw().await;
        let text = |text: &str| text.to_owned();
        let texts = [
            text("begin"),
            insert(0, 1),
            text("savepoint a"),
            insert(0, 2),
            insert(1, 3),
            text("savepoint b"),
            insert(2, 4),
            insert(1, 3),
            text("select 1"),
            text("rollback to a"),
            insert(2, 5),
            insert(1, 6),
            text("release a"),
            text("commit"),
        ];
        let answer = play(&mut raw, &texts).await;
        assert!(answer.ends_with("C RELEASE\\x00\nZ T\nC COMMIT\\x00\nZ I\n"), "{answer}");
        assert_eq!(items(&shards), ["1", "6", "5"], "{answer}");
    });
}

#[test]
fn settings_follow_from_shard_to_shard() {
    run(60, async {
        let shards = start("settings").await;
        let mut raw = shards.raw().await;
        let show = |shard| {
            on(shard, "select current_setting('my.x', true) || current_setting('work_mem')")
        };
        let shown = async |raw: &mut Raw| {
            let mut all = Vec::new();
            for shard in 0..3 {
                let answer = raw.ask(&query(&show(shard)), 1).await;
                let row = answer.lines().find(|line| line.starts_with("D ")).unwrap_or("none");
                all.push(row.rsplit("\\x00").next().unwrap_or_default().to_owned());
            }
            all
        };
        play(&mut raw, &["set my.x = 'a'".into(), "set work_mem = '1MB'".into()]).await;
        let same = |value: &[String]| value.iter().all(|one| *one == value[0]);
        let before = shown(&mut raw).await;
        assert!(same(&before) && before[0].ends_with("a1MB"), "{before:?}");
        let texts = ["begin".into(), on(1, "select 1"), "set local my.x = 'b'".into()];
        play(&mut raw, &texts).await;
        let inside = shown(&mut raw).await;
        assert!(same(&inside) && inside[0].ends_with("b1MB"), "{inside:?}");
        play(&mut raw, &["set local work_mem = '2MB'".into()]).await;
        let inside = shown(&mut raw).await;
        assert!(same(&inside) && inside[0].ends_with("b2MB"), "{inside:?}");
        play(&mut raw, &["commit".into()]).await;
        let after = shown(&mut raw).await;
        assert_eq!(after, before);
        let texts = ["begin".into(), on(0, "select 1"), on(2, "select 1"), "set my.x = 'c'".into()];
        play(&mut raw, &texts).await;
        play(&mut raw, &["commit".into()]).await;
        let after = shown(&mut raw).await;
        assert!(same(&after) && after[0].ends_with("c1MB"), "{after:?}");
    });
}

#[test]
fn drivers_run_transactions_over_shards() {
    run(60, async {
        let shards = start("driver").await;
        let mut client = shards.client().await;
        let sql: Vec<String> =
            (0..3).map(|shard| on(shard, "insert into item values ($1, 'x')")).collect();
        let transaction = client.transaction().await.unwrap();
        for (id, sql) in (0_i32..).zip(&sql) {
            transaction.execute(sql.as_str(), &[&id]).await.unwrap();
        }
        transaction.commit().await.unwrap();
        assert_eq!(items(&shards), ["0", "1", "2"]);
        let transaction = client.transaction().await.unwrap();
        for (id, sql) in (10_i32..).zip(&sql) {
            transaction.execute(sql.as_str(), &[&id]).await.unwrap();
        }
        transaction.rollback().await.unwrap();
        assert_eq!(items(&shards), ["0", "1", "2"]);
        let count = client.query_one(&on(1, "select count(*) from item"), &[]).await.unwrap();
        assert_eq!(count.get::<_, i64>(0), 1);
    });
}

fn step(sql: &str, values: &[Option<&str>]) -> Vec<u8> {
    [parse("", sql), bind("", "", values), describe(b'P', ""), execute("", 0)].concat()
}

#[test]
fn a_batch_over_shards_is_all_or_nothing() {
    run(60, async {
        let shards = start("batch").await;
        let mut raw = shards.raw().await;
        let insert = |shard, id: &str| {
            step(&on(shard, "insert into item values ($1::int, 'x')"), &[Some(id)])
        };
        let whole = [insert(0, "1"), insert(1, "2"), insert(0, "3"), sync()].concat();
        let one = "1 \n2 \nn \nC INSERT 0 1\\x00\n";
        assert_eq!(raw.ask(&whole, 1).await, format!("{one}{one}{one}Z I\n"));
        assert_eq!(items(&shards), ["1,3", "2", ""]);
        let broken = [insert(0, "11"), insert(1, "2"), insert(2, "13"), sync()].concat();
        let answer = raw.ask(&broken, 1).await;
        assert!(answer.contains(" 23505 ") && answer.ends_with("Z I\n"), "{answer}");
        assert_eq!(items(&shards), ["1,3", "2", ""]);
        let control = [
            step("begin", &[]),
            insert(2, "21"),
            insert(1, "22"),
            sync(),
            step("savepoint a", &[]),
            insert(0, "23"),
            sync(),
            step("rollback to a", &[]),
            sync(),
            step("commit", &[]),
            sync(),
        ]
        .concat();
        let answer = raw.ask(&control, 4).await;
        assert!(answer.ends_with("1 \n2 \nn \nC COMMIT\\x00\nZ I\n"), "{answer}");
        assert_eq!(items(&shards), ["1,3", "2,22", "21"], "{answer}");
        let reads = [
            step(&on(0, "select count(*) from item"), &[]),
            step(&on(1, "select count(*) from item"), &[]),
            sync(),
        ]
        .concat();
        let answer = raw.ask(&reads, 1).await;
        assert_eq!(answer.matches("C SELECT 1").count(), 2, "{answer}");
    });
}

#[test]
fn a_client_that_leaves_leaves_nothing() {
    run(60, async {
        let shards = start("leave").await;
        let mut raw = shards.raw().await;
        play(&mut raw, &["begin".into(), insert(0, 1), insert(1, 2)]).await;
        raw.vanish();
        let open = "select count(*) from pg_stat_activity where datname = current_database() \
                    and state like 'idle in transaction%'";
        eventually("transactions end", Duration::from_secs(10), async || {
            let found = shards.on_shards(open);
            found.iter().all(|rows| rows[0][0].as_deref() == Some("0"))
        })
        .await;
        assert_eq!(items(&shards), ["", "", ""]);
    });
}

fn nothing_is_prepared(shards: &Shards) {
    let sql = "select count(*) from pg_prepared_xacts where database = current_database()";
    let prepared = shards.on_shards(sql);
    assert!(prepared.iter().all(|rows| rows[0][0].as_deref() == Some("0")), "{prepared:?}");
}

/// The lines of a transcript, in order of their text.
fn sorted(answer: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = answer.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn statements_of_all_shards_are_one_statement() {
    run(60, async {
        let shards = start("scatter").await;
        let mut raw = shards.raw().await;
        play(&mut raw, &[insert(0, 1), insert(1, 2), insert(2, 3)]).await;
        let answer = raw.ask(&query("select id from item"), 1).await;
        let row = |id: u32| format!("D \\x00\\x01\\x00\\x00\\x00\\x01{id}");
        let rows = [row(1), row(2), row(3)];
        let mut wanted = vec!["C SELECT 3\\x00", &rows[0], &rows[1], &rows[2]];
        wanted.extend(["T id:23:-1:0", "Z I"]);
        assert_eq!(sorted(&answer), wanted);
        let answer = raw.ask(&query("update item set body = 'y'"), 1).await;
        assert_eq!(answer, "C UPDATE 3\\x00\nZ I\n");
        let texts = ["begin", "update item set body = 'z'", "rollback"].map(str::to_owned);
        assert!(play(&mut raw, &texts).await.contains("UPDATE 3"));
        let broken = "update item set body = (1 / (3 - id))::text";
        let answer = raw.ask(&query(broken), 1).await;
        assert!(answer.contains(" 22012 ") && answer.ends_with("Z I\n"), "{answer}");
        let texts = ["begin", broken, "select 1", "commit"].map(str::to_owned);
        let answer = play(&mut raw, &texts).await;
        assert!(
            answer.contains(" 25P02 ") && answer.ends_with("C ROLLBACK\\x00\nZ I\n"),
            "{answer}"
        );
        let bodies = shards.on_shards("select id || body from item");
        let found: Vec<_> = bodies.iter().map(|rows| rows[0][0].as_deref().unwrap()).collect();
        assert_eq!(found, ["1y", "2y", "3y"]);
        nothing_is_prepared(&shards);
        let answer = raw.ask(&query("alter table item add more int"), 1).await;
        assert_eq!(answer, "C ALTER TABLE\\x00\nZ I\n");
        let more = shards.on_shards("select count(more) from item");
        assert_eq!(more.len(), 3);
    });
}

#[test]
fn prepared_statements_run_on_all_shards() {
    run(60, async {
        let shards = start("prepared").await;
        let mut raw = shards.raw().await;
        play(&mut raw, &[insert(0, 1), insert(1, 2), insert(2, 3)]).await;
        let mut client = shards.client().await;
        let sql = "select id from item where body = $1";
        let statement = client.prepare(sql).await.unwrap();
        for _ in 0..2 {
            let rows = client.query(&statement, &[&"x"]).await.unwrap();
            let mut ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
            ids.sort_unstable();
            assert_eq!(ids, [1, 2, 3]);
        }
        let change = "update item set body = $1";
        assert_eq!(client.execute(change, &[&"y"]).await.unwrap(), 3);
        let transaction = client.transaction().await.unwrap();
        assert_eq!(transaction.execute(change, &[&"z"]).await.unwrap(), 3);
        assert_eq!(transaction.query(&statement, &[&"z"]).await.unwrap().len(), 3);
        transaction.rollback().await.unwrap();
        let batch = [step("update item set body = 'b'", &[]), step(&insert(1, 9), &[]), sync()];
        let answer = raw.ask(&batch.concat(), 1).await;
        assert!(answer.contains("C UPDATE 3") && answer.contains("C INSERT 0 1"), "{answer}");
        let broken = [step("update item set body = 'c'", &[]), step(&insert(1, 9), &[]), sync()];
        let answer = raw.ask(&broken.concat(), 1).await;
        assert!(answer.contains(" 23505 ") && answer.ends_with("Z I\n"), "{answer}");
        let bodies = shards.on_shards("select min(body) || max(body) from item where id < 9");
        assert!(bodies.iter().all(|rows| rows[0][0].as_deref() == Some("bb")), "{bodies:?}");
        nothing_is_prepared(&shards);
    });
}

#[test]
fn a_cancel_request_reaches_all_shards() {
    run(60, async {
        let shards = start("cancel").await;
        let mut raw = shards.raw().await;
        play(&mut raw, &[insert(0, 1), insert(1, 2), insert(2, 3)]).await;
        let client = shards.client().await;
        let token = client.cancel_token();
        let asking = async { client.simple_query("select id, pg_sleep(30) from item").await };
        let cancelling = async {
            let running = "select count(*) from pg_stat_activity where datname = \
                           current_database() and wait_event = 'PgSleep'";
            eventually("all shards sleep", Duration::from_secs(10), async || {
                let found = shards.on_shards(running);
                found.iter().all(|rows| rows[0][0].as_deref() == Some("1"))
            })
            .await;
            token.cancel_query(tokio_postgres::NoTls).await.unwrap();
        };
        let (answer, ()) = tokio::join!(asking, cancelling);
        assert_eq!(answer.unwrap_err().code().unwrap().code(), "57014");
        assert_eq!(client.simple_query("select id from item").await.unwrap().len(), 5);
    });
}

#[test]
fn copy_and_statements_outside_of_transactions() {
    run(60, async {
        let shards = start("copy").await;
        let mut raw = shards.raw().await;
        let rows: String = (0..100).map(|id| format!("{id}\tx\n")).collect();
        let copy = [query("copy item from stdin"), copy_data(rows.as_bytes()), copy_done()];
        let answer = raw.ask(&copy.concat(), 1).await;
        assert!(answer.ends_with("C COPY 100\\x00\nZ I\n"), "{answer}");
        let counts = shards.on_shards("select count(*) from item");
        let count =
            |rows: &Vec<Vec<Option<String>>>| rows[0][0].as_deref().unwrap().parse().unwrap();
        let counts: Vec<u32> = counts.iter().map(count).collect();
        assert!(counts.iter().sum::<u32>() == 100 && counts.iter().all(|n| *n > 10), "{counts:?}");
        let broken = [query("copy item from stdin"), copy_data(b"1000\tx\n5\ty\n"), copy_done()];
        let answer = raw.ask(&broken.concat(), 1).await;
        assert!(answer.contains(" 23505 ") && answer.ends_with("Z I\n"), "{answer}");
        let more = [query("copy item from stdin"), copy_data(b"1000\tx\n"), copy_done()].concat();
        let inside = [query("begin"), more.clone(), query("rollback")].concat();
        let answer = raw.ask(&inside, 3).await;
        assert!(
            answer.contains("COPY 1") && answer.ends_with("C ROLLBACK\\x00\nZ I\n"),
            "{answer}"
        );
        let answer = raw.ask(&query("select id from item where id >= 1000"), 1).await;
        assert!(answer.contains("SELECT 0"), "{answer}");
        let answer = raw.ask(&query("vacuum item"), 1).await;
        assert_eq!(answer, "C VACUUM\\x00\nZ I\n");
        let answer =
            play(&mut raw, &["begin".into(), "vacuum item".into(), "rollback".into()]).await;
        assert!(answer.contains(" 25001 "), "{answer}");
    });
}

#[test]
fn timeouts_hold_over_shards() {
    run(60, async {
        let shards = start_with(Options::new("timeouts"), |config| {
            config.pool("query_timeout_ms = 500").pool("idle_transaction_timeout_ms = 800")
        })
        .await;
        let mut raw = shards.raw().await;
        play(&mut raw, &[insert(0, 1), insert(1, 2), insert(2, 3)]).await;
        let answer = raw.ask(&query("select id, pg_sleep(30) from item"), 1).await;
        assert!(answer.contains(" 57014 canceling statement due to query timeout"), "{answer}");
        let answer = raw.ask(&query("select id from item"), 1).await;
        assert!(answer.contains("SELECT 3"), "{answer}");
        play(&mut raw, &["begin".into(), insert(0, 11), insert(1, 12)]).await;
        assert!(raw.is_closed().await);
        assert_eq!(items(&shards), ["1", "2", "3"]);
    });
}

#[test]
fn a_dead_shard_fails_only_what_needs_it() {
    run(120, async {
        let mut options = Options::new("dead");
        options.private = true;
        let soon = |config: ConfigText| config.shard("failover_wait_ms = 300");
        let shards = start_with(options, soon).await;
        let mut raw = shards.raw().await;
        play(&mut raw, &[insert(0, 1), insert(1, 2), insert(2, 3)]).await;
        let mut open = shards.raw().await;
        play(&mut open, &["begin".into(), insert(1, 21), insert(2, 22)]).await;
        let mut whole = shards.raw().await;
        play(&mut whole, &["begin".into(), insert(1, 31)]).await;
        shards.shard(2).kill();
        let answer = raw.ask(&query(&on(1, "select id from item where id = 2")), 1).await;
        assert!(answer.contains("SELECT 1"), "{answer}");
        let answer = raw.ask(&query("select id from item"), 1).await;
        assert!(answer.contains(" PGM05 ") && answer.contains("s2"), "{answer}");
        let answer = raw.ask(&query("update item set body = 'y'"), 1).await;
        assert!(answer.contains(" PGM05 "), "{answer}");
        play(&mut raw, &["set pgm.partial_results = on".into()]).await;
        let answer = raw.ask(&query("select id from item"), 1).await;
        assert!(answer.contains("NOTICE PGM05") && answer.contains("SELECT 2"), "{answer}");
        let answer = play(&mut open, &[insert(1, 23), "commit".into()]).await;
        assert!(answer.contains("E ERROR ") && answer.ends_with("Z I\n"), "{answer}");
        assert!(!answer.contains("COMMIT"), "{answer}");
        let answer = play(&mut whole, &["savepoint a".into(), insert(2, 32)]).await;
        assert!(answer.contains(" PGM05 ") && answer.ends_with("Z E\n"), "{answer}");
        let answer =
            play(&mut whole, &["rollback to a".into(), insert(0, 33), "commit".into()]).await;
        assert!(answer.ends_with("C COMMIT\\x00\nZ I\n"), "{answer}");
        let client = shards.shard_client(1).await;
        let row = client.query_one("select string_agg(id::text, ',' order by id) from item", &[]);
        assert_eq!(row.await.unwrap().get::<_, String>(0), "2,31");
        let client = shards.shard_client(0).await;
        let row = client.query_one("select string_agg(id::text, ',' order by id) from item", &[]);
        assert_eq!(row.await.unwrap().get::<_, String>(0), "1,33");
    });
}

#[test]
fn a_session_reads_what_it_wrote_on_every_shard() {
    run(120, async {
        let mut options = Options::new("own_reads");
        options.replicas = 1;
        let shards = start_with(options, |config| config).await;
        let mut raw = shards.raw().await;
        for round in 0..30_u32 {
            for shard in 0..3 {
                let id = round * 10 + shard as u32;
                play(&mut raw, &[insert(shard, id)]).await;
            }
            let answer = raw.ask(&query("select id from item"), 1).await;
            assert!(answer.contains(&format!("SELECT {}", (round + 1) * 3)), "{answer}");
            for shard in 0..3 {
                let sql = on(shard, "select id from item");
                let answer = raw.ask(&query(&sql), 1).await;
                assert!(answer.contains(&format!("SELECT {}", round + 1)), "{answer}");
            }
            let texts = ["begin", "update item set body = body || 'y'", "commit"];
            play(&mut raw, &texts.map(str::to_owned)).await;
            let sql = format!("select id from item where length(body) = {}", 2);
            let answer = raw.ask(&query(&sql), 1).await;
            assert!(answer.contains("SELECT 3"), "{answer}");
        }
    });
}

#[test]
fn a_session_listens_and_writes_on_shards() {
    run(60, async {
        let shards = start("listen").await;
        let mut raw = shards.raw().await;
        let texts = ["listen a".into(), "begin".into(), insert(1, 1), insert(2, 2)];
        play(&mut raw, &texts).await;
        let texts = ["notify a, 'b'".into(), "commit".into()];
        let answer = play(&mut raw, &texts).await;
        assert!(answer.contains("a\\x00b\\x00\nZ I\n"), "{answer}");
        let answer = play(&mut raw, &["select 1".into(), insert(0, 3)]).await;
        assert!(!answer.contains("A "), "{answer}");
    });
}
