//! Owns hand-written cases: reading them from files, running them on both sides, and comparing
//! their outcomes with what the files say. The form is described in `cases/shards/README.md`.

use super::compare::{Check, Order, Verdict};
use super::pair::Pair;
use super::request::{Call, Parameter, Request, binary, oid};
use super::{shop, tables};
use crate::shards::Shards;
use pgmanifold::config::model::Address;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// What the file says of its outcome, and the line where it says so.
    pub golden: (String, usize),
    /// Whether whole tables are compared afterwards.
    tables: bool,
    steps: Vec<Step>,
}

/// One request of a case.
#[derive(Debug, Clone)]
struct Step {
    check: Check,
    action: Action,
}

#[derive(Debug, Clone)]
enum Action {
    Ask(Request),
    /// COPY … FROM STDIN of what the oracle copies out for a query.
    CopyOf(String, String),
}

/// Reads a file of cases.
///
/// # Panics
/// When a line means nothing.
pub fn read(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut check = Check::default();
    for (number, line) in joined(text) {
        let (kind, rest) = line.split_at(line.len().min(1));
        let rest = rest.trim_start();
        if kind == "=" {
            let (golden, steps) = ((String::new(), number), Vec::new());
            cases.push(Case { name: rest.into(), golden, tables: true, steps });
            continue;
        }
        let case = cases.last_mut().expect("a case begins with `=`");
        match kind {
            ">" => case.golden = (rest.into(), number),
            "!" => case.tables &= rest != "tables off",
            "~" => directive(&mut check, rest),
            "d" => match &mut case.steps.last_mut().expect("data follow a COPY").action {
                Action::Ask(Request::CopyIn(_, data)) => {
                    data.extend_from_slice(unescape(rest).as_bytes());
                    data.push(b'\n');
                }
                _ => panic!("line {number}: data without COPY"),
            },
            _ => {
                let action = action(kind, rest);
                let check = std::mem::take(&mut check).for_sql(rest);
                case.steps.push(Step { check, action });
            }
        }
    }
    cases
}

/// Lines without comments, with continuations (two spaces) joined to them.
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match line.strip_prefix("  ") {
            Some(more) => {
                let last = &mut lines.last_mut().expect("something to continue").1;
                *last += "\n";
                *last += more;
            }
            None if line.is_empty() || line.starts_with('#') => {}
            None => lines.push((number, line.into())),
        }
    }
    lines
}

fn directive(check: &mut Check, text: &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word {
        "sequence" => check.order = Order::Sequence,
        "count" => check.order = Order::Count,
        "runs" => check.order = Order::Runs,
        "loose" => check.loose = true,
        "within" => check.within = Some(rest.into()),
        "keys" => {
            let keys = rest.split(' ').map(|key| key.parse::<usize>().expect("a column") - 1);
            check.order = Order::Keys(keys.collect());
        }
        _ => panic!("no such check: {text}"),
    }
}

fn action(kind: &str, text: &str) -> Action {
    let (sql, values) = text.rsplit_once(" <- ").unwrap_or((text, ""));
    let call = |parameters: Vec<Parameter>, binary_results| Call {
        sql: Some(sql.into()),
        parameters,
        binary_results,
        ..Call::default()
    };
    let values = |declare: bool, encode: bool| -> Vec<Parameter> {
        let values = values.split(';').map(str::trim).filter(|value| !value.is_empty());
        values.map(|value| parameter(value, declare, encode)).collect()
    };
    Action::Ask(match kind {
        "Q" => Request::Simple(text.into()),
        "I" => Request::CopyIn(text.into(), Vec::new()),
        "C" => return Action::CopyOf(sql.into(), text[sql.len() + 4..].into()),
        "X" => Request::Call(call(values(false, false), false)),
        "T" => Request::Call(Call { describe: true, ..call(values(true, false), false) }),
        "B" => Request::Call(Call { describe: true, ..call(values(true, true), true) }),
        "b" => Request::Call(call(values(false, true), true)),
        "N" => {
            let call = call(values(false, false), false);
            Request::Call(Call { name: "named".into(), describe: true, ..call })
        }
        "n" => {
            let call = call(values(false, false), false);
            Request::Call(Call { name: "named".into(), sql: None, ..call })
        }
        "E" => Request::Call(Call { row_limit: 2, ..call(values(false, false), false) }),
        _ => panic!("no such step: {kind} {text}"),
    })
}

/// `NULL`, `value` or `type:value`.
fn parameter(text: &str, declare: bool, encode: bool) -> Parameter {
    let (kind, text) = match text.split_once(':') {
        Some((kind, value)) if oid(kind) > 0 => (kind, value),
        _ => ("", text),
    };
    let declared = if declare { oid(kind) } else { 0 };
    let binary_value = || binary(kind, text).unwrap_or_else(|| panic!("no binary {kind}:{text}"));
    let value = match text {
        "NULL" => None,
        _ if encode => Some(binary_value()),
        _ => Some(text.into()),
    };
    Parameter { declared, binary: encode, value }
}

/// `\t`, `\r` and `\\` are what they are in Rust; any other backslash stays.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let escaped = match rest.peek() {
            Some('t') if c == '\\' => Some('\t'),
            Some('r') if c == '\\' => Some('\r'),
            Some('\\') if c == '\\' => Some('\\'),
            _ => None,
        };
        if escaped.is_some() {
            rest.next();
        }
        plain.push(escaped.unwrap_or(c));
    }
    plain
}

/// What a case showed.
enum Outcome {
    /// What would stand in the file.
    Golden(String),
    Fault(String),
}

/// Runs the cases of a file; returns its text with the outcomes there were, and what is wrong.
///
/// # Panics
/// When servers do not answer.
pub async fn run(
    shards: &Shards,
    front: &Address,
    name: &str,
    text: &str,
) -> (String, Vec<String>) {
    shop::fill(shards);
    let names = shop::tables();
    let fresh = tables::compare(shards, &names).expect("the tables begin equal");
    let mut pair = Pair::new(shards, front).await;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (mut faults, mut counts) = (Vec::new(), BTreeMap::<String, u32>::new());
    let chosen = std::env::var("PGM_CASE").ok();
    let cases = read(text);
    for case in &cases {
        if chosen.as_ref().is_some_and(|part| !case.name.contains(part.as_str())) {
            continue;
        }
        let mut outcome = run_case(&mut pair, case).await;
        pair.reconnect().await;
        let compared = match case.tables {
            true => tables::compare(shards, &names),
            false => tables::compare_copies(shards, &names).map(|()| Vec::new()),
        };
        if let Err(what) = &compared {
            outcome = Outcome::Fault(match outcome {
                Outcome::Golden(_) => what.clone(),
                Outcome::Fault(first) => first + what,
            });
        }
        if compared != Ok(fresh.clone()) {
            shop::reset(shards);
        }
        match outcome {
            Outcome::Golden(found) => {
                let (golden, line) = &case.golden;
                let kind = found.split(':').next().unwrap_or_default();
                let kind = if kind == "refused" { found.clone() } else { "right".into() };
                *counts.entry(kind).or_default() += 1;
                if found != *golden {
                    faults.push(format!("- {}: {found:?}, not {golden:?}", case.name));
                }
                if !golden.is_empty() {
                    lines[*line] = format!("> {found}");
                } else {
                    lines[*line] += &format!("\n> {found}");
                }
            }
            Outcome::Fault(what) => {
                *counts.entry("WRONG".into()).or_default() += 1;
                faults.push(format!("- {}: WRONG: {what}", case.name));
            }
        }
    }
    let mut line = format!("{name}: {} cases", counts.values().sum::<u32>());
    for (what, count) in &counts {
        let _ = write!(line, ", {count} {what}");
    }
    println!("{line}");
    (lines.join("\n") + "\n", faults)
}

async fn run_case(pair: &mut Pair<'_>, case: &Case) -> Outcome {
    let mut errors = String::new();
    for step in &case.steps {
        let request = match &step.action {
            Action::Ask(request) => request.clone(),
            Action::CopyOf(sql, query) => {
                let lower = sql.to_ascii_lowercase();
                let at = lower.find("stdin").expect("COPY FROM STDIN") + "stdin".len();
                Request::CopyIn(sql.clone(), pair.copy_of(query, &sql[at..]).await)
            }
        };
        match pair.step(&request, &step.check).await {
            Verdict::Right(None) => {}
            Verdict::Right(Some(state)) => {
                let _ = write!(errors, " {state}");
            }
            Verdict::Refused(construct) => {
                pair.roll_back().await;
                return Outcome::Golden(format!("refused: {construct}"));
            }
            Verdict::Different(what) => {
                return Outcome::Fault(format!("{}\n  {what}", request.text()));
            }
        }
    }
    Outcome::Golden(format!("right{errors}"))
}
