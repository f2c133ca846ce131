//! Owns the hub's connection: making it, its round trips, and noticing that it is lost. The
//! monitor's user logs in: LISTEN needs no privilege but CONNECT, and it sees every database.

use super::{Hub, Notification, Request};
use crate::backend::connect::Connector;
use crate::backend::error::ServerError;
use crate::wire::error::SqlError;
use crate::wire::frame::{self, HEADER_BYTES};
use crate::wire::stream::Stream;
use bytes::{Buf, BytesMut};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::Instant;

/// How the connection calls itself in `pg_stat_activity`.
const APPLICATION_NAME: &str = "pgmanifold listener";
/// A round trip that takes longer: the connection is taken for lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Period of round trips that only show that the connection lives.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// A connection nobody has listened on for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Pauses between attempts to connect.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Longest message taken; a notification has up to 8,000 bytes.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// A round trip of the protocol that does nothing else.
const SYNC: &[u8] = &[b'S', 0, 0, 0, 4];

/// The connection while it is up.
struct Link {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    input: BytesMut,
    out: BytesMut,
    /// Bytes may not have left yet (TLS keeps them back until it is flushed).
    unsent: bool,
    round: Option<Round>,
    host: usize,
    generation: u64,
}

/// The round trip under way.
struct Round {
    requests: Vec<Request>,
    error: Option<SqlError>,
    sent: Instant,
}

impl Hub {
    /// Serves until `retired` completes and nobody listens any more. To be run on the control
    /// runtime.
    pub async fn run(
        self: Arc<Self>,
        connector: Arc<Connector>,
        retired: impl Future<Output = ()>,
    ) {
        tokio::pin!(retired);
        let mut is_retired = false;
        let mut pause = RETRY_MIN;
        loop {
            if self.lock().waiting.is_empty() {
                if is_retired {
                    return;
                }
                tokio::select! {
                    () = &mut retired => is_retired = true,
                    () = self.wake.notified() => {}
                }
                continue;
            }
            match self.connect(&connector).await {
                Ok(mut link) => {
                    pause = RETRY_MIN;
                    self.connected.store(true, Ordering::Relaxed);
                    let reason = self.serve(&mut link).await;
                    self.connected.store(false, Ordering::Relaxed);
                    let round = link.round.take().map_or_else(Vec::new, |round| round.requests);
                    let mut table = self.lock();
                    if !table.is_idle() {
                        tracing::warn!(
                            database = self.database.name,
                            reason,
                            "listening connection lost"
                        );
                    }
                    table.lose(round);
                }
                Err(error) => {
                    tracing::warn!(database = self.database.name, %error, "cannot listen");
                    self.refuse_silently(error);
                    tokio::time::sleep(pause + pause.mul_f32(rand::random::<f32>() / 4.0)).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Keeps the reason for those who give up, and drops the requests of those who have.
    fn refuse_silently(&self, error: SqlError) {
        let mut table = self.lock();
        table.failure = Some(error);
        let table = &mut *table;
        table.waiting.retain(|request| !request.done.is_closed());
        table.lose(Vec::new());
    }

    async fn connect(&self, connector: &Connector) -> Result<Link, SqlError> {
        let generation = self.cluster.generation();
        let host = self.cluster.primary()?;
        let shard = self.cluster.shard();
        let login = &shard.monitor;
        let result = connector
            .connect(
                &self.cluster.hosts()[host].host,
                &login.user,
                login.password.as_ref(),
                &self.database.server_database,
                &[("application_name", APPLICATION_NAME)],
            )
            .await;
        let made = result.map_err(|error| {
            SqlError::error("08001", "the listening connection cannot be made")
                .detail(format!("User \"{}\": {error}.", login.user))
        })?;
        self.lock().failure = None;
        let (reader, writer) = tokio::io::split(made.stream);
        let mut link = Link {
            reader,
            writer,
            input: BytesMut::new(),
            out: BytesMut::new(),
            unsent: false,
            round: None,
            host,
            generation,
        };
        // Names and payloads are wanted as the database has them.
        let value = |name: &str| made.params.iter().find(|(known, _)| known == name);
        if let (Some((_, own)), Some((_, wanted))) =
            (value("client_encoding"), value("server_encoding"))
            && own != wanted
        {
            let sql = format!("SET client_encoding TO '{}'", wanted.replace('\'', "''"));
            self.number_round();
            link.begin(Vec::new(), &sql);
        }
        Ok(link)
    }

    /// Moves bytes until the connection is lost, or nobody needs it; says why.
    async fn serve(&self, link: &mut Link) -> String {
        let mut ticks = tokio::time::interval(PROBE_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut used = Instant::now();
        loop {
            if self.vacated.load(Ordering::Acquire) && self.lock().is_idle() {
                self.vacated.store(false, Ordering::Release);
                return "the database is about to be dropped".to_owned();
            }
            if link.round.is_none()
                && let Some((requests, sql)) = self.next_round()
            {
                link.begin(requests, &sql);
            }
            let Link { reader, writer, input, out, unsent, .. } = &mut *link;
            tokio::select! {
                sent = send(writer, out), if *unsent => match sent {
                    Ok(()) => *unsent = false,
                    Err(error) => return error.to_string(),
                },
                read = reader.read_buf(input) => match read {
                    Ok(0) => return "the server closed the connection".to_owned(),
                    Ok(_) => {
                        if let Err(reason) = self.take_messages(link) {
                            return reason;
                        }
                    }
                    Err(error) => return error.to_string(),
                },
                () = self.wake.notified() => {}
                _ = ticks.tick() => {
                    if !self.lock().is_idle() {
                        used = Instant::now();
                    }
                    if let Some(reason) = self.look_after(link, used) {
                        return reason;
                    }
                }
            }
        }
    }

    fn next_round(&self) -> Option<(Vec<Request>, String)> {
        let round = self.lock().next_round()?;
        self.number_round();
        Some(round)
    }

    /// To be called before the round trip is sent.
    fn number_round(&self) {
        let number = self.lock().senders.begin();
        self.begun.store(number, Ordering::Release);
    }

    /// Finds out what nobody tells: that the other side is silent, or no primary any more.
    fn look_after(&self, link: &mut Link, used: Instant) -> Option<String> {
        let moved = self.cluster.generation() != link.generation
            || self.cluster.primary().is_ok_and(|primary| primary != link.host);
        if moved {
            return Some("another server is the primary now".to_owned());
        }
        if used.elapsed() > IDLE_TIMEOUT {
            return Some("nobody listens".to_owned());
        }
        match &link.round {
            None => {
                self.number_round();
                link.begin(Vec::new(), "");
            }
            Some(round) if round.sent.elapsed() > ANSWER_TIMEOUT => {
                return Some(format!("no answer for {} ms", ANSWER_TIMEOUT.as_millis()));
            }
            Some(_) => {}
        }
        None
    }

    fn take_messages(&self, link: &mut Link) -> Result<(), String> {
        while let Some(header) = frame::peek(&link.input) {
            if header.total < HEADER_BYTES || header.total > MESSAGE_BYTES_MAX {
                return Err("the server sent a malformed message".to_owned());
            }
            if link.input.len() < header.total {
                break;
            }
            let body = &link.input[HEADER_BYTES..header.total];
            match header.kind {
                b'A' => match notification(body) {
                    Some(notification) => self.deliver(notification, link.host),
                    None => return Err("the server sent a malformed notification".to_owned()),
                },
                b'E' => {
                    let error = ServerError::decode(body);
                    if error.severity == "FATAL" || error.severity == "PANIC" {
                        return Err(error.to_string());
                    }
                    if let Some(round) = &mut link.round {
                        round.error = Some(error.into());
                    }
                }
                b'Z' => {
                    if let Some(round) = link.round.take() {
                        let mut table = self.lock();
                        table.senders.end();
                        match round.error {
                            None => table.fulfil(round.requests),
                            Some(error) => table.fail(round.requests, &error),
                        }
                    }
                }
                _ => {}
            }
            link.input.advance(header.total);
        }
        if link.input.is_empty() && link.input.capacity() > READ_BYTES {
            link.input = BytesMut::new();
        }
        Ok(())
    }
}

impl Link {
    /// Begins a round trip; without a statement it is a Sync.
    fn begin(&mut self, requests: Vec<Request>, sql: &str) {
        match sql {
            "" => self.out.extend_from_slice(SYNC),
            sql => frame::put_query(&mut self.out, sql.as_bytes()),
        }
        self.unsent = true;
        self.round = Some(Round { requests, error: None, sent: Instant::now() });
    }
}

/// Cancel safe: what was sent is taken out of `out`.
async fn send(writer: &mut WriteHalf<Stream>, out: &mut BytesMut) -> std::io::Result<()> {
    writer.write_all_buf(out).await?;
    writer.flush().await
}

/// The body of a NotificationResponse: process id, channel, payload.
fn notification(body: &[u8]) -> Option<Notification> {
    let (pid, text) = body.split_first_chunk::<4>()?;
    let (channel, rest) = frame::cstr(text, b'A').ok()?;
    let (_, nothing) = frame::cstr(rest, b'A').ok()?;
    nothing.is_empty().then(|| Notification {
        server_pid: u32::from_be_bytes(*pid),
        client: None,
        text: text.into(),
        channel_bytes: channel.len(),
    })
}
