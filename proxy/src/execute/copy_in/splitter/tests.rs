//! Data in pieces of every size, without servers; what servers make of it is compared elsewhere.

use super::*;
use pgmanifold_router::key::KeyType;
use pgmanifold_router::shard_map::MapParts;
use pgmanifold_router::sharding::CopyKey;
use proptest::prelude::*;

fn plan(format: CopyFormat, key: usize, ty: KeyType) -> CopyPlan {
    let csv = format == CopyFormat::Csv;
    CopyPlan {
        distribution: 0,
        keys: vec![CopyKey { at: key, ty }],
        columns: 2,
        format,
        delimiter: if csv { b',' } else { b'\t' },
        null: if csv { Box::default() } else { b"\\N".as_slice().into() },
        quote: b'"',
        escape: b'"',
        header: false,
    }
}

fn map(ty: KeyType) -> ShardMap {
    let parts = MapParts::new(&["s0", "s1", "s2"]).hash("d", &[ty]);
    ShardMap::build(parts).expect("a map")
}

/// What each shard is sent, or the error.
fn split(plan: &CopyPlan, pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, SqlError> {
    let map = map(plan.keys[0].ty);
    let mut splitter = Splitter::new(plan, &map, map.all(), (Encoding::Utf8, true, 1 << 20));
    for piece in pieces {
        splitter.take(piece)?;
    }
    splitter.finish()?;
    Ok(splitter.lanes.iter().map(|lane| payload(&lane.ready)).collect())
}

fn payload(mut messages: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(header) = crate::wire::frame::peek(messages) {
        assert_eq!(header.kind, b'd');
        all.extend_from_slice(&messages[5..header.total]);
        messages = &messages[header.total..];
    }
    assert!(messages.is_empty());
    all
}

fn shard(ty: KeyType, key: KeyValue) -> usize {
    usize::from(map(ty).shard_of(0, &[key]).expect("mapped").0)
}

fn text_shard(key: &str) -> usize {
    shard(KeyType::Text, KeyValue::Text(key.into()))
}

#[test]
fn keys_are_read_as_postgres_reads_them() {
    let text = plan(CopyFormat::Text, 1, KeyType::Text);
    for (line, key) in [
        (&b"1\tabc\n"[..], "abc"),
        (b"1\t\n", ""),
        (b"\\\t1\ta\\tb\\n\\r\\\\\\x41\\x4zz\\101\\0601\\q\\\n\n", "a\tb\n\r\\A\u{4}zzA01q\n"),
        (b"\\N\tx\\N\t3\n", "xN"),
    ] {
        let lanes = split(&text, &[line]).unwrap();
        assert_eq!(lanes[text_shard(key)], line, "{key:?}");
    }
    let csv = plan(CopyFormat::Csv, 1, KeyType::Text);
    for (line, key) in [
        (&b"1,abc\n"[..], "abc"),
        (b"\",\"\"\n\",\"a\"\"\n,\"b,c\n", "a\"\n,b"),
        (b"x\"y,\"z,\"\"\n", ""),
        (b",\" \"\"\"x\n", " \"x"),
    ] {
        let lanes = split(&csv, &[line]).unwrap();
        assert_eq!(lanes[text_shard(key)], line, "{key:?}");
    }
    let other = CopyPlan { escape: b'\\', delimiter: b';', ..csv };
    let line = b"1;\"a\\\"\n\\\\\\x\";2\n";
    assert_eq!(split(&other, &[line]).unwrap()[text_shard("a\"\n\\\\x")], line);
    let int = plan(CopyFormat::Text, 0, KeyType::Int8);
    assert_eq!(
        split(&int, &[b"-7\tx"]).unwrap()[shard(KeyType::Int8, KeyValue::Int(-7))],
        b"-7\tx"
    );
}

#[test]
fn rows_without_a_known_key_are_refused() {
    let text = plan(CopyFormat::Text, 1, KeyType::Int8);
    let csv = plan(CopyFormat::Csv, 1, KeyType::Int8);
    let binary = plan(CopyFormat::Binary, 0, KeyType::Int8);
    let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    let tuple = |rest: &[u8]| [&header[..], rest].concat();
    for (plan, data, code) in [
        (&text, b"1\t\\N\n".to_vec(), "PGM04"),
        (&text, b"1\n".to_vec(), "22P04"),
        (&text, b"1\tx\n".to_vec(), "PGM03"),
        (&text, b"1\t2\n3\t4\r\n".to_vec(), "22P04"),
        (&text, b"1\t2\r3\t4\n".to_vec(), "22P04"),
        (&text, b"1\t2\n3\\.\n".to_vec(), "22P04"),
        (&text, b"1\t2\n\\.x\n".to_vec(), "22P04"),
        (&csv, b"1,\n".to_vec(), "PGM04"),
        (&csv, b"1,\"\"\n".to_vec(), "PGM03"),
        (&csv, b"1,2\r\n3,4\n".to_vec(), "22P04"),
        (&binary, b"PGCOPX".to_vec(), "22P04"),
        (&binary, tuple(b"\0\x03"), "22P04"),
        (&binary, tuple(b"\0\x02\0\0\0\x08\0\0"), "22P04"),
        (&binary, tuple(b"\0\x02\xff\xff\xff\xff\xff\xff\xff\xff"), "PGM04"),
        (&binary, tuple(b"\xff\xff\0"), "22P04"),
    ] {
        let error = split(plan, &[&data]).expect_err("refused");
        assert_eq!(error.sqlstate, code, "{error} for {data:?}");
    }
    let parts = MapParts::new(&["s0"]).list("d", KeyType::Int8, &[(KeyValue::Int(1), "s0")]);
    let map = ShardMap::build(parts).expect("a map");
    let mut splitter = Splitter::new(&text, &map, map.all(), (Encoding::Utf8, true, 100));
    splitter.take(b"x\t1\n").unwrap();
    assert_eq!(splitter.take(b"x\t2\n").expect_err("nobody has it").sqlstate, "PGM04");
    let mut splitter = Splitter::new(&text, &map, map.all(), (Encoding::Utf8, true, 100));
    assert_eq!(splitter.take(&[b'x'; 101]).expect_err("endless").sqlstate, "54000");
}

#[test]
fn headers_go_to_all_and_the_end_is_seen() {
    let mut csv = plan(CopyFormat::Csv, 0, KeyType::Text);
    csv.header = true;
    let lanes = split(&csv, &[b"\"k\n\",v\na,1\n\\.\nb,2\n"]).unwrap();
    for (number, lane) in lanes.iter().enumerate() {
        let rows: &[u8] = if number == text_shard("a") { b"a,1\n" } else { b"" };
        assert_eq!(*lane, [b"\"k\n\",v\n", rows].concat());
    }
    let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02ab";
    let row = b"\0\x02\0\0\0\x08\0\0\0\0\0\0\0\x05\xff\xff\xff\xff";
    let data = [&header[..], row, b"\xff\xff"].concat();
    let binary = plan(CopyFormat::Binary, 0, KeyType::Int8);
    for (number, lane) in split(&binary, &[&data]).unwrap().iter().enumerate() {
        let own = number == shard(KeyType::Int8, KeyValue::Int(5));
        assert_eq!(*lane, [&header[..], if own { &row[..] } else { b"" }, b"\xff\xff"].concat());
    }
}

/// Data made of what matters to the formats.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "a", "b", "17", "\t", ",", "\n", "\n", "\\n", "\\", "\"", "\"\"", "\r\n", "\r", "\\.", "é",
    ]);
    proptest::collection::vec(token, 0..30).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pieces_make_no_difference(data in data(), borders: Vec<prop::sample::Index>, csv: bool) {
        let format = if csv { CopyFormat::Csv } else { CopyFormat::Text };
        let mut plan = plan(format, 0, KeyType::Text);
        plan.null = b"17".as_slice().into();
        let mut borders: Vec<usize> = borders.iter().map(|at| at.index(data.len() + 1)).collect();
        borders.sort_unstable();
        let mut pieces = Vec::new();
        let mut rest = &data[..];
        for at in borders {
            let (piece, tail) = rest.split_at(at - (data.len() - rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        pieces.push(rest);
        let whole = split(&plan, &[&data]);
        prop_assert_eq!(&split(&plan, &pieces), &whole);
        let bytes: Vec<&[u8]> = data.chunks(1).collect();
        prop_assert_eq!(&split(&plan, &bytes), &whole);
        if let Ok(lanes) = whole {
            // Every row is somewhere, once: lanes hold all bytes up to the end.
            let mut sent = lanes.concat();
            let end = [&b"\\.\n"[..], b"\\.\r"].iter().filter_map(|end| {
                data.windows(3).position(|found| found == *end)
            }).min().unwrap_or(data.len());
            let mut all = data.clone();
            if sent.len() != all.len() {
                prop_assert!(sent.len() >= end, "rows are missing");
                all.truncate(sent.len());
            }
            sent.sort_unstable();
            all.sort_unstable();
            prop_assert_eq!(sent, all);
        }
    }

    #[test]
    fn tuples_are_cut_at_any_border(
        keys in proptest::collection::vec((any::<i64>(), 0..40_usize), 0..20),
        piece in 1..30_usize,
    ) {
        let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        let header = data.clone();
        let mut expected = vec![header.clone(), header.clone(), header];
        for (key, bytes) in &keys {
            let mut row = b"\0\x02\0\0\0\x08".to_vec();
            row.extend(key.to_be_bytes());
            row.extend((*bytes as u32).to_be_bytes());
            row.extend(vec![0xff; *bytes]);
            expected[shard(KeyType::Int8, KeyValue::Int(*key))].extend_from_slice(&row);
            data.extend(row);
        }
        data.extend([0xff, 0xff]);
        expected.iter_mut().for_each(|lane| lane.extend([0xff, 0xff]));
        let plan = plan(CopyFormat::Binary, 0, KeyType::Int8);
        let pieces: Vec<&[u8]> = data.chunks(piece).collect();
        prop_assert_eq!(split(&plan, &pieces).unwrap(), expected);
    }
}
