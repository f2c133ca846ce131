//! Owns LISTEN, UNLISTEN and the question what a session listens to: which of these statements
//! pgmanifold can answer for the server, and their channel.

use super::keywords;
use super::outcome::Outcome;
use super::text::Text;
use crate::lexer::{MAX_IDENTIFIER_BYTES, TokenKind};
use crate::plan::{Effect, LocalCommand, PinReason};

/// `LISTEN channel`.
pub(super) fn listen(text: &Text<'_>, from: usize, to: usize) -> Outcome {
    let mut outcome =
        Outcome::new(Effect::SessionState, "listens to a channel").pinned(PinReason::Listen);
    outcome.session.listening = true;
    if to == from + 2
        && let Some(channel) = channel(text, from + 1)
    {
        answered_here(&mut outcome, LocalCommand::Listen { channel });
    }
    outcome
}

/// `UNLISTEN channel` and `UNLISTEN *`.
pub(super) fn unlisten(text: &Text<'_>, from: usize, to: usize) -> Outcome {
    let mut outcome = Outcome::new(Effect::SessionState, "stops listening");
    outcome.session.unpins = true;
    if to == from + 2 && text.raw(from + 1) == b"*" {
        outcome.session.unlistens_all = true;
        answered_here(&mut outcome, LocalCommand::Unlisten { channel: None });
        return outcome;
    }
    outcome.session.listening = true;
    if to == from + 2
        && let Some(channel) = channel(text, from + 1)
    {
        answered_here(&mut outcome, LocalCommand::Unlisten { channel: Some(channel) });
    }
    outcome
}

/// Marks the two forms of a query that asks for the channels and for nothing else.
pub(super) fn mark_question(text: &Text<'_>, from: usize, to: usize, outcome: &mut Outcome) {
    if !outcome.session.listening || !text.is(from, "select") {
        return;
    }
    let at =
        if text.raw(from + 1) == b"*" && text.is(from + 2, "from") { from + 3 } else { from + 1 };
    let at =
        if text.is(at, "pg_catalog") && text.is_kind(at + 1, TokenKind::Dot) { at + 2 } else { at };
    if to == at + 3 && text.is(at, "pg_listening_channels") && text.partner(at + 1) == Some(at + 2)
    {
        answered_here(outcome, LocalCommand::ListeningChannels);
    }
}

/// The names are in the plan, so it holds for this text only.
fn answered_here(outcome: &mut Outcome, command: LocalCommand) {
    outcome.cacheable = false;
    outcome.local = Some(command);
}

/// The channel a name stands for. `None` for what the server refuses, or has something to say
/// about (it cuts long names with a notice).
fn channel(text: &Text<'_>, at: usize) -> Option<Box<str>> {
    let quotes = match text.kind(at)? {
        TokenKind::Word if keywords::is_reserved_name(text.word(at)) => return None,
        TokenKind::Word => 0,
        TokenKind::QuotedIdentifier => 2,
        _ => return None,
    };
    let fits = text.raw(at).len() <= MAX_IDENTIFIER_BYTES + quotes;
    if !fits || text.is_foreign_name(at) {
        return None;
    }
    let name = text.name(at)?;
    (!name.is_empty()).then(|| name.into())
}
