//! Owns `Server`: one connection to a PostgreSQL server, with all that must be remembered of it:
//! which answers it still owes, which statements it knows, which parameters it was given.
//! It does not decide anything and does not know sessions.

use crate::backend::connect::{Connector, ServerLogin};
use crate::backend::prepared::{ServerStatements, Statement};
use crate::config::model::Host;
use crate::digest::Owed;
use crate::notify::{RoundNumber, Sender};
use crate::pool::Slot;
use crate::session::settings::Settings;
use crate::wire::error::SqlError;
use crate::wire::frame;
use crate::wire::link::Link;
use crate::wire::protocol::CancelKey;
use crate::wire::stream::Stream;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// What the server will answer next, in order; one entry per message sent to it.
#[derive(Debug)]
pub enum Expect {
    /// A client's simple query: everything passes, up to and with ReadyForQuery.
    Query,
    /// A client's Sync: its ReadyForQuery passes.
    Sync,
    /// A Parse.
    Parse {
        /// What was parsed; the server does not have it if the Parse fails.
        statement: Arc<Statement>,
        /// The client's name for it, which the client does not have if the Parse fails; `None`
        /// when the client did not send it now, and gets no ParseComplete.
        name: Option<Box<[u8]>>,
    },
    /// A Parse, under this name, of a statement that the server knows: ParseComplete is ours.
    Parsed(Box<[u8]>),
    /// A Close of a statement, which only the session knows by its name: CloseComplete is ours.
    Closed,
    /// A Bind.
    Bind,
    /// A Describe of a portal: ends with RowDescription or NoData.
    Describe {
        /// The statement the portal was made of, when the answer is to be remembered; else 0.
        of: u64,
    },
    /// A Describe of the statement with this name of the client's.
    DescribeStatement(Box<[u8]>),
    /// A Describe of ours, of a statement: nothing passes, the answer is kept for comparison.
    Verify,
    /// An Execute: ends with CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// A Close of a portal.
    Close,
    /// A Close of ours, of this statement or of nothing anybody knows: nothing passes.
    Evict(Option<Arc<Statement>>),
    /// A simple query of ours; nothing passes.
    Hidden(Hidden),
    /// An answer of ours that waits for its turn.
    Local(Bytes),
    /// A statement of ours that must fail, so that the transaction fails: the client gets this
    /// error instead of the server's, and the server's ReadyForQuery.
    Poison(Box<SqlError>),
    /// The same inside a batch: a message of ours that must fail, so that what the batch has done
    /// is undone. Ends with the error.
    PoisonBatch(Box<SqlError>),
}

/// Why a simple query of ours was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// The deferred BEGIN.
    Begin,
    /// The deferred BEGIN of a transaction that has failed since, and a statement that fails.
    Fail,
    /// Brings the server's parameters to the session's.
    Apply,
    /// Sets start-up values again after a RESET; its ReadyForQuery is the client's.
    Restore,
    /// Reads back the parameters after the session may have changed them.
    ReadSettings,
    /// A Sync of ours, so that a half-done batch can go on elsewhere.
    Sync,
    /// A Sync of ours between the Parse of a statement and the query that calls it.
    Called,
    /// Wipes the values of sequences that other sessions have used.
    Sequences,
    /// Rolls back a transaction whose first statement is to be repeated.
    Undo,
}

/// Who has used something, as far as it matters: nobody, one, or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// Nobody.
    Nobody,
    /// This one only.
    One(u64),
    /// Several, or one at times that are to be told apart.
    Several,
}

/// What identifies a server connection to others (cancel requests, logs).
pub struct ServerInfo {
    /// The host.
    pub host: Arc<Host>,
    /// Index of the host in its shard.
    pub host_index: usize,
    /// Connects to it, for cancel requests.
    pub connector: Arc<Connector>,
    /// Key for cancel requests, when the server gave one.
    pub cancel: Option<CancelKey>,
    /// Whom it worked for last.
    pub sender: Sender,
    /// Number of the connection; unique in this process.
    pub id: u64,
    /// Its two ends.
    pub link: Link,
    /// When it was made.
    pub connected_at: SystemTime,
    /// Number of the client that has it; 0 while nobody has.
    pub lent_to: AtomicU32,
    /// Generation of its pool to which it belongs.
    pub generation: u32,
    /// How many named statements the server knows.
    pub prepared: Arc<AtomicU32>,
    /// The connection is no more.
    pub closed: AtomicBool,
}

impl std::fmt::Debug for ServerInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerInfo").field("host", &self.host.address).finish_non_exhaustive()
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One connection to a PostgreSQL server.
#[derive(Debug)]
pub struct Server {
    /// Unique in this process.
    pub id: u64,
    /// Sessions that may have used sequences on it since it was wiped.
    pub sequence_users: Users,
    /// The socket.
    pub stream: Stream,
    /// Who it is.
    pub info: Arc<ServerInfo>,
    /// Bytes the kernel did not take yet.
    pub out: BytesMut,
    /// Start of a frame whose rest has not arrived.
    pub partial: BytesMut,
    /// Bytes of the current frame that still pass unseen.
    pub passing: usize,
    /// Bytes of a message the server has the beginning of. Only the client that began it can end
    /// it: what anybody else sent would be taken for the rest.
    pub unsent: usize,
    /// Answers owed, in order.
    pub expect: VecDeque<Expect>,
    /// The statements among them, one for each `Query` and `Execute`.
    pub owed: Owed,
    /// When the last answer over several shards ended here.
    pub answered: Option<Instant>,
    /// It was an error that only this server can have made.
    pub failed: bool,
    /// The read under way on a replica, while nothing of its answer has reached the client: it can
    /// be repeated on another server.
    pub repeatable: BytesMut,
    /// That read failed for a reason that only concerns this server: its end is awaited.
    pub repeating: bool,
    /// Rows read for a `Hidden` query.
    pub hidden_rows: Vec<(Box<str>, Box<str>)>,
    /// Status byte of the last ReadyForQuery.
    pub status: u8,
    /// Run-time parameters this connection was given after login.
    pub settings: Arc<Settings>,
    /// Values the server reported, by name.
    pub reported: Vec<(String, String)>,
    /// Named statements that exist on the server.
    pub statements: ServerStatements,
    /// What the unnamed statement is.
    pub unnamed: Option<Arc<Statement>>,
    /// What the server said of the statement it was asked about last: parameters and columns.
    pub description: Vec<u8>,
    /// Which statement that was, when we asked.
    pub verified: Option<u64>,
    /// The statement that is bound now, where its client prepared it later than this server.
    pub reused: Option<u64>,
    /// The batch that binds it, while it may be run again with the statement analysed anew.
    pub again: BytesMut,
    /// The FATAL error that announced its end.
    pub dying: Option<SqlError>,
    /// When it is too old to be used again.
    pub expires: Instant,
    /// Since when it lies idle.
    pub idle_since: Instant,
    /// The hub's round trip after which what was sent on this connection has been heard.
    pub heard_after: RoundNumber,
    /// Times its host had been given up before it was made.
    pub host_losses: u32,
    /// Its place in the pool, given back when dropped.
    pub slot: Slot,
}

/// Bytes kept for the next use of a connection; larger buffers are given back.
const KEPT_BUFFER_BYTES: usize = 16 * 1024;

impl Server {
    /// Puts a simple query of ours on its way. It destroys the server's unnamed statement, as any
    /// simple query does.
    pub fn query(&mut self, sql: &[u8], expect: Expect) {
        frame::put_query(&mut self.out, sql);
        self.expect.push_back(expect);
        self.unnamed = None;
    }

    /// Wraps a connection that has just logged in.
    pub fn new(
        login: ServerLogin,
        (host, host_index): (Arc<Host>, usize),
        connector: Arc<Connector>,
        limits: (usize, Duration),
        slot: Slot,
    ) -> Self {
        let now = Instant::now();
        let (prepared_limit, lifetime) = limits;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let statements = ServerStatements::new(prepared_limit);
        let info = ServerInfo {
            host,
            host_index,
            connector,
            cancel: login.cancel,
            sender: Sender::default(),
            id,
            link: Link::of(&login.stream),
            connected_at: SystemTime::now(),
            lent_to: AtomicU32::new(0),
            generation: slot.generation(),
            prepared: statements.counter(),
            closed: AtomicBool::new(false),
        };
        Self {
            id,
            sequence_users: Users::Nobody,
            stream: login.stream,
            info: Arc::new(info),
            out: BytesMut::new(),
            partial: BytesMut::new(),
            passing: 0,
            unsent: 0,
            expect: VecDeque::new(),
            owed: Owed::default(),
            answered: None,
            failed: false,
            repeatable: BytesMut::new(),
            repeating: false,
            hidden_rows: Vec::new(),
            status: b'I',
            settings: Settings::none(),
            reported: login.params,
            statements,
            unnamed: None,
            description: Vec::new(),
            verified: None,
            reused: None,
            again: BytesMut::new(),
            dying: None,
            expires: now + lifetime,
            idle_since: now,
            heard_after: 0,
            host_losses: 0,
            slot,
        }
    }

    /// True when nothing of the last client is left on it: it may go to another one.
    pub fn is_clean(&self) -> bool {
        self.status == b'I'
            && self.expect.is_empty()
            && self.out.is_empty()
            && self.partial.is_empty()
            && self.passing == 0
            && self.unsent == 0
            && self.dying.is_none()
            && !self.repeating
    }

    /// True when its socket may not have been given all bytes yet.
    #[inline]
    pub fn owes_bytes(&self) -> bool {
        !self.out.is_empty() || self.stream.is_tls()
    }

    /// Gives back large buffers before the connection lies idle.
    pub fn shrink(&mut self) {
        if self.out.capacity() > KEPT_BUFFER_BYTES {
            self.out = BytesMut::new();
        }
        self.repeatable.clear();
        self.again.clear();
        (self.reused, self.verified) = (None, None);
        if self.partial.capacity() > KEPT_BUFFER_BYTES {
            self.partial = BytesMut::new();
        }
    }

    /// Notes a value the server reported.
    pub fn note_parameter(&mut self, name: &str, value: &str) {
        match self.reported.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.reported.push((name.to_owned(), value.to_owned())),
        }
    }
}

impl Drop for Server {
    /// Says goodbye if the socket takes it at once.
    fn drop(&mut self) {
        self.info.closed.store(true, Ordering::Relaxed);
        if self.out.is_empty() {
            self.stream.try_write_now(&[b'X', 0, 0, 0, 4]);
        }
    }
}
