//! Compares plans and routes with golden/effects.txt; `UPDATE_GOLDEN=1` rewrites that file.
//! Review every changed line by hand: no write may ever be expected to be a read.

use pgmanifold_router::golden::{self, Case};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

#[allow(clippy::disallowed_methods)] // A test may look at its environment and its files.
fn update(text: &str) -> bool {
    let wanted = std::env::var_os("UPDATE_GOLDEN").is_some();
    if wanted {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/effects.txt");
        std::fs::write(path, text).unwrap();
    }
    wanted
}

fn observe(case: &Case, facts: &pgmanifold_router::facts::Facts) -> Case {
    let mut seen = golden::observe(case.line, &case.sql, facts);
    if Parser::parse_sql(&PostgreSqlDialect {}, &case.sql).is_err() {
        seen.flags.push(golden::UNPARSED.to_string());
    }
    seen
}

#[test]
fn effects() {
    let facts = golden::facts().unwrap();
    let cases = golden::cases(golden::EFFECTS);
    let seen: Vec<Case> = cases.iter().map(|case| observe(case, &facts)).collect();
    let mut text = String::new();
    let mut at = 0;
    for (index, line) in golden::EFFECTS.lines().enumerate() {
        if line.starts_with("  = ") {
            continue;
        }
        text.push_str(line);
        text.push('\n');
        if seen.get(at).is_some_and(|case| case.line == index + 1) {
            text.push_str(&seen[at].expectation());
            text.push('\n');
            at += 1;
        }
    }
    if update(&text) {
        return;
    }
    let mut differences = String::new();
    for (case, seen) in cases.iter().zip(&seen) {
        if case != seen {
            differences.push_str(&format!(
                "line {}: {}\n- {}\n+ {}\n",
                case.line,
                case.sql,
                case.expectation().trim(),
                seen.expectation().trim()
            ));
        }
    }
    assert!(differences.is_empty(), "plans differ from golden/effects.txt:\n{differences}");
}

#[test]
fn the_table_is_large_and_varied() {
    let cases = golden::cases(golden::EFFECTS);
    assert!(cases.len() >= 350, "{} cases", cases.len());
    let unparsed = cases.iter().filter(|case| case.has(golden::UNPARSED)).count();
    assert!(unparsed >= 40, "{unparsed} statements that sqlparser cannot parse");
    let reads = cases.iter().filter(|case| case.effect == "read").count();
    assert!(reads >= 100, "{reads} reads");
    for effect in ["write", "ddl", "transaction", "session", "copy", "unknown"] {
        assert!(cases.iter().any(|case| case.effect == effect), "no case of {effect}");
    }
}

#[test]
fn only_reads_go_to_replicas() {
    for case in golden::cases(golden::EFFECTS) {
        assert!(case.target == "primary" || case.effect == "read", "line {}", case.line);
    }
}
