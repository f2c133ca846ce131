//! Owns LISTEN for all sessions of a database: one connection to the primary listens to every
//! channel that any of them wants, and hands each notification to the sessions that want it.
//!
//! It knows of sessions only that they have a mailbox. What a statement means, and when a
//! notification may be shown to a client, is the session's business.
//!
//! Every request to the hub is one round trip on its connection. The server sends whatever was
//! committed before it saw the round trip ahead of the answer, so the end of a round trip divides
//! notifications into those of before and those of after: a subscription begins there, and a
//! session that has just committed finds its own notifications in its mailbox.

mod listener;
mod mailbox;
mod sender;

pub use mailbox::{Ended, Mailbox, Notification};
pub use sender::{RoundNumber, Sender};

use crate::cluster::Cluster;
use crate::config::model::Database;
use crate::wire::error::SqlError;
use hashbrown::{HashMap, HashSet};
use sender::Senders;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};

/// A channel's name in the encoding of the database.
pub type Channel = Box<[u8]>;

/// The shared listening connection of a database, and who listens to what on it.
#[derive(Debug)]
pub struct Hub {
    cluster: Arc<Cluster>,
    database: Arc<Database>,
    table: Mutex<Table>,
    /// Wakes the listener: there are requests, or channels nobody wants any more.
    wake: Notify,
    connected: AtomicBool,
    delivered: AtomicU64,
    /// Number of the last round trip that has begun.
    begun: AtomicU32,
    /// The connection is to be closed unless it is needed.
    vacated: AtomicBool,
}

/// Who listens to what, and what is asked of the connection.
#[derive(Debug, Default)]
struct Table {
    channels: HashMap<Channel, Listeners>,
    /// Requests not sent yet. A session waits for the one it made, so there are no more of them
    /// than sessions.
    waiting: Vec<Request>,
    /// Channels that may have lost the last who wanted them.
    left: Vec<Channel>,
    /// Why the connection cannot be made.
    failure: Option<SqlError>,
    senders: Senders,
}

/// Who wants a channel.
#[derive(Debug, Default)]
struct Listeners {
    mailboxes: Vec<Arc<Mailbox>>,
    /// Requests for it that are not answered yet.
    arriving: usize,
    /// The connection listens to it.
    heard: bool,
}

/// One round trip that a session waits for.
#[derive(Debug)]
struct Request {
    mailbox: Arc<Mailbox>,
    channels: Vec<Channel>,
    done: oneshot::Sender<Result<(), SqlError>>,
}

/// Completes when the round trip has been made.
pub type Answer = oneshot::Receiver<Result<(), SqlError>>;

/// What there is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubNumbers {
    /// The connection is up.
    pub connected: bool,
    /// Channels listened to.
    pub channels: usize,
    /// Sessions that listen to something.
    pub sessions: usize,
    /// Notifications handed to sessions so far.
    pub delivered: u64,
}

impl Hub {
    /// A hub without a connection; the first request makes one.
    pub fn new(cluster: Arc<Cluster>, database: Arc<Database>) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            database,
            table: Mutex::default(),
            wake: Notify::new(),
            connected: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
            begun: AtomicU32::new(0),
            vacated: AtomicBool::new(false),
        })
    }

    /// Closes the connection as soon as no session listens: somebody is about to drop the database.
    pub fn vacate(&self) {
        self.vacated.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Asks for a round trip, after which the mailbox gets what is sent on `channels`, and has got
    /// what was committed before on those it had already. To give up, drop the answer, then
    /// `unsubscribe`.
    pub fn ask(&self, mailbox: &Arc<Mailbox>, channels: Vec<Channel>) -> Answer {
        let (done, answer) = oneshot::channel();
        let mut table = self.lock();
        for channel in &channels {
            table.arrives(channel);
        }
        table.waiting.push(Request { mailbox: Arc::clone(mailbox), channels, done });
        drop(table);
        self.wake.notify_one();
        answer
    }

    /// The mailbox gets no more from this channel.
    pub fn unsubscribe(&self, mailbox: &Arc<Mailbox>, channel: &[u8]) {
        let mut table = self.lock();
        let Some(listeners) = table.channels.get_mut(channel) else { return };
        listeners.mailboxes.retain(|known| !Arc::ptr_eq(known, mailbox));
        if listeners.is_unwanted() {
            table.left.push(channel.into());
            drop(table);
            self.wake.notify_one();
        }
    }

    /// Why a request got no answer in time.
    pub fn why_silent(&self) -> SqlError {
        let failure = self.lock().failure.clone();
        failure.unwrap_or_else(|| {
            SqlError::error("57P03", "the listening connection does not answer").hint("Try again.")
        })
    }

    /// What there is at the moment.
    pub fn numbers(&self) -> HubNumbers {
        let table = self.lock();
        let all = table.channels.values().flat_map(|listeners| &listeners.mailboxes);
        let sessions: HashSet<*const Mailbox> = all.map(Arc::as_ptr).collect();
        HubNumbers {
            connected: self.connected.load(Ordering::Relaxed),
            channels: table.channels.values().filter(|listeners| listeners.heard).count(),
            sessions: sessions.len(),
            delivered: self.delivered.load(Ordering::Relaxed),
        }
    }

    /// The database's name, as clients give it.
    pub fn database_name(&self) -> &str {
        &self.database.name
    }

    /// Hands a notification to those who want it.
    fn deliver(&self, mut notification: Notification, host: usize) {
        let table = self.lock();
        notification.client = table.senders.client(host, notification.server_pid);
        let Some(listeners) = table.channels.get(notification.channel()) else { return };
        let notification = Arc::new(notification);
        for mailbox in &listeners.mailboxes {
            mailbox.put(&notification);
        }
        self.delivered.fetch_add(listeners.mailboxes.len() as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("invariant: no panic under this lock")
    }
}

impl Listeners {
    fn is_unwanted(&self) -> bool {
        self.mailboxes.is_empty() && self.arriving == 0
    }
}

impl Table {
    /// The requests to be sent now, and the statements that bring the connection to what is
    /// wanted. Requests that nobody waits for any more are dropped.
    fn next_round(&mut self) -> Option<(Vec<Request>, String)> {
        if self.waiting.is_empty() && self.left.is_empty() {
            return None;
        }
        let (round, given_up): (Vec<_>, Vec<_>) =
            self.waiting.drain(..).partition(|request| !request.done.is_closed());
        for request in given_up {
            self.forget(&request.channels);
        }
        let mut sql = String::new();
        for channel in std::mem::take(&mut self.left) {
            if self.channels.get(&channel).is_some_and(Listeners::is_unwanted)
                && self.channels.remove(&channel).is_some_and(|listeners| listeners.heard)
            {
                put_statement(&mut sql, "UNLISTEN", &channel);
            }
        }
        let wanted: HashSet<&Channel> =
            round.iter().flat_map(|request| &request.channels).collect();
        for channel in wanted {
            if self.channels.get(channel).is_some_and(|listeners| !listeners.heard) {
                put_statement(&mut sql, "LISTEN", channel);
            }
        }
        Some((round, sql))
    }

    /// A round trip has ended well: its requests are fulfilled.
    fn fulfil(&mut self, round: Vec<Request>) {
        for request in round {
            // Who gives up drops the answer first and unsubscribes then, so whichever way this
            // goes, nothing is left behind.
            let waits = !request.done.is_closed();
            for channel in &request.channels {
                let Some(listeners) = self.channels.get_mut(channel) else { continue };
                listeners.heard = true;
                listeners.arriving = listeners.arriving.saturating_sub(1);
                let known = |known: &Arc<Mailbox>| Arc::ptr_eq(known, &request.mailbox);
                if listeners.mailboxes.iter().any(known) {
                    // Asked for once more: what came before this moment is not wanted.
                    request.mailbox.retain(|name| name != &**channel);
                } else if waits {
                    listeners.mailboxes.push(Arc::clone(&request.mailbox));
                }
                if listeners.is_unwanted() {
                    self.left.push(channel.clone());
                }
            }
            let _ = request.done.send(Ok(()));
        }
    }

    /// A round trip has failed, its connection goes on.
    fn fail(&mut self, round: Vec<Request>, error: &SqlError) {
        for request in round {
            self.forget(&request.channels);
            let _ = request.done.send(Err(error.clone()));
        }
    }

    fn forget(&mut self, channels: &[Channel]) {
        for channel in channels {
            let Some(listeners) = self.channels.get_mut(channel) else { continue };
            listeners.arriving = listeners.arriving.saturating_sub(1);
            if listeners.is_unwanted() {
                self.left.push(channel.clone());
            }
        }
    }

    /// The connection is gone. Whoever listened is told; who only asks waits for the next one.
    fn lose(&mut self, round: Vec<Request>) {
        self.waiting.extend(round);
        self.left.clear();
        let channels = std::mem::take(&mut self.channels);
        for mailbox in channels.values().flat_map(|listeners| &listeners.mailboxes) {
            mailbox.end(Ended::Lost);
        }
        let waiting: Vec<Channel> =
            self.waiting.iter().flat_map(|request| &request.channels).cloned().collect();
        for channel in &waiting {
            self.arrives(channel);
        }
    }

    /// A request for the channel waits.
    fn arrives(&mut self, channel: &Channel) {
        self.channels.entry(channel.clone()).or_default().arriving += 1;
    }

    fn is_idle(&self) -> bool {
        self.channels.is_empty() && self.waiting.is_empty()
    }
}

/// The name was valid text when the session read it.
fn put_statement(sql: &mut String, verb: &str, channel: &[u8]) {
    let name = String::from_utf8_lossy(channel).replace('"', "\"\"");
    sql.push_str(verb);
    sql.push_str(" \"");
    sql.push_str(&name);
    sql.push_str("\";");
}
