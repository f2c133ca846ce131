//! Values in both formats, as PostgreSQL's own clients read them.

use super::*;

fn binary(kind: Kind, value: Value) -> Option<Vec<u8>> {
    let mut out = BytesMut::new();
    put_binary(&mut out, kind, &value)?;
    Some(out.to_vec())
}

fn numeric(text: &str) -> Vec<i16> {
    let bytes = binary(Kind::Numeric, text.into()).expect(text);
    bytes.chunks(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]])).collect()
}

#[test]
fn numerics_to_the_base_10000() {
    // Read off `SELECT numeric_send(…)`.
    assert_eq!(numeric("0"), [0, 0, 0, 0]);
    assert_eq!(numeric("0.00"), [0, 0, 0, 2]);
    assert_eq!(numeric("1"), [1, 0, 0, 0, 1]);
    assert_eq!(numeric("-12345678"), [2, 1, 0x4000, 0, 1234, 5678]);
    assert_eq!(numeric("120000"), [1, 1, 0, 0, 12]);
    assert_eq!(numeric("0.00012"), [2, -1, 0, 5, 1, 2000]);
    assert_eq!(numeric("-0.5"), [1, -1, 0x4000, 1, 5000]);
    assert_eq!(numeric("10.25"), [2, 0, 0, 2, 10, 2500]);
    for wrong in ["", "-", "1e5", ".5", "1.x", "+1"] {
        assert_eq!(binary(Kind::Numeric, wrong.into()), None, "{wrong}");
    }
}

#[test]
fn whole_numbers_and_booleans() {
    assert_eq!(binary(Kind::Int4, Value::Int(-2)), Some(vec![255, 255, 255, 254]));
    assert_eq!(binary(Kind::Int4, Value::Int(1 << 40)), Some(vec![127, 255, 255, 255]));
    assert_eq!(binary(Kind::Int8, Value::Float(3.0)), Some(vec![0, 0, 0, 0, 0, 0, 0, 3]));
    assert_eq!(binary(Kind::Int8, Value::Float(3.5)), None);
    assert_eq!(binary(Kind::Int8, "x".into()), None);
    assert_eq!(binary(Kind::Bool, Value::Bool(true)), Some(vec![1]));
    assert_eq!(binary(Kind::Bool, Value::Int(0)), Some(vec![0]));
    assert_eq!(binary(Kind::Float8, Value::Int(1)), Some(1f64.to_be_bytes().to_vec()));
}

#[test]
fn a_value_that_does_not_fit_leaves_no_half_row() {
    let column = OutColumn { name: "n".into(), kind: Kind::Int8 };
    let formats = Formats::new(vec![1]).expect("known codes");
    let mut out = BytesMut::from("before");
    let error = put_row(&mut out, &[column], &["x".into()], &formats).expect_err("no number");
    assert_eq!(error.sqlstate, "22P03");
    assert_eq!(&out[..], b"before");
}

#[test]
fn rows_of_text() {
    let columns = [Kind::Int4, Kind::Float8, Kind::Bool, Kind::Text];
    let columns = columns.map(|kind| OutColumn { name: "c".into(), kind });
    let row = [Value::Int(1 << 40), Value::Float(f64::INFINITY), Value::Int(1), Value::Null];
    let mut out = BytesMut::new();
    put_row(&mut out, &columns, &row, &Formats::default()).expect("fits");
    let expected = b"\0\x04\0\0\0\x0a2147483647\0\0\0\x08Infinity\0\0\0\x01t\xff\xff\xff\xff";
    assert_eq!(&out[5..], expected);
    assert_eq!(crate::wire::frame::peek(&out).expect("a header").total, out.len());
}
