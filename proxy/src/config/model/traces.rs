//! Owns the part of the model about traces.

use super::Password;
use std::time::Duration;

/// `[tracing]`
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// Where spans are sent.
    pub endpoint: Endpoint,
    /// Share of requests that are traced, from 0 to 1.
    pub sample_ratio: f64,
    /// `service.name`
    pub service_name: String,
    /// Further header fields of an export.
    pub headers: Vec<(String, Password)>,
    /// Longest time a span waits for others.
    pub interval: Duration,
    /// Longest time of one attempt.
    pub timeout: Duration,
}

/// An HTTP address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// `https`
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path, with its query.
    pub path: String,
}
