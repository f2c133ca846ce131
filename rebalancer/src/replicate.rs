//! Owns how changes of the keys follow from one shard to the other: publication, slot,
//! subscription, markers, and the removal of all of it. It must not decide when.

use crate::blockers::Attempt;
use crate::connect::Session;
use crate::error::Error;
use crate::tables::Scope;
use std::time::Duration;

/// Which way changes go. The publisher is the source on the way forward, the target on the way
/// back; the subscriber is the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From source to target: `pgm_move_ID`.
    Forward,
    /// From target to source: `pgm_back_ID`.
    Back,
}

impl Direction {
    /// Name of the publication, slot and subscription.
    pub fn name(self, id: i64) -> String {
        match self {
            Self::Forward => format!("pgm_move_{id}"),
            Self::Back => format!("pgm_back_{id}"),
        }
    }
}

/// How a slot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// There is such a slot.
    pub exists: bool,
    /// Somebody reads from it.
    pub active: bool,
    /// Its changes are gone: the publisher has removed the WAL.
    pub lost: bool,
    /// Bytes of WAL that the subscriber has not confirmed.
    pub lag_bytes: u64,
    /// Bytes of WAL kept for it.
    pub retained_bytes: u64,
}

/// Makes the publication anew. The slot must be made, or its position moved, after that.
///
/// # Errors
/// What the server says.
pub async fn publish(_on: &Session, _scope: Scope<'_>, _way: Direction) -> Result<(), Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// One try to make the slot; one that is there and whole is kept. `Blocked` names the writers that
/// it waits for.
///
/// # Errors
/// What the server says.
pub async fn slot(_on: &Session, _id: i64, _way: Direction) -> Result<Attempt<()>, Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// Moves the position of a slot that nobody reads from to now.
///
/// # Errors
/// What the server says.
pub async fn advance(_on: &Session, _id: i64, _way: Direction) -> Result<(), Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// Makes the subscription, enabled; `connection` is how this server reaches the publisher. One
/// that is there is enabled.
///
/// # Errors
/// What the server says.
pub async fn subscribe(
    _on: &Session,
    _id: i64,
    _way: Direction,
    _connection: &str,
) -> Result<(), Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// Ends the subscription and waits until its worker is gone; the slot stays.
///
/// # Errors
/// What the server says.
pub async fn unsubscribe(_on: &Session, _id: i64, _way: Direction) -> Result<(), Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// Removes slot and publication. Whoever reads from the slot is cut off.
///
/// # Errors
/// What the server says.
pub async fn withdraw(_on: &Session, _id: i64, _way: Direction) -> Result<(), Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// Lets the subscription work, or rest.
///
/// # Errors
/// What the server says.
pub async fn enable(_on: &Session, _id: i64, _way: Direction, _on_off: bool) -> Result<(), Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// Commits a marker on the publisher, durably, and returns its number: when the subscriber has it,
/// it has everything that was committed before.
///
/// # Errors
/// What the server says.
pub async fn mark(_on: &Session, _id: i64, _way: Direction) -> Result<i64, Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// Waits until the subscriber has the marker; false when `limit` is over.
///
/// # Errors
/// What the server says; that its worker fails, instead of waiting for it.
pub async fn wait_marker(
    _on: &Session,
    _id: i64,
    _way: Direction,
    _number: i64,
    _limit: Duration,
) -> Result<bool, Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// Makes everything durable that this server has committed so far, what the worker of a
/// subscription has applied among it.
///
/// # Errors
/// What the server says.
pub async fn settle(_on: &Session) -> Result<(), Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// How the slot stands on the publisher.
///
/// # Errors
/// What the server says.
pub async fn standing(_on: &Session, _id: i64, _way: Direction) -> Result<Standing, Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// What is wrong with the subscription's worker, if anything.
///
/// # Errors
/// What the server says.
pub async fn trouble(_on: &Session, _id: i64, _way: Direction) -> Result<Option<String>, Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// One try to prepare the way back while changes still go forward: publication and slot on the
/// target. The slot is to be advanced now and then, and for the last time within the pause, after
/// the forward subscription is disabled.
///
/// # Errors
/// What the server says.
pub async fn prepare_back(_target: &Session, _scope: Scope<'_>) -> Result<Attempt<()>, Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// After the flip: the way forward is removed, and the source follows the target. `connection` is
/// how the source's server reaches the target. Can be repeated.
///
/// # Errors
/// What the servers say.
pub async fn follow_back(
    _source: &Session,
    _target: &Session,
    _id: i64,
    _connection: &str,
) -> Result<(), Error> {
    Err(Error::Stopped("unfinished".into()))
}

/// Removes whatever there is of the move, on those of its shards that are up: subscriptions,
/// publications, slots, fence, guards, markers. Rows stay. Can be repeated.
///
/// # Errors
/// What the servers say; that one of them was not there, and what may be left on it.
pub async fn remove_all(
    _id: i64,
    _source: Option<&Session>,
    _target: Option<&Session>,
) -> Result<(), Error> {
    Err(Error::Stopped("unfinished".into()))
}
