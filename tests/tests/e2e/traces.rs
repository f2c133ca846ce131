//! Traces: what a collector is told of requests, and that nobody waits for it.

use pgmanifold_tests::client::{code, exec, value};
use pgmanifold_tests::collector::{Collector, Span};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw;
use pgmanifold_tests::shards::layout::Layout;
use pgmanifold_tests::shards::{Options, Shards};
use pgmanifold_tests::{eventually, run};
use std::time::{Duration, Instant};

const PARENT: &str = "00f067aa0ba902b7";

/// A comment as sqlcommenter writes it, and the trace it names.
fn comment(number: u8, sampled: bool) -> (String, String) {
    let trace = format!("{:032x}", 0xabc0_u32 + u32::from(number));
    let flags = if sampled { "01" } else { "00" };
    (format!("/*route='%2Fx',traceparent='00-{trace}-{PARENT}-{flags}'*/"), trace)
}

async fn traced(test: &str, collector: &Collector, keys: &str) -> Fixture {
    let section = collector.section(keys);
    Fixture::shared(test, |config| {
        config.pool("pool_size = 1").pool("read_replicas = false").section(&section)
    })
    .await
}

/// Waits for as many requests, and for a moment for more.
async fn requests(collector: &Collector, count: usize) -> Vec<Span> {
    eventually("spans come", Duration::from_secs(15), async || collector.roots().len() >= count)
        .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let roots = collector.roots();
    assert_eq!(roots.len(), count, "{roots:#?}");
    roots
}

#[test]
fn a_request_is_a_child_of_its_clients_span() {
    run(60, async {
        if is_direct() {
            return;
        }
        let collector = Collector::start();
        let keys = "sample_ratio = 0\nservice_name = \"shop\"\nheaders = \"x-key=hush%21\"";
        let fixture = traced("trace_parent", &collector, keys).await;
        let client = fixture.client().await;
        let (named, trace) = comment(1, true);
        exec(&client, "select 'nobody asks for a trace'").await;
        exec(&client, &format!("select 'secret', 5 {}", comment(2, false).0)).await;
        exec(&client, &format!("select 'secret', 5 {named}")).await;
        let spans = collector.trace(&trace).await;
        let [request, server] = spans.as_slice() else { panic!("{spans:#?}") };
        assert_eq!(request.text("parentSpanId"), PARENT);
        assert_eq!(request.text("name"), "SELECT");
        for (name, expected) in [
            ("db.system.name", "postgresql"),
            ("db.namespace", fixture.database.as_str()),
            ("db.operation.name", "SELECT"),
            ("db.query.text", "select ?, ?"),
            ("pgmanifold.route", "primary_read"),
            ("error.type", ""),
        ] {
            assert_eq!(request.attribute(name), expected, "{name}");
        }
        assert!(!request.attribute("pgmanifold.reason").is_empty());
        assert_eq!(server.text("parentSpanId"), request.text("spanId"));
        assert_eq!(server.0["kind"], 3);
        let port = fixture.cluster.primary.port().to_string();
        assert_eq!(server.attribute("server.port"), port);
        let ((start, end), (from, to)) = (request.times(), server.times());
        assert!(start <= from && from <= to && to <= end, "{spans:#?}");
        assert!(end - start < 5_000_000_000, "{spans:#?}");
        assert_eq!(collector.resource("service.name"), "shop");
        let head = collector.head();
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        assert!(head.contains("x-key: hush!"), "{head}");
        assert_eq!(collector.roots().len(), 1, "only what was sampled: {:#?}", collector.spans());
    });
}

#[test]
fn errors_waits_and_batches_are_told() {
    run(60, async {
        if is_direct() {
            return;
        }
        let collector = Collector::start();
        let fixture = traced("trace_told", &collector, "sample_ratio = 0").await;
        let (client, other) = (fixture.client().await, fixture.client().await);
        let (named, trace) = comment(3, true);
        let error = client.batch_execute(&format!("select 1/0 {named}")).await.expect_err("no");
        assert_eq!(code(&error), "22012");
        let spans = collector.trace(&trace).await;
        assert_eq!(spans[0].attribute("db.response.status_code"), "22012");
        assert!(spans.iter().all(|span| span.0["status"]["code"] == 2), "{spans:#?}");
        // The only server is busy for a while.
        exec(&other, "begin; select 1").await;
        let (named, trace) = comment(4, true);
        let asking = format!("select 1 {named}");
        let waiting = async { exec(&client, &asking).await };
        let ending = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            exec(&other, "commit").await;
        };
        tokio::join!(waiting, ending);
        let spans = collector.trace(&trace).await;
        let wait = spans.iter().find(|span| span.text("name") == "wait for a server");
        let (from, to) = wait.unwrap_or_else(|| panic!("no wait: {spans:#?}")).times();
        assert!((200_000_000..5_000_000_000).contains(&(to - from)), "{spans:#?}");
        // A prepared statement belongs to the trace of the batch that brings its text.
        let mut raw = fixture.raw().await;
        let (named, trace) = comment(5, true);
        let call = || [raw::bind("", "s", &[]), raw::execute("", 0)].concat();
        let text = format!("select 'x' as y {named}");
        let batch = [raw::parse("s", &text), call(), call(), raw::sync()].concat();
        raw.ask(&batch, 1).await;
        raw.ask(&[call(), raw::sync()].concat(), 1).await;
        let spans = collector.trace(&trace).await;
        assert_eq!(spans[0].attribute("db.query.text"), "select ? as y");
        assert_eq!(spans[0].attribute("db.operation.batch.size"), "2");
        requests(&collector, 3).await;
        // What is refused here has reached no server.
        let (named, trace) = comment(6, true);
        let refused = format!("/* pgm: nonsense */ select 1 {named}");
        let error = client.batch_execute(&refused).await.expect_err("refused");
        let spans = collector.trace(&trace).await;
        assert_eq!(spans.len(), 1, "{spans:#?}");
        assert_eq!(spans[0].attribute("pgmanifold.route"), "refused");
        assert_eq!(spans[0].attribute("error.type"), code(&error));
    });
}

#[test]
fn every_request_is_one_span_however_it_is_answered() {
    run(60, async {
        if is_direct() {
            return;
        }
        let collector = Collector::start();
        let fixture = traced("trace_ratio", &collector, "sample_ratio = 1").await;
        let mut raw = fixture.raw().await;
        collector.forget().await;
        let one = |sql: &str| {
            [raw::parse("", sql), raw::bind("", "", &[]), raw::execute("", 0), raw::sync()].concat()
        };
        // Some are answered by us, some fail, and all of them are sent at once.
        let texts = ["begin", "select 1", "selec", "select 2", "rollback", "", "show pgm.role"];
        let mut bytes: Vec<u8> = texts.iter().flat_map(|sql| raw::query(sql)).collect();
        bytes.extend([one("select 3"), raw::sync(), one("begin"), one("commit")].concat());
        bytes.extend([one("selec"), one("select 4"), raw::query("values (5)")].concat());
        raw.ask(&bytes, 14).await;
        let roots = requests(&collector, 13).await;
        // A Sync alone asks for nothing, and has no span.
        let mut roots: Vec<(u64, String)> =
            roots.iter().map(|span| (span.times().0, span.attribute("db.query.text"))).collect();
        roots.sort();
        let order: Vec<&str> = roots.iter().map(|(_, text)| text.as_str()).collect();
        let expected = [
            "begin",
            "select ?",
            "selec",
            "select ?",
            "rollback",
            "",
            "show pgm.role",
            "select ?",
            "begin",
            "commit",
            "selec",
            "select ?",
            "values (?)",
        ];
        assert_eq!(order, expected);
        let errors = collector.roots().iter().filter(|span| span.0["status"]["code"] == 2).count();
        assert_eq!(errors, 3, "two of syntax, one in the failed transaction");
    });
}

#[test]
fn the_ratio_follows_a_reload() {
    run(60, async {
        if is_direct() {
            return;
        }
        let collector = Collector::start();
        let cluster = pgmanifold_tests::cluster::shared();
        let database = pgmanifold_tests::cluster::create_database(&cluster, "trace_reload");
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let config = |keys: Option<&str>| {
            let config = ConfigText::new(&hosts, &database);
            keys.map_or(config.clone(), |keys| config.section(&collector.section(keys)))
        };
        let fixture = Fixture::with_config(cluster.clone(), database.clone(), &config(None));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let client = fixture.client().await;
        exec(&client, "select 1").await;
        for (keys, count) in [
            (Some("sample_ratio = 0.25"), 70..=130),
            (Some("sample_ratio = 1.0"), 400..=400),
            (None, 0..=0),
        ] {
            fixture.reload(&config(keys));
            let before = collector.roots().len();
            for _ in 0..400 {
                exec(&client, "select 1").await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            let traced = collector.roots().len() - before;
            assert!(count.contains(&traced), "{keys:?}: {traced}");
        }
    });
}

#[test]
fn each_shard_is_a_child() {
    run(120, async {
        let collector = Collector::start();
        let layout = Layout::new().hash("number", &["bigint"]).table("n", &["id"]);
        let options = Options::new("traces").tables(layout, "create table n (id bigint)");
        let section = collector.section("sample_ratio = 0");
        let shards = Shards::start(options, |config| config.section(&section)).await;
        let client = shards.client().await;
        let (named, trace) = comment(7, true);
        shards.fill("n", "select g::bigint as id from generate_series(1, 9) g");
        exec(&client, &format!("select count(*) from n {}", comment(8, false).0)).await;
        assert!(!value(&client, &format!("select count(*) from n {named}")).await.is_empty());
        let spans = collector.trace(&trace).await;
        let (start, end) = spans[0].times();
        let of_shards = |name: &str| -> Vec<String> {
            let mut shards: Vec<String> = spans
                .iter()
                .map(|span| span.attribute(name))
                .filter(|name| !name.is_empty())
                .collect();
            shards.sort();
            shards
        };
        assert_eq!(spans.iter().filter(|span| span.0["kind"] == 3).count(), 3, "{spans:#?}");
        assert_eq!(
            of_shards("pgmanifold.shard").join(","),
            spans[0].attribute("pgmanifold.shards")
        );
        assert_eq!(spans[0].attribute("pgmanifold.route"), "gather");
        for span in &spans[1..] {
            let (from, to) = span.times();
            assert!(start <= from && from <= to && to <= end, "{spans:#?}");
            assert_eq!(span.text("parentSpanId"), spans[0].text("spanId"));
        }
        let ports: std::collections::BTreeSet<String> =
            spans[1..].iter().map(|span| span.attribute("server.port")).collect();
        assert!(ports.len() >= 3, "{ports:?}");
        // One shard is one child.
        let (named, trace) = comment(9, true);
        exec(&client, &format!("select * from n where id = 5 {named}")).await;
        let spans = collector.trace(&trace).await;
        assert_eq!(spans.len(), 2, "{spans:#?}");
        assert_eq!(spans[1].attribute("pgmanifold.shard"), spans[0].attribute("pgmanifold.shards"));
        // What is written on several shards is committed on each of them.
        let (named, trace) = comment(10, true);
        exec(&client, &format!("delete from n where id > 2 {named}")).await;
        let spans = collector.trace(&trace).await;
        assert_eq!(spans[0].attribute("pgmanifold.route"), "scatter");
        let names: Vec<&str> = spans.iter().map(|span| span.text("name")).collect();
        assert_eq!(names, ["DELETE", "DELETE", "DELETE", "DELETE", "commit"]);
        shards.remove();
    });
}

#[test]
fn a_collector_that_fails_is_nobodys_problem() {
    run(120, async {
        if is_direct() {
            return;
        }
        let collector = Collector::start();
        let fixture = traced("trace_down", &collector, "sample_ratio = 1\ntimeout_ms = 500").await;
        let client = fixture.client().await;
        let spans = |result: &str| fixture.metric_sum("pgmanifold_trace_spans_total", result);
        collector.forget().await;
        exec(&client, "select 1").await;
        requests(&collector, 1).await;
        assert!(spans("exported") >= 2.0);
        // It refuses for good: nothing is repeated.
        collector.answer(400);
        exec(&client, "select 2").await;
        eventually("that is counted", Duration::from_secs(10), async || spans("failed") >= 2.0)
            .await;
        // It is overloaded: what is asked again comes when it is not any more.
        collector.answer(503);
        let before = collector.requests();
        exec(&client, "select 'late'").await;
        eventually("it is asked again", Duration::from_secs(10), async || {
            collector.requests() >= before + 2
        })
        .await;
        collector.answer(200);
        requests(&collector, 2).await;
        // It does nothing at all while more comes than there is room for.
        collector.answer(503);
        let (began, mut slowest) = (Instant::now(), Duration::ZERO);
        while spans("dropped") == 0.0 {
            for _ in 0..200 {
                let asked = Instant::now();
                exec(&client, "select 3").await;
                slowest = slowest.max(asked.elapsed());
            }
            assert!(began.elapsed() < Duration::from_secs(60), "nothing is dropped");
        }
        println!("{:?} until spans were dropped; slowest query {slowest:?}", began.elapsed());
        // An export that is repeated takes 3.5 s.
        assert!(slowest < Duration::from_secs(3), "a query has waited for the export");
        assert!(fixture.metric("pgmanifold_trace_queue_spans") <= 8192.0);
    });
}
