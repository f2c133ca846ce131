//! Compares the placing and spreading of writes with golden/shards_writes.txt and
//! golden/unsupported_writes.txt; `UPDATE_GOLDEN=1` rewrites them, for review by hand.
//!
//! A case is a statement (`⏎` stands for a line break), perhaps `  $ value | value` with bound
//! parameters as text, and what becomes of it: `  = ` its placing, `  > ` its shards or, over
//! several, what they are sent.

use super::{Bound, Catalog, Choice, Placing, Values, choose, copy_plan, place, spread};
use crate::golden::{shards_facts, shards_map};
use crate::lexer::{Dialect, Lexer, Token};
use crate::planner::plan;
use std::fmt::Write;

fn literals(sql: &[u8]) -> Vec<Token> {
    let mut lexer = Lexer::new(sql, Dialect::default()).unwrap();
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
    let given: Option<Vec<Option<&[u8]>>> = parameters.map(|all| {
        all.split(" | ").map(|v| (v != "NULL").then_some(v.as_bytes())).collect()
    });
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
            Ok(plan) => writeln!(out, "  > {plan}").unwrap(),
            Err(refusal) => writeln!(out, "  > refused: {refusal}").unwrap(),
        }
        return out;
    }
    if matches!(placing, Placing::Refused(_) | Placing::On(_)) {
        return out;
    }
    match choose(&placing, catalog.map, &values) {
        Ok(Choice::Several(shards)) => match spread(&placing, &shards, catalog, &values) {
            Ok(spread) => writeln!(out, "  > {spread}").unwrap(),
            Err(refusal) => writeln!(out, "  > refused: {refusal}").unwrap(),
        },
        Ok(choice) => writeln!(out, "  > {choice}").unwrap(),
        Err(refusal) => writeln!(out, "  > refused: {refusal}").unwrap(),
    }
    out.replace('\n', "⏎").replace("⏎  > ", "\n  > ").trim_end_matches('⏎').to_string() + "\n"
}

#[allow(clippy::disallowed_methods)] // A test may look at its environment and its files.
fn check(file: &str, text: &str, refused: bool) {
    let (facts, map) = (shards_facts().unwrap(), shards_map().unwrap());
    let catalog = Catalog { map: &map, facts: &facts };
    let mut seen = String::new();
    let mut lines = text.lines().peekable();
    let (mut count, mut misplaced) = (0, String::new());
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            writeln!(seen, "{line}").unwrap();
            continue;
        }
        writeln!(seen, "{line}").unwrap();
        let parameters = lines.next_if(|line| line.starts_with("  $ "));
        if let Some(parameters) = parameters {
            writeln!(seen, "{parameters}").unwrap();
        }
        while lines.next_if(|line| line.starts_with("  = ") || line.starts_with("  > ")).is_some() {}
        let parameters = parameters.and_then(|line| line.get(4..));
        let observed = observe(&line.replace('⏎', "\n"), parameters, catalog);
        if observed.contains("refused: ") != refused {
            writeln!(misplaced, "{line}\n{observed}").unwrap();
        }
        seen.push_str(&observed);
        count += 1;
    }
    assert!(misplaced.is_empty(), "cases in the wrong file:\n{misplaced}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = format!("{}/golden/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, &seen).unwrap();
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
    check("shards_writes.txt", include_str!("../../golden/shards_writes.txt"), false);
}

#[test]
fn what_shards_cannot_write_is_refused() {
    check("unsupported_writes.txt", include_str!("../../golden/unsupported_writes.txt"), true);
}
