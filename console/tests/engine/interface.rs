//! What callers rely on: descriptions, parameters, names of schemas, functions of the session.

use crate::fixture::{Fixture, ask, engine, text, who};
use pgmanifold_console::engine::{Engine, EngineError, Limits, Parameters};
use pgmanifold_console::{Answer, Kind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn with(sql: &str, types: &[Option<Kind>], values: &[Option<&str>]) -> Result<Answer, EngineError> {
    let values: Vec<_> = values.iter().map(|value| value.map(str::to_owned)).collect();
    let parameters = Parameters { types, values: &values };
    let cancel = Arc::new(AtomicBool::new(false));
    engine(Limits::default()).select(sql, parameters, &Fixture, &who(), &cancel)
}

#[test]
fn a_statement_is_described_without_its_rows() {
    let engine = engine(Limits::default());
    let sql = "SELECT addr, count(*), sum(wait_us), avg(mean) FROM clients \
               WHERE port = $1 AND state = $2 AND wait_us > $3 AND tls = $4 GROUP BY addr";
    let described = engine.describe(sql, &[]).unwrap();
    let kinds: Vec<_> = described.columns.iter().map(|column| column.kind).collect();
    assert_eq!(kinds, [Kind::Text, Kind::Int8, Kind::Numeric, Kind::Float8]);
    assert_eq!(described.parameters, [Kind::Int4, Kind::Text, Kind::Int8, Kind::Bool]);
    let described = engine.describe("SELECT $2::int, $1", &[Some(Kind::Int8)]).unwrap();
    assert_eq!(described.parameters, [Kind::Int8, Kind::Int4]);
}

#[test]
fn parameters_have_the_types_of_their_places() {
    let answer = with("SELECT id FROM clients WHERE port = $1 ORDER BY id", &[], &[Some("5432")]);
    assert_eq!(text(&answer.unwrap()), ["1", "5"]);
    let answer = with(
        "SELECT id FROM clients WHERE state = ANY($1) ORDER BY 1",
        &[],
        &[Some("{idle,waiting}")],
    );
    assert_eq!(text(&answer.unwrap()), ["2", "3"]);
    let answer = with("SELECT $1 || 'x', $2::int + 1", &[], &[Some("a'b"), Some("41")]);
    assert_eq!(text(&answer.unwrap()), ["a'bx|42"]);
    let answer = with("SELECT count(*) FROM clients LIMIT $1", &[], &[Some("1")]);
    assert_eq!(text(&answer.unwrap()), ["6"]);
    let answer = with("SELECT $1::int IS NULL", &[], &[None]);
    assert_eq!(text(&answer.unwrap()), ["t"]);
    let answer =
        with("SELECT count(*) FROM clients WHERE id = $1", &[Some(Kind::Int8)], &[Some("2")]);
    assert_eq!(text(&answer.unwrap()), ["1"]);
    let error = with("SELECT id FROM clients WHERE port = $1", &[], &[Some("x")]).unwrap_err();
    assert_eq!(error.sqlstate, "22P02");
    assert_eq!(with("SELECT $1", &[], &[]).unwrap_err().sqlstate, "08P01");
}

#[test]
fn the_console_s_own_tables_are_there() {
    let engine = Engine::default();
    let cancel = Arc::new(AtomicBool::new(false));
    for sql in ["SELECT version FROM version", "TABLE version", "SELECT * FROM public.version"] {
        let answer = engine.select(sql, Parameters::default(), &Fixture, &who(), &cancel);
        assert_eq!(answer.unwrap().columns[0].name.as_ref(), "version");
    }
    for table in pgmanifold_console::tables::all() {
        let described = engine.describe(&format!("SELECT * FROM {}", table.name), &[]).unwrap();
        assert_eq!(described.columns.len(), table.columns.len(), "{}", table.name);
    }
}

#[test]
fn schemas_lead_to_the_same_tables() {
    for schema in ["public.", "pgm.", "main.", "pgmanifold.public.", ""] {
        let answer = ask(&format!("SELECT count(*) FROM {schema}clients")).unwrap();
        assert_eq!(text(&answer), ["6"]);
    }
    assert_eq!(ask("SELECT 1 FROM other.clients").unwrap_err().sqlstate, "42P01");
}

#[test]
fn the_session_is_known() {
    let sql = "SELECT current_user, session_user, user, current_database(), current_schema(), \
               pg_backend_pid(), version(), now(), pg_is_in_recovery(), current_timestamp, \
               pg_postmaster_start_time(), current_setting('server_version_num'), \
               has_table_privilege('clients', 'select'), has_table_privilege('clients', 'insert')";
    let expected = "admin|admin|admin|pgmanifold|public|77|pgmanifold 0.1.0|\
                    2026-11-22 17:59:06 UTC|f|2026-11-22 17:59:06 UTC|2026-11-18 11:06:40 UTC|150000|t|f";
    assert_eq!(text(&ask(sql).unwrap()), [expected]);
}

#[test]
fn times_are_texts_that_can_be_counted() {
    let sql = "SELECT id, extract(epoch from now()) - extract(epoch from connect_time), \
               date_trunc('hour', connect_time) FROM clients WHERE connect_time < now() ORDER BY id LIMIT 1";
    assert_eq!(text(&ask(sql).unwrap()), ["1|2725.000000|2026-11-22 17:00:00 UTC"]);
}

#[test]
fn errors_say_where() {
    let error = ask("SELECT prot FROM clients").unwrap_err();
    assert_eq!((error.sqlstate, error.position), ("42703", Some(8)));
    let error = ask("SELECT 1 FROM\n  clients WHERE port = = 1").unwrap_err();
    assert_eq!(error.sqlstate, "42601");
    assert_eq!(error.position, Some(38));
}
