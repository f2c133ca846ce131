//! What the normal form keeps, what it drops, and what it must never mix up.

use super::*;

fn normal(sql: &str) -> String {
    let mut scan = Scan::new(7);
    scan.scan(sql.as_bytes(), Dialect::default()).unwrap();
    String::from_utf8_lossy(scan.normal()).into_owned()
}

#[test]
fn same_form() {
    for (one, other) in [
        ("select 1", "SELECT   2 -- x"),
        ("select a from t where b = 'x'", "select A\nfrom/* c */T where B='it''s'"),
        ("select 1 /* trace=1 */", "select 1 /* trace=2 */"),
        ("insert into t values (1, 'a')", "INSERT INTO t VALUES(22,'bb')"),
        ("select a . b", "select a.b"),
    ] {
        assert_eq!(normal(one), normal(other));
    }
}

#[test]
fn different_form() {
    for (one, other) in [
        ("select 1", "select 1.0"),
        ("select 1", "select '1'"),
        ("select 'a'", "select E'a'"),
        ("select 'a'", "select $$a$$"),
        ("select b'1'", "select x'1'"),
        ("select a b", "select ab"),
        ("select a", "select \"a\""),
        ("select \"a\" \"b\"", "select \"a\"\"b\""),
        ("select - - 1", "select -- 1"),
        ("select a - 1", "select a -1 - 1"),
        ("select $1", "select $2"),
        ("set x = 1", "set x = 2"),
        ("select 1; set x = 1", "select 1; set x = 2"),
        ("explain select 1", "explain select 2"),
        ("select 1", "/* pgm: primary */ select 1"),
        ("/* pgm: replica */ select 1", "/* pgm: primary */ select 1"),
        ("select 1", "select 1 /* pgm: primary */"),
        ("select 'a' 'b'", "select 'a'\n'b'"),
        ("select U&\"a\"", "select U&\"b\""),
    ] {
        assert_ne!(normal(one), normal(other), "{one} | {other}");
    }
}

#[test]
fn exact_form_and_spans() {
    let mut scan = Scan::new(7);
    let sql = b"(SELECT f(x.y, 'a') + .5::Int; Show \"A\")";
    scan.scan(sql, Dialect::default()).unwrap();
    assert_eq!(scan.normal(), b"(select f (x .y ,\x03)+ \x02:: int ;show \"A\" )");
    let texts: Vec<_> = scan.literals().iter().map(|token| token.text(sql)).collect();
    assert_eq!(texts, [b"'a'".as_slice(), b".5"]);
    assert!(scan.cacheable());
}

#[test]
fn limits_and_odd_bytes_are_not_cached() {
    let mut scan = Scan::new(7);
    let dialect = Dialect::default();
    let list = format!("select 1 in ({}1)", "1,".repeat(MAX_LITERALS));
    scan.scan(list.as_bytes(), dialect).unwrap();
    assert!(!scan.cacheable());
    let wide = format!("select {}", "a,".repeat(MAX_NORMAL_BYTES));
    scan.scan(wide.as_bytes(), dialect).unwrap();
    assert!(!scan.cacheable());
    let word = "a".repeat(MAX_NORMAL_BYTES);
    scan.scan(word.as_bytes(), dialect).unwrap();
    assert!(!scan.cacheable());
    scan.scan(b"select \x01", dialect).unwrap();
    assert!(!scan.cacheable());
    assert_eq!(scan.scan(b"select '", dialect), Err(ScanError::UnterminatedString));
    assert!(!scan.cacheable());
    scan.scan(b"select 1", dialect).unwrap();
    assert!(scan.cacheable());
}

#[test]
fn the_seed_changes_the_hash() {
    let hash = |seed| {
        let mut scan = Scan::new(seed);
        scan.scan(b"select 1", Dialect::default()).unwrap();
        scan.hash()
    };
    assert_ne!(hash(1), hash(2));
    assert_eq!(hash(1), hash(1));
}
