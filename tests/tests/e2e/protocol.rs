//! The protocol, byte for byte: cases from a file are sent to the proxy and to the primary
//! itself, one after the other and then all mixed by several clients over two servers.

use pgmanifold_tests::cases::{self, Case};
use pgmanifold_tests::client::exec;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::raw::{self, Message, Raw, field, transcript};
use pgmanifold_tests::{cluster, random, run};
use rand::seq::SliceRandom;
use std::time::Duration;

/// Clients of the mixed pass.
const CLIENTS: usize = 6;
/// Cases each of them runs.
const CASES_PER_CLIENT: usize = 25;

/// What came back for one case, flight by flight, and the parameters reported meanwhile.
async fn play(raw: &mut Raw, case: &Case, table: &str) -> String {
    let reported = raw.parameters.len();
    let mut text = String::new();
    for flight in case.flights(table) {
        let answer = raw.ask(&flight.bytes, flight.syncs).await;
        text += &format!("> {}\n{answer}", flight.text);
    }
    // A parameter may be reported again with the same value; only the last value counts.
    let mut last: Vec<_> = raw.parameters[reported..].iter().map(|(name, _)| name).collect();
    last.sort();
    last.dedup();
    // application_name and the like only when the case changed them.
    let changed =
        last.into_iter().filter(|name| ["TimeZone", "DateStyle"].contains(&name.as_str()));
    for name in changed {
        text += &format!("parameter {name} = {:?}\n", raw.parameter(name));
    }
    text.replace(table, "$T")
}

async fn make_table(client: &tokio_postgres::Client, table: &str) {
    let make = format!(
        "create table {table} (id int primary key, v text);\
         insert into {table} values (1, 'one'), (2, null)"
    );
    exec(client, &make).await;
}

/// A second database with the same contents, for the primary's own answers.
struct Oracle {
    database: String,
}

impl Oracle {
    fn new(fixture: &Fixture) -> Oracle {
        Oracle { database: cluster::create_database(&fixture.cluster, "oracle") }
    }

    async fn client(&self, fixture: &Fixture) -> tokio_postgres::Client {
        let address = fixture.cluster.primary.address();
        pgmanifold_tests::client::connect(&address, cluster::USER, &self.database).await
    }

    async fn answer(&self, fixture: &Fixture, case: &Case, table: &str) -> String {
        make_table(&self.client(fixture).await, table).await;
        let address = fixture.cluster.primary.address();
        let mut raw = Raw::connect(&address, cluster::USER, &self.database).await;
        play(&mut raw, case, table).await
    }
}

fn all_cases() -> Vec<Case> {
    let cases = cases::read(include_str!("protocol_cases.txt"));
    let only = std::env::var("PGM_CASE").ok();
    cases
        .into_iter()
        .filter(|case| only.as_ref().is_none_or(|only| case.name.contains(only)))
        .collect()
}

/// What may differ: texts that name a server's own statement, and the text of a refusal that the
/// proxy can say without asking a server. The SQLSTATE stays.
fn without_texts(line: &str) -> &str {
    let parts: Vec<&str> = line.splitn(4, ' ').collect();
    match parts[..] {
        ["E", "ERROR", "08P01" | "25006", text] => line.trim_end_matches(text),
        _ => line,
    }
}

/// `None` when the answer is as good as the primary's own, else what is wrong.
fn verdict(case: &Case, expected: &str, got: &str) -> Option<String> {
    let (mut wanted, mut had) = (expected.lines(), got.lines());
    loop {
        match (wanted.next(), had.next()) {
            (None, None) => return None,
            (Some(want), Some(have)) if without_texts(want) == without_texts(have) => {}
            (_, Some(have)) if is_allowed_refusal(case, have) => return None,
            _ => return Some(format!("{}:\n{}", case.name, difference(expected, got))),
        }
    }
}

fn is_allowed_refusal(case: &Case, line: &str) -> bool {
    let state = case.refusable.as_deref();
    state.is_some_and(|state| line.starts_with(&format!("E ERROR {state} ")))
}

/// The first line that differs, with what was sent before it.
fn difference(expected: &str, got: &str) -> String {
    let (mut sent, mut pairs) = ("", expected.lines().zip(got.lines()));
    let mut context = String::new();
    for (want, have) in pairs.by_ref() {
        if want.starts_with('>') {
            sent = want;
        }
        if without_texts(want) != without_texts(have) {
            context = format!("  expected {want}\n  got      {have}");
            break;
        }
    }
    if context.is_empty() {
        context = format!("  lengths differ:\n{expected}\n--- got ---\n{got}");
    }
    format!("  {sent}\n{context}")
}

#[test]
fn answers_are_the_primarys_own() {
    run(240, async {
        let fixture = Fixture::shared("protocol", |config| config.pool("pool_size = 2")).await;
        let oracle = Oracle::new(&fixture);
        let (cases, mut wrong) = (all_cases(), Vec::new());
        for (number, case) in cases.iter().enumerate() {
            let table = format!("t{number}x");
            let expected = oracle.answer(&fixture, case, &table).await;
            make_table(&fixture.direct().await, &table).await;
            fixture.cluster.wait_caught_up().expect("replicas follow");
            let mut raw = fixture.raw().await;
            let one = play(&mut raw, case, &table);
            match tokio::time::timeout(Duration::from_secs(10), one).await {
                Err(_) => wrong.push(format!("{}: no answer for 10 s", case.name)),
                Ok(got) => wrong.extend(verdict(case, &expected, &got)),
            }
        }
        println!("{} protocol cases, {} wrong", cases.len(), wrong.len());
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    });
}

#[test]
fn answers_do_not_depend_on_other_clients() {
    run(240, async {
        let fixture = Fixture::shared("mixed", |config| config.pool("pool_size = 2")).await;
        let oracle = Oracle::new(&fixture);
        let mut random = random::seeded("mixed protocol cases");
        let mut lists = Vec::new();
        for client in 0..CLIENTS {
            let mut cases = all_cases();
            cases.shuffle(&mut random);
            cases.truncate(CASES_PER_CLIENT);
            lists.push((client, cases));
        }
        let clients = lists.into_iter().map(|(client, cases)| {
            let (fixture, oracle) = (&fixture, &oracle);
            async move {
                let mut wrong = Vec::new();
                for (number, case) in cases.iter().enumerate() {
                    let table = format!("t{client}x{number}x");
                    let expected = oracle.answer(fixture, case, &table).await;
                    make_table(&fixture.direct().await, &table).await;
                    fixture.cluster.wait_caught_up().expect("replicas follow");
                    let mut raw = fixture.raw().await;
                    let got = play(&mut raw, case, &table).await;
                    wrong.extend(verdict(case, &expected, &got));
                }
                wrong
            }
        });
        let wrong: Vec<String> =
            futures_util::future::join_all(clients).await.into_iter().flatten().collect();
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    });
}

#[test]
fn huge_messages_pass() {
    run(120, async {
        let fixture = Fixture::shared("huge", |config| config.pool("pool_size = 2")).await;
        let mut raw = fixture.raw().await;
        let text = "y".repeat(20 << 20);
        let answer = raw.ask(&raw::query(&format!("select length('{text}')")), 1).await;
        assert!(answer.contains(&text.len().to_string()), "{answer:.300}");
        let flight = [
            raw::parse("", "select $1::text"),
            raw::bind("", "", &[Some(&text)]),
            raw::execute("", 0),
            raw::sync(),
        ];
        raw.send(&flight.concat()).await;
        let answer = raw.until_ready().await;
        let row = answer.iter().find(|message| message.tag == b'D').expect("a row");
        assert_eq!(row.body.len(), text.len() + 6, "20 MB come back");
    });
}

#[test]
fn a_client_that_writes_much_before_it_reads_does_not_block() {
    run(120, async {
        let fixture = Fixture::shared("flood", |config| config.pool("pool_size = 2")).await;
        let raw = fixture.raw().await;
        let one = [
            raw::parse("", "select repeat('x', 1000)"),
            raw::bind("", "", &[]),
            raw::execute("", 0),
            raw::sync(),
        ]
        .concat();
        // 20,000 answers of 1 KB, asked for before the first of them is read. The kernel's
        // buffers hold only a part of both.
        let count = 20_000;
        let (mut reading, mut writing) = raw.split();
        let flood = one.repeat(count);
        let writer = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            writing.write_all(&flood).await.expect("the proxy takes it all");
            writing
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        for number in 0..count {
            let answer = reading.until_ready().await;
            assert_eq!(answer.len(), 5, "answer {number}: {}", transcript(&answer));
        }
        writer.await.expect("the writer ends");
    });
}

#[test]
fn copy_data_flood_flows() {
    run(120, async {
        let fixture = Fixture::shared("copyflood", |config| config.pool("pool_size = 2")).await;
        exec(&fixture.direct().await, "create table flood (n int)").await;
        let mut raw = fixture.raw().await;
        raw.send(&raw::query("copy flood from stdin")).await;
        assert_eq!(raw.until(b'G').await.last().map(|message| message.tag), Some(b'G'));
        let chunk = raw::copy_data(b"1\n").repeat(10_000);
        for _ in 0..30 {
            raw.send(&chunk).await;
        }
        raw.send(&raw::copy_done()).await;
        let answer = transcript(&raw.until_ready().await);
        assert!(answer.contains("COPY 300000"), "{answer}");
    });
}

/// Sends a cancel request on a connection of its own and waits for its end.
async fn cancel(fixture: &Fixture, pid: u32, secret: &[u8]) {
    let mut raw = Raw::open(&fixture.address).await;
    raw.send(&raw::cancel_request(pid, secret)).await;
    assert!(raw.is_closed().await, "a cancel request is answered by the end of its connection");
}

fn is_cancelled(answer: &[Message]) -> bool {
    let errors = answer.iter().filter(|message| message.tag == b'E');
    errors.into_iter().any(|error| field(&error.body, b'C').as_deref() == Some("57014"))
}

async fn cancel_keys(version: u32) {
    let fixture = Fixture::shared("cancel", |config| config.pool("pool_size = 3")).await;
    let parameters = [("user", cluster::USER), ("database", fixture.database.as_str())];
    let mut sleeper = Raw::connect_with(&fixture.address, version, &parameters).await;
    let bystander = Raw::connect_with(&fixture.address, version, &parameters).await;

    // Neither another session's key nor a wrong one cancels this session.
    sleeper.send(&raw::query("select pg_sleep(1.5), 'slept'")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    cancel(&fixture, bystander.pid, &bystander.secret).await;
    let mut wrong = sleeper.secret.to_vec();
    wrong[0] ^= 1;
    cancel(&fixture, sleeper.pid, &wrong).await;
    cancel(&fixture, sleeper.pid, &[]).await;
    cancel(&fixture, sleeper.pid.wrapping_add(1), &sleeper.secret).await;
    let answer = sleeper.until_ready().await;
    assert!(transcript(&answer).contains("slept"), "{}", transcript(&answer));

    // Its own key does, and an idle session is not disturbed by it.
    for _ in 0..3 {
        sleeper.send(&raw::query("select pg_sleep(30)")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel(&fixture, sleeper.pid, &sleeper.secret).await;
        let answer = sleeper.until_ready().await;
        assert!(is_cancelled(&answer), "{}", transcript(&answer));
        cancel(&fixture, sleeper.pid, &sleeper.secret).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let answer = sleeper.ask(&raw::query("select 'usable'"), 1).await;
        assert!(answer.contains("usable"), "{answer}");
    }
}

#[test]
fn a_statement_that_waits_for_a_server_can_be_cancelled() {
    run(60, async {
        if pgmanifold_tests::fixture::is_direct() {
            return;
        }
        let fixture = Fixture::shared("waiting", |config| config.pool("pool_size = 1")).await;
        let (mut holder, mut waiter) = (fixture.raw().await, fixture.raw().await);
        holder.ask(&raw::query("begin; create table t (n int)"), 1).await;
        waiter.send(&raw::query("create table u (n int)")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        cancel(&fixture, waiter.pid, &waiter.secret).await;
        let answer = tokio::time::timeout(Duration::from_secs(3), waiter.until_ready()).await;
        let answer = answer.expect("a waiting statement is cancelled at once");
        assert!(is_cancelled(&answer), "{}", transcript(&answer));
        holder.ask(&raw::query("commit"), 1).await;
        let answer = waiter.ask(&raw::query("create table u (n int)"), 1).await;
        assert!(answer.contains("CREATE TABLE"), "{answer}");
    });
}

#[test]
fn cancel_by_a_key_of_protocol_3_0() {
    run(60, cancel_keys(raw::V3_0));
}

#[test]
fn cancel_by_a_key_of_protocol_3_2() {
    if pgmanifold_tests::fixture::is_direct() {
        return;
    }
    run(60, cancel_keys(raw::V3_2));
}

#[test]
fn newer_protocols_and_unknown_options_are_negotiated() {
    run(60, async {
        let fixture = Fixture::shared("negotiate", |config| config).await;
        let parameters = [
            ("user", cluster::USER),
            ("database", fixture.database.as_str()),
            ("_pq_.no_such_option", "1"),
        ];
        let mut raw = Raw::open(&fixture.address).await;
        raw.send(&raw::startup((3 << 16) | 9, &parameters)).await;
        let answer = raw.until_ready().await;
        let negotiation = answer.iter().find(|message| message.tag == b'v').expect("negotiation");
        let text = String::from_utf8_lossy(&negotiation.body).into_owned();
        assert!(text.contains("_pq_.no_such_option"), "{text:?}");
        assert!(raw.ask(&raw::query("select 'usable'"), 1).await.contains("usable"));
    });
}
