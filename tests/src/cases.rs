//! Owns the reading of protocol case files: text into flights of messages. The form is described
//! at the top of `tests/e2e/protocol_cases.txt`.

use crate::raw;

/// One case: flights that are each answered completely before the next is sent.
#[derive(Debug, Clone)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// SQLSTATE with which the proxy may refuse the rest of the case.
    pub refusable: Option<String>,
    /// Text of its flights, still with `$T`.
    flights: Vec<(Vec<String>, Option<usize>)>,
}

/// Messages sent at once.
#[derive(Debug)]
pub struct Flight {
    /// As they go over the wire.
    pub bytes: Vec<u8>,
    /// ReadyForQuery to expect.
    pub syncs: usize,
    /// Their text.
    pub text: String,
}

/// Reads all cases of a file.
///
/// # Panics
/// When the file has a line that means nothing.
pub fn read(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(name) = line.strip_prefix("= ") {
            let (name, refusable) = match name.split_once(" ~ ") {
                Some((name, state)) => (name, Some(state.to_owned())),
                None => (name, None),
            };
            let flights = vec![(Vec::new(), None)];
            cases.push(Case { name: name.into(), refusable, flights });
            continue;
        }
        let case = cases.last_mut().expect("a case begins with `=`");
        let flight = case.flights.last_mut().expect("invariant: one flight at least");
        match line.strip_prefix("---") {
            Some(syncs) => {
                flight.1 = syncs.trim().parse().ok();
                case.flights.push((Vec::new(), None));
            }
            None => flight.0.push(line.into()),
        }
    }
    cases
}

impl Case {
    /// The messages, with `table` in the place of `$T`.
    pub fn flights(&self, table: &str) -> Vec<Flight> {
        let flights = self.flights.iter().filter(|(lines, _)| !lines.is_empty());
        flights
            .map(|(lines, syncs)| {
                let answered = |line: &&String| matches!(line.as_bytes()[0], b'Q' | b'S' | b'F');
                let counted = lines.iter().filter(answered).count();
                Flight {
                    bytes: lines
                        .iter()
                        .flat_map(|line| encode(&line.replace("$T", table)))
                        .collect(),
                    syncs: syncs.unwrap_or(counted),
                    text: lines.join(" | "),
                }
            })
            .collect()
    }
}

fn encode(line: &str) -> Vec<u8> {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    let name = |text: &str| if text == "-" { String::new() } else { text.to_owned() };
    let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
    let byte = first.bytes().next().unwrap_or_default();
    match kind {
        "Q" => raw::query(rest),
        "P" => raw::parse(&name(first), more),
        "B" => {
            let mut words = more.split(' ').filter(|word| !word.is_empty());
            let statement = name(words.next().expect("Bind names a statement"));
            let values: Vec<_> = words.map(|word| (word != "NULL").then_some(word)).collect();
            raw::bind(&name(first), &statement, &values)
        }
        "D" => raw::describe(byte, &name(more)),
        "C" => raw::close(byte, &name(more)),
        "E" => raw::execute(&name(first), more.parse().expect("Execute has a row count")),
        "S" => raw::sync(),
        "H" => raw::flush(),
        "d" => raw::copy_data(unescape(rest).as_bytes()),
        "c" => raw::copy_done(),
        "f" => raw::copy_fail(rest),
        // int4abs(-5), text format in and out.
        "F" => raw::frame(b'F', b"\0\0\x05\x75\0\0\0\x01\0\0\0\x02-5\0\0"),
        _ => panic!("no such message: {line}"),
    }
}

fn unescape(text: &str) -> String {
    // `\\N` stands for COPY's own `\N`.
    text.replace("\\\\N", "\u{1}").replace("\\n", "\n").replace("\\t", "\t").replace('\u{1}', "\\N")
}
