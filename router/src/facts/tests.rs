//! How facts spread from rows to names, and what happens to rows that are none.

use super::*;
use crate::lexer::Dialect;
use crate::plan::Effect;
use crate::planner::plan;

fn read(facts: &Facts, sql: &str) -> bool {
    plan(sql.as_bytes(), facts, Dialect::default()).effect == Effect::Read
}

#[test]
fn overloads_by_schema_and_arguments() {
    let mut builder = FactsBuilder::new(7);
    for row in [
        ["a", "f", "1", "1", "i"],
        ["b", "f", "1", "2", "v"],
        ["a", "g", "1", "1", "s"],
        ["a", "g", "2", "2", "v"],
    ] {
        let [schema, name, min, max, volatility] = row.map(Some);
        let row = [schema, name, min, max, volatility, Some("f"), None];
        builder.add(FactKind::Functions, &row).unwrap();
    }
    let facts = builder.build();
    assert_eq!(facts.version(), 7);
    for (schema, name, arguments, expect) in [
        (None, "f", Some(1), Call::Volatile),
        (Some("a"), "f", Some(1), Call::Harmless),
        (Some("b"), "f", Some(1), Call::Volatile),
        (Some("c"), "f", Some(1), Call::Unknown),
        (None, "g", Some(1), Call::Harmless),
        (None, "g", Some(2), Call::Volatile),
        (None, "g", Some(3), Call::Volatile),
        (None, "g", None, Call::Volatile),
        (None, "h", Some(0), Call::Unknown),
    ] {
        assert_eq!(facts.call(schema, name, arguments), expect, "{schema:?} {name} {arguments:?}");
    }
}

#[test]
fn views_spread_through_chains_and_cycles() {
    let mut builder = FactsBuilder::with_builtin(1);
    let mut view = |name: &str, text: &str| {
        let row = [Some("public"), Some(name), Some(text)];
        builder.add(FactKind::Views, &row).unwrap();
    };
    view("v0", "select nextval('s')");
    for i in 1..2_000 {
        view(&format!("v{i}"), &format!("select * from v{}", i - 1));
    }
    view("loop_a", "select * from loop_b");
    view("loop_b", "select * from loop_a");
    view("bad_loop_a", "select * from bad_loop_b");
    view("bad_loop_b", "select * from bad_loop_a, v7");
    view("fine", "select now()");
    let facts = builder.build();
    for name in ["v0", "v1", "v1999", "bad_loop_a", "bad_loop_b"] {
        assert!(!read(&facts, &format!("select * from {name}")), "{name}");
    }
    for name in ["loop_a", "fine", "elsewhere"] {
        assert!(read(&facts, &format!("select * from {name}")), "{name}");
    }
}

#[test]
fn a_default_that_calls_a_function_with_a_volatile_default() {
    let mut builder = FactsBuilder::with_builtin(1);
    for (name, default) in [("f", "g()"), ("g", "nextval('s')"), ("h", "lower('X')")] {
        let row =
            [Some("a"), Some(name), Some("0"), Some("1"), Some("s"), Some("f"), Some(default)];
        builder.add(FactKind::Functions, &row).unwrap();
    }
    let facts = builder.build();
    assert!(!read(&facts, "select f()"));
    assert!(!read(&facts, "select g()"));
    assert!(read(&facts, "select h()"));
}

#[test]
fn what_is_implied_reaches_everything() {
    let mut builder = FactsBuilder::with_builtin(1);
    builder.add(FactKind::Operators, &[Some("a"), Some("="), Some("f")]).unwrap();
    assert!(!read(&builder.build(), "select 1"));
    let mut builder = FactsBuilder::with_builtin(1);
    builder.add(FactKind::Everywhere, &[Some("a cast calls volatile function f")]).unwrap();
    assert!(!read(&builder.build(), "select 1"));
}

#[test]
fn rows_that_are_none_are_refused() {
    let mut builder = FactsBuilder::new(1);
    for (kind, row, column) in [
        (FactKind::Functions, vec![], "schema"),
        (FactKind::Functions, vec![Some("a"), Some("f"), Some("x")], "min_args"),
        (FactKind::Views, vec![Some("a"), Some("v"), None], "definition"),
        (FactKind::Relations, vec![Some("a")], "reason"),
        (FactKind::Everywhere, vec![None], "reason"),
    ] {
        assert_eq!(builder.add(kind, &row), Err(FactsError { kind, column }));
    }
}

#[test]
fn queries_cover_every_kind() {
    for query in QUERIES {
        assert_eq!(FactKind::from_name(query.kind.as_str()), Some(query.kind));
        assert!(query.sql.contains("SELECT"));
    }
    assert_eq!(QUERIES.len(), 8);
}

#[test]
fn harmless_functions_only_in_postgres_own_schema() {
    let mut builder = FactsBuilder::with_builtin(1);
    let row = ["public", "timeofday", "0", "0", "v", "f"].map(Some);
    let row: Vec<_> = row.into_iter().chain([None]).collect();
    builder.add(FactKind::Functions, &row).unwrap();
    let facts = builder.build();
    assert!(!read(&facts, "select timeofday()"));
    assert!(read(&facts, "select pg_catalog.timeofday()"));
    assert!(read(&facts, "select clock_timestamp()"));
}

#[test]
fn what_functions_leave_behind_spreads_to_who_calls_them() {
    let mut builder = FactsBuilder::with_builtin(1);
    for (name, language, body) in [
        ("sets", "plpgsql", "begin perform set_config('my.var', '1', false); end"),
        ("calls", "sql", "select sets()"),
        ("round_a", "plpgsql", "begin perform round_b(); perform calls(); end"),
        ("round_b", "plpgsql", "begin perform round_a(); end"),
        ("from_view", "sql", "select n from locking"),
        ("unknown", "plpgsql", "begin perform set_config('my.' || 'x', '1', false); end"),
        ("plain", "sql", "select 1"),
        ("in_python", "plpython3u", "return 1"),
    ] {
        let row = ["public", name, language, body].map(Some);
        builder.add(FactKind::Bodies, &row).unwrap();
        let row = ["public", name, "0", "0", "s", "f"].map(Some);
        let row: Vec<_> = row.into_iter().chain([None]).collect();
        builder.add(FactKind::Functions, &row).unwrap();
    }
    let row = [Some("public"), Some("locking"), Some("select pg_advisory_lock(1) as n, sets()")];
    builder.add(FactKind::Views, &row).unwrap();
    let facts = builder.build();
    let session = |sql: &str| {
        let plan = plan(sql.as_bytes(), &facts, Dialect::default());
        let names = plan.session.setting_names.join(" ");
        (plan.effect == Effect::Read, plan.session.probes, names, plan.session.pin.is_some())
    };
    let touched = || (false, true, "my.var".to_string(), false);
    for call in ["sets()", "calls()", "round_a()", "round_b()", "from_view()"] {
        assert_eq!(session(&format!("select {call}")), touched(), "{call}");
    }
    assert_eq!(session("select * from locking"), touched());
    assert_eq!(session("do $$ begin perform calls(); end $$").2, "my.var");
    assert_eq!(session("select in_python()"), (false, true, String::new(), false));
    assert_eq!(session("select unknown()"), (false, true, String::new(), true));
    assert_eq!(session("select plain()"), (true, false, String::new(), false));
}
