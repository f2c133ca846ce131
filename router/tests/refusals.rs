//! docs/sharding.md names every construct that is refused, and none that is not: the slugs of the
//! document and those of the source are compared.

#![allow(clippy::disallowed_methods, reason = "a test may read the source tree")]

use std::collections::BTreeSet;
use std::path::Path;

/// What stands before a slug in the source. Helpers that make refusals take it first.
const MAKERS: &[&str] = &[
    "Refusal::new(",
    "refused(",
    "refuse(",
    "Rows::Whole(",
    "no_shard(",
    "reaches(",
    "misplaced(",
    ".construct =",
];

fn is_slug(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// All sources below a folder, without those of tests.
fn sources(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, all);
        } else if name.ends_with(".rs") && !name.contains("tests") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            all.push_str(&text[..end]);
        }
    }
}

fn in_source() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    sources(&root.join("src/sharding"), &mut text);
    sources(&root.join("../proxy/src/session"), &mut text);
    let mut found = BTreeSet::new();
    for maker in MAKERS {
        for (at, _) in text.match_indices(maker) {
            let rest = text[at + maker.len()..].trim_start();
            let word = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
            found.extend(word.map(|(word, _)| word.to_owned()).filter(|word| is_slug(word)));
        }
    }
    found
}

fn in_document() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sharding.md");
    let text = std::fs::read_to_string(path).expect("docs/sharding.md");
    let (_, text) = text.split_once("## What is refused").expect("its section");
    let last = |line: &str| line.trim_end_matches('|').rsplit('|').next().map(str::to_owned);
    let cells = text.lines().filter(|line| line.starts_with('|')).filter_map(last);
    let rest = text.lines().filter(|line| line.starts_with('`')).map(str::to_owned);
    let words = |cell: String| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    cells.chain(rest).flat_map(words).filter(|word| is_slug(word)).collect()
}

#[test]
fn the_document_names_every_refusal() {
    let (source, document) = (in_source(), in_document());
    assert!(source.len() > 50, "{source:?}");
    let missing: Vec<_> = source.difference(&document).collect();
    let gone: Vec<_> = document.difference(&source).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/sharding.md, \"What is refused\": not named {missing:?}; not in the source {gone:?}"
    );
}
