//! Owns the reading of a request's parent: `traceparent` (W3C Trace Context) in a SQL comment, as
//! sqlcommenter writes it.

use memchr::memmem;

/// The span a request was made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub span: u64,
    /// Whether its spans are recorded.
    pub sampled: bool,
}

/// Longest comment that is looked into, in bytes.
const COMMENT_BYTES_MAX: usize = 4096;

/// What the comment at the end of a text says, or else the one at its beginning. A text without
/// such a comment is not looked into.
pub fn parent_of(text: &[u8]) -> Option<Parent> {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text).trim_ascii_end();
    let at_end = || {
        let inside = text.strip_suffix(b"*/")?;
        let from = inside.len().saturating_sub(COMMENT_BYTES_MAX);
        let tail = inside.get(from..)?;
        traceparent(tail.get(memmem::rfind(tail, b"/*")? + 2..)?)
    };
    let at_start = || {
        let inside = text.strip_prefix(b"/*")?;
        let head = inside.get(..COMMENT_BYTES_MAX).unwrap_or(inside);
        traceparent(head.get(..memmem::find(head, b"*/")?)?)
    };
    at_end().or_else(at_start)
}

/// `traceparent='00-…-…-01'` among the pairs of a comment.
fn traceparent(comment: &[u8]) -> Option<Parent> {
    const NAME: &[u8] = b"traceparent=";
    let at = memmem::find(comment, NAME)?;
    // The name may be the end of a longer one.
    let before = at.checked_sub(1).and_then(|before| comment.get(before));
    if before.is_some_and(|before| !matches!(before, b',' | b' ' | b'\t' | b'\n')) {
        return None;
    }
    let value = comment.get(at + NAME.len()..)?.strip_prefix(b"'")?;
    value_of(value.get(..memchr::memchr(b'\'', value)?)?)
}

/// `version-trace-span-flags`; later versions may say more behind it.
fn value_of(value: &[u8]) -> Option<Parent> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split('-');
    let version = hex(parts.next()?, 2)?;
    let trace = hex(parts.next()?, 32)?;
    let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
    let flags = hex(parts.next()?, 2)?;
    let fits = version != 0xff && trace != 0 && span != 0;
    let ends = version > 0 || parts.next().is_none();
    (fits && ends).then_some(Parent { trace, span, sampled: flags & 1 == 1 })
}

/// Lowercase hexadecimal digits, so many.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let fits =
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn found(text: &str) -> Option<Parent> {
        parent_of(text.replace("VALUE", VALUE).as_bytes())
    }

    #[test]
    fn comments_at_both_ends_are_read() {
        let parent = Parent {
            trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span: 0x00f0_67aa_0ba9_02b7,
            sampled: true,
        };
        for text in [
            "select 1 /*traceparent='VALUE'*/",
            "select 1 /*action='%2Fx',traceparent='VALUE',tracestate='a%3D1'*/ ;\n",
            "/* traceparent='VALUE' */ select '*/'",
            "/*traceparent='VALUE'*/ select 1 /* pgm: primary */",
            "select '/*' /*a='1', traceparent='VALUE'*/",
        ] {
            assert_eq!(found(text), Some(parent), "{text}");
        }
        let unsampled = found(
            &"select 1 /*traceparent='VALUE'*/".replace("VALUE", &VALUE.replace("-01", "-00")),
        );
        assert_eq!(unsampled, Some(Parent { sampled: false, ..parent }));
    }

    #[test]
    fn anything_else_is_no_parent() {
        for text in [
            "",
            "/*",
            "*/",
            "/*/",
            "select 'traceparent=''VALUE'''",
            "select '/*traceparent=''VALUE''*/'",
            "select 1 /*traceparent='VALUE*/",
            "select 1 /*xtraceparent='VALUE'*/",
            "select 1 /*traceparent=VALUE*/",
            "select 1 /*traceparent='VALUE-x'*/",
            "select /*traceparent='VALUE'*/ 1",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        for bad in [
            VALUE.to_uppercase(),
            VALUE.replace("00-4", "ff-4"),
            VALUE.replace("00f067aa0ba902b7", "0000000000000000"),
            VALUE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            VALUE.replace("-01", "-1"),
            VALUE.replace("-01", "-+1"),
        ] {
            assert_eq!(parent_of(format!("select 1 /*traceparent='{bad}'*/").as_bytes()), None);
        }
    }
}
