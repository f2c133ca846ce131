//! Owns what a session notes of a request for its trace. Everything here does nothing while
//! requests are not traced; the one look at that is a flag, once per request.
//!
//! A request is a query string, or a batch up to Sync. Each ends with one ReadyForQuery for the
//! client, in the order they came; so the requests under way are a queue. Answers of servers end
//! its first, what we answer ourselves its last.

use super::Session;
use super::redacted::redacted_up_to;
use super::request::Step;
use crate::config::model::{Address, Host};
use crate::metrics::RouteKind;
use crate::otlp::{self, Kind, Place, Span, Tracer, Value};
use crate::pool::Lease;
use pgmanifold_router::route::Route;
use pgmanifold_router::shard_map::ShardId;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest text of a statement in a span, in bytes; more is cut off.
const TEXT_BYTES_MAX: usize = 2048;
/// Longest name of an operation, in bytes.
const OPERATION_BYTES_MAX: usize = 16;
/// Most children of a request that are told.
const CHILDREN_MAX: usize = 256;

/// The requests of a session that are not answered yet.
#[derive(Debug)]
pub(super) struct Spans {
    tracer: Arc<Tracer>,
    /// `None`: it is not traced.
    open: VecDeque<Option<Box<Open>>>,
    /// The last one has not been taken to its end.
    is_taking: bool,
}

/// What is noted of one request.
#[derive(Debug)]
struct Open {
    place: Place,
    id: u64,
    started: Instant,
    /// When the server at hand was sent it.
    sent: Option<Instant>,
    text: String,
    database: Box<str>,
    client: u32,
    statements: i64,
    route: RouteKind,
    reason: Option<Cow<'static, str>>,
    fallback: Option<Cow<'static, str>>,
    server: Option<Server>,
    shards: Vec<Box<str>>,
    /// What an error is called: its SQLSTATE.
    error: Option<Box<str>>,
    children: Vec<Child>,
}

/// Who was asked.
#[derive(Debug)]
struct Server {
    host: Arc<Host>,
    shard: Option<Box<str>>,
}

/// Something that was done for a request.
#[derive(Debug)]
struct Child {
    /// `None`: the operation of the request.
    name: Option<&'static str>,
    from: Instant,
    to: Instant,
    server: Option<Server>,
    /// It ended with the error of the request.
    failed: bool,
}

impl Session {
    /// A request begins with this text, or the one under way goes on. Its parent counts when the
    /// text came with it: a statement that was prepared before may be of another trace.
    pub(super) fn span_begins(&mut self, text: &[u8], came_now: bool) {
        if self.spans.is_none() && !self.starts_spans() {
            return;
        }
        let Some(spans) = self.spans.as_mut().filter(|spans| !spans.is_taking) else { return };
        let parent = if came_now { otlp::parent_of(text) } else { None };
        let open = spans.tracer.sample(parent.as_ref()).map(|place| {
            let text = redacted_up_to(text, self.dialect, TEXT_BYTES_MAX);
            Box::new(Open::new(place, text, &self.pools.database.name, self.handle.id))
        });
        spans.open.push_back(open);
        spans.is_taking = true;
    }

    /// A request without a text, unless one is under way.
    pub(super) fn span_without_text(&mut self) {
        if let Some(spans) = self.spans.as_mut().filter(|spans| !spans.is_taking) {
            spans.open.push_back(None);
            spans.is_taking = true;
        }
    }

    /// In the middle of a pipeline it would not be known which answer is whose.
    fn starts_spans(&mut self) -> bool {
        let tracer = &self.shared.tracer;
        if !tracer.is_on() || self.owes_answers() || self.batch_open || self.skip_to_sync {
            return false;
        }
        let tracer = Arc::clone(tracer);
        self.spans = Some(Box::new(Spans { tracer, open: VecDeque::new(), is_taking: false }));
        true
    }

    /// Passes on what became of the last message of a request, which may have to come again.
    pub(super) fn span_goes_on(&mut self, step: Step) -> Step {
        if let Some(spans) = &mut self.spans
            && matches!(step, Step::Done | Step::Take(_))
        {
            spans.is_taking = false;
        }
        step
    }

    /// The request that was begun last, when it is traced.
    fn last_span(&mut self) -> Option<&mut Open> {
        self.spans.as_mut()?.open.back_mut()?.as_deref_mut()
    }

    /// A statement is sent to the server at hand.
    pub(super) fn span_sent(&mut self, route: &Route) {
        if self.last_span().is_none() {
            return;
        }
        let server = self.lease.as_ref().map(|lease| Server {
            host: Arc::clone(&lease.info.host),
            shard: self.shards.as_ref().map(|shards| shards.name_here().into()),
        });
        let (kind, fallback) = (self.placement.kind, self.placement.fallback.clone());
        let Some(open) = self.last_span() else { return };
        open.statements += 1;
        if open.sent.is_none() {
            open.sent = Some(Instant::now());
            open.reason = Some(route.reason.clone());
            (open.route, open.fallback, open.server) = (kind, fallback, server);
        }
    }

    /// The request has waited for a server until now.
    pub(super) fn span_waited(&mut self, time: Duration) {
        let Some(open) = self.last_span() else { return };
        let to = Instant::now();
        let from = to.checked_sub(time).unwrap_or(to);
        open.add(Child { name: Some("wait for a server"), from, to, server: None, failed: false });
    }

    /// The request was answered by us, or by several shards, in this way and for this reason.
    pub(super) fn span_routed(&mut self, kind: RouteKind, why: Option<&'static str>) {
        if let Some(open) = self.last_span() {
            open.route = kind;
            open.reason = why.map(Into::into).or(open.reason.take());
        }
    }

    /// The request last begun fails.
    pub(super) fn span_fails(&mut self, sqlstate: &str) {
        if let Some(open) = self.last_span() {
            open.error.get_or_insert_with(|| sqlstate.into());
        }
    }

    /// The server at hand has refused what it was sent.
    pub(super) fn span_refused(&mut self, sqlstate: &str) {
        let open = self.spans.as_mut().and_then(|spans| spans.open.front_mut());
        if let Some(open) = open.and_then(|open| open.as_deref_mut()) {
            open.error.get_or_insert_with(|| sqlstate.into());
        }
    }

    /// Whether the request last begun is traced.
    pub(super) fn is_traced(&self) -> bool {
        let last = self.spans.as_ref().and_then(|spans| spans.open.back());
        last.is_some_and(|open| open.is_some())
    }

    /// Shards have done their parts of the request since a moment.
    pub(super) fn span_shards(&mut self, from: Instant, parts: &[(ShardId, Lease)]) {
        let (now, known) = (Instant::now(), self.sharded());
        let Some(open) = self.last_span() else { return };
        for (shard, lease) in parts {
            let shard: Box<str> =
                known.as_ref().map_or("?", |known| known.shard_name(*shard)).into();
            if !open.shards.contains(&shard) {
                open.shards.push(shard.clone());
            }
            let server = Some(Server { host: Arc::clone(&lease.info.host), shard: Some(shard) });
            let to = lease.answered.unwrap_or(now);
            open.add(Child { name: None, from, to, server, failed: lease.failed });
        }
    }

    /// Something else was done for the request, until now.
    pub(super) fn span_step(&mut self, name: &'static str, from: Option<Instant>) {
        if let (Some(open), Some(from)) = (self.last_span(), from) {
            open.add(Child {
                name: Some(name),
                from,
                to: Instant::now(),
                server: None,
                failed: false,
            });
        }
    }

    /// A server has answered the first request.
    pub(super) fn span_ready(&mut self, now: Instant) {
        let Some(spans) = &mut self.spans else { return };
        if let Some(mut open) = spans.open.pop_front().flatten() {
            match open.sent {
                Some(from) => {
                    let server = open.server.as_ref();
                    let server = server.map(|Server { host, shard }| Server {
                        host: Arc::clone(host),
                        shard: shard.clone(),
                    });
                    let failed = open.error.is_some();
                    open.add(Child { name: None, from, to: now, server, failed });
                }
                // It has prepared or described something only.
                None if open.error.is_none() => open.route = self.placement.kind,
                None => {}
            }
            spans.tracer.send(open.into_spans(now));
        }
        self.rest_from_spans();
    }

    /// The first request is answered with the loss of its server.
    pub(super) fn span_lost(&mut self, sqlstate: &str) {
        if self.spans.is_some() {
            self.span_refused(sqlstate);
            self.span_ready(Instant::now());
        }
    }

    /// The last request is answered without the server at hand.
    pub(super) fn span_answered(&mut self) {
        let Some(spans) = &mut self.spans else { return };
        if let Some(open) = spans.open.pop_back().flatten() {
            spans.tracer.send(open.into_spans(Instant::now()));
        }
        self.rest_from_spans();
    }

    fn rest_from_spans(&mut self) {
        let Some(spans) = self.spans.as_mut().filter(|spans| spans.open.is_empty()) else { return };
        spans.is_taking = false;
        if !spans.tracer.is_on() {
            self.spans = None;
        }
    }
}

impl Drop for Spans {
    /// What was never answered failed with its connection.
    fn drop(&mut self) {
        let now = Instant::now();
        for mut open in self.open.drain(..).flatten() {
            open.error.get_or_insert_with(|| "connection closed".into());
            self.tracer.send(open.into_spans(now));
        }
    }
}

impl Open {
    fn new(place: Place, text: String, database: &str, client: u32) -> Self {
        Self {
            place,
            id: otlp::id(),
            started: Instant::now(),
            sent: None,
            text,
            database: database.into(),
            client,
            statements: 0,
            route: RouteKind::Local,
            reason: None,
            fallback: None,
            server: None,
            shards: Vec::new(),
            error: None,
            children: Vec::new(),
        }
    }

    fn add(&mut self, child: Child) {
        if self.children.len() < CHILDREN_MAX {
            self.children.push(child);
        }
    }

    /// The request, and what was done for it.
    fn into_spans(self: Box<Self>, end: Instant) -> Vec<Span> {
        let clock = Clock::now();
        let operation = operation(&self.text);
        let mut attributes = self.common(&operation);
        attributes.push(("db.query.text", self.text.as_str().into()));
        attributes.push(("db.query.summary", operation.as_str().into()));
        attributes.push(("pgmanifold.route", self.route.word().into()));
        attributes.push(("pgmanifold.client", Value::Number(self.client.into())));
        if self.statements > 1 {
            attributes.push(("db.operation.batch.size", Value::Number(self.statements)));
        }
        for (name, text) in
            [("pgmanifold.reason", &self.reason), ("pgmanifold.fallback", &self.fallback)]
        {
            attributes.extend(text.as_deref().map(|text| (name, text.into())));
        }
        let own_shard = self.server.as_ref().and_then(|server| server.shard.as_ref());
        let shards: Vec<Box<str>> = match self.shards.is_empty() {
            true => own_shard.into_iter().cloned().collect(),
            false => self.shards.clone(),
        };
        if !shards.is_empty() {
            attributes.push(("pgmanifold.shards", Value::Texts(shards)));
        }
        if let Some(error) = &self.error {
            add_error(error, &mut attributes);
        }
        let mut spans = vec![Span {
            trace: self.place.trace,
            id: self.id,
            parent: self.place.parent,
            name: operation.as_str().into(),
            kind: Kind::Server,
            start_ns: clock.unix_ns(self.started),
            end_ns: clock.unix_ns(end),
            attributes,
            error: self.error.clone(),
        }];
        spans.extend(self.children.iter().map(|child| self.child(child, &operation, &clock)));
        spans
    }

    fn common(&self, operation: &str) -> Vec<(&'static str, Value)> {
        vec![
            ("db.system.name", "postgresql".into()),
            ("db.namespace", (&*self.database).into()),
            ("db.operation.name", operation.into()),
        ]
    }

    fn child(&self, child: &Child, operation: &str, clock: &Clock) -> Span {
        let mut span = Span {
            trace: self.place.trace,
            id: otlp::id(),
            parent: Some(self.id),
            name: child.name.unwrap_or(operation).into(),
            start_ns: clock.unix_ns(child.from),
            end_ns: clock.unix_ns(child.to),
            ..Span::default()
        };
        let Some(Server { host, shard }) = &child.server else { return span };
        span.kind = Kind::Client;
        span.attributes = self.common(operation);
        match &host.address {
            Address::Tcp(name, port) => {
                span.attributes.push(("server.address", name.as_str().into()));
                span.attributes.push(("server.port", Value::Number((*port).into())));
            }
            Address::Unix(path) => {
                span.attributes.push(("server.address", path.to_string_lossy().as_ref().into()));
            }
        }
        if let Some(shard) = shard {
            span.attributes.push(("pgmanifold.shard", (&**shard).into()));
        }
        if let Some(error) = self.error.as_ref().filter(|_| child.failed) {
            add_error(error, &mut span.attributes);
            span.error = Some(error.clone());
        }
        span
    }
}

fn add_error(error: &str, attributes: &mut Vec<(&'static str, Value)>) {
    attributes.push(("error.type", error.into()));
    if error.len() == 5 {
        attributes.push(("db.response.status_code", error.into()));
    }
}

/// The first word of a text in capitals: SELECT, INSERT, BEGIN, …
fn operation(text: &str) -> String {
    let word = text.trim_start_matches([' ', '(']);
    let end = word.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(word.len());
    match word.get(..end) {
        Some(word) if (1..=OPERATION_BYTES_MAX).contains(&word.len()) => word.to_ascii_uppercase(),
        _ => "QUERY".into(),
    }
}

/// Turns moments into times of day.
struct Clock {
    now: Instant,
    unix: Duration,
}

impl Clock {
    fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { now: Instant::now(), unix }
    }

    fn unix_ns(&self, at: Instant) -> u64 {
        let ago = self.now.saturating_duration_since(at);
        u64::try_from(self.unix.saturating_sub(ago).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_few_words() {
        for (text, expected) in [
            ("select ? from t", "SELECT"),
            ("(select ?) union select ?", "SELECT"),
            ("with x as (select ?) select", "WITH"),
            ("", "QUERY"),
            ("\"t\"", "QUERY"),
            ("abcdefghijklmnopq x", "QUERY"),
        ] {
            assert_eq!(operation(text), expected, "{text}");
        }
    }
}
