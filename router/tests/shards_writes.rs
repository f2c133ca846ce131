//! Compares the placing and spreading of writes with golden/shards_writes.txt and
//! golden/unsupported_writes.txt; `UPDATE_GOLDEN=1` rewrites them, for review by hand.
//!
//! A case is a statement (`⏎` stands for a line break), perhaps `  $ value | value` with bound
//! parameters as text, and what becomes of it: `  = ` its placing, `  > ` its shards or, over
//! several, what they are sent.

use pgmanifold_router::facts::Facts;
use pgmanifold_router::golden::{shards_facts, shards_map};
use pgmanifold_router::lexer::{Dialect, Lexer, Token};
use pgmanifold_router::plan::Plan;
use pgmanifold_router::planner::plan;
use pgmanifold_router::shard_map::ShardMap;
use pgmanifold_router::sharding::{
    Bound, Catalog, Choice, Placing, Values, choose, copy_plan, place, spread,
};
use proptest::prelude::*;
use std::fmt::Write;
use std::sync::LazyLock;

static FACTS: LazyLock<Facts> = LazyLock::new(|| shards_facts().expect("works"));
static MAP: LazyLock<ShardMap> = LazyLock::new(|| shards_map().expect("works"));

fn literals(sql: &[u8]) -> Vec<Token> {
    let mut lexer = Lexer::new(sql, Dialect::default()).expect("works");
    let mut tokens = Vec::new();
    while let Ok(Some(token)) = lexer.next_token() {
        if token.kind.is_literal() {
            tokens.push(token);
        }
    }
    tokens
}

fn observe(sql: &str, parameters: Option<&str>, catalog: Catalog<'_>) -> String {
    let plan = plan(sql.as_bytes(), catalog.facts, Dialect::default());
    let placing = place(sql.as_bytes(), &plan, catalog, Dialect::default());
    let mut out = format!("  = {placing}\n");
    let given: Option<Vec<Option<&[u8]>>> = parameters
        .map(|all| all.split(" | ").map(|v| (v != "NULL").then_some(v.as_bytes())).collect());
    let bound = given.as_ref().map(|values| Bound { types: &[], formats: &[], values });
    let literals = literals(sql.as_bytes());
    let values = Values {
        sql: sql.as_bytes(),
        literals: &literals,
        dialect: Dialect::default(),
        bound: bound.as_ref(),
    };
    if placing == Placing::CopyIn {
        match copy_plan(sql.as_bytes(), catalog, Dialect::default()) {
            Ok(plan) => writeln!(out, "  > {plan}").expect("works"),
            Err(refusal) => writeln!(out, "  > refused: {refusal}").expect("works"),
        }
        return out;
    }
    if matches!(placing, Placing::Refused(_) | Placing::On(_)) {
        return out;
    }
    match choose(&placing, catalog.map, &values) {
        Ok(Choice::Several(shards)) => match spread(&placing, &shards, catalog, &values) {
            Ok(spread) => writeln!(out, "  > {spread}").expect("works"),
            Err(refusal) => writeln!(out, "  > refused: {refusal}").expect("works"),
        },
        Ok(choice) => writeln!(out, "  > {choice}").expect("works"),
        Err(refusal) => writeln!(out, "  > refused: {refusal}").expect("works"),
    }
    out.replace('\n', "⏎").replace("⏎  > ", "\n  > ").trim_end_matches('⏎').to_string() + "\n"
}

#[allow(clippy::disallowed_methods)] // A test may look at its environment and its files.
fn check(file: &str, text: &str, refused: bool) {
    let catalog = Catalog { map: &MAP, facts: &FACTS };
    let mut seen = String::new();
    let mut lines = text.lines().peekable();
    let (mut count, mut misplaced) = (0, String::new());
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            writeln!(seen, "{line}").expect("works");
            continue;
        }
        writeln!(seen, "{line}").expect("works");
        let parameters = lines.next_if(|line| line.starts_with("  $ "));
        if let Some(parameters) = parameters {
            writeln!(seen, "{parameters}").expect("works");
        }
        while lines.next_if(|line| line.starts_with("  = ") || line.starts_with("  > ")).is_some() {
        }
        let parameters = parameters.and_then(|line| line.get(4..));
        let observed = observe(&line.replace('⏎', "\n"), parameters, catalog);
        if observed.contains("refused: ") != refused {
            writeln!(misplaced, "{line}\n{observed}").expect("works");
        }
        seen.push_str(&observed);
        count += 1;
    }
    assert!(misplaced.is_empty(), "cases in the wrong file:\n{misplaced}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = format!("{}/golden/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, &seen).expect("works");
        return;
    }
    for (at, (wanted, seen)) in text.lines().zip(seen.lines()).enumerate() {
        assert_eq!(wanted, seen, "{file}:{}", at + 1);
    }
    assert_eq!(text.lines().count(), seen.lines().count(), "{file}");
    assert!(count >= 50, "{file} has {count} cases");
}

#[test]
fn writes_are_placed() {
    check("shards_writes.txt", include_str!("../golden/shards_writes.txt"), false);
}

#[test]
fn what_shards_cannot_write_is_refused() {
    check("unsupported_writes.txt", include_str!("../golden/unsupported_writes.txt"), true);
}

fn words() -> Vec<&'static str> {
    let cases = include_str!("../golden/shards_writes.txt").lines();
    let refused = include_str!("../golden/unsupported_writes.txt").lines();
    let is_case = |line: &&str| !line.starts_with("  ") && !line.starts_with('#');
    cases.chain(refused).filter(is_case).flat_map(str::split_whitespace).collect()
}

fn soup() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(words());
    proptest::collection::vec(pieces, 0..30).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_words_are_survived(sql in soup(), first in 0_usize..12) {
        let (facts, map) = (&*FACTS, &*MAP);
        let catalog = Catalog { map, facts };
        let begins = [
            "insert into orders", "insert into orders values (1, 2)", "update orders set",
            "copy orders",
            "delete from orders", "merge into orders o using lines l on", "create table orders (",
            "alter table orders", "create unique index on orders", "with x as (delete from", "do",
            "",
        ];
        let begin = begins.get(first).copied().unwrap_or_default();
        let _ = observe(&format!("{begin} {sql}"), None, catalog);
        let _ = observe(&format!("{begin} ({sql})"), Some("1 | 2"), catalog);
    }

    /// Whatever the rows are, each is sent once, in order, to the shard that its key has alone.
    #[test]
    fn rows_are_sent_once(keys in proptest::collection::vec(-50_i64..50, 2..40)) {
        let catalog = Catalog { map: &MAP, facts: &FACTS };
        let insert = |keys: &[(usize, i64)]| {
            let rows: Vec<String> = keys.iter().map(|(n, key)| format!("({key}, {n})")).collect();
            format!("insert into orders (customer_id, id) values {}", rows.join(", "))
        };
        let shard = |key: i64| {
            let sql = insert(&[(0, key)]);
            let literals = literals(sql.as_bytes());
            let values = Values {
                sql: sql.as_bytes(), literals: &literals, dialect: Dialect::default(), bound: None,
            };
            let placing = place(sql.as_bytes(), &Plan::default(), catalog, Dialect::default());
            choose(&placing, catalog.map, &values).expect("works")
        };
        let keys: Vec<(usize, i64)> = keys.into_iter().enumerate().collect();
        let sql = insert(&keys);
        let literals = literals(sql.as_bytes());
        let values = Values {
            sql: sql.as_bytes(), literals: &literals, dialect: Dialect::default(), bound: None,
        };
        let placing = place(sql.as_bytes(), &Plan::default(), catalog, Dialect::default());
        let parts = match choose(&placing, catalog.map, &values).expect("works") {
            Choice::Several(shards) => {
                spread(&placing, &shards, catalog, &values).expect("works").parts
            }
            one => {
                prop_assert!(keys.iter().all(|(_, key)| shard(*key) == one));
                return Ok(());
            }
        };
        for part in &parts {
            let here = |(_, key): &(usize, i64)| shard(*key) == Choice::One(part.shard);
            let mine: Vec<_> = keys.iter().copied().filter(here).collect();
            prop_assert_eq!(String::from_utf8_lossy(&part.sql), insert(&mine));
        }
        let elsewhere = keys.iter().filter(|(_, key)| {
            !parts.iter().any(|part| shard(*key) == Choice::One(part.shard))
        });
        prop_assert_eq!(elsewhere.count(), 0);
    }
}
