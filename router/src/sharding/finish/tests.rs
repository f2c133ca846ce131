//! What shards and the finishing server are sent, from `golden/finish.txt`.

use super::{Finished, Merge, finish};
use crate::facts::FactsBuilder;
use crate::lexer::Dialect;
use crate::planner::Text;
use crate::sharding::query;
use std::fmt::Write;

const CASES: &str = include_str!("../../../golden/finish.txt");
const FACTS: &str = include_str!("../../../golden/shards_facts.txt");

/// One line each: what shards are sent, what the finishing server is sent (`␀` for the next array,
/// `␁n` for the type of a column), what its columns may be; or why not.
fn observed(sql: &str) -> String {
    let mut builder = FactsBuilder::with_builtin(0);
    crate::golden::add_dump(&mut builder, FACTS).expect("facts");
    let facts = builder.build();
    let text = Text::read(sql.as_bytes(), Dialect::default()).expect("tokens");
    let query = query::read(&text, 0..text.len()).expect("a query");
    let line = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).replace('\0', "␀").replace('\u{1}', "␁");
        let readable = text.chars().map(|c| if c < ' ' { char::from(c as u8 + b'0') } else { c });
        readable
            .collect::<String>()
            .split(' ')
            .filter(|w| !w.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    };
    match finish(&text, &query, facts.schema(), Some(9)) {
        Ok(Finished { part, merge: Merge::Finish { sql, columns, .. }, .. }) => {
            let sql: Vec<u8> =
                sql.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
            let part: Vec<u8> =
                part.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
            format!("  < {}\n  > {}\n  = {columns:?}\n", line(&part), line(&sql))
        }
        Ok(_) => "  ! another merge\n".to_owned(),
        Err(refusal) => {
            format!("  ! {}: {}\n", refusal.construct, refusal.detail.unwrap_or_default())
        }
    }
}

#[test]
fn statements_are_as_in_the_golden_file() {
    let mut renewed = String::new();
    for line in CASES.lines().filter(|line| !line.starts_with("  ")) {
        writeln!(renewed, "{line}").expect("writes to memory");
        if !line.is_empty() && !line.starts_with('#') {
            renewed.push_str(&observed(line));
        }
    }
    println!("{renewed}");
    assert!(renewed == CASES, "the output above differs from golden/finish.txt");
}
