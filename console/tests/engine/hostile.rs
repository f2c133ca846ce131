//! Statements that would harm: each ends by a limit, in time.

use crate::fixture::{Fixture, MEMORY, ask, ask_within, engine, who};
use pgmanifold_console::engine::{Limits, Parameters};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

fn refused_within(sql: &str, sqlstates: &[&str], seconds: u64) {
    let _alone = MEMORY.write().unwrap_or_else(PoisonError::into_inner);
    let begun = Instant::now();
    let shown: String = sql.chars().take(200).collect();
    let limits = Limits { time: Duration::from_secs(2), ..Limits::default() };
    let error = ask_within(sql, limits).expect_err(&shown);
    assert!(sqlstates.contains(&error.sqlstate), "{shown}: {error} {:?}", error.detail);
    assert!(begun.elapsed() < Duration::from_secs(seconds), "{shown}: {:?}", begun.elapsed());
}

#[test]
fn depth_is_limited_before_anything_recurses() {
    refused_within(&format!("SELECT {}1{}", "(".repeat(9_000), ")".repeat(9_000)), &["54001"], 5);
    refused_within(&format!("SELECT {}1", "NOT ".repeat(9_000)), &["54001"], 5);
    refused_within(&format!("SELECT {}1", "- ".repeat(20_000)), &["54001"], 5);
    refused_within(&format!("SELECT 1{}", "+1".repeat(20_000)), &["54001"], 5);
    refused_within(&format!("SELECT 1{}", "+1".repeat(1_900)), &["54001"], 5);
    refused_within(&format!("SELECT {}1", "NOT ".repeat(1_900)), &["54001", "42601"], 5);
    refused_within(&format!("SELECT 1{}", " UNION SELECT 1".repeat(3_000)), &["54001"], 5);
    refused_within(&format!("SELECT 1{}", " UNION SELECT 1".repeat(600)), &["54001"], 5);
    refused_within(
        &format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(900), " END".repeat(900)),
        &["54001"],
        5,
    );
    refused_within(&format!("SELECT {}", "[".repeat(9_000)), &["54001"], 5);
    refused_within(&format!("SELECT 1{}", "::text".repeat(1_500)), &["54001"], 5);
    refused_within(&format!("SELECT '{}'", "x".repeat(70_000)), &["54000"], 5);
}

#[test]
fn what_is_long_but_flat_is_answered() {
    let list = vec!["'10.0.0.1'"; 5_000].join(", ");
    assert!(ask(&format!("SELECT count(*) FROM clients WHERE addr IN ({list})")).is_ok());
    let list = vec!["port"; 500].join(", ");
    assert!(ask(&format!("SELECT {list} FROM clients")).is_ok());
    assert!(ask(&format!("SELECT 1{}", "+1".repeat(150))).is_ok());
}

#[test]
fn time_is_limited() {
    let cross =
        "SELECT count(*) FROM pg_attribute a, pg_attribute b, pg_attribute c, pg_attribute d";
    refused_within(cross, &["57014"], 10);
    let endless =
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT count(*) FROM n";
    refused_within(endless, &["57014", "54000"], 10);
    let like = "SELECT repeat('a', 900000) LIKE '%' || repeat('a', 30000) || 'b'";
    refused_within(like, &["57014", "54000"], 10);
}

#[test]
fn memory_is_limited() {
    let grow = "WITH RECURSIVE n(x) AS (SELECT repeat('x', 100000) UNION ALL \
                SELECT x || '' FROM n) SELECT max(length(m.x)) FROM n, n AS m";
    refused_within(grow, &["57014", "54000"], 10);
    let sorted = "SELECT a.attname, repeat('x', 1000) AS y FROM pg_attribute a, pg_attribute b \
                  ORDER BY y, 1 LIMIT 1";
    let begun = Instant::now();
    let _ = ask_within(sorted, Limits { time: Duration::from_secs(2), ..Limits::default() });
    assert!(begun.elapsed() < Duration::from_secs(10));
    refused_within("SELECT repeat('x', 2000000)", &["54000"], 5);
    let doubled = (0..30)
        .fold("repeat('x', 1000)".to_owned(), |text, _| format!("replace({text}, 'x', 'xx')"));
    refused_within(&format!("SELECT {doubled}"), &["54000"], 5);
    refused_within("SELECT string_agg(repeat('x', 10000), '') FROM pg_attribute", &["54000"], 5);
    refused_within("SELECT * FROM generate_series(1, 1000000000)", &["54000"], 5);
}

#[test]
fn rows_are_limited() {
    refused_within("SELECT a.attnum FROM pg_attribute a, pg_attribute b", &["54000"], 10);
    refused_within("SELECT repeat('x', 100000) FROM pg_attribute", &["54000"], 10);
}

#[test]
fn a_long_statement_can_be_cancelled() {
    let cancel = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancel);
    let timer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        flag.store(true, Ordering::Relaxed);
    });
    let sql = "SELECT count(*) FROM pg_attribute a, pg_attribute b, pg_attribute c";
    let answer =
        engine(Limits::default()).select(sql, Parameters::default(), &Fixture, &who(), &cancel);
    timer.join().unwrap();
    let error = answer.unwrap_err();
    assert_eq!(error.to_string(), "57014: canceling statement due to user request");
}

#[test]
fn nothing_is_written_and_no_file_is_reached() {
    for sql in [
        "INSERT INTO clients VALUES (1)",
        "UPDATE clients SET port = 1",
        "DELETE FROM clients",
        "DROP TABLE clients",
        "CREATE TABLE x (a int)",
        "CREATE TABLE x AS SELECT 1",
        "SELECT * INTO x FROM clients",
        "WITH gone AS (DELETE FROM clients RETURNING *) SELECT * FROM gone",
        "ATTACH DATABASE '/tmp/x' AS x",
        "PRAGMA database_list",
        "VACUUM",
        "SELECT load_extension('x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('/tmp/x', 'y')",
        "SELECT * FROM sqlite_master",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM pragma_table_info('t0')",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY clients TO '/tmp/x'",
        "EXPLAIN SELECT 1",
        "SELECT 1; SELECT 2",
        "BEGIN",
    ] {
        let error = ask(sql).expect_err(sql);
        assert!(matches!(error.sqlstate, "0A000" | "42601" | "42P01" | "42883"), "{sql}: {error}");
    }
}

#[test]
fn names_and_texts_of_users_do_not_become_sql() {
    for name in ["a\"b", "x'y", "1);DROP TABLE t0;--", "o1", "r1", "c1", "select"] {
        let quoted = name.replace('"', "\"\"");
        let sql = format!(
            "SELECT \"{quoted}\".\"{quoted}\" FROM \
             (SELECT port AS \"{quoted}\" FROM clients) \"{quoted}\" \
             ORDER BY \"{quoted}\""
        );
        assert_eq!(ask(&sql).expect(name).rows.len(), 6);
        let text = name.replace('\'', "''");
        let answer = ask(&format!("SELECT '{text}' AS a, '{text}' = '{text}'")).expect(name);
        assert_eq!(answer.rows[0][0].to_string(), name);
    }
    assert_eq!(ask("SELECT \"nothing\" FROM clients").unwrap_err().sqlstate, "42703");
}
