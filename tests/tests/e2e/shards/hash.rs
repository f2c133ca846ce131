//! The hash of shard keys and the reading of their values, compared with a server's: what the
//! proxy computes must be what PostgreSQL computes, for random values of every type.
//!
//! `PGM_HASH_VALUES=100000` compares that many values of each type.

use pgmanifold_router::hash::{hash_key, hash_sql};
use pgmanifold_router::key::{KeyType, KeyValue, Reading, read_literal};
use pgmanifold_router::lexer::TokenKind;
use pgmanifold_tests::cluster::{self, USER};
use pgmanifold_tests::{client, random, run};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Values of each type when `PGM_HASH_VALUES` does not say.
const VALUES: usize = 3_000;
/// Values in one query.
const BATCH: usize = 5_000;

const TYPES: [KeyType; 9] = [
    KeyType::Int2,
    KeyType::Int4,
    KeyType::Int8,
    KeyType::Text,
    KeyType::Varchar,
    KeyType::Uuid,
    KeyType::Bytea,
    KeyType::Date,
    KeyType::Timestamptz,
];

async fn server() -> Client {
    let cluster = cluster::shared();
    let database = cluster::create_database(&cluster, "hash");
    client::connect(&cluster.primary.address(), USER, &database).await
}

fn count() -> usize {
    std::env::var("PGM_HASH_VALUES").ok().and_then(|text| text.parse().ok()).unwrap_or(VALUES)
}

/// An integer of any size: as many small ones as large ones.
fn integer(random: &mut StdRng, bits: u32) -> i64 {
    let number: i64 = random.random();
    number >> random.random_range(64 - bits..64)
}

fn text(random: &mut StdRng) -> String {
    let longest = if random.random_ratio(1, 50) { 2_000 } else { 40 };
    let length = random.random_range(0..longest);
    let alphabet = ['a', 'Z', '0', ' ', '\'', '"', '\\', '\n', '\u{e9}', '\u{65e5}', '\u{1f600}'];
    let one = |_| match random.random_ratio(1, 4) {
        true => alphabet[random.random_range(0..alphabet.len())],
        false => char::from(random.random_range(b' '..b'~')),
    };
    (0..length).map(one).collect()
}

fn value(random: &mut StdRng, ty: KeyType) -> KeyValue {
    match ty {
        KeyType::Int2 => KeyValue::Int(integer(random, 16)),
        KeyType::Int4 => KeyValue::Int(integer(random, 32)),
        KeyType::Int8 => KeyValue::Int(integer(random, 64)),
        KeyType::Text | KeyType::Varchar => KeyValue::Text(text(random).into()),
        KeyType::Uuid => KeyValue::Uuid(random.random()),
        KeyType::Bytea => {
            let length = random.random_range(0..60);
            KeyValue::Bytea((0..length).map(|_| random.random()).collect())
        }
        KeyType::Date => KeyValue::Date(random.random_range(-730_119..=2_921_939)),
        KeyType::Timestamptz => {
            let moments = -63_082_281_600_000_000_i64..252_455_615_999_999_999;
            KeyValue::Timestamptz(random.random_range(moments))
        }
    }
}

/// Compares keys of these types: each column's values go there as text.
async fn compare(client: &Client, random: &mut StdRng, types: &[KeyType], values: usize) {
    let names: Vec<String> = (0..types.len()).map(|at| format!("c{at}")).collect();
    let typed = names.iter().zip(types).map(|(name, ty)| format!("{name}::{ty} as {name}"));
    let arrays: Vec<String> = (1..=types.len()).map(|at| format!("${at}::text[]")).collect();
    let columns: Vec<&str> = names.iter().map(String::as_str).collect();
    let sql = format!(
        "select {} from (select {}, n from unnest({}) with ordinality u({}, n)) t order by n",
        hash_sql(types, &columns),
        typed.collect::<Vec<_>>().join(", "),
        arrays.join(", "),
        names.join(", "),
    );
    let mut left = values;
    while left > 0 {
        let keys: Vec<Vec<KeyValue>> = (0..left.min(BATCH))
            .map(|_| types.iter().map(|ty| value(random, *ty)).collect())
            .collect();
        let texts: Vec<Vec<String>> = (0..types.len())
            .map(|at| keys.iter().map(|key| key[at].to_string()).collect())
            .collect();
        let parameters: Vec<&(dyn ToSql + Sync)> = texts.iter().map(|texts| texts as _).collect();
        let rows = client.query(&sql, &parameters).await.expect("hashes");
        assert_eq!(rows.len(), keys.len());
        for (row, key) in rows.iter().zip(&keys) {
            assert_eq!(row.get::<_, i64>(0), hash_key(key), "{types:?} {key:?}");
        }
        left -= keys.len();
    }
}

#[test]
fn hashes_are_the_servers() {
    run(600, async {
        let client = server().await;
        let mut random = random::seeded("hash");
        for ty in TYPES {
            compare(&client, &mut random, &[ty], count()).await;
        }
        let two = [KeyType::Int8, KeyType::Text];
        let five =
            [KeyType::Timestamptz, KeyType::Uuid, KeyType::Bytea, KeyType::Date, KeyType::Int2];
        compare(&client, &mut random, &two, count()).await;
        compare(&client, &mut random, &five, count()).await;
        let version = client::value(&client, "show server_version").await;
        println!("{} values of each type on PostgreSQL {version}", count());
    });
}

/// The vectors of the router's own test, which runs without a server, are this server's too.
#[test]
fn vectors_are_the_servers() {
    run(60, async {
        let client = server().await;
        let mut printed = String::new();
        let sql = include_str!("../../../../router/golden/hashes.sql");
        for message in client.simple_query(sql).await.expect("the vectors") {
            if let SimpleQueryMessage::Row(row) = message {
                let fields: Vec<&str> = (0..row.len()).filter_map(|at| row.get(at)).collect();
                printed.push_str(&fields.join("\t"));
                printed.push('\n');
            }
        }
        assert_eq!(printed, include_str!("../../../../router/golden/hashes.txt"));
    });
}

/// A spelling of a value that may or may not be one.
fn spelling(random: &mut StdRng, ty: KeyType) -> String {
    let plain = value(random, ty).to_string();
    if ty == KeyType::Uuid && random.random_ratio(1, 2) {
        let text = if random.random_ratio(1, 2) { plain } else { plain.replace('-', "") };
        return if random.random_ratio(1, 2) { format!("{{{text}}}") } else { text.to_uppercase() };
    }
    if ty == KeyType::Bytea && random.random_ratio(1, 3) {
        return text(random);
    }
    let alphabet = b" -+.:\\x0159aFZT{}e_\t";
    let mut letters: Vec<char> = plain.chars().collect();
    for _ in 0..random.random_range(0..3) {
        let at = random.random_range(0..=letters.len());
        let new = char::from(alphabet[random.random_range(0..alphabet.len())]);
        match random.random_range(0..3) {
            0 => letters.insert(at, new),
            1 if at < letters.len() => letters[at] = new,
            _ if at < letters.len() => drop(letters.remove(at)),
            _ => {}
        }
    }
    letters.into_iter().collect()
}

/// What is read as a value is that value for the server, whatever its settings are. What the
/// proxy does not know may be anything.
#[test]
fn values_are_read_as_the_server_reads_them() {
    run(300, async {
        let client = server().await;
        let mut random = random::seeded("hash-reading");
        let read_as = "create function pg_temp.read_as(given text, type text) returns text \
             language plpgsql as $$ declare result text; begin \
             execute format('select %L::%s::text', given, type) into result; \
             return result; exception when data_exception then return null; end $$";
        client::exec(&client, read_as).await;
        // Both are read by the server: what was given, and what the router makes of it.
        let differ = "select given, expected from unnest($1::text[], $2::text[]) \
             u(given, expected) where expected is not null \
             and pg_temp.read_as(given, $3) is distinct from pg_temp.read_as(expected, $3)";
        let mut known = 0;
        for ty in TYPES {
            let given: Vec<String> = (0..1_500).map(|_| spelling(&mut random, ty)).collect();
            let read = |text: &String| match read_literal(ty, TokenKind::String, text, false) {
                Reading::Value(value) => Some(value.to_string()),
                Reading::Null | Reading::Unknown => None,
            };
            let expected: Vec<Option<String>> = given.iter().map(read).collect();
            known += expected.iter().flatten().count();
            for settings in ["'SQL, DMY'; set timezone = 'America/New_York'", "'German'"] {
                client::exec(&client, &format!("set datestyle = {settings}")).await;
                let rows = client.query(differ, &[&given, &expected, &ty.to_string()]).await;
                let rows = rows.expect("readings");
                let wrong: Vec<(String, String)> =
                    rows.iter().map(|row| (row.get(0), row.get(1))).collect();
                assert!(wrong.is_empty(), "{ty} under {settings}: {wrong:?}");
            }
        }
        assert!(known > 4_000, "only {known} spellings were read");
    });
}
