//! Owns LIKE and regular expressions. A pattern whose longest match PostgreSQL would look for in
//! its own way is refused where the match itself is returned.

use super::{Call, Function, strict};
use crate::engine::cell::Cell;
use crate::engine::error::{EngineError, Outcome};
use crate::engine::functions::arrays;
use crate::engine::types::Type::{Bool, Text, Texts};
use regex::{Regex, RegexBuilder};

/// Of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 64 << 10;
/// Of one LIKE.
const LIKE_STEPS_MAX: usize = 20_000_000;

/// Those of this file.
pub(super) static FUNCTIONS: &[Function] = &[
    strict("~~", &[Text, Text], Bool, |call| like(call, "\\", false)),
    strict("~~", &[Text, Text, Text], Bool, |call| like(call, call.str(2), false)),
    strict("~~*", &[Text, Text], Bool, |call| like(call, "\\", true)),
    strict("~~*", &[Text, Text, Text], Bool, |call| like(call, call.str(2), true)),
    strict("~", &[Text, Text], Bool, |call| is_match(call, false)),
    strict("~*", &[Text, Text], Bool, |call| is_match(call, true)),
    strict("regexp_replace", &[Text, Text, Text], Text, |call| replace(call, "")),
    strict("regexp_replace", &[Text, Text, Text, Text], Text, |call| replace(call, call.str(3))),
    strict("regexp_match", &[Text, Text], Texts, |call| first_match(call, "")),
    strict("regexp_match", &[Text, Text, Text], Texts, |call| first_match(call, call.str(2))),
    strict("regexp_split_to_array", &[Text, Text], Texts, |call| {
        let pattern = longest(call.str(1), false)?;
        let parts = pattern.split(call.str(0)).map(|part| Some(part.to_owned()));
        Ok(Cell::Text(arrays::build(parts)))
    }),
    strict("substring", &[Text, Text], Text, |call| {
        let found = longest(call.str(1), false)?.captures(call.str(0));
        let part = found.and_then(|found| found.get(1).or_else(|| found.get(0)));
        Ok(part.map_or(Cell::Null, |part| Cell::text(part.as_str())))
    }),
];

fn like(call: &Call<'_>, escape: &str, ignore_case: bool) -> Outcome<Cell> {
    let mut letters = escape.chars();
    let escape = letters.next();
    if letters.next().is_some() {
        let error = EngineError::new("22019", "invalid escape string");
        return Err(error.hint("Escape string must be empty or one character."));
    }
    let fold = |text: &str| -> Vec<char> {
        if ignore_case {
            text.to_ascii_lowercase().chars().collect()
        } else {
            text.chars().collect()
        }
    };
    let steps = steps(&fold(call.str(1)), escape)?;
    walk(&fold(call.str(0)), &steps).map(|is| Cell::Int(is.into()))
}

/// One step of a LIKE pattern.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    This(char),
    One,
    Any,
}

fn steps(pattern: &[char], escape: Option<char>) -> Outcome<Vec<Step>> {
    let mut steps = Vec::with_capacity(pattern.len());
    let mut letters = pattern.iter().copied();
    while let Some(letter) = letters.next() {
        steps.push(match letter {
            letter if Some(letter) == escape => {
                let message = "LIKE pattern must not end with escape character";
                Step::This(letters.next().ok_or_else(|| EngineError::new("22025", message))?)
            }
            '%' if steps.last() == Some(&Step::Any) => continue,
            '%' => Step::Any,
            '_' => Step::One,
            letter => Step::This(letter),
        });
    }
    Ok(steps)
}

/// Whether a text goes by the steps. Only the last `Any` is ever gone back to.
fn walk(text: &[char], steps: &[Step]) -> Outcome<bool> {
    let mut walked = 0;
    let (mut at, mut step) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while at < text.len() {
        walked += 1;
        if walked > LIKE_STEPS_MAX {
            return Err(EngineError::limit("LIKE pattern takes too many steps"));
        }
        match steps.get(step) {
            Some(Step::Any) => {
                back = Some((at, step));
                step += 1;
            }
            Some(Step::One) => (at, step) = (at + 1, step + 1),
            Some(Step::This(letter)) if text[at] == *letter => (at, step) = (at + 1, step + 1),
            _ => match back {
                Some((from, any)) => {
                    back = Some((from + 1, any));
                    (at, step) = (from + 1, any + 1);
                }
                None => return Ok(false),
            },
        }
    }
    Ok(steps[step..].iter().all(|step| *step == Step::Any))
}

fn is_match(call: &Call<'_>, ignore_case: bool) -> Outcome<Cell> {
    Ok(Cell::Int(compiled(call.str(1), ignore_case)?.is_match(call.str(0)).into()))
}

/// A pattern in Rust's syntax. What differs in meaning is refused.
fn compiled(pattern: &str, ignore_case: bool) -> Outcome<Regex> {
    let mut out = String::with_capacity(pattern.len());
    let mut letters = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(letter) = letters.next() {
        match (letter, in_class) {
            ('\\', _) => match letters.next() {
                Some('m') if !in_class => out.push_str("\\b{start}"),
                Some('M') if !in_class => out.push_str("\\b{end}"),
                Some('y') if !in_class => out.push_str("\\b"),
                Some('Y') if !in_class => out.push_str("\\B"),
                Some(next @ ('b' | 'B' | 'z' | 'p' | 'P')) => {
                    return Err(unknown(&format!("The escape \\{next}")));
                }
                Some(next) => out.extend(['\\', next]),
                None => return Err(invalid("trailing backslash")),
            },
            ('[', true) if letters.peek() != Some(&':') => out.push_str("\\["),
            ('[', true) => {
                out.push('[');
                for inner in letters.by_ref() {
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            ('[', false) => {
                in_class = true;
                out.push('[');
                if letters.peek() == Some(&'^') {
                    out.extend(letters.next());
                }
                if letters.peek() == Some(&']') {
                    letters.next();
                    out.push_str("\\]");
                }
            }
            (']', true) => {
                in_class = false;
                out.push(']');
            }
            ('&' | '~', true) => out.extend(['\\', letter]),
            ('-', true) if letters.peek() == Some(&'-') => return Err(unknown("`--` in brackets")),
            _ => out.push(letter),
        }
    }
    let mut builder = RegexBuilder::new(&out);
    builder.case_insensitive(ignore_case).dot_matches_new_line(true);
    builder.size_limit(PATTERN_BYTES_MAX).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => EngineError::limit("regular expression is too complex"),
        _ => unknown("This form"),
    })
}

fn invalid(what: &str) -> EngineError {
    EngineError::new("2201B", format!("invalid regular expression: {what}"))
}

fn unknown(what: &str) -> EngineError {
    let error = invalid("not understood in the console");
    error.detail(format!("{what} is not known, or means something else in PostgreSQL."))
}

/// A pattern of which the match itself is returned: PostgreSQL takes the longest among
/// alternatives, and its lazy repetitions are lazy as a whole.
fn longest(pattern: &str, ignore_case: bool) -> Outcome<Regex> {
    let lazy = ["*?", "+?", "??", "}?"].iter().any(|lazy| pattern.contains(lazy));
    if pattern.contains('|') || lazy {
        return Err(EngineError::refused("alternation or lazy repetition where text is taken out")
            .hint("Alternatives are fine with ~ and ~*."));
    }
    compiled(pattern, ignore_case)
}

fn flags(flags: &str) -> Outcome<(bool, bool)> {
    match flags.chars().find(|flag| !matches!(flag, 'g' | 'i' | 'c')) {
        None => Ok((flags.contains('g'), flags.rfind('i') > flags.rfind('c'))),
        Some(flag) => Err(EngineError::refused(format!("regular expression option \"{flag}\""))),
    }
}

fn replace(call: &Call<'_>, options: &str) -> Outcome<Cell> {
    let (everywhere, ignore_case) = flags(options)?;
    let pattern = longest(call.str(1), ignore_case)?;
    let (text, with) = (call.str(0), call.str(2));
    let mut out = String::new();
    let mut from = 0;
    for found in pattern.captures_iter(text).take(if everywhere { usize::MAX } else { 1 }) {
        let Some(whole) = found.get(0) else { continue };
        out.push_str(&text[from..whole.start()]);
        let mut letters = with.chars();
        while let Some(letter) = letters.next() {
            let part = match letter {
                '\\' => letters.next(),
                letter => {
                    out.push(letter);
                    continue;
                }
            };
            match part {
                Some('&') => out.push_str(whole.as_str()),
                Some(digit @ '1'..='9') => {
                    let group = digit.to_digit(10).unwrap_or(0) as usize;
                    out.push_str(found.get(group).map_or("", |group| group.as_str()));
                }
                Some('\\') | None => out.push('\\'),
                Some(other) => out.extend(['\\', other]),
            }
        }
        call.room(out.len())?;
        from = whole.end();
    }
    out.push_str(&text[from..]);
    call.room(out.len())?;
    Ok(Cell::Text(out))
}

fn first_match(call: &Call<'_>, options: &str) -> Outcome<Cell> {
    let (everywhere, ignore_case) = flags(options)?;
    if everywhere {
        return Err(EngineError::new(
            "22023",
            "regexp_match() does not support the \"global\" option",
        ));
    }
    let pattern = longest(call.str(1), ignore_case)?;
    let Some(found) = pattern.captures(call.str(0)) else { return Ok(Cell::Null) };
    let skip = usize::from(found.len() > 1);
    let groups = found.iter().skip(skip).map(|group| group.map(|group| group.as_str().to_owned()));
    Ok(Cell::Text(arrays::build(groups)))
}
