//! Owns what one session listens to: the channels in force, and what the transaction under way
//! will make of them. It follows commit, rollback and savepoints as PostgreSQL does, and asks the
//! hub for nothing but what comes out.

use crate::notify::{Channel, Ended, Hub, Mailbox};
use crate::server::ClientHandle;
use hashbrown::{HashMap, HashSet};
use pgmanifold_router::savepoint::SavepointCommand;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most channels of a session, and most LISTEN and UNLISTEN in one transaction.
pub(super) const CHANNELS_MAX: usize = 10_000;

/// A statement of the transaction under way; it counts when that commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Listen(Channel),
    Unlisten(Channel),
    UnlistenAll,
}

/// What a statement on the server does to the actions when it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Commit,
    Rollback,
    Savepoint(SavepointCommand),
    UnlistenAll,
}

/// An order whose answer is awaited.
#[derive(Debug)]
struct Awaited {
    order: Order,
    /// Executions of the batch that are answered before it.
    executions_before: usize,
    /// Actions that stand before it.
    actions: usize,
}

/// What one session listens to.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) hub: Arc<Hub>,
    pub(super) mailbox: Arc<Mailbox>,
    /// Channels in force; the number tells which came first.
    active: HashMap<Channel, u64>,
    added: u64,
    /// What the hub was asked to hand over: `active`, and what actions ask for.
    subscribed: HashSet<Channel>,
    actions: Vec<Action>,
    /// Savepoints made after the first action, and how many actions stand before each.
    savepoints: Vec<(Box<str>, usize)>,
    awaited: VecDeque<Awaited>,
    /// The order of the statement bound last; it counts when that is executed.
    pub(super) bound: Option<Order>,
    /// The hub hands over what the actions ask for.
    ready: bool,
    /// An error was answered since the last ReadyForQuery.
    pub(super) failed: bool,
    /// A ReadyForQuery is kept back until the session's own notifications have come.
    pub(super) holds_ready: bool,
}

impl Listening {
    pub(super) fn new(hub: &Arc<Hub>, session: &Arc<ClientHandle>, limit_bytes: usize) -> Self {
        Self {
            hub: Arc::clone(hub),
            mailbox: Mailbox::new(Arc::clone(session), limit_bytes),
            active: HashMap::new(),
            added: 0,
            subscribed: HashSet::new(),
            actions: Vec::new(),
            savepoints: Vec::new(),
            awaited: VecDeque::new(),
            bound: None,
            ready: false,
            failed: false,
            holds_ready: false,
        }
    }

    /// The session listens to something.
    pub(super) fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// The transaction under way has LISTEN or UNLISTEN in it.
    pub(super) fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// What was sent must be answered before it is known what further messages mean.
    pub(super) fn awaits(&self) -> bool {
        self.has_actions() || !self.awaited.is_empty()
    }

    /// What is in force will be another when what was sent is answered.
    pub(super) fn awaits_commit(&self) -> bool {
        self.awaited.iter().any(|awaited| awaited.order == Order::Commit)
    }

    pub(super) fn listens_to(&self, channel: &[u8]) -> bool {
        self.active.contains_key(channel)
    }

    pub(super) fn channels(&self) -> Vec<Channel> {
        let mut channels: Vec<(&Channel, &u64)> = self.active.iter().collect();
        channels.sort_unstable_by_key(|(_, number)| **number);
        channels.into_iter().map(|(channel, _)| channel.clone()).collect()
    }

    /// Adds a statement to the transaction. False when there are too many.
    pub(super) fn add(&mut self, action: Action) -> bool {
        if self.actions.len() >= CHANNELS_MAX || self.active.len() >= CHANNELS_MAX {
            return false;
        }
        if let Action::Listen(channel) = &action {
            self.ready &= self.active.contains_key(channel);
        }
        self.actions.push(action);
        true
    }

    /// Channels the hub must hand over before the transaction may commit.
    pub(super) fn wanted(&self) -> Vec<Channel> {
        if self.ready {
            return Vec::new();
        }
        let asked: HashSet<&Channel> = self.actions.iter().filter_map(Action::listens).collect();
        asked.into_iter().filter(|channel| !self.active.contains_key(*channel)).cloned().collect()
    }

    /// The hub hands over what was wanted, or will.
    pub(super) fn subscribed(&mut self, channels: &[Channel]) {
        self.subscribed.extend(channels.iter().cloned());
    }

    /// The hub hands over what was wanted.
    pub(super) fn set_ready(&mut self) {
        self.ready = true;
    }

    /// A statement was sent that is an action, or decides about those before it.
    pub(super) fn send(&mut self, order: Order, executions_before: usize) {
        let actions = self.actions.len();
        if order == Order::UnlistenAll {
            self.actions.push(Action::UnlistenAll);
            return;
        }
        self.awaited.push_back(Awaited { order, executions_before, actions });
    }

    /// An execution was answered.
    pub(super) fn executed(&mut self, tag: &[u8]) {
        let due = self.awaited.front().is_some_and(|awaited| awaited.executions_before == 0);
        let done = if due { self.awaited.pop_front() } else { None };
        for awaited in &mut self.awaited {
            awaited.executions_before = awaited.executions_before.saturating_sub(1);
        }
        let Some(Awaited { order, actions, .. }) = done else { return };
        match order {
            // COMMIT of a failed transaction answers ROLLBACK.
            Order::Commit => self.end(actions, tag == b"COMMIT\0"),
            Order::Rollback => self.end(actions, false),
            Order::Savepoint(command) => self.savepoint(command, actions),
            Order::UnlistenAll => {}
        }
    }

    /// ReadyForQuery came: what was not answered by now never ran. Outside a transaction block
    /// the batch itself was the transaction.
    pub(super) fn ready_came(&mut self, outside: bool) {
        self.awaited.clear();
        self.bound = None;
        let failed = std::mem::take(&mut self.failed);
        // A transaction goes on: what the hub hands over from now on is not the last word.
        self.ready = false;
        if outside {
            self.end(self.actions.len(), !failed);
        }
    }

    /// The transaction that has everything has ended.
    pub(super) fn end_all(&mut self, committed: bool) {
        self.awaited.clear();
        self.bound = None;
        self.end(self.actions.len(), committed);
    }

    /// The transaction with the first `count` actions has ended.
    fn end(&mut self, count: usize, committed: bool) {
        self.savepoints.clear();
        if count == 0 {
            return;
        }
        let rest = self.actions.split_off(count.min(self.actions.len()));
        let ended = std::mem::replace(&mut self.actions, rest);
        for action in ended.into_iter().filter(|_| committed) {
            match action {
                Action::Listen(channel) => {
                    // Better closed than deaf.
                    if !self.subscribed.contains(&channel) {
                        self.mailbox.end(Ended::Lost);
                    }
                    self.added += 1;
                    self.active.entry(channel).or_insert(self.added);
                }
                Action::Unlisten(channel) => {
                    self.active.remove(&channel);
                }
                Action::UnlistenAll => self.active.clear(),
            }
        }
        self.ready = false;
        if self.subscribed.len() > self.active.len() {
            self.leave_unwanted();
        }
    }

    /// Gives up what was subscribed to and did not come to be, or is no more.
    fn leave_unwanted(&mut self) {
        let asked: HashSet<&Channel> = self.actions.iter().filter_map(Action::listens).collect();
        let (active, hub, mailbox) = (&self.active, &self.hub, &self.mailbox);
        self.subscribed.retain(|channel| {
            let wanted = active.contains_key(channel) || asked.contains(channel);
            if !wanted {
                hub.unsubscribe(mailbox, channel);
            }
            wanted
        });
        mailbox.retain(|channel| {
            active.contains_key(channel) || asked.contains(&Channel::from(channel))
        });
    }

    /// A savepoint that is not known was made before the first action.
    fn savepoint(&mut self, command: SavepointCommand, actions: usize) {
        let find = |known: &[(Box<str>, usize)], name: &str| {
            known.iter().rposition(|(known, _)| **known == *name)
        };
        match command {
            SavepointCommand::Set(name) if self.has_actions() => {
                self.savepoints.push((name, actions));
            }
            SavepointCommand::Set(_) => {}
            SavepointCommand::Release(name) => {
                let kept = find(&self.savepoints, &name).unwrap_or(0);
                self.savepoints.truncate(kept);
            }
            SavepointCommand::RollbackTo(name) => {
                let found = find(&self.savepoints, &name);
                let kept = found.and_then(|at| self.savepoints.get(at)).map_or(0, |(_, n)| *n);
                self.savepoints.truncate(found.map_or(0, |at| at + 1));
                let upto = actions.min(self.actions.len());
                self.actions.drain(kept.min(upto)..upto);
            }
        }
    }
}

impl Action {
    /// The channel it listens to.
    fn listens(&self) -> Option<&Channel> {
        match self {
            Self::Listen(channel) => Some(channel),
            Self::Unlisten(_) | Self::UnlistenAll => None,
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        for channel in &self.subscribed {
            self.hub.unsubscribe(&self.mailbox, channel);
        }
    }
}
