//! Read-your-writes: no session ever reads what is older than its own writes, whatever the
//! replicas do; and without writes of their own, sessions read from replicas.

use pgmanifold::demo::postgres::PgCluster;
use pgmanifold_tests::client::{self, exec, value};
use pgmanifold_tests::cluster;
use pgmanifold_tests::fixture::{Fixture, WHERE};
use pgmanifold_tests::{eventually, run};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// Sessions that write and read.
const SESSIONS: usize = 16;
/// Pairs of a write and a read, in each of the three phases.
const PAIRS_PER_PHASE: usize = 7_000;
/// Reads of sessions that wrote nothing.
const QUIET_READS: usize = 4_000;

/// Runs a test on a cluster whose replicas it may delay and pause; one test at a time has it.
fn lagging(limit_seconds: u64, test: impl AsyncFnOnce(Arc<PgCluster>)) {
    static CLUSTER: OnceLock<Arc<PgCluster>> = OnceLock::new();
    static IN_USE: Mutex<()> = Mutex::new(());
    let _guard = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = CLUSTER.get_or_init(|| cluster::private(2)).clone();
    // A test that failed may have left something behind.
    for replica in &cluster.replicas {
        replica.configure("recovery_min_apply_delay", "0").expect("no delay");
        replica.resume_replay().expect("replay goes on");
    }
    run(limit_seconds, test(cluster));
}

/// What one session saw.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    pairs: usize,
    stale: usize,
    on_replicas: usize,
}

/// Writes a counter in one of the ways applications do.
async fn write(client: &Client, session: usize, number: usize) {
    let id = session.to_string();
    let bump = format!("update counter set n = n + 1 where id = {id}");
    match number % 6 {
        0 => exec(client, &bump).await,
        1 => {
            let id = i32::try_from(session).expect("few sessions");
            let sql = "update counter set n = n + 1 where id = $1";
            assert_eq!(client.execute(sql, &[&id]).await.expect("update"), 1);
        }
        2 => exec(client, &format!("begin; select 1; {bump}; commit")).await,
        3 => {
            exec(client, "begin").await;
            exec(client, &bump).await;
            exec(client, "commit").await;
        }
        4 => exec(client, &format!("with w as ({bump} returning n) select n from w")).await,
        _ => exec(client, &format!("select bump({id})")).await,
    }
}

/// Writes and reads `pairs` times.
async fn session(client: &Client, session: usize, pairs: usize) -> Seen {
    let id = i32::try_from(session).expect("few sessions");
    let read = "select n, public.place() from counter where id = ";
    let prepared = client.prepare(&format!("{read} $1")).await.expect("prepare");
    let mut expected: i64 =
        value(client, &format!("/* pgm: primary */ select n from counter where id = {id}"))
            .await
            .parse()
            .expect("a number");
    let mut seen = Seen::default();
    for number in 0..pairs {
        write(client, session, number).await;
        expected += 1;
        let (n, place): (i64, String) = if number % 2 == 0 {
            let row = client.query_one(&prepared, &[&id]).await.expect("read");
            (row.get(0), row.get(1))
        } else {
            let rows = client::rows(client, &format!("{read} {id}")).await.expect("read");
            let mut row = rows.into_iter().next().expect("a row").into_iter().flatten();
            let n = row.next().and_then(|n| n.parse().ok()).expect("a number");
            (n, row.next().expect("a name"))
        };
        seen.pairs += 1;
        seen.stale += usize::from(n != expected);
        seen.on_replicas += usize::from(place != "primary");
    }
    seen
}

async fn phase(fixture: &Fixture, name: &str) {
    let began = Instant::now();
    let sessions = (0..SESSIONS).map(|number| async move {
        let client = fixture.client().await;
        session(&client, number, PAIRS_PER_PHASE / SESSIONS + 1).await
    });
    let all = futures_util::future::join_all(sessions).await;
    let total = all.iter().fold(Seen::default(), |sum, seen| Seen {
        pairs: sum.pairs + seen.pairs,
        stale: sum.stale + seen.stale,
        on_replicas: sum.on_replicas + seen.on_replicas,
    });
    println!(
        "{name}: {} pairs, {} stale, {:.1} % of the reads right after a write on replicas, {:.1?}",
        total.pairs,
        total.stale,
        percent(total.on_replicas, total.pairs),
        began.elapsed()
    );
    assert_eq!(total.stale, 0, "{name}: stale reads");
}

fn percent(part: usize, of: usize) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "small counts")]
    let share = 100.0 * part as f64 / of as f64;
    share
}

async fn setup(cluster: Arc<PgCluster>, test: &str, pool: &[&str]) -> Fixture {
    let fixture = Fixture::on(cluster, test, |config| {
        pool.iter().fold(config.pool("pool_size = 8"), |config, line| config.pool(line))
    })
    .await;
    let sql = "create table counter (id int primary key, n int8 not null);\
               insert into counter select i, 0 from generate_series(0, 99) i;\
               create function bump(int) returns int8 language sql volatile as \
               'update counter set n = n + 1 where id = $1 returning n'";
    exec(&fixture.direct().await, sql).await;
    fixture.cluster.wait_caught_up().expect("replicas follow");
    fixture.wait_replicas().await;
    fixture
}

#[test]
fn no_session_reads_older_than_its_own_writes() {
    lagging(280, async |cluster| {
        let fixture = setup(cluster, "causal", &[]).await;
        phase(&fixture, "healthy").await;

        let lagging = &fixture.cluster.replicas[1];
        lagging.configure("recovery_min_apply_delay", "300ms").expect("delay");
        phase(&fixture, "one replica delayed by 300 ms").await;

        lagging.configure("recovery_min_apply_delay", "0").expect("no delay");
        lagging.pause_replay().expect("pause");
        phase(&fixture, "one replica paused").await;
        lagging.resume_replay().expect("resume");
    });
}

#[test]
fn quiet_sessions_read_from_replicas() {
    lagging(120, async |cluster| {
        let fixture = setup(cluster, "quiet", &[]).await;
        let sessions = (0..SESSIONS).map(|_| async {
            let client = fixture.client().await;
            let mut on_replicas = 0;
            for _ in 0..QUIET_READS / SESSIONS {
                on_replicas += usize::from(value(&client, WHERE).await != "primary");
            }
            on_replicas
        });
        let on_replicas: usize = futures_util::future::join_all(sessions).await.into_iter().sum();
        let share = percent(on_replicas, QUIET_READS);
        println!("quiet: {share:.1} % of {QUIET_READS} reads on replicas");
        assert!(share >= 95.0);

        // A session that wrote comes back to the replicas by itself.
        let client = fixture.client().await;
        exec(&client, "update counter set n = n + 1 where id = 50").await;
        let limit = Duration::from_secs(5);
        eventually("the session reads from replicas again", limit, async || {
            value(&client, WHERE).await != "primary"
        })
        .await;
    });
}

/// Reads of `reader` right after writes of `writer`; how many were stale.
async fn stale_pairs(
    writer: &Client,
    reader: &Client,
    pairs: usize,
    between: impl AsyncFnMut(),
) -> usize {
    hinted_pairs("", writer, reader, pairs, between).await
}

/// As `stale_pairs`, with a hint in front of both statements.
async fn hinted_pairs(
    hint: &str,
    writer: &Client,
    reader: &Client,
    pairs: usize,
    mut between: impl AsyncFnMut(),
) -> usize {
    let write = format!("{hint} update counter set n = n + 1 where id = 60 returning n");
    let read = format!("{hint} select n from counter where id = 60");
    let mut stale = 0;
    for _ in 0..pairs {
        let rows = client::rows(writer, &write);
        let written = rows.await.expect("write")[0][0].clone();
        between().await;
        let read = value(reader, &read).await;
        stale += usize::from(Some(read) != written);
    }
    stale
}

#[test]
fn sessions_with_one_causality_key_see_each_others_writes() {
    lagging(120, async |cluster| {
        let fixture = setup(cluster, "keyed", &[]).await;
        let (writer, reader) = (fixture.client().await, fixture.client().await);
        let other = fixture.client().await;
        fixture.cluster.replicas[0].pause_replay().expect("pause");
        for client in [&writer, &reader] {
            exec(client, "set pgm.causality = 'user:42'").await;
        }
        assert_eq!(value(&reader, "show pgm.causality").await, "user:42");
        let stale = stale_pairs(&writer, &reader, 300, async || {}).await;
        assert_eq!(stale, 0, "with the same key");
        let (writer, reader) = (fixture.client().await, fixture.client().await);
        let hint = "/* pgm: causality='user:43' */";
        let stale = hinted_pairs(hint, &writer, &reader, 300, async || {}).await;
        assert_eq!(stale, 0, "with the same key in hints");

        // Without a promise the paused replica is read: the test can fail.
        exec(&other, "set pgm.causality = 'off'").await;
        let stale = stale_pairs(&writer, &other, 100, async || {}).await;
        println!("without a key: {stale} of 100 stale");
        assert!(stale > 0, "the paused replica was never read");
        fixture.cluster.replicas[0].resume_replay().expect("resume");
    });
}

#[test]
fn tokens_carry_over_to_another_proxy() {
    lagging(120, async |cluster| {
        let fixture = setup(cluster.clone(), "tokens", &[]).await;
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let config = pgmanifold_tests::config::ConfigText::new(&hosts, &fixture.database);
        let second = Fixture::with_config(cluster, fixture.database.clone(), &config);
        second.wait_replicas().await;
        let (writer, reader) = (fixture.client().await, second.client().await);
        fixture.cluster.replicas[0].pause_replay().expect("pause");
        let stale = stale_pairs(&writer, &reader, 200, async || {
            let token = value(&writer, "show pgm.lsn").await;
            exec(&reader, &format!("set pgm.min_lsn = '{token}'")).await;
        })
        .await;
        assert_eq!(stale, 0, "with a token");
        let nonsense = reader.batch_execute("set pgm.min_lsn = 'nonsense'").await;
        assert_eq!(client::code(&nonsense.expect_err("refused")), "22023");
        assert_eq!(value(&reader, "select 1").await, "1");
        fixture.cluster.replicas[0].resume_replay().expect("resume");
    });
}

#[test]
fn replicas_too_far_behind_are_not_read() {
    lagging(120, async |cluster| {
        let fixture = setup(cluster, "lag", &["max_replica_lag_ms = 500"]).await;
        let [first, second] = &fixture.cluster.replicas[..] else { panic!("two replicas") };
        second.pause_replay().expect("pause");
        let writer = fixture.client().await;
        let reader = fixture.client().await;
        let bump = "update counter set n = n + 1 where id = 70";
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            exec(&writer, bump).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut places = std::collections::BTreeMap::new();
        for _ in 0..200 {
            *places.entry(value(&reader, WHERE).await).or_insert(0) += 1;
        }
        println!("one replica 2 s behind, limit 500 ms: {places:?}");
        assert!(!places.contains_key("replica2"), "{places:?}");
        assert!(places.get("replica1").is_some_and(|reads| *reads >= 150), "{places:?}");

        first.pause_replay().expect("pause");
        exec(&writer, bump).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        exec(&writer, bump).await;
        for _ in 0..50 {
            assert_eq!(value(&reader, WHERE).await, "primary");
        }
        // A session may ask for less freshness.
        exec(&reader, "set pgm.max_lag = '600s'").await;
        assert_ne!(value(&reader, WHERE).await, "primary");
        for replica in [first, second] {
            replica.resume_replay().expect("resume");
        }
    });
}

#[test]
fn a_promotion_voids_tokens() {
    run(120, async {
        let fixture = setup(cluster::private(2), "promotion", &[]).await;
        let (first, second) = (&fixture.cluster.replicas[0], &fixture.cluster.replicas[1]);
        let writer = fixture.client().await;
        exec(&writer, "update counter set n = 1000 where id = 1").await;
        let token = value(&writer, "show pgm.lsn").await;
        fixture.cluster.wait_caught_up().expect("replicas follow");

        fixture.cluster.primary.stop(pgmanifold::demo::postgres::Stop::Immediate).expect("stop");
        first.promote().expect("promote");
        fixture.cluster.follow(second, first).expect("follow");
        let limit = Duration::from_secs(20);
        eventually("writes go to the new primary", limit, async || {
            writer.batch_execute("update counter set n = n + 1 where id = 1").await.is_ok()
        })
        .await;
        let reader = fixture.client().await;
        eventually("reads go to the remaining replica", limit, async || {
            value(&reader, WHERE).await == "replica2"
        })
        .await;
        exec(&reader, &format!("set pgm.min_lsn = '{token}'")).await;
        for _ in 0..50 {
            assert_eq!(value(&reader, WHERE).await, "replica1", "an old token: the primary only");
        }
        // A token of the new timeline is worth something again.
        exec(&writer, "update counter set n = 2000 where id = 1").await;
        let token = value(&writer, "show pgm.lsn").await;
        exec(&reader, &format!("set pgm.min_lsn = '{token}'")).await;
        assert_eq!(value(&reader, "select n from counter where id = 1").await, "2000");
        eventually("and lets replicas be read", limit, async || {
            value(&reader, WHERE).await == "replica2"
        })
        .await;
    });
}
