//! Properties that hold for every text: nothing panics, spans stay inside, white space and
//! comments change nothing, and no read holds a word that writes. Failures print their seed.

use pgmanifold_router::facts::Facts;
use pgmanifold_router::fingerprint::Scan;
use pgmanifold_router::golden;
use pgmanifold_router::lexer::{Dialect, Lexer, TokenKind};
use pgmanifold_router::plan::Effect;
use pgmanifold_router::planner::plan;
use proptest::prelude::*;
use std::sync::LazyLock;

static FACTS: LazyLock<Facts> =
    LazyLock::new(|| golden::facts().expect("the dump is checked by another test"));

fn words() -> Vec<&'static str> {
    golden::EFFECTS
        .lines()
        .filter(|line| !line.starts_with("  = ") && !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .collect()
}

/// Texts made of pieces of the golden statements.
fn sql_like() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(words()), 0..30)
        .prop_map(|words| words.join(" "))
}

fn tokens(sql: &[u8]) -> Option<Vec<(TokenKind, Vec<u8>)>> {
    let mut lexer = Lexer::new(sql, Dialect::default()).ok()?;
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token().ok()? {
        tokens.push((token.kind, token.text(sql).to_vec()));
    }
    Some(tokens)
}

fn normal(sql: &[u8]) -> Option<Vec<u8>> {
    let mut scan = Scan::new(5);
    scan.scan(sql, Dialect::default()).ok()?;
    scan.cacheable().then(|| scan.normal().to_vec())
}

/// Writes the tokens again with `between` between them.
fn respaced(tokens: &[(TokenKind, Vec<u8>)], between: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (_, text) in tokens {
        out.extend_from_slice(text);
        out.extend_from_slice(between.as_bytes());
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut scan = Scan::new(1);
        for standard_conforming_strings in [true, false] {
            let dialect = Dialect { standard_conforming_strings, ..Dialect::default() };
            let _ = scan.scan(&bytes, dialect);
            for token in scan.literals() {
                prop_assert!(token.start < token.end && token.end as usize <= bytes.len());
            }
            let _ = plan(&bytes, &FACTS, dialect);
        }
    }

    #[test]
    fn space_and_comments_change_nothing(
        sql in sql_like(),
        between in proptest::sample::select(vec![" ", "\t ", " /* x */ ", " -- y\n ", "\x0c"]),
    ) {
        let Some(tokens) = tokens(sql.as_bytes()) else { return Ok(()) };
        // A line break between two strings joins them, and hints stay where they are.
        let strings = tokens.windows(2).any(|pair| pair.iter().all(|(kind, _)| kind.is_literal()));
        if between.contains('\n') && strings || sql.contains("pgm:") {
            return Ok(());
        }
        let other = respaced(&tokens, between);
        prop_assert_eq!(normal(sql.as_bytes()), normal(&other));
        let dialect = Dialect::default();
        prop_assert_eq!(plan(sql.as_bytes(), &FACTS, dialect), plan(&other, &FACTS, dialect));
    }

    #[test]
    fn letter_case_of_words_changes_nothing(sql in sql_like()) {
        let Some(mut tokens) = tokens(sql.as_bytes()) else { return Ok(()) };
        let respaced_as_is = respaced(&tokens, " ");
        for (kind, text) in &mut tokens {
            if *kind == TokenKind::Word {
                text.make_ascii_uppercase();
            }
        }
        prop_assert_eq!(normal(&respaced_as_is), normal(&respaced(&tokens, " ")));
    }

    #[test]
    fn a_read_holds_no_writing_word(sql in sql_like()) {
        let seen = plan(sql.as_bytes(), &FACTS, Dialect::default());
        if seen.effect == Effect::Read {
            for (kind, text) in tokens(sql.as_bytes()).unwrap() {
                let word = text.to_ascii_lowercase();
                let writes = [&b"insert"[..], b"update", b"delete", b"merge", b"into", b"share"];
                let writes = kind == TokenKind::Word && writes.contains(&word.as_slice());
                prop_assert!(!writes, "{sql}");
            }
        }
    }

    #[test]
    fn a_write_stays_one_whatever_is_put_around_it(
        before in sql_like(),
        after in sql_like(),
        write in proptest::sample::select(vec![
            "delete from t", "select f_v(1)", "select 1 into x", "insert into t values (1)",
        ]),
    ) {
        let sql = format!("{before};{write};{after}");
        let balanced = before.chars().filter(|c| *c == '(').count()
            == before.chars().filter(|c| *c == ')').count();
        let quiet = !before.contains(['\'', '"', '$', '[', ']']) && !before.contains("--")
            && !before.contains("/*") && balanced;
        if quiet {
            let seen = plan(sql.as_bytes(), &FACTS, Dialect::default());
            prop_assert!(seen.effect != Effect::Read, "{sql}");
        }
    }

    #[test]
    fn one_normal_form_means_one_plan(sql in sql_like(), number in 0u32..1000) {
        let other = sql.replace(['1', '2', '3'], &number.to_string());
        let (sql, other) = (sql.as_bytes(), other.as_bytes());
        let same = normal(sql).is_some_and(|form| Some(form) == normal(other));
        let dialect = Dialect::default();
        let plans = (plan(sql, &FACTS, dialect), plan(other, &FACTS, dialect));
        if same && plans.0.cacheable && plans.1.cacheable {
            prop_assert_eq!(plans.0, plans.1);
        }
    }
}
