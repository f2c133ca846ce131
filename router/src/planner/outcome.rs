//! Owns `Outcome`: what one statement of a text does.

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

    pub(super) fn pinned(mut self, pin: PinReason) -> Self {
        self.session.pin = self.session.pin.or(Some(pin));
        self
    }
}
