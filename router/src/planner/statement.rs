//! Owns where statements begin and end, and what kind of statement the first word says it is.

use super::body::{Body, read as read_body};
use super::outcome::Outcome;
use super::query::{self, Use};
use super::text::Text;
use super::vacates::vacated;
use super::{byname, notify, session, transaction};
use crate::facts::Facts;
use crate::lexer::TokenKind;
use crate::plan::{Effect, PinReason};

/// Splits at semicolons outside of parentheses. Empty statements are left out.
pub(crate) fn split(text: &Text<'_>) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut from = 0;
    let mut at = 0;
    let mut in_body = false;
    while at <= text.len() {
        let end_of_text = at == text.len();
        if !end_of_text {
            if text.is_kind(at, TokenKind::OpenParen)
                && let Some(close) = text.partner(at)
            {
                at = close + 1;
                continue;
            }
            if !text.is_kind(at, TokenKind::Semicolon) {
                at += 1;
                continue;
            }
        }
        if from < at {
            let belongs_to_body = in_body && is_body_statement(text, from);
            if belongs_to_body && let Some((_, last)) = ranges.last_mut() {
                *last = at;
                in_body = !text.is(from, "end");
            } else {
                ranges.push((from, at));
                in_body = opens_body(text, from, at);
            }
        }
        at += 1;
        from = at;
    }
    ranges
}

/// `CREATE FUNCTION ... BEGIN ATOMIC statement; statement; END` is one statement.
fn opens_body(text: &Text<'_>, from: usize, to: usize) -> bool {
    if !text.is(from, "create") {
        return false;
    }
    let what = if text.are(from + 1, &["or", "replace"]) { from + 3 } else { from + 1 };
    if !matches!(text.word(what), "function" | "procedure") {
        return false;
    }
    let begin = (what..to).find(|&at| text.are(at, &["begin", "atomic"]));
    begin.is_some_and(|begin| !text.is(begin + 2, "end"))
}

/// Nothing else may stand in such a body, so whatever else follows is a statement of its own.
fn is_body_statement(text: &Text<'_>, from: usize) -> bool {
    let first = (from..text.len()).find(|&at| !text.is_kind(at, TokenKind::OpenParen));
    matches!(
        text.word(first.unwrap_or(from)),
        "select"
            | "insert"
            | "update"
            | "delete"
            | "merge"
            | "values"
            | "with"
            | "table"
            | "return"
            | "end"
    )
}

/// Classifies the statement between two tokens.
pub(super) fn classify(text: &Text<'_>, facts: &Facts, from: usize, to: usize) -> Outcome {
    let mut first = from;
    while first < to && text.is_kind(first, TokenKind::OpenParen) {
        first += 1;
    }
    let word = text.word(first);
    if matches!(word, "select" | "with" | "values" | "table") {
        let mut outcome = query::classify(text, facts, from, to, Use::Run);
        notify::mark_question(text, from, to, &mut outcome);
        return outcome;
    }
    if first != from {
        return Outcome::new(Effect::Unknown, "unknown statement in parentheses");
    }
    match word {
        "explain" => no_writing_words(text, from, to, explain(text, facts, from, to)),
        "copy" => no_writing_words(text, from, to, copy(text, facts, from, to)),
        "declare" => no_writing_words(text, from, to, declare(text, facts, from, to)),
        "show" => session::show(text, from, to),
        "set" => session::set(text, from, to),
        "reset" => session::reset(text, from, to),
        "discard" => session::discard(text, from),
        "begin" | "start" | "commit" | "end" | "abort" | "rollback" | "savepoint" | "release" => {
            transaction::classify(text, from, to)
        }
        "prepare" if text.is(from + 1, "transaction") => transaction::classify(text, from, to),
        "prepare" => byname::prepare(text, from),
        "execute" => byname::execute(text, facts, from, to),
        "deallocate" => byname::deallocate(text, from),
        "listen" => notify::listen(text, from, to),
        "unlisten" => notify::unlisten(text, from, to),
        "load" => Outcome::new(Effect::SessionState, "loads a library").pinned(PinReason::Load),
        "fetch" | "move" => Outcome::write("uses a cursor of the session"),
        "close" => unpins(Outcome::write("uses a cursor of the session")),
        "do" => anonymous_block(text, facts, from, to),
        "call" => procedure_call(text, facts, from, to),
        "create" => create(text, facts, from, to),
        _ => by_word(text, facts, from, to, word),
    }
}

/// The rule of queries for the words around a query too (options, names): no read has such words.
fn no_writing_words(text: &Text<'_>, from: usize, to: usize, mut outcome: Outcome) -> Outcome {
    let writes = |at: usize| {
        matches!(text.word(at), "insert" | "update" | "delete" | "merge" | "into" | "share")
    };
    if outcome.effect == Effect::Read && (from..to).any(writes) {
        outcome.effect = Effect::Write;
        outcome.reason = "a word that writes stands where it cannot".into();
    }
    outcome
}

/// Statements whose first word tells the effect; the rest can only touch the session.
pub(super) fn by_word(
    text: &Text<'_>,
    facts: &Facts,
    from: usize,
    to: usize,
    word: &str,
) -> Outcome {
    let (effect, reason) = match word {
        "insert" => (Effect::Write, "INSERT"),
        "update" => (Effect::Write, "UPDATE"),
        "delete" => (Effect::Write, "DELETE"),
        "merge" => (Effect::Write, "MERGE"),
        "truncate" => (Effect::Write, "TRUNCATE"),
        "execute" => (Effect::Write, "runs a statement prepared by name"),
        "notify" => (Effect::Write, "NOTIFY"),
        "lock" => (Effect::Write, "locks a table"),
        "vacuum" | "analyze" | "analyse" | "cluster" | "reindex" | "checkpoint" => {
            (Effect::Write, "maintenance command")
        }
        "refresh" => (Effect::Write, "refreshes a materialized view"),
        "alter" => (Effect::Ddl, "ALTER"),
        "drop" => (Effect::Ddl, "DROP"),
        "comment" => (Effect::Ddl, "COMMENT"),
        "grant" => (Effect::Ddl, "GRANT"),
        "revoke" => (Effect::Ddl, "REVOKE"),
        "security" => (Effect::Ddl, "SECURITY LABEL"),
        "reassign" => (Effect::Ddl, "REASSIGN OWNED"),
        "import" => (Effect::Ddl, "IMPORT FOREIGN SCHEMA"),
        _ => (Effect::Unknown, "unknown statement"),
    };
    let mut outcome = query::classify(text, facts, from, to, Use::Run);
    outcome.effect = effect;
    outcome.reason = reason.into();
    outcome.session.vacates = vacated(text, from, to);
    // The system view's rule turns such an UPDATE into set_config().
    if word == "update" && (from..to).any(|at| text.name(at).is_some_and(|n| n == "pg_settings")) {
        outcome.session.settings = true;
        outcome.session.async_commit = true;
    }
    outcome
}

fn create(text: &Text<'_>, facts: &Facts, from: usize, to: usize) -> Outcome {
    let mut outcome = query::classify(text, facts, from, to, Use::Run);
    outcome.effect = Effect::Ddl;
    outcome.reason = "CREATE".into();
    outcome.session.vacates = vacated(text, from, to);
    let mut at = from + 1;
    if text.are(at, &["or", "replace"]) {
        at += 2;
    }
    if matches!(text.word(at), "local" | "global") {
        at += 1;
    }
    let in_temp_schema =
        (from..to).any(|at| text.name(at).is_some_and(|name| name.starts_with("pg_temp")));
    if matches!(text.word(at), "temp" | "temporary") {
        outcome.reason = "creates a temporary object".into();
        // Gone with its transaction: the session need not keep the server.
        let dropped =
            text.is(at + 1, "table") && (at..to).any(|at| text.are(at, &["on", "commit", "drop"]));
        if !dropped {
            return outcome.pinned(PinReason::TempObject);
        }
    }
    match in_temp_schema {
        true => outcome.pinned(PinReason::TempObject),
        false => outcome,
    }
}

fn unpins(mut outcome: Outcome) -> Outcome {
    outcome.session.unpins = true;
    outcome
}

/// The body of DO is a string: anything may happen in it, and some things can be seen.
fn anonymous_block(text: &Text<'_>, facts: &Facts, from: usize, to: usize) -> Outcome {
    let mut outcome = Outcome::write("runs an anonymous block");
    outcome.session.settings = true;
    outcome.session.probes = true;
    // The literal decides, so the plan holds for this text only.
    outcome.cacheable = false;
    for at in from..to {
        let raw = text.raw(at);
        let body = match text.kind(at) {
            Some(TokenKind::DollarString) => read_body(dollar_quoted(raw)),
            Some(TokenKind::String) => match quoted(raw) {
                Some(inside) => read_body(inside.as_bytes()),
                None => Body::anything(),
            },
            Some(kind) if kind.is_literal() => Body::anything(),
            _ => continue,
        };
        outcome.take_body(&body);
        for name in &body.identifiers {
            if let Some(called) = facts.body(name) {
                outcome.take_body(called);
            }
        }
        // A library stays loaded, and no query tells.
        if memchr::memmem::find(text.lower(at), b"load '").is_some() {
            outcome = outcome.pinned(PinReason::Load);
        }
    }
    outcome
}

/// What stands in `$tag$...$tag$`.
fn dollar_quoted(raw: &[u8]) -> &[u8] {
    let Some(end) = raw.iter().skip(1).position(|byte| *byte == b'$') else { return raw };
    let tag = end + 2;
    raw.get(tag..raw.len().saturating_sub(tag)).unwrap_or_default()
}

/// What stands in `'...'`, if it needs no more decoding than doubled quotes.
fn quoted(raw: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(raw).ok()?;
    let inside = text.strip_prefix('\'')?.strip_suffix('\'')?;
    let plain = !inside.contains('\\') && !inside.replace("''", "").contains('\'');
    plain.then(|| inside.replace("''", "'"))
}

fn procedure_call(text: &Text<'_>, facts: &Facts, from: usize, to: usize) -> Outcome {
    let mut outcome = query::classify(text, facts, from, to, Use::Run);
    outcome.effect = Effect::Write;
    outcome.reason = "calls a procedure".into();
    outcome.session.settings = true;
    outcome.session.probes = true;
    outcome
}

fn is_query(text: &Text<'_>, from: usize, to: usize) -> bool {
    let first = (from..to).find(|&at| !text.is_kind(at, TokenKind::OpenParen));
    first.is_some_and(|at| matches!(text.word(at), "select" | "with" | "values" | "table"))
}

fn explain(text: &Text<'_>, facts: &Facts, from: usize, to: usize) -> Outcome {
    let mut at = from + 1;
    let mut runs = false;
    if text.is_kind(at, TokenKind::OpenParen) && !is_query(text, at, to) {
        let Some(close) = text.partner(at) else {
            return Outcome::write("EXPLAIN with unreadable options");
        };
        runs = options_say_analyze(text, at + 1, close);
        at = close + 1;
    } else {
        if matches!(text.word(at), "analyze" | "analyse") {
            runs = true;
            at += 1;
        }
        if text.is(at, "verbose") {
            at += 1;
        }
    }
    if is_query(text, at, to) {
        let mut outcome =
            query::classify(text, facts, at, to, if runs { Use::Run } else { Use::NamesOnly });
        if outcome.effect == Effect::Read {
            outcome.reason = if runs { "EXPLAIN ANALYZE of a read" } else { "EXPLAIN" }.into();
        }
        return outcome;
    }
    if !runs && text.is(at, "execute") {
        let mut outcome = byname::execute(text, facts, at, to);
        outcome.reason = "EXPLAIN of something that is no query".into();
        return outcome;
    }
    if !runs || text.is(at, "explain") {
        return Outcome::write("EXPLAIN of something that is no query");
    }
    let mut outcome = classify(text, facts, at, to);
    outcome.reason = format!("EXPLAIN ANALYZE: {}", outcome.reason).into();
    if outcome.effect == Effect::Read {
        outcome.effect = Effect::Write;
    }
    outcome
}

/// Whether an option list asks for ANALYZE. What is not plainly "off" counts as "on".
fn options_say_analyze(text: &Text<'_>, from: usize, to: usize) -> bool {
    (from..to).filter(|&at| matches!(text.name(at).as_deref(), Some("analyze" | "analyse"))).any(
        |at| {
            let value = text.raw(at + 1).to_ascii_lowercase();
            let off = matches!(value.as_slice(), b"off" | b"false" | b"0" | b"'off'" | b"'false'");
            !(off && matches!(text.kind(at + 2), Some(TokenKind::Comma | TokenKind::CloseParen)))
        },
    )
}

fn copy(text: &Text<'_>, facts: &Facts, from: usize, to: usize) -> Outcome {
    let copies = |reason: &'static str| Outcome::new(Effect::Copy, reason);
    let (source_end, direction) = if text.is_kind(from + 1, TokenKind::OpenParen) {
        match text.partner(from + 1) {
            Some(close) if close < to => (close + 1, close + 1),
            _ => return copies("COPY that could not be read"),
        }
    } else {
        let found = (from + 1..to).find(|&at| matches!(text.word(at), "to" | "from"));
        match found {
            Some(at) => (at, at),
            None => return copies("COPY that could not be read"),
        }
    };
    // A table with a column list looks like a call, but nothing is called there.
    let mode = if source_end == direction && text.is_kind(from + 1, TokenKind::OpenParen) {
        Use::Run
    } else {
        Use::NamesOnly
    };
    let mut outcome = query::classify(text, facts, from + 1, source_end, mode);
    if text.is(direction, "to") && text.is(direction + 1, "stdout") {
        if outcome.effect == Effect::Read {
            outcome.reason = "COPY TO STDOUT".into();
        } else {
            outcome.effect = Effect::Copy;
        }
        return outcome;
    }
    outcome.effect = Effect::Copy;
    outcome.reason = match (text.word(direction), text.word(direction + 1)) {
        ("from", "stdin") => "COPY FROM STDIN".into(),
        ("from", _) => "COPY from a file of the server".into(),
        _ => "COPY to a file or program of the server".into(),
    };
    outcome
}

fn declare(text: &Text<'_>, facts: &Facts, from: usize, to: usize) -> Outcome {
    let Some(query_at) = (from..to).find(|&at| text.is(at, "for")) else {
        return Outcome::write("DECLARE that could not be read");
    };
    let hold = (from + 2..query_at).any(|at| text.are(at, &["with", "hold"]));
    if !is_query(text, query_at + 1, to) {
        return Outcome::write("DECLARE that could not be read");
    }
    let mut outcome = query::classify(text, facts, query_at + 1, to, Use::Run);
    outcome.needs_transaction = !hold;
    if hold {
        outcome.effect = Effect::Write;
        outcome.reason = "declares a cursor that outlives its transaction".into();
        return outcome.pinned(PinReason::HoldCursor);
    }
    if outcome.effect == Effect::Read {
        outcome.reason = "declares a cursor over a read".into();
    }
    outcome
}
