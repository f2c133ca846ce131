//! Owns how a statement looks in the log: without its constants, which may be passwords or other
//! people's data. It must not be used for anything that is sent.

use pgmanifold_router::lexer::{Dialect, Lexer, TokenKind};

/// Longest statement in a log line, in bytes; more is cut off.
const MAX_SHOWN_BYTES: usize = 200;

/// The text with `?` for every constant, and without comments.
pub(super) fn redacted(text: &[u8], dialect: Dialect) -> String {
    redacted_up_to(text, dialect, MAX_SHOWN_BYTES)
}

/// The same with another limit on its length, in bytes.
pub(super) fn redacted_up_to(text: &[u8], dialect: Dialect, most: usize) -> String {
    let mut shown = String::new();
    let Ok(mut lexer) = Lexer::new(text, dialect) else { return "…".into() };
    let mut last_end = 0;
    loop {
        let token = match lexer.next_token() {
            Ok(Some(token)) => token,
            Ok(None) => return shown,
            // What cannot be read may hold anything.
            Err(_) => return shown + "…",
        };
        if shown.len() > most {
            return shown + "…";
        }
        if token.kind == TokenKind::HintComment {
            continue;
        }
        if token.start > last_end && !shown.is_empty() {
            shown.push(' ');
        }
        last_end = token.end;
        match token.kind.is_literal() {
            true => shown.push('?'),
            false => shown.push_str(&String::from_utf8_lossy(
                token.text(text).get(..most).unwrap_or(token.text(text)),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        redacted(text.as_bytes(), Dialect::default())
    }

    #[test]
    fn constants_and_comments_are_left_out() {
        assert_eq!(shown("alter role \"x\" password 's''x'"), "alter role \"x\" password ?");
        assert_eq!(
            shown("select  a.b+1.5, $1::int , E'\\'s' /* s */ -- s\nfrom t"),
            "select a.b+?, $1::int , ? from t"
        );
        assert_eq!(
            shown("do $x$ s $x$; select U&'s', N's', X'5', B'1', 5"),
            "do ?; select ?, ?, ?, ?, ?"
        );
        assert_eq!(shown("/* pgm: s */ select 1"), "select ?");
        assert_eq!(shown("select 'never closed"), "select…");
        assert_eq!(shown("select $$never closed"), "select…");
        assert!(shown(&"a ".repeat(10_000)).len() < MAX_SHOWN_BYTES + 10);
        assert!(shown(&"a".repeat(10_000)).len() < 2 * MAX_SHOWN_BYTES);
        let old = Dialect { standard_conforming_strings: false, ..Dialect::default() };
        assert_eq!(redacted(b"select '\\' s', 1", old), "select ?, ?");
    }
}
