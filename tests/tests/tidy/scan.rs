//! Owns a rough reading of Rust source: enough to tell code from text and to find where functions
//! begin and end. It must not need a parser.

/// A function with a body.
#[derive(Debug)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`, from 1.
    pub(crate) line: usize,
    /// Lines from there to the closing brace.
    pub(crate) lines: usize,
}

/// The part of a file before its first unit test module.
pub(crate) fn without_tests(text: &str) -> &str {
    let marks = ["\n#[cfg(test)]\nmod ", "\n#[cfg(test)]\npub(crate) mod "];
    let end = marks.iter().filter_map(|mark| text.find(mark)).min();
    end.and_then(|end| text.get(..=end)).unwrap_or(text)
}

/// `text` with comments and the insides of literals covered by blanks, at unchanged offsets.
pub(crate) fn without_text(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = text_end(bytes, at);
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("covered ranges are whole characters")
}

/// Where the comment or literal that begins at `at` ends; `at` when none begins there.
fn text_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let inside_word = at > 0 && word(bytes[at - 1]);
    let find = |start: usize, wanted: &[u8]| {
        let found = bytes[start..].windows(wanted.len()).position(|window| window == wanted);
        found.map_or(bytes.len(), |position| start + position + wanted.len())
    };
    match rest {
        [b'/', b'/', ..] => find(at, b"\n") - 1,
        [b'/', b'*', ..] => block_comment_end(bytes, at),
        [b'"', ..] => quoted_end(bytes, at + 1, b'"'),
        [b'r', b'"' | b'#', ..] if !inside_word => raw_end(bytes, at + 1).unwrap_or(at),
        [b'b', b'r', b'"' | b'#', ..] if !inside_word => raw_end(bytes, at + 2).unwrap_or(at),
        [b'\'', b'\\', ..] => quoted_end(bytes, at + 1, b'\''),
        // A character, not a lifetime: its closing quote stands within four bytes.
        [b'\'', ..] => {
            let close = rest.iter().skip(2).take(4).position(|byte| *byte == b'\'');
            let whole = close.filter(|close| {
                std::str::from_utf8(&rest[1..close + 2]).is_ok_and(|text| text.chars().count() == 1)
            });
            whole.map_or(at, |close| at + close + 3)
        }
        _ => at,
    }
}

fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(start + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let body = start + hashes + 1;
    let found = bytes[body..].windows(close.len()).position(|window| window == close);
    Some(found.map_or(bytes.len(), |position| body + position + close.len()))
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// Every function with a body, nested ones too.
pub(crate) fn functions(text: &str) -> Vec<Function> {
    let code = without_text(text);
    let mut found = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[start + 3..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(length) = body_end(rest) else { continue };
        if name.is_empty() {
            continue;
        }
        let lines = rest[..length].matches('\n').count() + 1;
        let line = code[..start].matches('\n').count() + 1;
        found.push(Function { name, line, lines });
    }
    found
}

/// Where the body's closing brace is; `None` for a declaration without a body.
fn body_end(rest: &str) -> Option<usize> {
    let (mut depth, mut parens) = (0_usize, 0_isize);
    for (at, c) in rest.char_indices() {
        match c {
            '(' | '[' => parens += 1,
            ')' | ']' => parens -= 1,
            ';' if depth == 0 && parens == 0 => return None,
            '{' => depth += 1,
            '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}
