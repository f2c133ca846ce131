//! Lexer edge cases, each from PostgreSQL's scan.l or seen to be misread by other parsers.

use super::*;

fn lex(sql: &str) -> String {
    lex_in(sql, Dialect::default())
}

fn lex_in(sql: &str, dialect: Dialect) -> String {
    let mut lexer = match Lexer::new(sql.as_bytes(), dialect) {
        Ok(lexer) => lexer,
        Err(error) => return format!("error: {error}"),
    };
    let mut out = Vec::new();
    loop {
        match lexer.next_token() {
            Ok(Some(token)) => {
                let text = String::from_utf8_lossy(token.text(sql.as_bytes())).into_owned();
                out.push(format!("{:?}<{text}>", token.kind));
            }
            Ok(None) => return out.join(" "),
            Err(error) => return format!("error: {error}"),
        }
    }
}

fn check(sql: &str, expect: &str) {
    assert_eq!(lex(sql), expect, "for {sql:?}");
}

#[test]
fn words_and_identifiers() {
    check("a$b$c _x \u{e9}t\u{e9}", "Word<a$b$c> Word<_x> Word<\u{e9}t\u{e9}>");
    check(r#""a""b" "x y""#, r#"QuotedIdentifier<"a""b"> QuotedIdentifier<"x y">"#);
    check(r#"U&"d\0061t" u&"x""#, r#"UnicodeIdentifier<U&"d\0061t"> UnicodeIdentifier<u&"x">"#);
    check("u &\"x\"", "Word<u> Operator<&> QuotedIdentifier<\"x\">");
    check("e b n u x", "Word<e> Word<b> Word<n> Word<u> Word<x>");
    check("ex'a'", "Word<ex> String<'a'>");
    check("u'a'", "Word<u> String<'a'>");
    check("\"abc", "error: unterminated quoted identifier");
}

#[test]
fn strings() {
    check("'a''b'", "String<'a''b'>");
    check(r"'a\'", r"String<'a\'>");
    check(r"E'a\'b' e'\\'", r"EscapeString<E'a\'b'> EscapeString<e'\\'>");
    check(r"E'a\'", "error: unterminated quoted string");
    check(
        "B'01' x'1F' N'a' U&'\\0061'",
        concat!(
            "BitString<B'01'> HexString<x'1F'> NationalString<N'a'> ",
            "UnicodeString<U&'\\0061'>"
        ),
    );
    check("'a'\n'b' 'c' 'd'", "String<'a'\n'b'> String<'c'> String<'d'>");
    check("'a' -- x\n  'b'", "String<'a' -- x\n  'b'>");
    check("'a' -- x'\n - 'b'", "String<'a'> Operator<-> String<'b'>");
    check("'a' /* \n */ 'b'", "String<'a'> String<'b'>");
    check("E'a'\n'\\'b'", "EscapeString<E'a'\n'\\'b'>");
    check("'abc", "error: unterminated quoted string");
}

#[test]
fn strings_with_escapes_when_not_standard_conforming() {
    let off = Dialect { standard_conforming_strings: false, ..Dialect::default() };
    assert_eq!(lex_in(r"'a\'b'", off), r"String<'a\'b'>");
    assert_eq!(lex_in(r"N'a\'b'", off), r"NationalString<N'a\'b'>");
    assert_eq!(lex_in(r"'a\'; delete from t --'", off), r"String<'a\'; delete from t --'>");
}

#[test]
fn dollar_quotes() {
    check("$$a'b$$", "DollarString<$$a'b$$>");
    check("$a$ $b$ $$ $a$ x", "DollarString<$a$ $b$ $$ $a$> Word<x>");
    check("$1 $12AND", "Parameter<$1> Parameter<$12> Word<AND>");
    check("a$b$c$d", "Word<a$b$c$d>");
    check("1$$a$$", "Integer<1> DollarString<$$a$$>");
    check("$a b", "Other<$> Word<a> Word<b>");
    check("$A$ $a$ $A$", "DollarString<$A$ $a$ $A$>");
    check("$$a", "error: unterminated dollar-quoted string");
}

#[test]
fn numbers() {
    check(
        "1AND 1.5e10 .5 1. 1..10",
        concat!(
            "Integer<1> Word<AND> Number<1.5e10> Number<.5> Number<1.> ",
            "Integer<1> Colon<..> Integer<10>"
        ),
    );
    check(
        "1e 1e+ 1e+5 1.e5",
        "Integer<1> Word<e> Integer<1> Word<e> Operator<+> \
        Number<1e+5> Number<1.e5>",
    );
    check(
        "0x1F 0o17 0b101 1_000 0x_f",
        "Integer<0x1F> Integer<0o17> Integer<0b101> \
        Integer<1_000> Integer<0x_f>",
    );
    check(
        "0or 0between 0xg 1__0 1_",
        "Integer<0> Word<or> Integer<0> Word<between> \
        Integer<0> Word<xg> Integer<1> Word<__0> Integer<1> Word<_>",
    );
    check("a.1", "Word<a> Number<.1>");
}

#[test]
fn operators() {
    check("a=-5", "Word<a> Operator<=> Operator<-> Integer<5>");
    check("a@-5", "Word<a> Operator<@-> Integer<5>");
    check("a*-- x\n5", "Word<a> Operator<*> Integer<5>");
    check("a+/* x */-5", "Word<a> Operator<+> Operator<-> Integer<5>");
    check(
        "a<=b a<>b a->>'x'",
        "Word<a> Operator<<=> Word<b> Word<a> Operator<<>> Word<b> \
        Word<a> Operator<->>> String<'x'>",
    );
    check("- + -", "Operator<-> Operator<+> Operator<->");
    check("a+-+-b", "Word<a> Operator<+> Operator<-> Operator<+> Operator<-> Word<b>");
    check("a?|b", "Word<a> Operator<?|> Word<b>");
    check(
        "f(a=>1, b:=2) x::int a[1:2]",
        "Word<f> OpenParen<(> Word<a> Operator<=>> Integer<1> \
        Comma<,> Word<b> Colon<:=> Integer<2> CloseParen<)> Word<x> Colon<::> Word<int> Word<a> \
        OpenBracket<[> Integer<1> Colon<:> Integer<2> CloseBracket<]>",
    );
}

#[test]
fn comments() {
    check("a/* /* b */ c */d", "Word<a> Word<d>");
    check("a -- b\rc", "Word<a> Word<c>");
    check("/* pgm: primary */ x", "HintComment</* pgm: primary */> Word<x>");
    check("/*PGM:x*/", "HintComment</*PGM:x*/>");
    check("/* a", "error: unterminated comment");
    check("/*/", "error: unterminated comment");
    check(&"/*".repeat(2_000), "error: comments nested deeper than 1000");
}

#[test]
fn encodings() {
    let sjis = Dialect { encoding: Encoding::from_name("SJIS"), ..Dialect::default() };
    assert_eq!(lex_in("select 1", sjis), "Word<select> Integer<1>");
    assert!(lex_in("select '\u{e9}'", sjis).starts_with("error: non-ASCII"));
    for (name, expect) in [
        ("UTF8", Encoding::Utf8),
        ("utf-8", Encoding::Utf8),
        ("UNICODE", Encoding::Utf8),
        ("LATIN1", Encoding::HighBytes),
        ("WIN1252", Encoding::HighBytes),
        ("EUC_JP", Encoding::HighBytes),
        ("EUC_JIS_2004", Encoding::HighBytes),
        ("ISO_8859_5", Encoding::HighBytes),
        ("SQL_ASCII", Encoding::HighBytes),
        ("SHIFT_JIS_2004", Encoding::Unsafe),
        ("GBK", Encoding::Unsafe),
        ("WIN949", Encoding::Unsafe),
        ("klingon", Encoding::Unsafe),
    ] {
        assert_eq!(Encoding::from_name(name), expect, "{name}");
    }
}

#[test]
fn limits() {
    let long = " ".repeat(MAX_SQL_BYTES + 1);
    assert_eq!(lex(&long), "error: text longer than 8 MiB");
}
