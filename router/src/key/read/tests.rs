//! Values as servers read them; `tests/e2e/shards/hash.rs` compares with real ones.

use super::*;

fn literal(ty: KeyType, kind: TokenKind, text: &str) -> Reading {
    read_literal(ty, kind, text, false)
}

fn int(number: i64) -> Reading {
    Reading::Value(KeyValue::Int(number))
}

fn text(text: &str) -> Reading {
    Reading::Value(KeyValue::Text(text.into()))
}

#[test]
fn bare_integers_have_their_value_whatever_the_column() {
    for ty in [KeyType::Int2, KeyType::Int4, KeyType::Int8] {
        assert_eq!(literal(ty, TokenKind::Integer, "100000"), int(100_000));
        assert_eq!(read_literal(ty, TokenKind::Integer, "007", true), int(-7));
        let least = read_literal(ty, TokenKind::Integer, "9223372036854775808", true);
        assert_eq!(least, int(i64::MIN));
    }
    for wrong in ["9223372036854775808", "0x1F", "1_000", "99999999999999999999", ""] {
        assert_eq!(literal(KeyType::Int8, TokenKind::Integer, wrong), Reading::Unknown, "{wrong}");
    }
    assert_eq!(literal(KeyType::Text, TokenKind::Integer, "5"), Reading::Unknown);
    assert_eq!(literal(KeyType::Int8, TokenKind::Number, "5.0"), Reading::Unknown);
    assert_eq!(read_literal(KeyType::Int8, TokenKind::String, "5", true), Reading::Unknown);
}

#[test]
fn quoted_integers_are_read_in_the_range_of_the_column() {
    for (given, number) in [("5", 5), (" \t-5\n", -5), ("+5", 5), ("00", 0), ("-0", 0)] {
        assert_eq!(literal(KeyType::Int2, TokenKind::String, given), int(number), "{given}");
    }
    assert_eq!(literal(KeyType::Int4, TokenKind::String, "32768"), int(32_768));
    assert_eq!(literal(KeyType::Int2, TokenKind::String, "32768"), Reading::Unknown);
    assert_eq!(literal(KeyType::Int4, TokenKind::String, "2147483648"), Reading::Unknown);
    for wrong in ["", " ", "-", "- 5", "5 5", "5.0", "1e3", "0x5", "\u{a0}5", "five", "--5"] {
        assert_eq!(literal(KeyType::Int8, TokenKind::String, wrong), Reading::Unknown, "{wrong:?}");
    }
}

#[test]
fn text_is_what_it_is_unless_its_column_may_cut_it() {
    assert_eq!(literal(KeyType::Text, TokenKind::String, "a "), text("a "));
    assert_eq!(literal(KeyType::Varchar, TokenKind::DollarString, " a"), text(" a"));
    assert_eq!(literal(KeyType::Varchar, TokenKind::String, "a "), Reading::Unknown);
    assert_eq!(literal(KeyType::Text, TokenKind::NationalString, "a"), Reading::Unknown);
    assert_eq!(literal(KeyType::Text, TokenKind::BitString, "1"), Reading::Unknown);
}

#[test]
fn uuids_are_read_in_every_spelling() {
    let uuid = Reading::Value(KeyValue::Uuid(
        *b"\xa0\xee\xbc\x99\x9c\x0b\x4e\xf8\xbb\x6d\x6b\xb9\xbd\x38\x0a\x11",
    ));
    for given in [
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
        "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11",
        "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
    ] {
        assert_eq!(literal(KeyType::Uuid, TokenKind::String, given), uuid, "{given}");
    }
    for wrong in [
        "",
        "{}",
        "{",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
        " a0eebc999c0b4ef8bb6d6bb9bd380a11",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11-",
        "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
        "a0-eebc999c0b4ef8bb6d6bb9bd380a11",
        "a0eebc99--9c0b4ef8bb6d6bb9bd380a11",
        "a0eebc999c0b4ef8bb6d6bb9bd380a111",
        "g0eebc999c0b4ef8bb6d6bb9bd380a11",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11}",
    ] {
        assert_eq!(literal(KeyType::Uuid, TokenKind::String, wrong), Reading::Unknown, "{wrong}");
    }
}

#[test]
fn bytea_is_read_in_both_forms() {
    let cases: [(&str, &[u8]); 8] = [
        ("\\x", b""),
        ("\\x00fF", b"\x00\xff"),
        ("\\x 00 \n ff ", b"\x00\xff"),
        ("", b""),
        ("abc", b"abc"),
        ("a\\\\b\\000\\377", b"a\\b\x00\xff"),
        ("x00", b"x00"),
        ("\u{e9}", b"\xc3\xa9"),
    ];
    for (given, bytes) in cases {
        let expected = Reading::Value(KeyValue::Bytea(bytes.into()));
        assert_eq!(literal(KeyType::Bytea, TokenKind::String, given), expected, "{given:?}");
    }
    for wrong in ["\\x0", "\\x0 0", "\\xg0", "\\X00", "\\", "\\400", "\\12", "a\\b"] {
        assert_eq!(literal(KeyType::Bytea, TokenKind::String, wrong), Reading::Unknown, "{wrong}");
    }
}

#[test]
fn parameters_are_read_by_their_declared_type() {
    let read = |ty, oid, format, value: &[u8]| {
        read_parameter(ty, oid, format, Some(value), Encoding::Utf8)
    };
    assert_eq!(read_parameter(KeyType::Int8, 600, 1, None, Encoding::Utf8), Reading::Null);
    for oid in [0, 20, 705] {
        assert_eq!(read(KeyType::Int8, oid, 0, b" -5 "), int(-5));
        assert_eq!(read(KeyType::Int8, oid, 1, &(-5_i64).to_be_bytes()), int(-5));
    }
    assert_eq!(read(KeyType::Int2, 20, 0, b"100000"), int(100_000), "compared as int8");
    assert_eq!(read(KeyType::Int2, 0, 0, b"100000"), Reading::Unknown);
    assert_eq!(read(KeyType::Int8, 21, 0, b"100000"), Reading::Unknown);
    assert_eq!(read(KeyType::Int8, 23, 1, &7_i32.to_be_bytes()), int(7));
    assert_eq!(read(KeyType::Int8, 0, 1, &(-7_i16).to_be_bytes()), int(-7));
    assert_eq!(read(KeyType::Int8, 23, 1, &7_i64.to_be_bytes()), Reading::Unknown);
    assert_eq!(read(KeyType::Int8, 0, 1, b"123"), Reading::Unknown);
    for oid in [1700, 25, 26, 701, 1043] {
        assert_eq!(read(KeyType::Int8, oid, 0, b"5"), Reading::Unknown, "{oid}");
    }
    assert_eq!(read(KeyType::Int8, 20, 2, b"5"), Reading::Unknown, "no such format");

    for (oid, format) in [(0, 0), (25, 1), (1043, 0)] {
        assert_eq!(read(KeyType::Text, oid, format, b"a "), text("a "));
        assert_eq!(read(KeyType::Varchar, oid, format, b"a "), Reading::Unknown);
        assert_eq!(read(KeyType::Varchar, oid, format, b"a"), text("a"));
    }
    for oid in [1042, 19, 18, 17, 23] {
        assert_eq!(read(KeyType::Text, oid, 0, b"a"), Reading::Unknown, "{oid}");
    }
    assert_eq!(read(KeyType::Text, 25, 0, b"\xff"), Reading::Unknown);
    assert_eq!(read(KeyType::Text, 25, 1, b"a\0"), Reading::Unknown);

    let uuid = Reading::Value(KeyValue::Uuid([0x11; 16]));
    assert_eq!(read(KeyType::Uuid, 2950, 1, &[0x11; 16]), uuid);
    assert_eq!(read(KeyType::Uuid, 0, 0, &b"1".repeat(32)), uuid);
    assert_eq!(read(KeyType::Uuid, 0, 1, &[0x11; 15]), Reading::Unknown);
    let bytes = Reading::Value(KeyValue::Bytea(b"\\x41".as_slice().into()));
    assert_eq!(read(KeyType::Bytea, 17, 1, b"\\x41"), bytes);
    assert_eq!(read(KeyType::Bytea, 17, 0, b"\\x5c783431"), bytes);
    let date = Reading::Value(KeyValue::Date(366));
    assert_eq!(read(KeyType::Date, 1082, 1, &366_i32.to_be_bytes()), date);
    assert_eq!(read(KeyType::Date, 0, 0, b"2001-01-01"), date);
    assert_eq!(read(KeyType::Date, 1184, 1, &0_i64.to_be_bytes()), Reading::Unknown);
    let moment = Reading::Value(KeyValue::Timestamptz(-1));
    assert_eq!(read(KeyType::Timestamptz, 1184, 1, &(-1_i64).to_be_bytes()), moment);
    assert_eq!(read(KeyType::Timestamptz, 0, 0, b"1999-12-31 23:59:59.999999Z"), moment);
    assert_eq!(read(KeyType::Timestamptz, 1114, 1, &0_i64.to_be_bytes()), Reading::Unknown);
}

#[test]
fn text_in_another_encoding_is_read_when_it_is_ascii() {
    for encoding in [Encoding::HighBytes, Encoding::Unsafe] {
        let read = |value: &[u8]| read_parameter(KeyType::Text, 25, 0, Some(value), encoding);
        assert_eq!(read(b"a"), text("a"));
        assert_eq!(read("\u{e9}".as_bytes()), Reading::Unknown);
    }
}

#[test]
fn types_have_their_names_and_no_others() {
    for ty in [
        KeyType::Int2,
        KeyType::Int4,
        KeyType::Int8,
        KeyType::Text,
        KeyType::Varchar,
        KeyType::Uuid,
        KeyType::Bytea,
        KeyType::Date,
        KeyType::Timestamptz,
    ] {
        assert_eq!(KeyType::from_name(&ty.to_string()), Some(ty));
    }
    assert_eq!(KeyType::from_name("character varying(20)"), Some(KeyType::Varchar));
    assert_eq!(KeyType::from_name("timestamp with time zone"), Some(KeyType::Timestamptz));
    for wrong in [
        "timestamp(3) with time zone",
        "timestamptz(3)",
        "char(3)",
        "character(3)",
        "bpchar",
        "numeric",
        "timestamp without time zone",
        "citext",
        "text[]",
        "int4(3)",
        "varchar(x)",
        "name",
        "",
    ] {
        assert_eq!(KeyType::from_name(wrong), None, "{wrong}");
    }
}

#[test]
fn values_become_text_and_values_again() {
    let values = [
        (KeyType::Int8, KeyValue::Int(i64::MIN)),
        (KeyType::Varchar, KeyValue::Text("a ' \u{e9} ".into())),
        (KeyType::Uuid, KeyValue::Uuid(*b"0123456789abcdef")),
        (KeyType::Bytea, KeyValue::Bytea(b"\\x\x00\xff".as_slice().into())),
        (KeyType::Date, KeyValue::Date(i32::MIN)),
        (KeyType::Date, KeyValue::Date(-1)),
        (KeyType::Timestamptz, KeyValue::Timestamptz(i64::MAX)),
        (KeyType::Timestamptz, KeyValue::Timestamptz(-1_000_001)),
    ];
    for (ty, value) in values {
        let text = value.to_text().unwrap();
        assert_eq!(KeyValue::from_text(ty, &text), Some(value.clone()), "{text}");
        assert!(value.is_of(ty));
    }
    assert_eq!(KeyValue::Date(i32::MAX - 1).to_text(), None);
}
