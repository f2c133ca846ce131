//! Owns the fields of a line of COPY data: those that hold the key are found and read as
//! PostgreSQL reads them; the others are only passed over.

use pgmanifold_router::sharding::CopyPlan;

/// Whether a field was found, and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'f> {
    /// The line has fewer fields.
    Missing,
    Null,
    Value(&'f [u8]),
}

/// The nth field of a line in text format. What is escaped is put together in `scratch`.
pub(super) fn text<'f>(
    line: &'f [u8],
    plan: &CopyPlan,
    number: usize,
    scratch: &'f mut Vec<u8>,
) -> Field<'f> {
    let mut rest = line;
    for _ in 0..number {
        let (end, _) = text_end(rest, plan.delimiter);
        match rest.get(end + 1..) {
            Some(next) if end < rest.len() => rest = next,
            _ => return Field::Missing,
        }
    }
    let (end, escaped) = text_end(rest, plan.delimiter);
    let raw = &rest[..end];
    if *raw == *plan.null {
        return Field::Null;
    }
    if !escaped {
        return Field::Value(raw);
    }
    scratch.clear();
    unescape(raw, scratch);
    Field::Value(scratch)
}

/// Where the field at the front ends, and whether it has an escape.
fn text_end(rest: &[u8], delimiter: u8) -> (usize, bool) {
    let (mut at, mut escaped) = (0, false);
    while let Some(found) = rest.get(at..).and_then(|r| memchr::memchr2(delimiter, b'\\', r)) {
        let here = at + found;
        if rest[here] != b'\\' {
            return (here, escaped);
        }
        escaped = true;
        at = here + 2;
    }
    (rest.len(), escaped)
}

fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut bytes = raw.iter().copied().peekable();
    let digit = |byte: u8, radix| char::from(byte).to_digit(radix).map(|digit| digit as u8);
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some(byte) = bytes.next() else {
            out.push(b'\\');
            return;
        };
        let (mut value, more, radix) = match byte {
            b'b' => (8, 0, 8),
            b'f' => (12, 0, 8),
            b'n' => (b'\n', 0, 8),
            b'r' => (b'\r', 0, 8),
            b't' => (b'\t', 0, 8),
            b'v' => (11, 0, 8),
            b'0'..=b'7' => (byte - b'0', 2, 8),
            b'x' if bytes.peek().is_some_and(u8::is_ascii_hexdigit) => (0, 2, 16),
            other => (other, 0, 8),
        };
        for _ in 0..more {
            let Some(found) = bytes.peek().and_then(|byte| digit(*byte, radix)) else { break };
            value = value.wrapping_mul(radix as u8).wrapping_add(found);
            bytes.next();
        }
        out.push(value);
    }
}

/// The nth field of a line in CSV.
pub(super) fn csv<'f>(
    line: &'f [u8],
    plan: &CopyPlan,
    number: usize,
    scratch: &'f mut Vec<u8>,
) -> Field<'f> {
    let mut at = 0;
    for _ in 0..number {
        let plain = memchr::memchr2(plan.delimiter, plan.quote, &line[at..]);
        at = match plain.map(|found| at + found) {
            Some(end) if line[end] == plan.delimiter => end,
            Some(_) => csv_field(line, at, plan, None),
            None => line.len(),
        };
        if at >= line.len() {
            return Field::Missing;
        }
        at += 1;
    }
    let rest = &line[at..];
    let plain = match memchr::memchr2(plan.delimiter, plan.quote, rest) {
        Some(end) if rest[end] == plan.quote => None,
        Some(end) => Some(&rest[..end]),
        None => Some(rest),
    };
    match plain {
        Some(raw) if *raw == *plan.null => Field::Null,
        Some(raw) => Field::Value(raw),
        None => {
            scratch.clear();
            csv_field(line, at, plan, Some(scratch));
            Field::Value(scratch)
        }
    }
}

/// Goes over a field that begins at `start`; gives where it ends, and puts its value into `out`.
fn csv_field(line: &[u8], start: usize, plan: &CopyPlan, mut out: Option<&mut Vec<u8>>) -> usize {
    let (mut at, mut quoted) = (start, false);
    while let Some(&byte) = line.get(at) {
        let next = line.get(at + 1).copied();
        let mut value = Some(byte);
        if !quoted && byte == plan.delimiter {
            return at;
        }
        if !quoted && byte == plan.quote {
            (quoted, value) = (true, None);
        } else if quoted
            && byte == plan.escape
            && next.is_some_and(|next| next == plan.escape || next == plan.quote)
        {
            value = next;
            at += 1;
        } else if quoted && byte == plan.quote {
            (quoted, value) = (false, None);
        }
        if let (Some(out), Some(value)) = (&mut out, value) {
            out.push(value);
        }
        at += 1;
    }
    line.len()
}
