//! What golden files cannot show: sizes, dialects, and the parts of a plan behind its first line.

use super::*;
use crate::golden;
use crate::hint::Role;
use crate::lexer::{Encoding, MAX_SQL_BYTES};
use crate::plan::Transaction;

fn with(sql: &str, dialect: Dialect) -> Plan {
    plan(sql.as_bytes(), &golden::facts().unwrap(), dialect)
}

fn of(sql: &str) -> Plan {
    with(sql, Dialect::default())
}

#[test]
fn long_chains_and_deep_nesting_need_no_stack() {
    // A small stack: anything recursive along its input would overflow it.
    let run = || {
        for (sql, effect) in [
            (format!("select {}1", "1+".repeat(40_000)), Effect::Read),
            (format!("select 1{}", "::int".repeat(40_000)), Effect::Read),
            (format!("select 1{}", " union select 1".repeat(20_000)), Effect::Read),
            (format!("select true{}", " or true".repeat(20_000)), Effect::Read),
            (format!("select {}1{}", "(".repeat(9_000), ")".repeat(9_000)), Effect::Read),
            (format!("select {}1{}", "f_i(".repeat(9_000), ")".repeat(9_000)), Effect::Read),
            (format!("select {}1{}", "f_v(".repeat(9_000), ")".repeat(9_000)), Effect::Write),
            (format!("{}select 1", "explain analyze ".repeat(9_000)), Effect::Write),
            (format!("select {}1", "- ".repeat(40_000)), Effect::Read),
            ("select 1;".repeat(20_000), Effect::Read),
        ] {
            assert_eq!(of(&sql).effect, effect, "{}", &sql[..40]);
        }
    };
    #[allow(clippy::disallowed_methods)]
    std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn beyond_a_limit_a_text_may_have_done_anything() {
    for (sql, reason) in [
        (" ".repeat(MAX_SQL_BYTES + 1), "text longer than 8 MiB"),
        ("(".repeat(MAX_DEPTH + 1), "brackets nested deeper than 10000"),
        ("+ ".repeat(MAX_OPERATORS + 1), "more than 500000 operators"),
        (",".repeat(MAX_TOKENS + 1), "more than 2000000 tokens"),
        ("/*".repeat(1_001), "comments nested deeper than 1000"),
    ] {
        let plan = of(&sql);
        assert_eq!((plan.effect, &*plan.reason), (Effect::Unknown, reason));
        assert_eq!(plan.session.pin, Some(PinReason::Unclassified));
        assert!(plan.session.settings && plan.has_transaction_control && !plan.cacheable);
    }
    let rejected = of("select '");
    assert_eq!((rejected.effect, rejected.session.pin), (Effect::Unknown, None));
}

#[test]
fn dialects() {
    let off = Dialect { standard_conforming_strings: false, ..Dialect::default() };
    let hidden = r"select 'a\'; delete from t; --'";
    assert_eq!(of(hidden).effect, Effect::Write);
    assert_eq!(with(hidden, off).effect, Effect::Read);
    assert_eq!(with(r"select 'a\\'; delete from t; --'", off).effect, Effect::Write);

    let latin = Dialect { encoding: Encoding::HighBytes, ..Dialect::default() };
    assert_eq!(with("select 'é'", latin).effect, Effect::Read);
    assert_eq!(with("select é from t", latin).effect, Effect::Write);
    assert_eq!(of("select é from t").effect, Effect::Read);
    let sjis = Dialect { encoding: Encoding::Unsafe, ..Dialect::default() };
    let plan = with("select 'é'", sjis);
    assert_eq!((plan.effect, plan.session.pin), (Effect::Unknown, Some(PinReason::Unclassified)));
    assert_eq!(with("select 1", sjis).effect, Effect::Read);
}

#[test]
fn bytes_that_are_no_text() {
    let facts = golden::facts().unwrap();
    let invalid = plan(b"select \xff\xfe from t", &facts, Dialect::default());
    assert_eq!(invalid.effect, Effect::Write);
    assert_eq!(plan(b"select \x01", &facts, Dialect::default()).effect, Effect::Write);
}

#[test]
fn long_names_are_cut_as_the_server_cuts_them() {
    // 62 letters and a two-byte one: the server drops the whole of that one.
    let name = format!("{}é", "a".repeat(62));
    let cut = identifier(
        format!("\"{name}\"").as_bytes(),
        &crate::lexer::Token {
            kind: crate::lexer::TokenKind::QuotedIdentifier,
            start: 0,
            end: name.len() as u32 + 2,
        },
    )
    .unwrap()
    .into_owned();
    assert_eq!(cut, "a".repeat(62));
}

#[test]
fn hints() {
    let plan = of("/* pgm: role=replica, causality='user:42' */ select 1");
    assert_eq!(plan.hints.role, Some(Role::Replica));
    assert_eq!(plan.hints.causality.as_deref(), Some("user:42"));
    assert_eq!(of("select/*pgm:primary*/1").hints.role, Some(Role::Primary));
    let both = of("/* pgm: primary */ select /* pgm: max_lag=5 */ 1");
    assert_eq!((both.hints.role, both.hints.max_lag_ms), (Some(Role::Primary), Some(5)));
    for (sql, error) in [
        ("/* pgm: fast */ select 1", "unknown hint \"fast\""),
        ("/* pgm: primary */ select /* pgm: replica */ 1", "hint \"role\" given twice"),
        (
            "select 1 /* pgm: primary */",
            "a hint must stand before or right after the first keyword",
        ),
    ] {
        let plan = of(sql);
        assert_eq!(plan.hint_error.as_deref(), Some(error));
        assert_eq!(plan.hints, Hints::default());
    }
}

#[test]
fn several_statements_add_up() {
    let plan = of("set a.b = 1; listen x; create temp table y (id int); select currval('counter')");
    assert_eq!(plan.statements, 4);
    assert_eq!(plan.effect, Effect::Ddl);
    assert_eq!(plan.session.pin, Some(PinReason::Listen));
    assert_eq!(plan.session.setting_names, ["a.b".into()]);
    assert!(plan.session.sequence_state);
    let plan = of("begin read only; select 1; commit");
    assert!(plan.has_transaction_control);
    assert_eq!(plan.transaction, None);
    let plan = of("begin read only");
    assert_eq!(plan.transaction, Some(Transaction::Begin { read_only: true, serializable: false }));
    assert!(!plan.has_transaction_control);
}

#[test]
fn without_a_server_only_the_users_functions_are_unknown() {
    let facts = Facts::builtin();
    let effect = |sql: &str| plan(sql.as_bytes(), &facts, Dialect::default()).effect;
    assert_eq!(effect("select lower(b), now() from t"), Effect::Read);
    assert_eq!(effect("select nextval('s')"), Effect::Write);
    assert_eq!(effect("select my_function(1)"), Effect::Write);
}

#[test]
fn plans_print_as_one_line() {
    assert_eq!(of("select 1").to_string(), "read: reads only");
    assert_eq!(
        of("listen x").to_string(),
        "session: listens to a channel; pins the session (listen)"
    );
    assert_eq!(
        of("/* pgm: x */ select nextval('s')").to_string(),
        "write: calls volatile function nextval; bad hint: unknown hint \"x\""
    );
}
