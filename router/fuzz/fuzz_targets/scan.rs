//! Lexer and fingerprint: no panic, spans in bounds, and both agree on what a text is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgmanifold_router::fingerprint::Scan;
use pgmanifold_router::lexer::{Dialect, Encoding, Lexer};

fuzz_target!(|data: &[u8]| {
    let Some((&flags, sql)) = data.split_first() else { return };
    let encodings = [Encoding::Utf8, Encoding::HighBytes, Encoding::Unsafe];
    let dialect = Dialect {
        standard_conforming_strings: flags & 1 == 0,
        encoding: encodings[usize::from(flags >> 1) % 3],
    };
    let mut scan = Scan::new(1);
    let scanned = scan.scan(sql, dialect);
    for token in scan.literals() {
        assert!(token.start < token.end && token.end as usize <= sql.len());
    }
    let Ok(mut lexer) = Lexer::new(sql, dialect) else {
        assert!(scanned.is_err());
        return;
    };
    let mut last = 0;
    let mut literals = 0;
    let complete = loop {
        match lexer.next_token() {
            Ok(Some(token)) => {
                assert!(last <= token.start && token.start < token.end);
                assert!(token.end as usize <= sql.len());
                last = token.end;
                literals += usize::from(token.kind.is_literal());
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // A scan may stop before the error when the text outgrows the cache's limits.
    if scan.cacheable() {
        assert_eq!(complete, Ok(()));
        assert!(scan.literals().len() <= literals);
        // The normal form of equal texts is equal, also when the scratch is dirty.
        let (hash, normal) = (scan.hash(), scan.normal().to_vec());
        scan.scan(sql, dialect).unwrap();
        assert_eq!((hash, normal.as_slice()), (scan.hash(), scan.normal()));
    } else if complete.is_ok() {
        assert!(scanned.is_ok());
    }
});
