//! Owns a small OpenTelemetry collector: it takes OTLP/JSON by HTTP and keeps the spans.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest time one request may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for spans.
const SPANS_TIMEOUT: Duration = Duration::from_secs(15);
/// Without spans for so long, those of the requests before have come.
const QUIET_TIME: Duration = Duration::from_millis(500);

/// What it has got.
#[derive(Debug, Default)]
struct Got {
    spans: Vec<Span>,
    /// Header fields of the last request, in lower case.
    head: String,
    /// Attributes of the last resource.
    resource: Value,
    requests: usize,
}

#[derive(Debug, Default)]
struct State {
    got: Mutex<Got>,
    status: AtomicU16,
    ended: AtomicBool,
}

/// A collector that runs until it is dropped.
#[derive(Debug)]
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

/// A span as it came.
#[derive(Debug, Clone)]
pub struct Span(pub Value);

impl Collector {
    /// Listens on a free port.
    ///
    /// # Panics
    /// When there is none.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State { status: AtomicU16::new(200), ..State::default() });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if shared.ended.load(SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, state }
    }

    /// The section of a configuration that sends all spans here at once.
    pub fn section(&self, keys: &str) -> String {
        let address = self.address;
        format!("[tracing]\nendpoint = \"http://{address}\"\ninterval_ms = 20\n{keys}\n")
    }

    /// Answers with this HTTP status from now on, and keeps spans only when it is 200.
    pub fn answer(&self, status: u16) {
        self.state.status.store(status, SeqCst);
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.got().spans.clone()
    }

    /// The spans that are no children of spans of pgmanifold.
    pub fn roots(&self) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.0["kind"] == 2).collect()
    }

    /// Waits for the spans of one trace, its request first.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn trace(&self, id: &str) -> Vec<Span> {
        let began = Instant::now();
        loop {
            let mut spans = self.spans();
            spans.retain(|span| span.0["traceId"] == id);
            spans.sort_by_key(|span| span.0["kind"] != 2);
            if !spans.is_empty() {
                return spans;
            }
            assert!(began.elapsed() < SPANS_TIMEOUT, "no spans of {id}: {:?}", self.spans());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Forgets the spans so far, when no more have come for a moment.
    pub async fn forget(&self) {
        loop {
            let before = self.spans().len();
            tokio::time::sleep(QUIET_TIME).await;
            let mut got = self.got();
            if got.spans.len() == before {
                got.spans.clear();
                return;
            }
        }
    }

    /// Header fields of the last request, in lower case.
    pub fn head(&self) -> String {
        self.got().head.clone()
    }

    /// An attribute of the last resource.
    pub fn resource(&self, name: &str) -> String {
        text(find(&self.got().resource, name))
    }

    /// How many requests have come.
    pub fn requests(&self) -> usize {
        self.got().requests
    }

    fn got(&self) -> MutexGuard<'_, Got> {
        self.state.got.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.state.ended.store(true, SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Span {
    /// An attribute as text: the elements of a list with commas, and nothing when it is missing.
    pub fn attribute(&self, name: &str) -> String {
        text(find(&self.0["attributes"], name))
    }

    /// A text of the span itself.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// Start and end, in nanoseconds.
    ///
    /// # Panics
    /// When they are no numbers.
    pub fn times(&self) -> (u64, u64) {
        let time = |name| self.text(name).parse().expect("a number in quotes");
        (time("startTimeUnixNano"), time("endTimeUnixNano"))
    }
}

fn find<'a>(attributes: &'a Value, name: &str) -> &'a Value {
    let all = attributes.as_array().into_iter().flatten();
    all.filter(|one| one["key"] == name).map(|one| &one["value"]).next().unwrap_or(&Value::Null)
}

fn text(value: &Value) -> String {
    let list = value["arrayValue"]["values"].as_array();
    let plain = ["stringValue", "intValue"].iter().find_map(|kind| value[kind].as_str());
    match list {
        Some(list) => list.iter().map(text).collect::<Vec<_>>().join(","),
        None => plain.unwrap_or_default().to_owned(),
    }
}

fn serve(stream: TcpStream, state: &State) {
    let _ = stream.set_read_timeout(Some(READ_TIMEOUT));
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let status = state.status.load(SeqCst);
    let mut got = state.got.lock().unwrap_or_else(PoisonError::into_inner);
    got.requests += 1;
    got.head = head;
    if status == 200 {
        let request: Value = serde_json::from_slice(&body).expect("JSON");
        for of_resource in request["resourceSpans"].as_array().expect("resourceSpans") {
            got.resource = of_resource["resource"]["attributes"].clone();
            for of_scope in of_resource["scopeSpans"].as_array().expect("scopeSpans") {
                let spans = of_scope["spans"].as_array().expect("spans");
                got.spans.extend(spans.iter().cloned().map(Span));
            }
        }
    }
    drop(got);
    let answer =
        format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
    let _ = reader.get_mut().write_all(answer.as_bytes());
}
