//! The hand-written cases of tests/cases/shards: every one is right, or refused as its file says.
//!
//! `UPDATE_CASES=1` writes the outcomes into the files, to be reviewed. `PGM_CASE=text` runs the
//! cases whose names contain the text. `PGM_ORACLE_SELF=1` runs without the proxy against another
//! plain server, which tests the cases themselves.

use pgmanifold_tests::driver::root;
use pgmanifold_tests::oracle::{cases, shop};
use pgmanifold_tests::shards::Shards;
use pgmanifold_tests::shards::layout::Layout;

/// Longest run of one file.
const LIMIT_S: u64 = 300;

fn file(name: &str) {
    let alone = std::env::var_os("PGM_ORACLE_SELF").is_some();
    let path = root().join("tests/cases/shards").join(name).with_extension("txt");
    let text = std::fs::read_to_string(&path).expect("a file of cases");
    pgmanifold_tests::run(LIMIT_S, async {
        // Where nothing is sharded, the first shard has everything.
        let layout = if alone { Layout::new() } else { shop::layout() };
        let mut options = shop::options(&format!("cases_{name}"), layout);
        options.without_proxy = alone;
        let shards = Shards::start(options, |config| config).await;
        let front = if alone { shards.shard(0).address() } else { shards.address.clone() };
        let (renewed, faults) = cases::run(&shards, &front, name, &text).await;
        let update = std::env::var_os("UPDATE_CASES").is_some() && !alone;
        if update {
            std::fs::write(&path, renewed).expect("the file is written");
        }
        let faults: Vec<String> = if update {
            faults.into_iter().filter(|fault| fault.contains("WRONG")).collect()
        } else if alone {
            faults.into_iter().filter(|fault| !fault.contains("\"right\", not")).collect()
        } else {
            faults
        };
        assert!(faults.is_empty(), "{} of {name}:\n{}", faults.len(), faults.join("\n"));
    });
}

macro_rules! files {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                file(stringify!($name));
            }
        )*
    };
}

files! {
    aggregates,
    changes,
    copy,
    cursors,
    ddl,
    inserts,
    joins,
    key_types,
    limits,
    ordering,
    reads_writes,
    several,
    shapes,
    upserts,
    which_shard,
}
