//! What is seen of the proxy's process from outside, over the time of the soak.

use pgmanifold_tests::process::Process;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The process at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Figure {
    pub(super) seconds: f64,
    pub(super) resident_kib: u64,
    pub(super) files: usize,
    metrics: String,
}

impl Figure {
    /// Looks at the process and its metrics.
    pub(super) async fn take(process: &Process, http: &str, seconds: f64) -> Figure {
        let metrics = scrape(http).await;
        let resident_kib = process.memory_kib("VmRSS");
        Figure { seconds, resident_kib, files: process.open_files(), metrics }
    }

    /// The sum of all series of a family whose labels contain `label`.
    pub(super) fn sum(&self, family: &str, label: &str) -> f64 {
        let of = |line: &&str| {
            line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(label)
        };
        let value = |line: &str| line.rsplit(' ').next().and_then(|text| text.parse::<f64>().ok());
        self.metrics.lines().filter(of).filter_map(value).sum()
    }

    /// Lent server connections.
    pub(super) fn leases(&self) -> f64 {
        self.sum("pgmanifold_servers", "state=\"active\"")
    }

    /// All server connections.
    pub(super) fn servers(&self) -> f64 {
        self.sum("pgmanifold_servers", "")
    }

    /// Clients, logged in or about to.
    pub(super) fn clients(&self) -> f64 {
        self.sum("pgmanifold_clients", "") + self.sum("pgmanifold_clients_login", "")
    }

    /// Tasks of all event loops.
    pub(super) fn tasks(&self) -> f64 {
        self.sum("pgmanifold_tasks", "")
    }
}

async fn scrape(http: &str) -> String {
    let asking = async {
        // It opens a little later than the ports for clients.
        let mut stream = loop {
            match TcpStream::connect(http).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        text
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("metrics in time")
}

/// Slope of the resident memory by least squares, KiB per minute.
pub(super) fn slope_kib_per_minute(figures: &[Figure]) -> f64 {
    let count = figures.len() as f64;
    let mean = |of: &dyn Fn(&Figure) -> f64| figures.iter().map(of).sum::<f64>() / count;
    let (time, memory) = (mean(&|figure| figure.seconds), mean(&|f| f.resident_kib as f64));
    let both: f64 = figures
        .iter()
        .map(|figure| (figure.seconds - time) * (figure.resident_kib as f64 - memory))
        .sum();
    let square: f64 = figures.iter().map(|figure| (figure.seconds - time).powi(2)).sum();
    if square > 0.0 { both / square * 60.0 } else { 0.0 }
}
