//! Hostile input: malformed frames, floods, statements made to break parsers, readers that do
//! not read. One connection may be lost by it, never the process, a neighbour or its memory.

use pgmanifold_tests::client::{self, value};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::is_direct;
use pgmanifold_tests::process::Process;
use pgmanifold_tests::raw::{self, Raw, frame, transcript};
use pgmanifold_tests::{cluster, random, run};
use rand::RngExt;
use std::time::Duration;
use tokio_postgres::Client;

/// Connections that send random bytes.
const RANDOM_ROUNDS: usize = 400;
/// Clients that do nothing.
const IDLE_CLIENTS: u64 = 2_000;
/// Most memory of an idle client. Debug builds have larger futures than release builds.
const IDLE_CLIENT_KIB: u64 = 32;
/// Most growth of memory while a client does not read its result.
const SLOW_READER_KIB: u64 = 24 * 1024;

/// The built binary with a neighbour who must not notice anything.
struct Target {
    process: Process,
    database: String,
    neighbour: Client,
}

impl Target {
    async fn start(test: &str) -> Target {
        let cluster = cluster::shared();
        let database = cluster::create_database(&cluster, test);
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let config = ConfigText::new(&hosts, &database)
            .pool("pool_size = 4")
            .general("log_level = \"warn\"")
            .general("login_timeout_ms = 5000");
        let process = Process::start(test, &config.text()).await;
        let neighbour = client::connect(&process.address(), cluster::USER, &database).await;
        Target { process, database, neighbour }
    }

    async fn raw(&self) -> Raw {
        Raw::connect(&self.process.address(), cluster::USER, &self.database).await
    }

    async fn is_well(&mut self, after: &str) {
        assert!(self.process.is_running(), "died after {after}:\n{}", self.process.log_tail());
        assert_eq!(value(&self.neighbour, "select 7").await, "7", "after {after}");
    }
}

/// Reads what comes, for a short time only: some of what is sent deserves no answer.
async fn drain(raw: &mut Raw) -> String {
    let mut messages = Vec::new();
    let reading = async {
        while let Some(message) = raw.next().await {
            messages.push(message);
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(40), reading).await;
    transcript(&messages)
}

#[test]
fn malformed_frames_cost_one_connection() {
    run(150, async {
        if is_direct() {
            return;
        }
        let mut target = Target::start("malformed").await;
        let bodies: [&[u8]; 9] = [
            b"",
            b"\0",
            b"x",
            b"\0\0",
            b"no nul",
            b"s\0select 1\0\xff\xff",
            b"\0\0\xff\xff\xff\xff",
            b"\0\0\0\x01\0\x07\0\x01\xff\xff\xff\xfe\0",
            b"\xff\xfe\0\xc3\x28\0\0\0\0\0\0\0\0",
        ];
        for tag in 0..=255_u8 {
            for body in bodies {
                let mut raw = target.raw().await;
                let _ = raw.try_send(&[frame(tag, body), raw::sync()].concat()).await;
                // Every type is tried; only those of the protocol are waited for.
                if b"QPBDECSHdcfFXp".contains(&tag) {
                    drain(&mut raw).await;
                }
            }
            if tag % 16 == 0 || b"QPBDECSHdcfFXp".contains(&tag) {
                target.is_well(&format!("type {tag}")).await;
            }
        }
    });
}

#[test]
fn wrong_lengths_cost_one_connection() {
    run(120, async {
        if is_direct() {
            return;
        }
        let mut target = Target::start("lengths").await;
        for length in [0_u32, 1, 3, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x4000_0000] {
            for tag in b"QPBDECSHdcfFXpR" {
                let mut raw = target.raw().await;
                let mut bytes = vec![*tag];
                bytes.extend(length.to_be_bytes());
                bytes.extend(b"select 1\0");
                let _ = raw.try_send(&bytes).await;
                drain(&mut raw).await;
                // Before login: the same length of a startup packet.
                let mut raw = Raw::open(&target.process.address()).await;
                let _ = raw.try_send(&[&length.to_be_bytes()[..], &[*tag; 40]].concat()).await;
                drop(raw);
            }
            target.is_well(&format!("length {length}")).await;
        }
        assert!(target.process.memory_kib("VmHWM") < 300 * 1024, "memory was reserved by a length");
    });
}

#[test]
fn a_query_without_nul_does_not_swallow_the_next_message() {
    run(60, async {
        if is_direct() {
            return;
        }
        let mut target = Target::start("smuggling").await;
        let mut raw = target.raw().await;
        raw.send(&[frame(b'Q', b"select 1"), raw::query("select 'second'")].concat()).await;
        let answer = drain(&mut raw).await;
        assert!(!answer.contains("1Q"), "{answer}");
        assert!(answer.contains("08P01"), "{answer}");
        target.is_well("a query without NUL").await;
    });
}

#[test]
fn random_bytes_cost_one_connection() {
    run(120, async {
        if is_direct() {
            return;
        }
        let mut target = Target::start("random").await;
        let mut random = random::seeded("random bytes");
        for round in 0..RANDOM_ROUNDS {
            let length = random.random_range(1..2000);
            let mut bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
            let mut raw = if round % 2 == 0 {
                target.raw().await
            } else {
                Raw::open(&target.process.address()).await
            };
            if round % 4 == 0 {
                // Well-formed headers with random bodies reach deeper.
                let tags = b"QPBDECSHdcfFp";
                bytes = frame(tags[random.random_range(0..tags.len())], &bytes);
                bytes.extend(raw::sync());
            }
            let _ = raw.try_send(&bytes).await;
            if round % 10 == 0 {
                drain(&mut raw).await;
            }
            if round % 50 == 0 {
                target.is_well(&format!("round {round}")).await;
            }
        }
        target.is_well("all rounds").await;
    });
}

#[test]
fn statements_that_overflow_parsers_are_answered() {
    run(120, async {
        if is_direct() {
            return;
        }
        let mut target = Target::start("deep").await;
        let parens = format!("select {}1{}", "(".repeat(100_000), ")".repeat(100_000));
        let statements = [
            ("80 KB of additions", format!("select 1{}", "+1".repeat(40_000))),
            ("ORs", format!("select 1 where true{}", " or true".repeat(20_000))),
            ("casts", format!("select 1{}", "::int".repeat(20_000))),
            ("unions", format!("select 1{}", " union select 1".repeat(5_000))),
            ("parentheses", parens),
            ("open parentheses", "(".repeat(100_000)),
            // PostgreSQL itself needs time quadratic in the depth of an open comment.
            ("open comments", "/*".repeat(2_000)),
            ("open CASE", "select case when ".repeat(20_000)),
            ("nested sub-selects", format!("{}1", "select (".repeat(30_000))),
            ("brackets", format!("select array{}", "[".repeat(100_000))),
            ("NOTs", format!("select {}true", "not ".repeat(50_000))),
            ("minus signs", format!("select {}1", "- ".repeat(50_000))),
            ("a long list", format!("select 1 in (1{})", ",1".repeat(100_000))),
            ("many statements", "select 1;".repeat(3_000)),
            ("a long word", format!("select {}", "a".repeat(1 << 20))),
            ("dollar quotes", "$a$ $b$ ".repeat(50_000)),
            ("quotes", "'".repeat(100_001)),
        ];
        for (what, sql) in statements {
            println!("{what}");
            let mut raw = target.raw().await;
            raw.send(&raw::query(&sql)).await;
            let last = raw.until_ready().await.last().map(|message| message.tag);
            assert_eq!(last, Some(b'Z'), "{what}: simple");
            let parse = [raw::parse("", &sql), raw::describe(b'S', ""), raw::sync()].concat();
            raw.send(&parse).await;
            let last = raw.until_ready().await.last().map(|message| message.tag);
            assert_eq!(last, Some(b'Z'), "{what}: extended");
            target.is_well(what).await;
        }
    });
}

#[test]
fn two_thousand_idle_clients_cost_little() {
    run(120, async {
        if is_direct() {
            return;
        }
        let mut target = Target::start("idle").await;
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(target.raw().await);
        }
        let before = target.process.memory_kib("VmRSS");
        while clients.len() < 100 + usize::try_from(IDLE_CLIENTS).expect("few") {
            let more = (0..50).map(|_| target.raw());
            clients.extend(futures_util::future::join_all(more).await);
        }
        let idle = target.process.memory_kib("VmRSS").saturating_sub(before);
        println!("idle client after login: {:.1} KiB", kib_each(idle));
        // The same after each has done something.
        for chunk in clients.chunks_mut(20) {
            let asked = chunk.iter_mut().map(|raw| async {
                let answer = raw.ask(&raw::query("select 1"), 1).await;
                assert!(answer.contains('1'), "{answer}");
            });
            futures_util::future::join_all(asked).await;
        }
        let used = target.process.memory_kib("VmRSS").saturating_sub(before);
        println!("idle client after a query: {:.1} KiB", kib_each(used));
        assert!(used < IDLE_CLIENTS * IDLE_CLIENT_KIB, "{used} KiB for {IDLE_CLIENTS} clients");
        drop(clients);
        target.is_well("many clients left").await;
        pgmanifold_tests::eventually(
            "their files are closed",
            Duration::from_secs(10),
            async || target.process.open_files() < 100,
        )
        .await;
    });
}

fn kib_each(kib: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "small counts")]
    let each = kib as f64 / IDLE_CLIENTS as f64;
    each
}

#[test]
fn a_slow_reader_does_not_grow_memory() {
    run(120, async {
        if is_direct() {
            return;
        }
        let mut target = Target::start("slow").await;
        let mut raw = target.raw().await;
        let before = target.process.memory_kib("VmRSS");
        let rows = 200_000;
        let sql = format!("select repeat('x', 1000) from generate_series(1, {rows})");
        raw.send(&raw::query(&sql)).await;
        raw.until(b'D').await;
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            target.is_well("a result nobody reads").await;
        }
        let grown = target.process.memory_kib("VmHWM").saturating_sub(before);
        println!("200 MB unread: {grown} KiB more memory");
        assert!(grown < SLOW_READER_KIB, "{grown} KiB");
        let mut seen = 1;
        while let Some(message) = raw.next().await {
            match message.tag {
                b'D' => seen += 1,
                b'Z' => break,
                _ => {}
            }
        }
        assert_eq!(seen, rows);
        let grown = target.process.memory_kib("VmHWM").saturating_sub(before);
        println!("200 MB read: {grown} KiB more memory");
        assert!(grown < SLOW_READER_KIB, "{grown} KiB");
    });
}

#[test]
fn a_slow_server_is_not_buffered_for() {
    run(120, async {
        if is_direct() {
            return;
        }
        let target = Target::start("slowcopy").await;
        let mut raw = target.raw().await;
        raw.ask(&raw::query("create table t (v text)"), 1).await;
        raw.ask(&raw::query("begin; lock table t"), 1).await;
        let mut copier = target.raw().await;
        // The COPY waits for the lock: nothing of its data is taken by the server.
        copier.send(&raw::query("copy t from stdin")).await;
        let before = target.process.memory_kib("VmRSS");
        let chunk = raw::copy_data(&[b"x".repeat(60_000), b"\n".to_vec()].concat());
        let flood = async {
            for _ in 0..2_000 {
                copier.send(&chunk).await;
            }
            copier.send(&raw::copy_done()).await;
        };
        let blocked = tokio::time::timeout(Duration::from_secs(2), flood).await.is_err();
        let grown = target.process.memory_kib("VmHWM").saturating_sub(before);
        println!("120 MB sent to a waiting server: {grown} KiB more memory, blocked: {blocked}");
        assert!(blocked && grown < SLOW_READER_KIB, "{grown} KiB");
    });
}
