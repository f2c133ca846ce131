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
        ("select f /* x */ ( /* x */ a /* x */ , b)", "select f(a, b)"),
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
        ("select 1 /* x */; set x = 1", "select 1 /* x */; set x = 2"),
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

/// Runs of words are folded many bytes at once; each text here also reaches beyond that.
#[test]
fn runs_of_words() {
    let tail = " from a_rather_long_name where x";
    for (text, form) in [
        ("SELECT Abc Def", "select abc def"),
        ("SELECT Abc  Def", "select abc def"),
        ("SELECT Abc\tDef", "select abc def"),
        ("SELECT Abc 123 Def", "select abc \x01def"),
        ("SELECT Abc1 D2ef a$b $1", "select abc1 d2ef a$b $1"),
        ("SELECT Abcdef E'x' B'1'", "select abcdef \x04\x05"),
        ("SELECT Abcdef U&'x' N'1'", "select abcdef \x08\x07"),
        ("SELECT Abcdef e&f", "select abcdef e & f"),
        ("SELECT Abcdef u&f", "select abcdef u & f"),
        ("SELECT Abcdef ae'x'", "select abcdef ae \x03"),
        ("SELECT Abcdef d'x'", "select abcdef d \x03"),
        ("SELECT Abcdef\u{c9}\u{e9} \u{e9}X", "select abcdef\u{c9}\u{e9} \u{e9}x"),
        ("SELECT Abcdef \x7f [`{ X", "select abcdef \x7f [` { x"),
    ] {
        for end in ["", tail] {
            let spaced = match form.ends_with(|byte: char| byte.is_control()) {
                true => tail.trim_start(),
                false => tail,
            };
            let want = match end {
                "" => form.to_owned(),
                _ => format!("{form}{spaced}"),
            };
            assert_eq!(normal(&format!("{text}{end}")).trim_end(), want, "{text}{end}");
        }
    }
}

#[test]
fn every_split_of_a_run_gives_one_form() {
    let words = "SELECT abalance FROM Pgbench_Accounts WHERE aid AND Bid OR tidY IS NULL";
    let folded = words.to_ascii_lowercase();
    for cut in 0..words.len() {
        let (text, form) = (&words[cut..], &folded[cut..]);
        assert_eq!(normal(&format!("select a, {text}")), format!("select a ,{} ", form.trim()));
        let (text, form) = (&words[..cut], &folded[..cut]);
        assert_eq!(normal(text).trim_end(), form.trim_end());
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
