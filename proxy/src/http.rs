//! Owns the HTTP port: `/health`, `/ready`, `/metrics`, and the status page. It runs on a thread of
//! its own, so that it answers while the workers are busy and never takes their time. It decides
//! nothing: whether pgmanifold is ready is asked of a closure.

pub mod page;

use crate::metrics::Metrics;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use page::Page;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Most connections at a time; further ones are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// Largest request head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Most header fields of a request.
const MAX_HEADERS: usize = 64;
/// Time to send a request head; also how long a kept connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time one connection may live, however many requests it brings.
const MAX_CONNECTION_TIME: Duration = Duration::from_secs(600);
/// Pause after `accept` failed, for example because no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What OpenMetrics asks for.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// What is to be said of the readiness, one line each.
#[derive(Debug, Clone, Default)]
pub struct Ready {
    /// What is missing before clients can be served; empty when nothing is.
    pub missing: Vec<String>,
    /// What concerns some statements only.
    pub notes: Vec<String>,
}

/// Looks at the readiness.
pub type Readiness = dyn Fn() -> Ready + Send + Sync;

/// What the port answers from.
#[derive(Clone)]
pub struct HttpState {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/ready`. Must not block.
    pub ready: Arc<Readiness>,
    /// For `/`.
    pub page: Option<Arc<Page>>,
}

impl fmt::Debug for HttpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpState").finish_non_exhaustive()
    }
}

/// Answers on `listener` until `shutdown` completes. The thread ends then.
///
/// # Errors
/// When the thread or its event loop cannot be made.
pub fn serve(
    listener: std::net::TcpListener,
    state: HttpState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener)?
    };
    std::thread::Builder::new().name("http".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = accept(listener, state) => {}
                () = shutdown => {}
            }
        });
    })
}

async fn accept(listener: TcpListener, state: HttpState) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "http accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            tracing::debug!("http connection limit reached");
            continue;
        };
        let state = state.clone();
        tokio::spawn(async move {
            let served = tokio::time::timeout(MAX_CONNECTION_TIME, connection(stream, state));
            if let Ok(Err(error)) = served.await {
                tracing::debug!(%error, "http connection failed");
            }
            drop(slot);
        });
    }
}

async fn connection(stream: TcpStream, state: HttpState) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), &state);
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn answer(method: &Method, path: &str, state: &HttpState) -> Response<Full<Bytes>> {
    if method != Method::GET {
        let mut response =
            text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET is answered\n".into());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return response;
    }
    let page = state.page.as_ref().filter(|page| page.is_enabled());
    match (path, page) {
        ("/", Some(page)) => html(page, page.rendered().document),
        ("/live", Some(page)) => html(page, page.rendered().live),
        _ => plain(path, state),
    }
}

fn plain(path: &str, state: &HttpState) -> Response<Full<Bytes>> {
    match path {
        "/health" => text(StatusCode::OK, PLAIN, "ok\n".into()),
        "/ready" => ready(&(state.ready)()),
        "/metrics" => text(StatusCode::OK, OPEN_METRICS, state.metrics.scrape()),
        _ => text(StatusCode::NOT_FOUND, PLAIN, "try /health, /ready or /metrics\n".into()),
    }
}

fn ready(ready: &Ready) -> Response<Full<Bytes>> {
    let line = |line: &String| format!("{line}\n");
    let notes: String = ready.notes.iter().map(line).collect();
    if ready.missing.is_empty() {
        return text(StatusCode::OK, PLAIN, format!("ready\n{notes}"));
    }
    let lines: String = ready.missing.iter().map(line).collect();
    text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, lines + &notes)
}

/// The page or a part of it. What it shows is of now, and it allows nothing but its own text.
fn html(page: &Page, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HTML);
    headers.insert(CONTENT_SECURITY_POLICY, page.policy());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, kind: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use tokio::sync::oneshot;

    struct Port {
        address: SocketAddr,
        readiness: Arc<Mutex<Ready>>,
        stop: Option<oneshot::Sender<()>>,
        thread: Option<JoinHandle<()>>,
    }

    impl Port {
        fn open() -> Self {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let readiness = Arc::new(Mutex::new(Ready::default()));
            let asked = readiness.clone();
            let ready = Arc::new(move || asked.lock().unwrap().clone());
            let state = HttpState { metrics: Metrics::new(), ready, page: None };
            let (stop, stopped) = oneshot::channel();
            let thread = serve(listener, state, async { drop(stopped.await) }).unwrap();
            Self { address, readiness, stop: Some(stop), thread: Some(thread) }
        }

        /// Sends `request` and reads until the other side closes.
        fn send(&self, request: &str) -> String {
            let mut stream = std::net::TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            // The peer may reset instead of closing when it did not read everything.
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8(answer).unwrap()
        }

        fn get(&self, path: &str) -> String {
            self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
        }
    }

    impl Drop for Port {
        fn drop(&mut self) {
            drop(self.stop.take());
            self.thread.take().unwrap().join().unwrap();
        }
    }

    #[test]
    fn answers_its_three_paths_and_nothing_else() {
        let port = Port::open();
        assert!(port.get("/health").starts_with("HTTP/1.1 200"));
        assert!(port.get("/ready").starts_with("HTTP/1.1 200"));
        let metrics = port.get("/metrics");
        assert!(metrics.contains("application/openmetrics-text"), "{metrics}");
        assert!(metrics.contains("pgmanifold_build_info{") && metrics.ends_with("# EOF\n"));
        assert!(port.get("/").starts_with("HTTP/1.1 404"));
        assert!(port.get("/metrics/x").starts_with("HTTP/1.1 404"));
        let post = port.send("POST /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(post.starts_with("HTTP/1.1 405") && post.contains("allow: GET"), "{post}");
    }

    #[test]
    fn says_what_is_missing() {
        let port = Port::open();
        port.readiness.lock().unwrap().notes = vec!["shard s1: no server".into()];
        let answer = port.get("/ready");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nready\nshard s1: no server\n"), "{answer}");
        let missing = vec!["shard main: no primary".into(), "draining".into()];
        *port.readiness.lock().unwrap() = Ready { missing, notes: Vec::new() };
        let answer = port.get("/ready");
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nshard main: no primary\ndraining\n"), "{answer}");
        assert!(port.get("/health").starts_with("HTTP/1.1 200"), "health is not readiness");
    }

    #[test]
    fn refuses_heads_without_end() {
        let port = Port::open();
        let many = "x: y\r\n".repeat(MAX_HEADERS + 1);
        let answer = port.send(&format!("GET /health HTTP/1.1\r\n{many}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        let long = "x".repeat(MAX_HEAD_BYTES * 4);
        let answer = port.send(&format!("GET /{long} HTTP/1.1\r\n\r\n"));
        assert!(!answer.contains(" 200 "), "{answer}");
        assert!(port.get("/health").starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn closes_connections_beyond_its_limit() {
        let port = Port::open();
        let connect = || std::net::TcpStream::connect(port.address).unwrap();
        let held: Vec<_> = (0..MAX_CONNECTIONS).map(|_| connect()).collect();
        assert_eq!(port.get("/health"), "", "the limit is reached");
        drop(held);
        // The slots come back when the server has seen the closes.
        let start = std::time::Instant::now();
        while !port.get("/health").starts_with("HTTP/1.1 200") {
            assert!(start.elapsed() < Duration::from_secs(10), "slots never came back");
        }
    }

    #[test]
    fn a_client_that_keeps_its_connection_does_not_hold_the_shutdown_up() {
        let port = Port::open();
        let idle = std::net::TcpStream::connect(port.address).unwrap();
        drop(port);
        drop(idle);
    }
}
