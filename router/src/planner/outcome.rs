//! Owns `Outcome`: what one statement of a text does.

use super::body::Body;
use crate::plan::{Effect, LocalCommand, PinReason, SessionEffect, Transaction};
use std::borrow::Cow;

#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) effect: Effect,
    pub(super) reason: Cow<'static, str>,
    pub(super) transaction: Option<Transaction>,
    pub(super) session: SessionEffect,
    pub(super) needs_transaction: bool,
    pub(super) local: Option<LocalCommand>,
    pub(super) misplaced_local: bool,
    pub(super) cacheable: bool,
}

impl Outcome {
    pub(super) fn new(effect: Effect, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            effect,
            reason: reason.into(),
            transaction: None,
            session: SessionEffect::default(),
            needs_transaction: false,
            local: None,
            misplaced_local: false,
            cacheable: true,
        }
    }

    pub(super) fn write(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Effect::Write, reason)
    }

    pub(super) fn transaction(transaction: Transaction, reason: &'static str) -> Self {
        Self { transaction: Some(transaction), ..Self::new(Effect::Transaction, reason) }
    }

    /// Adds what the body of something called leaves behind.
    pub(super) fn take_body(&mut self, body: &Body) {
        let session = &mut self.session;
        session.settings |= body.touches;
        session.probes |= body.touches;
        session.async_commit |= body.async_commit;
        session.sequence_state |= body.sequence_state;
        session.listening |= body.listening;
        session.setting_names.extend(body.names.iter().cloned());
        // The parameter may be one that no catalog lists, and could not be read back.
        if body.unknown_name {
            session.pin = Some(PinReason::Unclassified);
        }
    }

    pub(super) fn pinned(mut self, pin: PinReason) -> Self {
        self.session.pin = self.session.pin.or(Some(pin));
        self
    }
}
