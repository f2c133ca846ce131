//! Compares placings, choices and spreads with golden/shards.txt, and refusals with
//! golden/unsupported.txt; `UPDATE_GOLDEN=1` rewrites both. Review every changed line by hand.
//! golden/moving.txt is the same for a map that tells of keys on their way.
//!
//! A case is a statement (`⏎` stands for a line break), perhaps with values of its parameters as
//! text behind ` ## `, and indented lines: what it means whatever its values are, the shards of
//! these values, what each is sent.

use pgmanifold_router::facts::Facts;
use pgmanifold_router::golden;
use pgmanifold_router::key::{KeyType, KeyValue};
use pgmanifold_router::lexer::{Dialect, Lexer, Token};
use pgmanifold_router::planner::plan;
use pgmanifold_router::shard_map::{self, Keys, ShardId, ShardMap};
use pgmanifold_router::sharding::{Bound, Catalog, Choice, Values, choose, place, spread};
use proptest::prelude::*;
use std::fmt::Write;
use std::sync::LazyLock;

const CASES: &str = include_str!("../golden/shards.txt");
const MOVING_CASES: &str = include_str!("../golden/moving.txt");
const UNSUPPORTED: &str = include_str!("../golden/unsupported.txt");

static FACTS: LazyLock<Facts> =
    LazyLock::new(|| golden::shards_facts().expect("the dump is checked by another test"));
static MAP: LazyLock<ShardMap> = LazyLock::new(|| golden::shards_map().expect("a valid map"));
static MOVING: LazyLock<ShardMap> =
    LazyLock::new(|| golden::shards_moving_map().expect("a valid map"));

fn literals(sql: &[u8]) -> Vec<Token> {
    let mut literals = Vec::new();
    let Ok(mut lexer) = Lexer::new(sql, Dialect::default()) else { return literals };
    while let Ok(Some(token)) = lexer.next_token() {
        if token.kind.is_literal() {
            literals.push(token);
        }
    }
    literals
}

/// The indented lines of a case.
fn observe(case: &str, map: &ShardMap) -> String {
    let case = case.replace('⏎', "\n");
    let (sql, parameters) = case.split_once(" ## ").unwrap_or((&case, ""));
    let catalog = Catalog { map, facts: &FACTS };
    let placing = place(
        sql.as_bytes(),
        &plan(sql.as_bytes(), &FACTS, Dialect::default()),
        catalog,
        Dialect::default(),
    );
    let mut out = format!("  = {placing}\n");
    let texts: Vec<Option<&[u8]>> = parameters
        .split(", ")
        .filter(|text| !text.is_empty())
        .map(|text| (text != "NULL").then_some(text.as_bytes()))
        .collect();
    let bound = Bound { types: &[], formats: &[], values: &texts };
    let literals = literals(sql.as_bytes());
    let values = Values {
        sql: sql.as_bytes(),
        literals: &literals,
        dialect: Dialect::default(),
        bound: (!texts.is_empty()).then_some(&bound),
    };
    let choice = match choose(&placing, map, &values) {
        Ok(choice) => choice,
        Err(refusal) => {
            if !out.starts_with("  = refused") {
                writeln!(out, "  ! {refusal}").expect("writes to memory");
            }
            return out;
        }
    };
    writeln!(out, "  > {choice}").expect("writes to memory");
    if let Choice::Several(shards) = &choice {
        match spread(&placing, shards, catalog, &values) {
            Ok(spread) => {
                let spread = spread.to_string().replace('\n', "⏎").replace('\0', "␀");
                writeln!(out, "  | {spread}").expect("writes to memory");
            }
            Err(refusal) => {
                writeln!(out, "  ! {} ({})", refusal, refusal.construct).expect("writes to memory")
            }
        }
    }
    out
}

fn renewed(cases: &str, map: &ShardMap) -> String {
    let mut text = String::new();
    for line in cases.lines().filter(|line| !line.starts_with("  ")) {
        writeln!(text, "{line}").expect("writes to memory");
        if !line.is_empty() && !line.starts_with('#') {
            text.push_str(&observe(line, map));
        }
    }
    text
}

#[allow(clippy::disallowed_methods)] // A test may look at its environment and its files.
fn compare(name: &str, cases: &str, map: &ShardMap) {
    let seen = renewed(cases, map);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = format!("{}/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, seen).expect("golden file can be written");
        return;
    }
    let mut differences = String::new();
    let mut case = "";
    for (old, new) in cases.lines().zip(seen.lines()) {
        if !new.starts_with("  ") {
            case = new;
        }
        if old != new {
            writeln!(differences, "{case}\n- {old}\n+ {new}").expect("writes to memory");
        }
    }
    assert!(differences.is_empty(), "{name} differs:\n{differences}");
    assert_eq!(cases.lines().count(), seen.lines().count(), "UPDATE_GOLDEN=1 renews {name}");
}

#[test]
fn placings_are_as_in_the_golden_file() {
    compare("shards.txt", CASES, &MAP);
}

#[test]
fn what_is_hidden_is_left_out() {
    compare("moving.txt", MOVING_CASES, &MOVING);
}

#[test]
fn refusals_are_as_in_the_golden_file() {
    compare("unsupported.txt", UNSUPPORTED, &MAP);
    let mut case = "";
    let mut refused = true;
    for line in UNSUPPORTED.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if !line.starts_with("  ") {
            assert!(refused, "not refused: {case}");
            (case, refused) = (line, false);
        }
        refused |= line.starts_with("  ! ") || line.starts_with("  = refused");
    }
    assert!(refused, "not refused: {case}");
}

#[test]
fn the_tables_are_large() {
    let cases = |text: &str| {
        let is_case =
            |line: &&str| !line.is_empty() && !line.starts_with("  ") && !line.starts_with('#');
        text.lines().filter(is_case).count()
    };
    assert!(cases(CASES) >= 150, "{} cases", cases(CASES));
    assert!(cases(UNSUPPORTED) >= 60, "{} refusals", cases(UNSUPPORTED));
}

fn words() -> Vec<&'static str> {
    CASES
        .lines()
        .chain(UNSUPPORTED.lines())
        .chain(golden::EFFECTS.lines())
        .filter(|line| !line.starts_with("  ") && !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .collect()
}

fn soup() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(words());
    proptest::collection::vec(pieces, 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_words_are_survived(sql in soup()) {
        let _ = observe(&sql, &MAP);
        let _ = observe(&sql, &MOVING);
    }

    #[test]
    fn any_queries_are_survived(sql in soup(), tail in soup()) {
        for map in [&*MAP, &*MOVING] {
            let _ = observe(&format!("select {sql} from orders o where {tail}"), map);
            let _ = observe(&format!("select * from {sql} order by {tail}"), map);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let catalog = Catalog { map: &MAP, facts: &FACTS };
        let plan = plan(&bytes, &FACTS, Dialect::default());
        let placing = place(&bytes, &plan, catalog, Dialect::default());
        let literals = literals(&bytes);
        let values = Values {
            sql: &bytes,
            literals: &literals,
            dialect: Dialect::default(),
            bound: None,
        };
        if let Ok(Choice::Several(shards)) = choose(&placing, &MAP, &values) {
            let _ = spread(&placing, &shards, catalog, &values);
        }
    }
}

#[test]
fn nesting_and_chains_do_not_overflow() {
    for (open, middle, close) in [
        ("select * from orders where (", "1=1", ")"),
        ("select (", "select 1 from orders", ")"),
        ("select * from (", "select * from orders", ") x"),
        ("select * from orders a ", "", " join orders b on a.id=b.id"),
        ("select 1 from orders", "", " union all select 1 from orders"),
        ("select * from orders where id=1", "", " or customer_id = 1"),
        ("select * from orders where ", "1=1", " and customer_id = 1"),
        ("select * from ", "(orders", " join orders on true)"),
    ] {
        for depth in [10, 3_000] {
            let is_wrapping = open.ends_with('(');
            let opened = if is_wrapping { open.repeat(depth) } else { open.to_string() };
            let sql = format!("{opened}{middle}{}", close.repeat(depth));
            let _ = observe(&sql, &MAP);
            let _ = observe(&sql, &MOVING);
        }
        let sql = format!("{}{}", "select * from (".repeat(3_000), " (".repeat(3_000));
        let _ = observe(&sql, &MAP);
        let _ = observe(&sql, &MOVING);
    }
}

/// Days of the distribution `day`, in order.
const DAYS: [&str; 8] = [
    "2025-12-31",
    "2026-01-01",
    "2026-02-28",
    "2026-03-01",
    "2026-04-30",
    "2026-05-01",
    "2026-06-30",
    "2026-07-01",
];

/// Two conditions on the key of `events`, and which of the days meet both.
fn two_conditions() -> impl Strategy<Value = (String, Vec<&'static str>)> {
    let one = (0_usize..5, 0..DAYS.len(), 0..DAYS.len());
    (one.clone(), one).prop_map(|(one, other)| {
        let sql = |(how, a, b): (usize, usize, usize)| match how {
            0 => format!("day between '{}' and '{}'", DAYS[a], DAYS[b]),
            1 => format!("day in ('{}', '{}')", DAYS[a], DAYS[b]),
            2 => format!("day >= '{}'", DAYS[a]),
            3 => format!("day < '{}'", DAYS[b]),
            _ => format!("day = any('{{{},{}}}')", DAYS[a], DAYS[b]),
        };
        let meets = |(how, a, b): (usize, usize, usize), day: usize| match how {
            0 => (a..=b).contains(&day),
            2 => day >= a,
            3 => day < b,
            _ => day == a || day == b,
        };
        let days = (0..DAYS.len()).filter(|day| meets(one, *day) && meets(other, *day));
        (format!("{} and {}", sql(one), sql(other)), days.map(|day| DAYS[day]).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A shard that is asked alone is sent the text as it is: nothing that it hides may be meant.
    #[test]
    fn a_shard_alone_owns_every_key_that_is_meant(
        (conditions, days) in two_conditions(),
        keys in (0..DAYS.len(), 0..DAYS.len()),
        target in 0_u16..4,
        handed_over in any::<bool>(),
    ) {
        let day = |day: &str| KeyValue::from_text(KeyType::Date, day).expect("a day");
        let border = |at: usize| Some(shard_map::Bound::Value(day(DAYS[at])));
        let keys = Keys::Between(border(keys.0), border(keys.1));
        let target = MAP.name(ShardId(target)).to_owned();
        let Ok(map) = MAP.announce(2, 1, &keys, &target) else { return Ok(()) };
        let map = if handed_over { map.hand_over(1, &target).expect("a shard") } else { map };
        let sql = format!("select * from events where {conditions}");
        let catalog = Catalog { map: &map, facts: &FACTS };
        let plan = plan(sql.as_bytes(), &FACTS, Dialect::default());
        let placing = place(sql.as_bytes(), &plan, catalog, Dialect::default());
        let literals = literals(sql.as_bytes());
        let dialect = Dialect::default();
        let values = Values { sql: sql.as_bytes(), literals: &literals, dialect, bound: None };
        match choose(&placing, &map, &values).expect("works") {
            Choice::One(shard) => {
                for text in days {
                    prop_assert_eq!(map.shard_of(2, &[day(text)]), Some(shard), "{} {}", sql, text);
                    let mut hidden = map.distributions[2].hidden_on(shard);
                    prop_assert!(!hidden.any(|moving| moving.keys.have_value(&day(text))));
                }
            }
            Choice::None => prop_assert!(days.is_empty(), "{sql} means {days:?}"),
            _ => {}
        }
    }
}
