//! Owns the reading of function bodies: what a call may leave behind in the session that its text
//! does not show. It looks for words, not for a grammar: a word too many costs a round trip.

use super::session::commits_flush;
use super::text::Text;
use crate::lexer::{Dialect, TokenKind};

/// Longest body that is read; a longer one counts as doing anything.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// What a body may do to its session, seen or unseen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Body {
    /// It may set parameters or take what ties a session to its server.
    pub(crate) touches: bool,
    /// It may switch `synchronous_commit` off.
    pub(crate) async_commit: bool,
    /// Parameters with a dot in their names, which no catalog lists.
    pub(crate) names: Vec<Box<str>>,
    /// It sets a parameter whose name cannot be read.
    pub(crate) unknown_name: bool,
    /// It reads `currval` or `lastval` and does not do what sets them.
    pub(crate) sequence_state: bool,
    /// It concerns LISTEN.
    pub(crate) listening: bool,
    /// Every identifier in it, for what it calls.
    pub(crate) identifiers: Vec<Box<str>>,
}

impl Body {
    /// A body nobody can read.
    pub(crate) fn anything() -> Self {
        Self { touches: true, async_commit: true, unknown_name: true, ..Self::default() }
    }

    /// Adds what a body that is called does.
    pub(crate) fn add(&mut self, called: &Body) {
        self.touches |= called.touches;
        self.async_commit |= called.async_commit;
        self.unknown_name |= called.unknown_name;
        self.sequence_state |= called.sequence_state;
        self.listening |= called.listening;
        let new = called.names.iter().filter(|name| !self.names.contains(name));
        let new: Vec<_> = new.cloned().collect();
        self.names.extend(new);
    }
}

/// Reads the body of a function in SQL or PL/pgSQL.
pub(crate) fn read(body: &[u8]) -> Body {
    if body.len() > MAX_BODY_BYTES {
        return Body::anything();
    }
    let Ok(text) = Text::read(body, Dialect::default()) else { return Body::anything() };
    let mut found = Body::default();
    let (mut reads_sequence, mut sets_sequence) = (false, false);
    let (mut runs_text, mut sets_unknown) = (false, false);
    for at in 0..text.len() {
        if text.kind(at).is_some_and(TokenKind::is_literal) {
            match set_in_literal(text.raw(at)) {
                Name::Known(name) => found.names.push(name),
                Name::Unknown => sets_unknown = true,
                Name::Parameter | Name::Local => {}
            }
            continue;
        }
        let Some(name) = text.name(at) else { continue };
        match &*name {
            "currval" | "lastval" => reads_sequence = true,
            "nextval" | "insert" => sets_sequence = true,
            "set_config" => set_config(&text, at, &mut found),
            "set" | "reset" if begins_statement(&text, at) => set(&text, at, &mut found),
            "execute" => runs_text = true,
            word => found.touches |= is_word_of_state(&text, at, word),
        }
        found.async_commit |= *name == *"synchronous_commit";
        found.listening |= match &*name {
            "listen" | "unlisten" => begins_statement(&text, at),
            name => name == "pg_listening_channels",
        };
        found.identifiers.push(name.into());
    }
    found.identifiers.sort_unstable();
    found.identifiers.dedup();
    found.touches |= runs_text;
    found.async_commit |= runs_text;
    found.unknown_name |= runs_text && sets_unknown;
    found.sequence_state = reads_sequence && !sets_sequence;
    found
}

/// Words with which something is taken, or ended, that ties a session to its server.
fn is_word_of_state(text: &Text<'_>, at: usize, word: &str) -> bool {
    match word {
        "temp" | "temporary" | "hold" => true,
        "listen" | "unlisten" | "prepare" | "deallocate" | "discard" | "load" => {
            begins_statement(text, at)
        }
        "pg_advisory_lock"
        | "pg_advisory_lock_shared"
        | "pg_try_advisory_lock"
        | "pg_try_advisory_lock_shared"
        | "pg_advisory_unlock"
        | "pg_advisory_unlock_shared"
        | "pg_advisory_unlock_all" => true,
        word => word.starts_with("pg_temp"),
    }
}

/// `UPDATE ... SET` is no SET: a statement begins after a semicolon or a word of PL/pgSQL.
fn begins_statement(text: &Text<'_>, at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else { return true };
    text.is_kind(before, TokenKind::Semicolon)
        || matches!(text.word(before), "begin" | "then" | "else" | "loop" | "atomic")
        || text.raw(before) == b">>"
}

fn set(text: &Text<'_>, at: usize, found: &mut Body) {
    found.touches = true;
    let scope = usize::from(matches!(text.word(at + 1), "session" | "local"));
    let mut end = at + 1 + scope;
    let mut name = String::new();
    while let Some(part) = text.name(end) {
        name.push_str(&part.to_ascii_lowercase());
        if !text.is_kind(end + 1, TokenKind::Dot) {
            break;
        }
        name.push('.');
        end += 2;
    }
    if name.contains('.') {
        found.names.push(name.into());
    }
}

/// `set_config(name, value, is_local)`.
fn set_config(text: &Text<'_>, at: usize, found: &mut Body) {
    found.touches = true;
    match first_argument(text, at) {
        Name::Known(name) => {
            found.async_commit |=
                *name == *"synchronous_commit" && !commits_flush(text.raw(at + 4));
            if name.contains('.') {
                found.names.push(name);
            }
        }
        Name::Local => found.async_commit = true,
        Name::Parameter | Name::Unknown => {
            (found.unknown_name, found.async_commit) = (true, true);
        }
    }
}

/// Which parameter a call of `set_config` names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A literal.
    Known(Box<str>),
    /// A value bound later.
    Parameter,
    /// Some expression, but only for this transaction.
    Local,
    /// Some expression.
    Unknown,
}

/// The name in the call of `set_config` at `at`.
pub(super) fn first_argument(text: &Text<'_>, at: usize) -> Name {
    if text.is_kind(at + 3, TokenKind::Comma) {
        if let Some(name) = plain_string(text.raw(at + 2)) {
            return Name::Known(name.into());
        }
        if text.is_kind(at + 2, TokenKind::Parameter) {
            return Name::Parameter;
        }
    }
    let last = text.partner(at + 1).and_then(|close| close.checked_sub(1));
    let local = last.is_some_and(|last| {
        text.is(last, "true") && text.kind_before(last) == Some(TokenKind::Comma)
    });
    if local { Name::Local } else { Name::Unknown }
}

/// The value of a simple `'...'` in lower case; `None` when it would need more decoding.
pub(super) fn plain_string(raw: &[u8]) -> Option<String> {
    let inside = raw.strip_prefix(b"'")?.strip_suffix(b"'")?;
    if inside.iter().any(|byte| matches!(byte, b'\'' | b'\\')) {
        return None;
    }
    String::from_utf8(inside.to_ascii_lowercase()).ok()
}

/// The parameter with a dot that SQL text in a literal sets: `'set my.var = '`. `Local` when it
/// sets none that outlives the transaction and is missing from the catalog.
fn set_in_literal(raw: &[u8]) -> Name {
    let text = String::from_utf8_lossy(raw).to_ascii_lowercase();
    let mut words = text.trim_start_matches(['e', '\'', '$']).split_ascii_whitespace();
    if words.next() != Some("set") {
        return Name::Local;
    }
    let name = words.find(|word| !matches!(*word, "session"));
    let name = name.unwrap_or_default().split('=').next().unwrap_or_default();
    match name {
        "local" => Name::Local,
        name if is_custom_name(name) => Name::Known(name.into()),
        name if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.is_empty() =>
        {
            Name::Local
        }
        _ => Name::Unknown,
    }
}

/// Reads the body of a function in another language: only whether it speaks of parameters.
pub(crate) fn read_foreign(body: &[u8]) -> Body {
    let text = body.to_ascii_lowercase();
    let has = |word: &[u8]| memchr::memmem::find(&text, word).is_some();
    let sets = has(b"set_config") || has(b"\"set ") || has(b"'set ");
    Body { touches: true, async_commit: true, unknown_name: sets, ..Body::default() }
}

/// Whether a text can be the name of a parameter that no catalog lists: identifiers and dots.
pub fn is_custom_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let mut bytes = part.bytes();
        let begins = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b > 127);
        begins && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$') || b > 127)
    };
    text.len() <= 255 && text.contains('.') && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bodies_leave_behind() {
        for (body, touches) in [
            ("select 1", false),
            ("begin update t set a = 1 where b = 2; end", false),
            ("insert into t values (1) on conflict do update set a = 2", false),
            ("begin perform pg_advisory_xact_lock(1); return new; end", false),
            ("begin set work_mem = '1MB'; end", true),
            ("begin if x then reset all; end if; end", true),
            ("select set_config('work_mem', '1MB', false)", true),
            ("begin perform pg_advisory_lock(1); end", true),
            ("begin create temp table x (n int); end", true),
            ("begin create temporary table x (n int) on commit drop; end", true),
            ("begin execute 'listen x'; end", true),
            ("begin listen x; end", true),
            ("select 'unclosed", true),
        ] {
            assert_eq!(read(body.as_bytes()).touches, touches, "{body}");
        }
    }

    #[test]
    fn names_of_parameters() {
        let names = |body: &str| {
            let found = read(body.as_bytes());
            (found.names.join(" "), found.unknown_name)
        };
        let plain = |text: &str| (text.to_string(), false);
        assert_eq!(names("begin perform set_config('My.Var', x, false); end"), plain("my.var"));
        assert_eq!(names("begin set my.a = 1; set session my.b to 2; end"), plain("my.a my.b"));
        assert_eq!(names("begin execute 'set my.c = ' || x; end"), plain("my.c"));
        assert_eq!(names("begin execute 'set work_mem = ' || x; end"), plain(""));
        assert_eq!(names("begin execute format('set local %I = 1', x); end"), plain(""));
        assert_eq!(names("begin execute 'update t set a = 1'; end"), plain(""));
        assert!(names("begin execute format('set %I = 1', x); end").1);
        assert!(names("begin execute 'set ' || x; end").1);
        assert!(read_foreign(b"plpy.execute(\"SET my.var = 1\")").unknown_name);
        assert!(!read_foreign(b"return 1").unknown_name);
        assert_eq!(names("begin perform set_config('my.' || k, v, true); end"), plain(""));
        assert!(names("begin perform set_config('my.' || k, v, false); end").1);
        assert!(names("begin perform set_config(k, v, false); end").1);
    }

    #[test]
    fn values_of_sequences() {
        let reads = |body: &str| read(body.as_bytes()).sequence_state;
        assert!(reads("select lastval()"));
        assert!(!reads("begin insert into t default values; return currval('s'); end"));
    }

    #[test]
    fn custom_names() {
        for (text, is_name) in [
            ("my.var", true),
            ("a.b.c", true),
            ("work_mem", false),
            (".a", false),
            ("a.", false),
            ("1.5", false),
            ("a b.c", false),
        ] {
            assert_eq!(is_custom_name(text), is_name, "{text}");
        }
    }
}
