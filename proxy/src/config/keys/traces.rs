//! Owns the part of the key table about traces: which requests are traced, and where spans go.

use super::Absent::{Required, Value, Words};
use super::Kind::{File, Integer, Ratio, Secret, Text};
use super::Reload::Live;
use super::Section;
use super::sections::key;

/// `[tracing]`
pub const TRACING: Section = Section {
    name: "tracing",
    repeats: false,
    help: "Traces of requests, sent to an OpenTelemetry collector as OTLP/HTTP; see \
           [tracing.md](tracing.md). Without this section nothing is traced, and nothing is spent \
           on it. Of `headers…` at most one key is given.",
    groups: &[&[
        key(
            "endpoint",
            Text,
            Required,
            Live,
            "Where spans are sent: `http://host:port/path` or `https://…`. Without a path it is \
             `/v1/traces`. Certificates are checked against the system's roots.",
        ),
        key(
            "sample_ratio",
            Ratio,
            Value("0.01"),
            Live,
            "Share of requests that are traced. A request that names its parent in a `traceparent` \
             comment is traced exactly if the parent is sampled, whatever the ratio.",
        ),
        key(
            "service_name",
            Text,
            Value("pgmanifold"),
            Live,
            "`service.name` of the spans. `service.instance.id` is the name of the process.",
        ),
        key(
            "headers",
            Secret,
            Words("none"),
            Live,
            "Header fields of each export, such as `authorization=Bearer …`; several are separated \
             by commas, values are percent-encoded where need be.",
        ),
        key(
            "headers_env",
            Text,
            Words("none"),
            Live,
            "Environment variable that holds the header fields.",
        ),
        key(
            "headers_file",
            File,
            Words("none"),
            Live,
            "File that holds the header fields; one newline at its end is left out.",
        ),
        key(
            "interval_ms",
            Integer(10, 60_000),
            Value("1000"),
            Live,
            "Longest time a span waits for others to be sent with it.",
        ),
        key(
            "timeout_ms",
            Integer(10, 60_000),
            Value("10000"),
            Live,
            "Longest time of one attempt to export, connecting included. An attempt that failed \
             for a passing reason is repeated three times.",
        ),
    ]],
    nested: &[],
};
