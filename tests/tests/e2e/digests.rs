//! What is counted of statements, against what clients have counted themselves: STATEMENTS,
//! LATENCY, ROUTES, the lines about slow statements, and how many series there can be.

use pgmanifold::config::model::Address;
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw::{Raw, bind, describe, execute, flush, parse, query, sync};
use pgmanifold_tests::shards::layout::Layout;
use pgmanifold_tests::shards::{Options, Shards};
use pgmanifold_tests::{client, random, run};
use rand::RngExt;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, SimpleQueryMessage};

/// A row of a table of the console, by column.
type Row = BTreeMap<String, String>;

fn with_console(config: ConfigText) -> ConfigText {
    config.section(&format!("[console]\nadmin_users = [{USER:?}]\n"))
}

async fn console(address: &Address) -> Client {
    client::connect(address, USER, "pgmanifold").await
}

/// What a command of the console answers.
async fn rows(console: &Client, command: &str) -> Vec<Row> {
    let messages = console.simple_query(command).await.expect("the console answers");
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let value = |row: &tokio_postgres::SimpleQueryRow, index: usize| {
        row.get(index).unwrap_or("NULL").to_owned()
    };
    rows.map(|row| {
        let names = row.columns().iter().enumerate();
        names.map(|(index, column)| (column.name().to_owned(), value(row, index))).collect()
    })
    .collect()
}

fn number(row: &Row, column: &str) -> u64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {row:?}"))
}

fn find<'a>(rows: &'a [Row], text: &str) -> &'a Row {
    let found = rows.iter().find(|row| row["text"] == text);
    found.unwrap_or_else(|| panic!("{text} is not among {rows:#?}"))
}

/// Calls, errors and rows of the statement with this text.
fn counts(rows: &[Row], text: &str) -> [u64; 3] {
    ["calls", "errors", "rows"].map(|column| number(find(rows, text), column))
}

async fn start(test: &str, adjust: impl FnOnce(ConfigText) -> ConfigText) -> Fixture {
    let fixture = Fixture::shared(test, |config| adjust(with_console(config))).await;
    let direct = fixture.direct().await;
    client::exec(&direct, "create table digest_t (id int primary key, body text)").await;
    client::exec(&console(&fixture.address).await, "reset stats").await;
    fixture
}

/// Bytes of all messages of an answer.
async fn answer_bytes(raw: &mut Raw, request: &[u8]) -> u64 {
    raw.send(request).await;
    raw.until_ready().await.iter().map(|message| message.body.len() as u64 + 5).sum()
}

/// The statements of the test's own database.
async fn statements(fixture: &Fixture, console: &Client) -> Vec<Row> {
    let all = rows(console, "show statements").await;
    all.into_iter().filter(|row| row["database"] == fixture.database).collect()
}

const INSERT: &str = "insert into digest_t values ($1, $2)";

/// One client's statements by each protocol; how many calls, errors and rows there were of INSERT.
async fn load(fixture: &Fixture) -> [u64; 3] {
    let client = fixture.client().await;
    let insert = client.prepare("insert into digest_t values ($1, 'x')").await.expect("an answer");
    for id in 0..50 {
        assert_eq!(client.execute(&insert, &[&id]).await.expect("an answer"), 1);
    }
    for id in 0..7 {
        let error = client.execute(&insert, &[&id]).await.expect_err("it fails");
        assert_eq!(client::code(&error), "23505");
    }
    // Texts that differ in their literals, by the simple protocol, and the same by the extended.
    for id in 0..30 {
        let sql = format!("SELECT body  FROM digest_t WHERE id = {id} -- no. {id}");
        assert_eq!(client::value(&client, &sql).await, "x");
    }
    let select =
        client.prepare("select body from digest_t where id = $1").await.expect("an answer");
    // All of them at once.
    let asked = (0..40).map(|_| client.query(&select, &[&3_i32]));
    let found = futures_util::future::join_all(asked).await;
    assert!(found.iter().all(|rows| rows.as_ref().is_ok_and(|rows| rows.len() == 1)));
    for _ in 0..3 {
        assert!(client.simple_query("select bad from digest_t").await.is_err());
        assert!(client.simple_query("select 1; select bad").await.is_err());
    }
    for _ in 0..4 {
        let refused =
            client.simple_query("/* pgm: role=nobody */ select 'no'").await.expect_err("it fails");
        assert_eq!(client::code(&refused), "22023");
    }
    for _ in 0..5 {
        client.simple_query("show pgm.role").await.expect("ours");
    }
    client::exec(&client, "begin; update digest_t set body = 'y' where id < 10; commit").await;
    [57, 7, 50]
}

/// Batches of several statements, by bytes.
async fn load_batches(fixture: &Fixture) {
    let mut raw = fixture.raw().await;
    let one = |sql: &str| [parse("", sql), bind("", "", &[]), execute("", 0)].concat();
    // The third fails, and the fourth is not run.
    let texts = ["select 11 as a", "select 12 as b", "select 1/0 as c", "select 14 as d"];
    let batch: Vec<u8> = texts.iter().flat_map(|sql| one(sql)).chain(sync()).collect();
    for _ in 0..6 {
        raw.ask(&batch, 1).await;
    }
    // Two batches at once; the first has an error in it.
    let both = [one("select 1/0 as e"), sync(), one("select 16 as f"), sync()].concat();
    raw.ask(&both, 2).await;
    // A portal that is executed in pieces: 2, 2 and 1 rows.
    let pieces = [
        query("begin"),
        parse("", "select g from generate_series(1, 5) g"),
        bind("p", "", &[]),
        execute("p", 2),
        execute("p", 2),
        execute("p", 2),
        sync(),
        query("commit"),
    ];
    raw.ask(&pieces.concat(), 3).await;
}

#[test]
fn statements_are_counted_as_clients_count_them() {
    if is_direct() {
        return;
    }
    run(120, async {
        let fixture = start("digests", |config| config).await;
        let inserts = load(&fixture).await;
        load_batches(&fixture).await;
        let console = console(&fixture.address).await;
        let found = statements(&fixture, &console).await;
        assert_eq!(counts(&found, INSERT), inserts);
        let there = client::value(&fixture.direct().await, "select count(*) from digest_t").await;
        assert_eq!(find(&found, INSERT)["rows"], there, "as the server has it");
        // A literal is not a parameter, though both are shown alike: as in pg_stat_statements.
        let select = "SELECT body FROM digest_t WHERE id = $1";
        assert_eq!(counts(&found, select), [30, 0, 30]);
        assert_eq!(counts(&found, &select.to_lowercase()), [40, 0, 40]);
        for (text, expected) in [
            ("select bad from digest_t", [3, 3, 0]),
            ("select $1; select bad", [3, 3, 3]),
            ("select $1", [4, 4, 0]),
            ("show pgm.role", [5, 0, 0]),
            ("begin; update digest_t set body = $1 where id < $2; commit", [1, 0, 10]),
            ("select $1 as a", [6, 0, 6]),
            ("select $1 as b", [6, 0, 6]),
            ("select $1/$2 as c", [6, 6, 0]),
            ("select $1/$2 as e", [1, 1, 0]),
            ("select $1 as f", [1, 0, 1]),
            ("select g from generate_series($1, $2) g", [3, 0, 5]),
            ("begin", [1, 0, 0]),
            ("commit", [1, 0, 0]),
        ] {
            assert_eq!(counts(&found, text), expected, "{text}");
        }
        assert!(found.iter().all(|row| row["text"] != "select $1 as d"), "it never ran");
        assert!(found.iter().all(|row| row["fingerprint"] != "other"), "{found:#?}");
        let kinds =
            |text: &str| ["single", "local", "refused"].map(|c| number(find(&found, text), c));
        assert_eq!(kinds(select), [30, 0, 0]);
        assert_eq!(kinds("show pgm.role"), [0, 5, 0]);
        assert_eq!(kinds("select $1"), [0, 0, 4]);
        assert_eq!(find(&found, "select $1")["route"], "refused");
        assert_eq!(find(&found, INSERT)["route"], "write");
        for row in &found {
            let times = ["min_us", "p50_us", "p95_us", "p99_us", "max_us", "total_us"];
            let times = times.map(|column| number(row, column));
            assert!(times.is_sorted(), "{row:#?}");
        }
    });
}

#[test]
fn bytes_and_routes_are_those_of_the_answers() {
    if is_direct() {
        return;
    }
    run(60, async {
        let fixture = start("digest_bytes", |config| config).await;
        fixture.wait_replicas().await;
        let mut raw = fixture.raw().await;
        raw.ask(&query("select 1"), 1).await;
        let console = console(&fixture.address).await;
        client::exec(&console, "reset stats").await;
        let large = "select repeat('x', 3000), g from generate_series(1, 200) g";
        let simple = answer_bytes(&mut raw, &query(large)).await;
        let extended = [
            parse("", "select 'a' as one"),
            bind("", "", &[]),
            describe(b'P', ""),
            execute("", 0),
            sync(),
        ];
        let extended = answer_bytes(&mut raw, &extended.concat()).await;
        let failed = answer_bytes(&mut raw, &query("select 1/0")).await;
        let found = statements(&fixture, &console).await;
        let bytes = |text: &str| number(find(&found, text), "bytes");
        assert_eq!(bytes("select repeat($1, $2), g from generate_series($3, $4) g"), simple);
        assert_eq!(bytes("select $1 as one"), extended);
        assert_eq!(bytes("select $1/$2"), failed);
        // What clients do between a Flush and a Sync is not the statement's time.
        let begun = [parse("", "select 'b' as slow"), bind("", "", &[]), execute("", 0), flush()];
        raw.send(&begun.concat()).await;
        raw.until(b'C').await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let rest = [parse("", "select 'c' as late"), bind("", "", &[]), execute("", 0), sync()];
        raw.ask(&rest.concat(), 1).await;
        let found = statements(&fixture, &console).await;
        for text in ["select $1 as slow", "select $1 as late"] {
            assert!(number(find(&found, text), "max_us") < 250_000, "{text}");
        }
        let routes = rows(&console, "show routes").await;
        let own = routes.iter().filter(|row| row["database"] == fixture.database);
        let reads =
            own.filter(|row| row["route"] == "replica_read" && row["reason"] == "reads only");
        let all: Vec<&Row> = routes.iter().filter(|r| r["database"] == fixture.database).collect();
        assert!(reads.map(|row| number(row, "count")).sum::<u64>() > 0, "{all:#?}");
    });
}

/// The value below which a share of the sorted values lies.
fn percentile(values: &[u64], share: f64) -> u64 {
    let rank = (values.len() as f64 * share).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

#[test]
fn percentiles_are_those_that_clients_have_seen() {
    if is_direct() {
        return;
    }
    run(120, async {
        let fixture = start("digest_times", |config| config).await;
        let mut random = random::seeded("digest_times");
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let client = fixture.client().await;
            let sleeps: Vec<f64> = (0..75).map(|_| random.random_range(0.0..1.0_f64)).collect();
            tasks.push(tokio::spawn(async move {
                let sleep = client
                    .prepare("/* pgm: primary */ select pg_sleep($1)")
                    .await
                    .expect("an answer");
                let mut times = Vec::new();
                for share in sleeps {
                    let began = Instant::now();
                    // Most are short, few are long.
                    client.query(&sleep, &[&(share.powi(4) * 0.12)]).await.expect("an answer");
                    times.push(began.elapsed().as_micros() as u64);
                }
                times
            }));
        }
        let mut raw = Vec::new();
        for task in tasks {
            raw.extend(task.await.expect("an answer"));
        }
        raw.sort_unstable();
        let console = console(&fixture.address).await;
        let found = statements(&fixture, &console).await;
        let row = find(&found, "select pg_sleep($1)");
        assert_eq!(number(row, "calls"), raw.len() as u64);
        let latency = rows(&console, "show latency").await;
        let total = latency.iter().find(|row| {
            row["database"] == fixture.database
                && row["route"] == "primary_read"
                && row["stage"] == "total"
        });
        let total = total.expect("requests were timed");
        // The client sees what the proxy sees, and the way there and back on a busy machine.
        let agrees = |seen: u64, told: u64, error: f64| {
            told as f64 <= seen as f64 * (1.0 + error) + 1.0
                && told as f64 >= seen as f64 * (1.0 - error) - 50_000.0
        };
        for (share, column) in
            [(0.5, "p50_us"), (0.95, "p95_us"), (0.99, "p99_us"), (1.0, "max_us")]
        {
            let (seen, told) = (percentile(&raw, share), number(row, column));
            assert!(agrees(seen, told, 0.032), "{column}: {told} of {seen}");
            let told = number(total, column);
            assert!(agrees(seen, told, 0.01), "latency {column}: {told} of {seen}");
        }
        let sum = raw.iter().sum::<u64>();
        assert!(agrees(sum / 300, number(row, "total_us") / 300, 0.0), "{row:#?} of {sum}");
    });
}

#[test]
fn waits_for_servers_are_told_apart() {
    if is_direct() {
        return;
    }
    run(60, async {
        let fixture = start("digest_wait", |config| config.pool("pool_size = 1")).await;
        let holder = fixture.client().await;
        client::exec(&holder, "begin; update digest_t set body = 'h'").await;
        let waiter = fixture.client().await;
        let waits = tokio::spawn(async move {
            client::exec(&waiter, "delete from digest_t where id = 9").await;
        });
        tokio::time::sleep(Duration::from_millis(400)).await;
        client::exec(&holder, "commit").await;
        waits.await.expect("an answer");
        let console = console(&fixture.address).await;
        let found = statements(&fixture, &console).await;
        let row = find(&found, "delete from digest_t where id = $1");
        let (total, wait) = (number(row, "total_us"), number(row, "pool_wait_us"));
        assert!(wait >= 350_000 && wait <= total, "{row:#?}");
        assert!(number(row, "server_us").abs_diff(total - wait) <= 2, "{row:#?}");
        let latency = rows(&console, "show latency").await;
        let of = |route: &str, stage: &str| {
            let mut own = latency.iter().filter(|row| row["database"] == fixture.database);
            own.find(|row| row["route"] == route && row["stage"] == stage).cloned()
        };
        let waited = of("write", "pool_wait").expect("a request has waited");
        assert!(number(&waited, "max_us") >= 350_000, "{waited:#?}");
        assert!(number(&of("write", "server").unwrap(), "max_us") < 350_000, "{latency:#?}");
        let idle = of("transaction", "client_wait").expect("a client has let its server wait");
        assert!(number(&idle, "max_us") >= 350_000, "{idle:#?}");
        let host = fixture.cluster.primary.address().to_string();
        assert!(fixture.metric_sum("pgmanifold_host_pool_wait_seconds_count", &host) >= 1.0);
        assert!(fixture.metric_sum("pgmanifold_host_query_seconds_count", &host) >= 3.0);
    });
}

#[test]
fn what_is_kept_is_bounded_and_sums_stay() {
    if is_direct() {
        return;
    }
    run(60, async {
        let few = |config: ConfigText| config.general("statement_digests_max = 20");
        let fixture = start("digest_few", few).await;
        let client = fixture.client().await;
        for index in 0..200 {
            client::exec(&client, &format!("select 1 as column{index}")).await;
        }
        let console = console(&fixture.address).await;
        let found = statements(&fixture, &console).await;
        assert!(found.len() <= 21, "{}", found.len());
        let other = found.iter().find(|row| row["fingerprint"] == "other").expect("the rest");
        assert!(number(other, "calls") >= 180 - 20 && other["text"] == "NULL");
        let sum = |column: &str| found.iter().map(|row| number(row, column)).sum::<u64>();
        assert_eq!((sum("calls"), sum("rows"), sum("errors")), (200, 200, 0));
        client::exec(&console, "reset stats").await;
        assert!(statements(&fixture, &console).await.is_empty());
        client::exec(&client, "select 2 as after").await;
        assert_eq!(counts(&statements(&fixture, &console).await, "select $1 as after"), [1, 0, 1]);
    });
}

/// Lines of the proxies' log with this text.
fn lines(text: &str) -> Vec<String> {
    let log = std::fs::read_to_string(pgmanifold_tests::process::scratch_file("proxy.log"));
    let log = log.unwrap_or_default();
    log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

#[test]
fn slow_statements_are_logged_without_their_literals() {
    if is_direct() {
        return;
    }
    run(60, async {
        let mut config = None;
        let fixture = start("digest_log", |text| {
            let text = text.general("log_slow_statement_ms = 60");
            config.insert(text).clone()
        })
        .await;
        let config = config.expect("it was made");
        let client = fixture.client().await;
        client::exec(&client, "/* pgm: primary */ select pg_sleep(0.08), 'secret' as slow_one")
            .await;
        client::exec(&client, "select 1 as quick_one").await;
        let found = lines("slow_one");
        let [line] = found.as_slice() else { panic!("{found:#?}") };
        for part in [
            "slow statement",
            "duration_us=",
            "pool_wait_us=0",
            "route=\"primary_read\"",
            "reason=\"role=primary (hint)\"",
            "shards=1",
            "shard=\"main\"",
            &format!("host=\"{}\"", fixture.cluster.primary.address()),
            &format!("database=\"{}\"", fixture.database),
            &format!("user=\"{USER}\""),
            "rows=1",
            "failed=false",
            "statement=\"select pg_sleep($1), $2 as slow_one\"",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        assert!(!line.contains("secret") && lines("quick_one").is_empty());
        let all = config
            .general("log_slow_statement_ms = 0")
            .general("log_sample_per_mille = 1000")
            .general("log_statement_literals = true");
        fixture.reload(&all);
        client::exec(&client, "select 'seen' as sampled_one").await;
        let select =
            client.prepare("select 'seen', $1::int as bound_one").await.expect("an answer");
        client.query(&select, &[&987_654_321_i32]).await.expect("an answer");
        for (name, text) in [
            ("sampled_one", "statement=\"select 'seen' as sampled_one\""),
            ("bound_one", "statement=\"select 'seen', $1::int as bound_one\""),
        ] {
            let found = lines(name);
            let [line] = found.as_slice() else { panic!("{found:#?}") };
            assert!(
                line.contains(text) && !line.contains("slow") && !line.contains("987654321"),
                "{line}"
            );
        }
    });
}

#[test]
fn the_number_of_series_does_not_depend_on_clients() {
    if is_direct() {
        return;
    }
    run(120, async {
        let fixture = start("digest_series", |config| config).await;
        let work = async |round: usize, user: &str| {
            let client = client::connect(&fixture.address, user, &fixture.database).await;
            for index in 0..20 {
                let sql = format!("select {index} as a{round}_{index} from digest_t");
                let _ = client.simple_query(&sql).await;
            }
            let _ = client.simple_query("/* pgm: role=nobody */ select 1").await;
            let _ = client.simple_query("select 1/0").await;
            let _ = client.simple_query("show pgm.role").await;
            let _ = client.simple_query("begin; update digest_t set body = ''; commit").await;
            let _ = client.batch_execute("begin").await;
            let _ = client.batch_execute("select 1").await;
            let _ = client.batch_execute("commit").await;
        };
        let series = || {
            let text = fixture.metrics();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines
                .filter_map(|line| line.rsplit_once(' '))
                .map(|(name, _)| name.to_owned())
                .collect::<std::collections::BTreeSet<_>>()
        };
        fixture.wait_replicas().await;
        for user in [USER, "other", "postgres"] {
            work(0, user).await;
        }
        let before = series();
        for round in 1..12 {
            for user in [USER, "other", "postgres"] {
                work(round, user).await;
            }
        }
        let after = series();
        // A wait for a server may be the first one, and a histogram appears with it.
        let new: Vec<&String> =
            after.difference(&before).filter(|name| !name.contains("_wait_")).collect();
        assert!(new.is_empty(), "{new:#?}");
        assert!(after.iter().all(|name| !name.contains("digest_t")));
    });
}

const SHARDED: &str = "create table digest_item (id int primary key, body text);
    create table digest_kind (id int primary key, name text);";

/// Statements for one shard, for several, and such as are refused.
async fn load_shards(shards: &Shards, console: &Client) {
    let client = shards.client().await;
    client::exec(&client, "delete from digest_item").await;
    client::exec(console, "reset stats").await;
    let insert =
        client.prepare("insert into digest_item values ($1, 'x')").await.expect("an answer");
    for id in 0..30 {
        client.execute(&insert, &[&id]).await.expect("an answer");
    }
    for _ in 0..4 {
        let found = client::rows(&client, "select id from digest_item order by id").await;
        assert_eq!(found.expect("rows").len(), 30);
    }
    let all =
        client.prepare("select body from digest_item where id < $1").await.expect("an answer");
    for _ in 0..5 {
        assert_eq!(client.query(&all, &[&20_i32]).await.expect("an answer").len(), 20);
    }
    for _ in 0..3 {
        assert_eq!(client::value(&client, "select avg(id)::int from digest_item").await, "15");
        client::exec(&client, "update digest_item set body = 'y'").await;
        client::exec(&client, "delete from digest_kind").await;
        let refused = "select * from digest_item a join digest_item b on a.body = b.body";
        let error = client.simple_query(refused).await.expect_err("it fails");
        assert_eq!(client::code(&error), "PGM03");
    }
    client::exec(&client, "insert into digest_kind values (1, 'a'), (2, 'b')").await;
}

#[test]
fn statements_over_shards_tell_where_they_went_and_why() {
    if is_direct() {
        return;
    }
    run(120, async {
        let layout = Layout::new()
            .hash("digest_item", &["integer"])
            .table("digest_item", &["id"])
            .reference("digest_kind")
            .table("digest_kind", &[]);
        let options = Options::new("digest_shards").tables(layout, SHARDED);
        let shards = Shards::start(options, with_console).await;
        let console = console(&shards.address).await;
        load_shards(&shards, &console).await;
        let found = rows(&console, "show statements").await;
        let insert = find(&found, INSERT.replace("digest_t", "digest_item").as_str());
        assert_eq!((number(insert, "calls"), number(insert, "single")), (30, 30));
        assert_eq!((insert["route"].as_str(), number(insert, "rows")), ("write", 30));
        for (text, route, reason, calls, rows) in [
            ("select id from digest_item order by id", "scatter", "no condition on", 4, 120),
            ("select body from digest_item where id < $1", "scatter", "", 5, 100),
            ("select avg(id)::int from digest_item", "gather", "no condition on", 3, 3),
            ("update digest_item set body = $1", "scatter", "no condition on", 3, 90),
            ("delete from digest_kind", "reference", "all shards do the same", 3, 0),
        ] {
            let row = find(&found, text);
            assert_eq!((row["route"].as_str(), number(row, "calls")), (route, calls), "{text}");
            assert!(row["reason"].contains(reason), "{row:#?}");
            assert_eq!((number(row, "rows"), number(row, "scatter")), (rows, calls), "{text}");
            assert_eq!((number(row, "shards_max"), number(row, "errors")), (3, 0), "{text}");
            assert_eq!(row["shards_mean"].parse::<f64>().unwrap(), 3.0, "{text}");
        }
        let refused =
            find(&found, "select * from digest_item a join digest_item b on a.body = b.body");
        assert_eq!((number(refused, "refused"), number(refused, "errors")), (3, 3));
        let routes = rows(&console, "show routes").await;
        let count = |route: &str| {
            let taken = routes
                .iter()
                .filter(|row| row["database"] == shards.database && row["route"] == route);
            taken.map(|row| number(row, "count")).sum::<u64>()
        };
        assert!(count("scatter") >= 12 && count("gather") == 3 && count("refused") == 3);
        let text = shards.metrics();
        for cluster in shards.clusters().take(3) {
            let host = cluster.primary.address().to_string();
            let line = text.lines().find(|line| {
                line.starts_with("pgmanifold_host_queries_total") && line.contains(&host)
            });
            let count: f64 = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap();
            assert!(count >= 18.0, "{host}: {count}");
        }
    });
}
