//! Pairs of snapshots while clients write and the other side follows.

use super::sides::Sides;
use pgmanifold_rebalancer::connect;
use pgmanifold_rebalancer::error::Error;
use pgmanifold_rebalancer::journal::Journal;
use pgmanifold_rebalancer::replicate::Direction;
use pgmanifold_rebalancer::verify::{self, Ends, PairLimits, Report, Scope, command};
use pgmanifold_router::catalog::{self, Parameter};
use pgmanifold_router::hash::hash_int8;
use pgmanifold_router::key::KeyType;
use pgmanifold_router::ownership::keys_sql;
use pgmanifold_router::shard_map::{Bound, Keys, MapParts, ShardMap};
use pgmanifold_tests::{client, random, run};
use rand::{Rng, RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_postgres::types::ToSql;

/// The move whose replication it is.
const MOVE: i64 = 7;
const PAIRS: usize = 24;
const WRITERS: u64 = 4;
const SCHEMA: &str = "\
create table acct (k bigint primary key, v bigint not null, note text); \
create table ev (k bigint, n bigint, amount numeric, doc json, primary key (k, n))";

struct Live {
    sides: Sides,
    map: ShardMap,
    keys: Keys,
}

impl Live {
    /// South follows north in half of all keys.
    fn start(test: &str, rows: u32) -> Live {
        let sides = Sides::new(test, 0);
        let mut parts = MapParts::new(&["north", "south"])
            .hash("k", &[KeyType::Int8])
            .table("public", "acct", "k", &["k"])
            .table("public", "ev", "k", &["k"]);
        parts.distributions[0].ranges = vec![(None, "north".into())];
        let map = ShardMap::build(parts).expect("a map");
        let keys = Keys::Between(Some(Bound::Hash(0)), None);
        let condition = keys_sql(&map.distributions[0], &keys, &["k"]);
        for number in 0..2 {
            sides.run(number, SCHEMA);
        }
        sides.run(
            0,
            &format!(
                "create publication pgm_move_{MOVE} for table acct where {condition}, ev where \
             {condition}, pgm.marker with (publish = 'insert, update, delete')"
            ),
        );
        sides.run(
            0,
            &format!(
                "select pg_create_logical_replication_slot('pgm_move_{MOVE}', \
             'pgoutput')"
            ),
        );
        sides.run(
            1,
            &format!(
                "create subscription pgm_move_{MOVE} connection '{}' publication pgm_move_{MOVE} \
             with (create_slot = false, slot_name = 'pgm_move_{MOVE}', copy_data = false)",
                sides.config.shards[0].subscription.replace('\'', "''")
            ),
        );
        sides.run(
            0,
            &format!(
                "insert into acct select k, 0, 'n' from generate_series(1, {rows}) k; \
             insert into ev select k, 0, k / 4.0, '{{}}' from generate_series(1, {rows}) k"
            ),
        );
        Live { sides, map, keys }
    }

    fn scope(&self) -> Scope<'_> {
        Scope { map: &self.map, distribution: 0, keys: &self.keys }
    }

    async fn pair(&self, limits: &PairLimits) -> Result<(Report, Duration, u32), Error> {
        let ends = Ends {
            locker: self.sides.session(0).await,
            leader: self.sides.session(0).await,
            follower: self.sides.session(1).await,
        };
        let pair = verify::pair(ends, &self.scope(), (MOVE, Direction::Forward), limits).await?;
        Ok((verify::compare(&pair, &self.scope()).await?, pair.pause, pair.tries))
    }

    /// The snapshots of two moments.
    async fn naive(&self) -> Report {
        let pair = verify::at_rest(self.sides.session(0).await, self.sides.session(1).await).await;
        let pair = pair.unwrap_or_else(|error| panic!("{error}"));
        verify::compare(&pair, &self.scope()).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writers on north until `end`; their transactions are counted.
    async fn write(&self, seed: u64, rows: i64, end: Arc<AtomicBool>, count: Arc<AtomicU64>) {
        let address = self.sides.cluster.primary.address();
        let client = client::connect(&address, super::sides::SUPERUSER, &self.sides.databases[0]);
        let client = client.await;
        tokio::spawn(async move {
            let mut random = rand::rngs::StdRng::seed_from_u64(seed);
            while !end.load(Ordering::Relaxed) {
                let sql = transaction(&mut random, rows);
                match client.batch_execute(&sql).await {
                    Ok(()) => count.fetch_add(1, Ordering::Relaxed),
                    // Two writers wait for each other.
                    Err(error) if client::code(&error) == "40P01" => {
                        client.batch_execute("rollback").await.expect("it rolls back");
                        0
                    }
                    Err(error) => panic!("{sql}: {}", client::text(&error)),
                };
            }
        });
    }
}

/// Some statements of both tables, in one transaction, one in eight of which is rolled back.
fn transaction(random: &mut impl Rng, rows: i64) -> String {
    let mut sql = String::from("begin; ");
    for _ in 0..random.random_range(1..5) {
        let (k, n) = (random.random_range(1..=rows), random.random_range(0..4));
        sql += &match random.random_range(0..5) {
            0 => format!("update acct set v = v + 1 where k = {k}; "),
            1 => format!("update ev set amount = amount + 0.10 where k = {k}; "),
            2 => format!(
                "insert into ev values ({k}, {n}, 1.00, '{{\"a\" : 1}}') \
                 on conflict (k, n) do update set doc = excluded.doc; "
            ),
            3 => format!("delete from ev where k = {k} and n = {n}; "),
            _ => {
                format!("update acct set note = repeat('n', {n}) where k between {k} and {k} + 3; ")
            }
        };
    }
    sql + if random.random_range(0..8) == 0 { "rollback" } else { "commit" }
}

fn text<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn pairs_under_load_show_one_moment() {
    run(240, async {
        let live = Live::start("verify_pairs", 20_000);
        let mut random = random::seeded("pairs_under_load_show_one_moment");
        let (end, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        for _ in 0..WRITERS {
            let (end, count) = (Arc::clone(&end), Arc::clone(&count));
            live.write(random.random(), 20_000, end, count).await;
        }
        let (mut pauses, mut tries, mut naive) = (Vec::new(), 0, 0);
        for at in 0..PAIRS {
            let (report, pause, tried) = text(live.pair(&PairLimits::default()).await);
            assert!(report.mismatches.is_empty(), "pair {at}: {report}");
            assert!(report.rows() > 15_000, "{report}");
            pauses.push(pause);
            tries += tried;
            if at % 6 == 0 {
                naive += live.naive().await.mismatches.len();
            }
        }
        end.store(true, Ordering::Relaxed);
        pauses.sort();
        let (half, last) = (pauses[PAIRS / 2], pauses[PAIRS - 1]);
        let written = count.load(Ordering::Relaxed);
        println!(
            "{PAIRS} pairs in {tries} tries, {written} transactions; writers waited {half:.1?} \
             (p50), {last:.1?} (most); sub-ranges that differed between two moments: {naive}"
        );
        assert!(written > 1000, "writers wrote: {written}");
        assert!(naive > 0, "without a pair nothing would be known");

        // What the follower has wrong is found under load, too.
        let key = live.sides.value(1, "select min(k) from acct where k > 9999");
        live.sides.run(
            1,
            &format!(
                "set session_replication_role = replica; \
             update acct set v = v + 1000000 where k = {key}"
            ),
        );
        let (report, ..) = text(live.pair(&PairLimits::default()).await);
        assert_eq!(report.mismatches.len(), 1, "{report}");
        assert_eq!(report.mismatches[0].keys[0].key, format!("(\"k\") = ({key})"), "{report}");
    });
}

#[test]
fn a_pair_that_cannot_be_had_says_why_and_holds_nobody_up() {
    run(120, async {
        let live = Live::start("verify_waits", 1000);
        let address = live.sides.cluster.primary.address();
        let superuser = super::sides::SUPERUSER;
        let writer = client::connect(&address, superuser, &live.sides.databases[0]).await;
        let other = client::connect(&address, superuser, &live.sides.databases[0]).await;
        text(live.pair(&PairLimits::default()).await);

        // A transaction that stays open: others wait no longer than one try.
        client::exec(&writer, "begin; update acct set v = 1 where k = 1").await;
        let limits = PairLimits { tries: 3, ..PairLimits::default() };
        let (error, longest) = tokio::join!(live.pair(&limits), async {
            let (begun, mut longest) = (Instant::now(), Duration::ZERO);
            while begun.elapsed() < Duration::from_millis(600) {
                let asked = Instant::now();
                client::exec(&other, "update acct set v = 1 where k = 2").await;
                longest = longest.max(asked.elapsed());
            }
            longest
        });
        let Err(Error::Stopped(error)) = error else { panic!("{error:?}") };
        assert!(error.contains("in 3 tries") && error.contains("long transaction"), "{error}");
        assert!(longest < Duration::from_secs(3), "a writer waited {longest:?}");
        // It ends while it is waited for.
        let patient = PairLimits::default();
        let (pair, ()) = tokio::join!(live.pair(&patient), async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            client::exec(&writer, "commit").await;
        });
        let (report, _, tries) = text(pair);
        assert!(report.mismatches.is_empty() && tries > 1, "{tries} tries: {report}");

        // A follower that does not follow is not waited for with locks.
        live.sides.run(1, &format!("alter subscription pgm_move_{MOVE} disable"));
        let limits = PairLimits { lag_wait: Duration::from_secs(3), ..PairLimits::default() };
        let (error, ()) = tokio::join!(live.pair(&limits), async {
            let asked = Instant::now();
            client::exec(&other, "update acct set v = 1 where k = 2").await;
            assert!(asked.elapsed() < Duration::from_millis(2500), "{:?}", asked.elapsed());
        });
        let Err(Error::Stopped(error)) = error else { panic!("{error:?}") };
        assert!(error.contains("behind") && error.contains("subscription"), "{error}");
    });
}

#[test]
fn the_command_compares_what_it_can_and_finds_what_is_misplaced() {
    run(120, async {
        let live = Live::start("verify_command", 2000);
        let map = live.map.announce(0, MOVE as u64, &live.keys, "south").expect("a map");
        let catalog = connect::primary(&live.sides.config.catalog, "catalog").await;
        let catalog = text(catalog);
        text(catalog.run("begin").await);
        for command in catalog::create_map("app", &map.parts(), "a test") {
            let parameters = command.parameters.iter().map(|parameter| match parameter {
                Parameter::Text(text) => text as &(dyn ToSql + Sync),
                Parameter::Integer(number) => number,
                Parameter::Texts(texts) => texts,
            });
            let parameters: Vec<&(dyn ToSql + Sync)> = parameters.collect();
            catalog.client.query(command.sql, &parameters).await.expect("it is written");
        }
        text(catalog.run("commit").await);
        let state = async |state: &str| {
            let sql = format!(
                "insert into pgm.move (id, database, distribution, mode, starts, source, target, \
                  state) overriding system value \
                 values ({MOVE}, 'app', 'k', 'online', '0', 'north', 'south', '{state}') \
                 on conflict (id) do update set state = excluded.state"
            );
            text(catalog.run(&sql).await);
        };
        let journal = text(Journal::open(Arc::new(live.sides.config.clone())).await);
        let look = async |range| text(command::verify(&journal, range).await);

        state("copying").await;
        let verified = look(None).await;
        text(verified.verdict());
        assert!(verified.compared.is_empty(), "{verified}");
        assert!(verified.not_compared[0].contains("while it is copying"), "{verified}");
        state("ready").await;
        let verified = look(None).await;
        text(verified.verdict());
        assert_eq!(verified.compared.len(), 1, "{verified}");
        let rows: Vec<(u64, u64)> = verified.placed.iter().map(|p| (p.own, p.hidden)).collect();
        assert_eq!(rows.len(), 4, "two tables of two shards: {verified}");
        assert!(rows[0] == (2000, 0) && rows[2].0 == 0 && rows[2].1 > 900, "{verified}");
        println!("{verified}");

        // South has what is nobody's there: a key that is not on its way.
        let key = |is_meant: bool| (1..).find(|key| (hash_int8(*key) >= 0) == is_meant);
        let (moved, other) = (key(true).expect("a key"), key(false).expect("a key"));
        live.sides.run(1, &format!("insert into acct values ({other}, 0, 'lost')"));
        let verified = look(None).await;
        let Err(Error::Stopped(found)) = verified.verdict() else { panic!("{verified}") };
        let wanted = format!("1 MISPLACED: keys ({other})");
        assert!(found.contains(&wanted), "{found}");
        // It is outside of what is asked for.
        text(look(Some((0, live.keys.clone()))).await.verdict());
        let rest = look(Some((0, Keys::Between(None, Some(Bound::Hash(0)))))).await;
        assert!(rest.compared.is_empty() && rest.verdict().is_err(), "{rest}");
        // And what is hidden must be the same.
        live.sides.run(1, &format!("delete from acct where k in ({moved}, {other})"));
        let verified = look(None).await;
        let found = verified.verdict().expect_err("a row is missing").to_string();
        assert!(found.contains(&format!("(\"k\") = ({moved}): only on shard north")), "{found}");
    });
}
