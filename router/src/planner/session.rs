//! Owns SET, RESET, SHOW and DISCARD, and with them the commands that no server may see.

use super::outcome::Outcome;
use super::query::ASKS_TRANSACTION;
use super::system;
use super::text::Text;
use crate::lexer::TokenKind;
use crate::plan::{Effect, LocalCommand, PinReason, Transaction};

/// Parameters that belong to the current transaction although they are set like any other.
const TRANSACTION_SETTINGS: &[&str] =
    &["transaction_deferrable", "transaction_isolation", "transaction_read_only"];

pub(super) fn set(text: &Text<'_>, from: usize, to: usize) -> Outcome {
    let mut at = from + 1;
    if text.are(at, &["session", "characteristics"]) {
        return sets(&[
            "default_transaction_isolation",
            "default_transaction_read_only",
            "default_transaction_deferrable",
        ]);
    }
    if text.are(at, &["session", "authorization"]) {
        return sets(&["session_authorization"]);
    }
    let local = text.is(at, "local") && !is_assignment(text, at + 1);
    if local || text.is(at, "session") && !is_assignment(text, at + 1) {
        at += 1;
    }
    if text.is(at, "constraints") && !is_assignment(text, at + 1) {
        return Outcome::write("sets when constraints are checked");
    }
    if text.is(at, "transaction") && !is_assignment(text, at + 1) {
        return Outcome::transaction(Transaction::SetTransaction, "sets transaction modes");
    }
    let (name, value_at) = match named_by_syntax(text, at) {
        Some((name, value_at)) => (name.to_string(), value_at),
        None => match variable(text, at) {
            Some((name, end)) if is_assignment(text, end) => (name, end + 1),
            _ => return unreadable(),
        },
    };
    if let Some(name) = name.strip_prefix("pgm.") {
        return own_set(text, name, value_at, to, local);
    }
    if TRANSACTION_SETTINGS.contains(&name.as_str()) {
        return Outcome::transaction(Transaction::SetTransaction, "sets transaction modes");
    }
    let mut outcome = match local {
        true => Outcome::new(Effect::SessionState, format!("sets {name} for this transaction")),
        false => sets(&[&name]),
    };
    outcome.session.local_settings = local;
    let is_default =
        text.is(value_at, "default") || name == "timezone" && text.is(value_at, "local");
    if to == value_at + 1 && is_default {
        outcome.session.resets = !local;
        outcome.session.local_defaults.extend(local.then(|| name.as_str().into()));
    }
    outcome.session.async_commit =
        name == "synchronous_commit" && !commits_flush(text.raw_range(value_at, to));
    let names_temp =
        || (value_at..to).any(|at| memchr::memmem::find(text.lower(at), b"pg_temp").is_some());
    if name == "search_path" && names_temp() {
        return outcome.pinned(PinReason::TempObject);
    }
    outcome
}

/// Whether a value of `synchronous_commit` makes a commit wait for the flush of its WAL.
pub(super) fn commits_flush(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let bare = value.strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'"));
    matches!(
        bare.unwrap_or(&value),
        b"on" | b"local" | b"remote_write" | b"remote_apply" | b"true" | b"yes" | b"1" | b"default"
    )
}

fn sets(names: &[&str]) -> Outcome {
    let mut outcome = match names {
        [name] => Outcome::new(Effect::SessionState, format!("sets {name}")),
        _ => Outcome::new(Effect::SessionState, "sets the session's transaction modes"),
    };
    outcome.session.settings = true;
    outcome.session.setting_names = names.iter().map(|name| (*name).into()).collect();
    outcome
}

/// A SET nobody understands: the server will say so, or else it may have set anything.
fn unreadable() -> Outcome {
    let mut outcome = Outcome::new(Effect::SessionState, "SET that could not be read");
    outcome.session.settings = true;
    outcome.session.async_commit = true;
    outcome
}

fn is_assignment(text: &Text<'_>, at: usize) -> bool {
    text.raw(at) == b"=" || text.is(at, "to")
}

/// Parameters with a syntax of their own, and where their value begins.
fn named_by_syntax(text: &Text<'_>, at: usize) -> Option<(&'static str, usize)> {
    if is_assignment(text, at + 1) {
        return None;
    }
    match (text.word(at), text.word(at + 1)) {
        ("time", "zone") => Some(("timezone", at + 2)),
        ("names", _) => Some(("client_encoding", at + 1)),
        ("role", _) => Some(("role", at + 1)),
        ("schema", _) => Some(("search_path", at + 1)),
        ("session", "authorization") => Some(("session_authorization", at + 2)),
        ("xml", "option") => Some(("xmloption", at + 2)),
        _ => None,
    }
}

/// A parameter name, `a` or `a.b`, in lower case, and the token after it.
fn variable(text: &Text<'_>, at: usize) -> Option<(String, usize)> {
    let mut name = text.name(at)?.to_ascii_lowercase();
    let mut end = at + 1;
    while text.is_kind(end, TokenKind::Dot) {
        name.push('.');
        name.push_str(&text.name(end + 1)?.to_ascii_lowercase());
        end += 2;
    }
    Some((name, end))
}

fn own_set(text: &Text<'_>, name: &str, value_at: usize, to: usize, local: bool) -> Outcome {
    let mut outcome = own("sets a parameter of pgmanifold's own");
    let Some(value) = value(text, value_at, to) else {
        outcome.misplaced_local = true;
        return outcome;
    };
    outcome.local = Some(LocalCommand::Set { name: name.into(), value, local, reset: false });
    outcome
}

/// The plan of such a command holds for this text only: its value is in the plan.
fn own(reason: &'static str) -> Outcome {
    Outcome { cacheable: false, ..Outcome::new(Effect::SessionState, reason) }
}

/// The value of an assignment as text (`Some(None)`: DEFAULT); `None` when it needs decoding.
fn value(text: &Text<'_>, from: usize, to: usize) -> Option<Option<Box<str>>> {
    if to == from + 1 {
        if text.is(from, "default") {
            return Some(None);
        }
        if let Some(TokenKind::String | TokenKind::NationalString) = text.kind(from) {
            return string_value(text.raw(from)).map(Some);
        }
        if text.is_kind(from, TokenKind::QuotedIdentifier) {
            return text.name(from).map(|name| Some(name.into()));
        }
    }
    let encoded = (from..to).any(|at| {
        text.kind(at).is_some_and(|kind| {
            kind.is_literal() && !matches!(kind, TokenKind::Integer | TokenKind::Number)
        })
    });
    let raw = std::str::from_utf8(text.raw_range(from, to)).ok()?;
    (!encoded && !raw.is_empty()).then(|| Some(raw.into()))
}

fn string_value(raw: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(raw).ok()?.trim_start_matches(['n', 'N']);
    let inside = text.strip_prefix('\'')?.strip_suffix('\'')?;
    // Continued over a line break, or with backslashes whose meaning the session decides.
    if inside.contains('\\') || inside.replace("''", "").contains('\'') {
        return None;
    }
    Some(inside.replace("''", "'").into())
}

pub(super) fn reset(text: &Text<'_>, from: usize, to: usize) -> Outcome {
    let at = from + 1;
    let name = match (text.word(at), text.word(at + 1)) {
        ("all", _) => "all".to_string(),
        ("session", "authorization") => "session_authorization".to_string(),
        ("time", "zone") => "timezone".to_string(),
        ("transaction", "isolation") => "transaction_isolation".to_string(),
        _ => match variable(text, at) {
            Some((name, end)) if end == to => name,
            _ => return unreadable(),
        },
    };
    if let Some(name) = name.strip_prefix("pgm.") {
        let mut outcome = own("resets a parameter of pgmanifold's own");
        outcome.local =
            Some(LocalCommand::Set { name: name.into(), value: None, local: false, reset: true });
        return outcome;
    }
    let mut outcome = sets(&[&name]);
    outcome.reason = format!("resets {name}").into();
    outcome.session.resets = true;
    outcome
}

pub(super) fn show(text: &Text<'_>, from: usize, to: usize) -> Outcome {
    let at = from + 1;
    let name = match (text.word(at), text.word(at + 1)) {
        ("session", "authorization") => "session_authorization".to_string(),
        ("time", "zone") => "timezone".to_string(),
        ("transaction", "isolation") => "transaction_isolation".to_string(),
        _ => match variable(text, at) {
            Some((name, end)) if end == to => name,
            _ => return Outcome::write("SHOW that could not be read"),
        },
    };
    if let Some(name) = name.strip_prefix("pgm.") {
        let mut outcome = own("shows a parameter of pgmanifold's own");
        outcome.effect = Effect::Read;
        outcome.local = Some(LocalCommand::Show { name: name.into() });
        return outcome;
    }
    if system::is_transaction_state(&name) {
        return Outcome::new(Effect::Transaction, ASKS_TRANSACTION);
    }
    match system::is_session_setting(&name) {
        true => Outcome::new(Effect::Read, "shows a setting of the session"),
        false => Outcome::write("shows a setting that may be one server's own"),
    }
}

pub(super) fn discard(text: &Text<'_>, from: usize) -> Outcome {
    let mut outcome = Outcome::new(Effect::SessionState, "discards session state");
    match text.word(from + 1) {
        "all" => {
            outcome.session.settings = true;
            outcome.session.resets = true;
            outcome.session.setting_names = vec!["all".into()];
            outcome.session.drops_prepared = true;
            outcome.session.unpins = true;
            outcome.session.unlistens_all = true;
        }
        "temp" | "temporary" | "sequences" => outcome.session.unpins = true,
        // DISCARD PLANS: plans are made again when they are needed.
        _ => {}
    }
    outcome
}
