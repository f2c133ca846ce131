//! Owns one client's session: the loop that moves bytes both ways at once, and every branch on
//! the way of a request. Row bytes are never decoded here.
//!
//! The loop is one poll function. It reads a client's messages into the worker's scratch buffer,
//! finds the server they need, and writes them on; it reads the server's answers and writes them
//! back. Only what cannot go on at once (waiting for a server, a full socket) leaves the fast
//! path. Bytes are kept only when a socket is full or a message is incomplete, so an idle client
//! owns no buffer. A slow client stops the reading of its server, and the other way round.
//!
//! ```text
//!             request                     lease                 ReadyForQuery 'I'
//!   idle ───────────────► placing ───────────────► relaying ──────────────────────► idle
//!                            │ nobody can serve it      │ the server is lost
//!                            └────────► error to client ◄┘
//! ```

mod account;
mod batch;
mod byname;
mod counting;
mod custom;
mod deliver;
mod dry_run;
pub(crate) mod extended;
mod failed;
mod failover;
mod finish;
pub mod held;
pub mod knobs;
#[cfg(test)]
mod knobs_docs;
mod listen;
mod listening;
mod local;
mod loss;
mod overdue;
mod pausing;
mod place;
mod planning;
mod redacted;
mod repeat;
pub(crate) mod reply;
mod request;
mod restore;
mod reuse;
mod sequences;
pub mod settings;
mod shards;
mod spans;
mod waiting;

use crate::backend::prepared::Statement;
use crate::cluster::WriteMark;
use crate::metrics::WorkerMetrics;
use crate::pool::Lease;
use crate::pool::manager::{Greeting, UserPools};
use crate::server::login::Guards;
use crate::server::{ClientHandle, Shared, Worker};
use crate::wire::error::SqlError;

use crate::wire::stream::Stream;
use bytes::{Buf, BytesMut};
use failover::FailoverWait;
use hashbrown::HashMap;
use held::Pins;
use knobs::Knobs;
pub(crate) use pausing::paused_too_long;
use pgmanifold_router::lexer::Dialect;
use pgmanifold_router::plan::Plan;
use place::Placement;
use settings::Settings;
use shards::Shards;
use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A prepared statement of this session.
#[derive(Debug, Clone)]
struct Prepared {
    statement: Arc<Statement>,
    plan: Arc<Plan>,
    /// Version of the catalog facts the plan was made with.
    facts_version: u64,
    /// What the client may know of it; `None` for the unnamed one.
    origin: Option<Arc<reuse::Origin>>,
}

/// The transaction as the client sees it, while no server takes part in it.
#[derive(Debug, Default)]
enum Virtual {
    /// No transaction.
    #[default]
    None,
    /// BEGIN was answered by us; its text goes to the server with the first statement.
    Begun(Box<DeferredBegin>),
    /// It failed before a server took part. Its BEGIN is kept for a server that is to answer what
    /// only a server can (ROLLBACK TO, AND CHAIN); there is none when the server was lost.
    Failed(Option<Box<DeferredBegin>>),
    /// Its server was lost; the next statement is told so.
    Lost(Box<SqlError>),
}

#[derive(Debug)]
struct DeferredBegin {
    text: Box<[u8]>,
    kind: pgmanifold_router::plan::Transaction,
}

/// Where a COPY FROM STDIN stands. While it runs, the server ignores Sync and Flush, so whether
/// one is to be answered is not known before the server has said that the COPY began.
///
/// ```text
///   No ── COPY sent ──► Asked ── CopyInResponse ──► Running ── CopyDone, CopyFail ──► No
///    ▲                    │ error, end                  │ error
///    └────────────────────┴─────────────────────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CopyIn {
    No,
    Asked,
    Running,
}

/// Why the relay stopped.
#[derive(Debug)]
enum Event {
    /// A request waits for a connection to this host.
    Acquire(usize),
    /// A request waits for a server to be there at all.
    AwaitServer,
    /// A request waits for the end of a pause.
    AwaitResume,
    /// `SHOW pgm.lsn` waits for a sample.
    Token,
    /// The connection that listens for all must answer first.
    Hub,
    /// Several shards must do something.
    Shards(Box<shards::Work>),
    /// The session is over; the error, if any, is for the client.
    Close(Option<SqlError>),
}

/// Why no more requests can be taken from the bytes at hand.
#[derive(Debug)]
enum Stop {
    /// The next message is incomplete.
    NeedBytes,
    /// The next message must wait until all answers owed have come.
    Drain,
    /// The next message must wait until a COPY has begun or failed.
    CopyAsked,
    /// The relay must stop.
    Event(Event),
}

/// A client's session.
pub struct Session {
    client: Stream,
    /// Client bytes not yet taken: a partial message, or requests that wait.
    input: BytesMut,
    /// Bytes for the client that its socket did not take yet.
    output: BytesMut,
    lease: Option<Lease>,
    pools: Arc<UserPools>,
    /// What a session of a sharded database has beside any other. What belongs to one shard's
    /// server is exchanged with it (`shards::bench`).
    shards: Option<Box<Shards>>,
    shared: Arc<Shared>,
    worker: Arc<Worker>,
    handle: Arc<ClientHandle>,
    metrics: Arc<WorkerMetrics>,
    guards: Box<Guards>,
    prepared: Option<Box<HashMap<Box<[u8]>, Prepared>>>,
    unnamed: Option<Prepared>,
    local_portal: Option<Box<local::Portal>>,
    /// The portal bound last and its statement, while what that returns is not known.
    bound: Option<(Box<[u8]>, u64)>,
    /// Statements closed by messages whose turn to be answered has not come, in order.
    closing: VecDeque<(Box<[u8]>, Prepared)>,
    /// Parameters the session has now, and those it began with.
    settings: Arc<Settings>,
    startup: Arc<Settings>,
    greeting: Greeting,
    /// How SQL text is read under `settings`.
    dialect: Dialect,
    /// Parameters outside `pg_settings` the session has named.
    custom_names: BTreeSet<Box<str>>,
    knobs: Box<Knobs>,
    virtual_transaction: Virtual,
    /// Why the session keeps its server between transactions.
    pins: Pins,
    /// The result of waiting for an event, for the request that waited.
    refused: Option<Box<SqlError>>,
    token: Option<Box<str>>,
    acquire_attempts: u8,
    /// Messages of an extended batch were sent without their Sync.
    batch_open: bool,
    /// An error was answered: messages up to Sync are thrown away.
    skip_to_sync: bool,
    /// Bytes of a large CopyData that go on unseen.
    copy_passing: usize,
    copy_in: CopyIn,
    /// The last Bind was of a COPY FROM STDIN.
    copy_bound: bool,
    /// Client messages wait until the server owes nothing.
    draining: bool,
    /// What the statements of the current transaction did.
    wrote: bool,
    wrote_async: bool,
    /// The causality key a writing statement named in its hint.
    written_key: Option<Box<str>>,
    did_ddl: bool,
    /// The last command that completed was ROLLBACK.
    rolled_back: bool,
    settings_dirty: bool,
    /// Sets start-up values again that the statement under way may reset.
    restore_sql: Option<Box<str>>,
    /// The transaction may have parameters of its own (SET LOCAL).
    local_settings: bool,
    /// Statements prepared by protocol may be gone from the server.
    statements_dirty: bool,
    /// The server knows statements that nobody remembers: it is not used again.
    server_tainted: bool,
    /// What the client had prepared before the DEALLOCATE ALL or DISCARD ALL that is under way.
    dropping: Option<Box<HashMap<Box<[u8]>, Prepared>>>,
    /// What the server had prepared then.
    dropped: Vec<Arc<Statement>>,
    /// The server on which the session may have used sequences last.
    sequence_server: Option<u64>,
    /// Values from before may be on other servers, or gone.
    sequences_lost: bool,
    /// It has asked for `currval` or `lastval` outside of a transaction.
    asked_for_sequences: bool,
    last_write: Option<WriteMark>,
    last_write_async: bool,
    /// When the first message of the current request came.
    started: Instant,
    placement: Placement,
    /// What is counted of its statements.
    account: account::Account,
    /// A request waits to be sent; cancel requests are meant for it.
    waits: bool,
    /// A read failed on a replica: its second try goes to the primary.
    repeating_on_primary: bool,
    /// What the session listens to through the hub of its database.
    listening: Option<Box<listening::Listening>>,
    /// A LISTEN went to the session's own server.
    listens_natively: bool,
    /// The request is the second try of a read whose server was lost: there is no third.
    repeated: bool,
    /// A statement under way may end the transaction.
    may_end_transaction: bool,
    /// The wait of a request for a server to be there at all.
    failover: Option<Box<FailoverWait>>,
    /// The step (see `Pulse`) whose statement we have cancelled.
    cancelled_step: Option<u64>,
    /// State of a small random generator.
    seed: u64,
    /// Requests under way, while any may be traced.
    spans: Option<Box<spans::Spans>>,
}

/// Bytes kept in `input` or `output` between requests; larger buffers are given back.
const KEPT_BUFFER_BYTES: usize = 4 * 1024;

/// While so many answers are owed, the client is not read: what it sends without a byte for the
/// server (Close of a statement) meets no full socket that would hold it up.
const OWED_ANSWERS_MAX: usize = 100_000;

/// Everything a session begins with.
pub struct Beginning {
    /// The client's connection, logged in.
    pub client: Stream,
    /// What the client must be sent first.
    pub output: BytesMut,
    /// What servers say with these parameters.
    pub greeting: Greeting,
    /// Its pools.
    pub pools: Arc<UserPools>,
    /// Parameters given at start-up.
    pub startup: Arc<Settings>,
    /// `pgm.` settings given at start-up.
    pub knobs: Box<Knobs>,
    /// The process.
    pub shared: Arc<Shared>,
    /// The worker whose thread runs the session.
    pub worker: Arc<Worker>,
    /// What it holds until it ends.
    pub guards: Guards,
}

impl Beginning {
    /// Where its statements are counted, how others reach it, and what will tie it to servers.
    fn seen(&self) -> (Arc<WorkerMetrics>, Arc<ClientHandle>, Pins) {
        let metrics = &self.shared.metrics;
        let metrics = metrics.worker(self.worker.index, &self.pools.database.name);
        let handle = Arc::clone(self.guards.registration.handle());
        let pins = Pins::new(&self.pools.database, Arc::clone(&metrics), Arc::clone(&handle));
        (metrics, handle, pins)
    }
}

impl Session {
    /// A session that is about to greet its client.
    pub fn new(begin: Beginning) -> Self {
        let (metrics, handle, pins) = begin.seen();
        let mut session = Self {
            shards: Shards::new(&begin),
            dialect: begin.startup.dialect(&begin.greeting),
            client: begin.client,
            input: BytesMut::new(),
            output: begin.output,
            lease: None,
            pools: begin.pools,
            shared: begin.shared,
            worker: begin.worker,
            handle,
            metrics,
            guards: Box::new(begin.guards),
            prepared: None,
            unnamed: None,
            local_portal: None,
            bound: None,
            closing: VecDeque::new(),
            custom_names: custom_names(&begin.startup),
            settings: Arc::clone(&begin.startup),
            startup: begin.startup,
            greeting: begin.greeting,
            knobs: begin.knobs,
            virtual_transaction: Virtual::None,
            pins,
            refused: None,
            token: None,
            acquire_attempts: 0,
            batch_open: false,
            skip_to_sync: false,
            copy_passing: 0,
            copy_in: CopyIn::No,
            copy_bound: false,
            draining: false,
            wrote: false,
            wrote_async: false,
            written_key: None,
            did_ddl: false,
            rolled_back: false,
            settings_dirty: false,
            restore_sql: None,
            local_settings: false,
            statements_dirty: false,
            server_tainted: false,
            dropping: None,
            dropped: Vec::new(),
            sequence_server: None,
            sequences_lost: false,
            asked_for_sequences: false,
            last_write: None,
            last_write_async: false,
            started: Instant::now(),
            placement: Placement::default(),
            account: account::Account::default(),
            waits: false,
            repeating_on_primary: false,
            listening: None,
            listens_natively: false,
            repeated: false,
            may_end_transaction: false,
            failover: None,
            cancelled_step: None,
            seed: rand::random(),
            spans: None,
        };
        session.follow_keep_server();
        session
    }

    /// Serves the client until it leaves, breaks the protocol, or the proxy stops.
    pub async fn run(mut self) {
        poll_fn(|cx| {
            self.handle.wake_with(cx.waker());
            Poll::Ready(())
        })
        .await;
        loop {
            let event = poll_fn(|cx| self.poll_relay(cx)).await;
            if matches!(event, Event::Acquire(_) | Event::AwaitResume | Event::AwaitServer) {
                // The request is placed anew after the wait.
                self.let_map_go();
            }
            match event {
                Event::Acquire(host) => {
                    Box::pin(self.acquire(host)).await;
                    Box::pin(self.await_newer_map()).await;
                    if let Some(error) = self.ended_waiting() {
                        Box::pin(self.close(Some(error))).await;
                        return;
                    }
                }
                Event::AwaitResume => {
                    if let Some(Event::Close(error)) = Box::pin(self.await_resume()).await {
                        Box::pin(self.close(error)).await;
                        return;
                    }
                }
                Event::AwaitServer => {
                    if let Some(Event::Close(error)) = Box::pin(self.await_server()).await {
                        Box::pin(self.close(error)).await;
                        return;
                    }
                }
                Event::Token => Box::pin(self.take_token()).await,
                Event::Hub => Box::pin(self.wait_for_hub()).await,
                Event::Shards(work) => {
                    if let Some(Event::Close(error)) = Box::pin(self.run_work(*work)).await {
                        Box::pin(self.close(error)).await;
                        return;
                    }
                }
                Event::Close(error) => {
                    Box::pin(self.close(error)).await;
                    return;
                }
            }
        }
    }

    fn poll_relay(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        // A socket that had nothing will wake this task when it has: it is not asked twice.
        let (mut client_waits, mut server_waits) = (false, false);
        loop {
            if self.handle.take_server_doubtful()
                && let Some(event) = self.doubt_server()
            {
                return Poll::Ready(event);
            }
            let mut progressed = false;
            if !self.input.is_empty() && self.may_take_requests() {
                let before = self.input.len();
                if let Some(event) = self.take_kept_requests() {
                    return Poll::Ready(event);
                }
                progressed |= self.input.len() != before;
                server_waits = false;
            }
            let owes = self.output.capacity() > 0 || self.client.is_tls();
            if owes && self.poll_write_client(cx).is_err() {
                return Poll::Ready(Event::Close(None));
            }
            if self.listening.is_some() {
                match self.poll_listening() {
                    Ok(delivered) => progressed |= delivered,
                    Err(event) => return Poll::Ready(event),
                }
            }
            if self.lease.is_some() && !server_waits {
                match self.poll_server(cx) {
                    Poll::Ready(Ok(())) => progressed = true,
                    Poll::Ready(Err(error)) => {
                        if let Some(event) = self.server_lost(error) {
                            return Poll::Ready(event);
                        }
                        progressed = true;
                    }
                    Poll::Pending => server_waits = true,
                }
            }
            if !client_waits && self.may_read_client() {
                match self.poll_client(cx) {
                    Poll::Ready(Some(event)) => return Poll::Ready(event),
                    Poll::Ready(None) => (progressed, server_waits) = (true, false),
                    Poll::Pending => client_waits = true,
                }
            }
            if !progressed && self.handle.pulse.is_over() {
                match self.take_overdue() {
                    Ok(goes_on) => progressed = goes_on,
                    Err(event) => return Poll::Ready(event),
                }
            }
            if !progressed {
                self.let_map_go();
                return match self.stop_requested() {
                    Some(event) => Poll::Ready(event),
                    None => Poll::Pending,
                };
            }
        }
    }

    /// Reads the client once and takes its requests.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        planning::with_scratch(|scratch, planner| {
            let mut buffer = ReadBuf::new(scratch);
            match ready!(Pin::new(&mut self.client).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(Some(Event::Close(None))),
            }
            let bytes = buffer.filled();
            self.metrics.bytes_in(bytes.len() as u64);
            if !self.input.is_empty() {
                self.input.extend_from_slice(bytes);
                return Poll::Ready(None);
            }
            let (taken, stop) = self.take_requests(bytes, planner);
            self.input.extend_from_slice(&bytes[taken..]);
            Poll::Ready(self.stopped(stop))
        })
    }

    /// Takes requests from the bytes kept.
    fn take_kept_requests(&mut self) -> Option<Event> {
        let mut input = std::mem::take(&mut self.input);
        let (taken, stop) =
            planning::with_scratch(|_, planner| self.take_requests(&input, planner));
        input.advance(taken);
        if input.is_empty() && input.capacity() > KEPT_BUFFER_BYTES {
            input = BytesMut::new();
        }
        self.input = input;
        self.stopped(stop)
    }

    fn stopped(&mut self, stop: Stop) -> Option<Event> {
        if matches!(stop, Stop::Drain) {
            self.ask_for_answers();
        }
        self.flush_server_now();
        match stop {
            Stop::NeedBytes | Stop::CopyAsked => None,
            Stop::Drain => {
                self.draining = !self.input.is_empty();
                None
            }
            Stop::Event(event) => Some(event),
        }
    }

    /// False while the requests at hand wait for answers, or the server's socket is full.
    fn may_take_requests(&mut self) -> bool {
        let Some(lease) = &self.lease else {
            self.draining = false;
            return true;
        };
        if (self.draining || lease.repeating) && !lease.expect.is_empty() {
            return false;
        }
        self.draining = false;
        self.copy_in != CopyIn::Asked && lease.out.is_empty()
    }

    /// The client is read while there is room for what it sends. An incomplete message is read
    /// on; requests that wait are not.
    fn may_read_client(&self) -> bool {
        if self.draining || self.copy_in == CopyIn::Asked {
            return self.input.is_empty();
        }
        let takes = |lease: &Lease| {
            lease.out.is_empty() && lease.expect.len() < OWED_ANSWERS_MAX && !lease.repeating
        };
        self.output.is_empty() && self.lease.as_ref().is_none_or(takes)
    }

    /// Writes what the client is owed.
    fn poll_write_client(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.client).poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    self.metrics.bytes_out(written as u64);
                    self.output.advance(written);
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        self.output = BytesMut::new();
        self.flush_client(cx)
    }

    /// TLS keeps records back until it is flushed.
    fn flush_client(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        if matches!(self.client, Stream::Plain(_)) {
            return Ok(());
        }
        match Pin::new(&mut self.client).poll_flush(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }
}

/// Parameters among these that no catalog lists.
fn custom_names(startup: &Settings) -> BTreeSet<Box<str>> {
    let names = startup.iter().map(|(name, _)| name);
    names.filter(|name| name.contains('.')).map(Into::into).collect()
}
