//! Owns the export: batches of spans, posted to the collector. It runs on an event loop on which
//! no session lives, and may be as slow as the collector is.

use super::{Outlet, Span, Tracer, json};
use crate::config::model::{Endpoint, Tracing};
use crate::wire::tls::provider;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::Verifier;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// Spans in one request.
const BATCH_SPANS: usize = 512;
/// How often an attempt is repeated.
const RETRIES: u32 = 3;
/// Pause before the first repetition; doubled before each further one.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why an attempt failed.
#[derive(Debug)]
struct Failed {
    why: String,
    /// It may succeed later.
    passing: bool,
}

impl Failed {
    fn passing(error: impl std::fmt::Display) -> Self {
        Self { why: error.to_string(), passing: true }
    }

    fn lasting(error: impl std::fmt::Display) -> Self {
        Self { why: error.to_string(), passing: false }
    }
}

/// Exports what is queued, for ever. `instance` is the name of the process.
pub async fn run(tracer: Arc<Tracer>, outlet: Outlet, instance: Arc<str>) {
    let Outlet(mut queue) = outlet;
    let mut last_error = None;
    while let Some(first) = queue.recv().await {
        let mut batch = first;
        let interval = tracer.settings.load().as_ref().map(|settings| settings.interval);
        let more = async {
            while batch.len() < BATCH_SPANS
                && let Some(spans) = queue.recv().await
            {
                batch.extend(spans);
            }
        };
        tokio::select! {
            _ = timeout(interval.unwrap_or_default(), more) => {}
            () = tracer.hurry.notified() => {}
        }
        let count = batch.len() as u64;
        let settings = tracer.settings.load_full();
        let result = match &settings {
            Some(settings) => export(settings, &instance, &batch).await,
            // Tracing has ended meanwhile.
            None => Err(Failed::lasting("there is no collector any more")),
        };
        tracer.counts.queued.fetch_sub(count, Relaxed);
        let rejected = match result {
            Ok(rejected) => {
                if last_error.take().is_some() {
                    tracing::info!("traces are exported again");
                }
                rejected.min(count)
            }
            Err(failed) => {
                if last_error.as_ref() != Some(&failed.why) {
                    tracing::warn!(error = failed.why, "traces not exported");
                }
                last_error = Some(failed.why);
                count
            }
        };
        tracer.counts.failed.fetch_add(rejected, Relaxed);
        tracer.counts.exported.fetch_add(count - rejected, Relaxed);
    }
}

/// Gives the number of spans that the collector has rejected.
async fn export(settings: &Tracing, instance: &str, spans: &[Span]) -> Result<u64, Failed> {
    let resource = [
        ("service.name", settings.service_name.as_str()),
        ("service.instance.id", instance),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let body = Bytes::from(json::request(&resource, spans));
    let mut pause = RETRY_PAUSE;
    for _ in 0..RETRIES {
        match attempt(settings, body.clone()).await {
            Err(failed) if failed.passing => {}
            result => return result,
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2);
    }
    attempt(settings, body).await
}

async fn attempt(settings: &Tracing, body: Bytes) -> Result<u64, Failed> {
    let late = || Failed::passing(format!("no answer within {} ms", settings.timeout.as_millis()));
    let result = timeout(settings.timeout, post(settings, body)).await;
    result.unwrap_or_else(|_| Err(late()))
}

async fn post(settings: &Tracing, body: Bytes) -> Result<u64, Failed> {
    let endpoint = &settings.endpoint;
    let address = (endpoint.host.as_str(), endpoint.port);
    let stream = TcpStream::connect(address).await.map_err(Failed::passing)?;
    if !endpoint.tls {
        return talk(stream, settings, body).await;
    }
    let name = ServerName::try_from(endpoint.host.clone()).map_err(Failed::lasting)?;
    let stream = connector()?.connect(name, stream).await.map_err(Failed::passing)?;
    talk(stream, settings, body).await
}

fn connector() -> Result<TlsConnector, Failed> {
    let verifier = Verifier::new(provider()).map_err(Failed::lasting)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Failed::lasting)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn talk<S>(stream: S, settings: &Tracing, body: Bytes) -> Result<u64, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(Failed::passing)?;
    let driver = Driver(tokio::spawn(async move {
        // Whoever waits for the answer is told of the error.
        let _ = connection.await;
    }));
    let request = request(settings, body)?;
    let answer = sender.send_request(request).await.map_err(Failed::passing)?;
    let status = answer.status();
    let read = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    drop(driver);
    if !status.is_success() {
        let passing = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        return Err(Failed { why: format!("the collector answered {status}"), passing });
    }
    Ok(read.map_or(0, |body| rejected(&body.to_bytes())))
}

/// Ends the connection when it is dropped.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn request(settings: &Tracing, body: Bytes) -> Result<Request<Full<Bytes>>, Failed> {
    let mut request = Request::post(settings.endpoint.path.as_str())
        .header(HOST, authority(&settings.endpoint))
        .header(CONTENT_TYPE, "application/json");
    for (name, value) in &settings.headers {
        request = request.header(name.as_str(), value.0.as_str());
    }
    request.body(Full::new(body)).map_err(|_| Failed::lasting("a header field cannot be sent"))
}

fn authority(Endpoint { host, port, .. }: &Endpoint) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// `partialSuccess.rejectedSpans` of an answer, a number that may stand in quotes.
fn rejected(answer: &[u8]) -> u64 {
    const NAME: &[u8] = b"\"rejectedSpans\"";
    let Some(at) = memchr::memmem::find(answer, NAME) else { return 0 };
    let rest = answer.get(at + NAME.len()..).unwrap_or_default();
    let digits = rest
        .iter()
        .skip_while(|byte| matches!(byte, b':' | b'"' | b' '))
        .take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u64, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_spans_are_read() {
        assert_eq!(rejected(b"{}"), 0);
        assert_eq!(rejected(b"{\"partialSuccess\":{\"rejectedSpans\":\"12\"}}"), 12);
        assert_eq!(rejected(b"{\"partialSuccess\":{\"rejectedSpans\": 3}}"), 3);
    }
}
