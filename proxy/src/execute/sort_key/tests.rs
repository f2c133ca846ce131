//! Keys of made-up records; the order of every type is compared with PostgreSQL's elsewhere.

use super::*;
use proptest::prelude::*;

fn record(values: &[(u32, Option<&[u8]>)]) -> Vec<u8> {
    let mut record = (values.len() as u32).to_be_bytes().to_vec();
    for (oid, value) in values {
        record.extend(oid.to_be_bytes());
        record.extend(value.map_or(-1, |value| value.len() as i32).to_be_bytes());
        record.extend_from_slice(value.unwrap_or_default());
    }
    record.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

fn reader(keys: &[(bool, bool)]) -> KeyReader {
    let key = |&(descending, nulls_first)| SortKey { descending, nulls_first, byte_order: true };
    KeyReader::new(&keys.iter().map(key).collect::<Vec<_>>(), true)
}

fn read(reader: &mut KeyReader, values: &[(u32, Option<&[u8]>)]) -> Result<Vec<u8>, KeyFault> {
    let mut key = Vec::new();
    reader.read(&record(values), &mut key).map(|()| key)
}

#[test]
fn what_is_no_key_is_refused() {
    let one = || reader(&[(false, false)]);
    assert_eq!(read(&mut one(), &[(1042, Some(b"a"))]), Err(KeyFault::Type(1042)));
    assert_eq!(read(&mut one(), &[(16_400, None)]), Err(KeyFault::Type(16_400)));
    assert_eq!(read(&mut one(), &[(INT4, Some(b"\0\0\0"))]), Err(KeyFault::Malformed));
    assert_eq!(read(&mut one(), &[(TEXT, Some(b"a\0b"))]), Err(KeyFault::Malformed));
    assert_eq!(read(&mut one(), &[]), Err(KeyFault::Malformed));
    assert_eq!(read(&mut one(), &[(INT4, None), (INT4, None)]), Err(KeyFault::Malformed));
    let mut collated = one();
    collated.keys[0].byte_order = false;
    assert_eq!(read(&mut collated, &[(VARCHAR, None)]), Err(KeyFault::Collation));
    let mut same = one();
    assert!(read(&mut same, &[(INT4, None)]).is_ok());
    assert_eq!(read(&mut same, &[(INT8, None)]), Err(KeyFault::Malformed), "another type");
    let mut foreign = KeyReader::new(&reader(&[(false, false)]).keys, false);
    assert_eq!(read(&mut foreign, &[(TEXT, Some(b"a"))]), Err(KeyFault::Encoding));
    assert!(read(&mut foreign, &[(INT4, None)]).is_ok());
    let mut key = Vec::new();
    for text in [&b"0"[..], b"0g", b"", b"\0\0"] {
        assert_eq!(one().read(text, &mut key), Err(KeyFault::Malformed), "{text:?}");
    }
    let whole = record(&[(TEXT, Some(b"abc"))]);
    for length in 0..whole.len() {
        assert!(one().read(&whole[..length], &mut key).is_err(), "{length}");
    }
}

#[test]
fn an_earlier_column_decides_before_a_later_one() {
    let values = [None, Some(&b""[..]), Some(b"\0"), Some(b"a"), Some(b"a\0"), Some(b"ab")];
    for descending in [false, true] {
        let mut reader = reader(&[(descending, false), (false, false)]);
        let mut keys = Vec::new();
        for value in values {
            for next in [b"\0", b"\xff"] {
                let key = read(&mut reader, &[(BYTEA, value), (BOOL, Some(next))]).unwrap();
                keys.push((value, next, key));
            }
        }
        keys.sort_by(|one, other| one.2.cmp(&other.2));
        let mut expected: Vec<_> =
            values.into_iter().flat_map(|value| [b"\0", b"\xff"].map(|n| (value, n))).collect();
        expected.sort_by(|one, other| {
            let values = (one.0.unwrap_or_default()).cmp(other.0.unwrap_or_default());
            let values = if descending { values.reverse() } else { values };
            (one.0.is_none().cmp(&other.0.is_none())).then(values).then(one.1.cmp(other.1))
        });
        let found: Vec<_> = keys.iter().map(|key| (key.0, key.1)).collect();
        assert_eq!(found, expected);
    }
}

proptest! {
    #[test]
    fn numbers_keep_their_order(one: i64, other: i64, x: f64, y: f64, u: Vec<u8>, v: Vec<u8>) {
        let mut reader = reader(&[(false, false)]);
        let mut order = |oid, one: &[u8], other: &[u8]| {
            reader.types.clear();
            let one = read(&mut reader, &[(oid, Some(one))]).unwrap();
            one.cmp(&read(&mut reader, &[(oid, Some(other))]).unwrap())
        };
        prop_assert_eq!(order(INT8, &one.to_be_bytes(), &other.to_be_bytes()), one.cmp(&other));
        if let Some(expected) = x.partial_cmp(&y) {
            prop_assert_eq!(order(FLOAT8, &x.to_be_bytes(), &y.to_be_bytes()), expected);
        }
        prop_assert_eq!(order(BYTEA, &u, &v), u.cmp(&v));
    }

    #[test]
    fn any_bytes_are_read_or_refused(helper: Vec<u8>, record: Vec<u8>) {
        let mut key = Vec::new();
        let _ = reader(&[(false, false), (true, true)]).read(&helper, &mut key);
        let hex = record.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes();
        let _ = reader(&[(false, false)]).read(&hex, &mut key);
        let _ = put_numeric(&mut key, &record);
    }
}
