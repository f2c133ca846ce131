//! Owns the set-up of logs: where lines go, their form, and which are written. Lines are fields
//! plus a fixed lowercase message, on standard error.

use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// The running log; changes which lines are written.
#[derive(Debug, Clone)]
pub struct Telemetry {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Why logs could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("not a log filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The process has a log already.
    #[error("logs were set up before: {0}")]
    Taken(#[from] tracing_subscriber::util::TryInitError),
    /// The log went away.
    #[error("log filter could not be changed: {0}")]
    Reload(#[from] reload::Error),
}

/// Starts the process's log. `filter` is in `EnvFilter` syntax.
///
/// # Errors
/// When the filter cannot be read, or logs were set up before.
pub fn init(filter: &str, json: bool) -> Result<Telemetry, TelemetryError> {
    let (filter, handle) = reload::Layer::new(EnvFilter::builder().parse(filter)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(false).boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    Ok(Telemetry { filter: handle })
}

impl Telemetry {
    /// Changes which lines are written from now on.
    ///
    /// # Errors
    /// When the filter cannot be read; the old one then stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), TelemetryError> {
        Ok(self.filter.reload(EnvFilter::builder().parse(filter)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_can_be_changed_and_a_bad_one_changes_nothing() {
        let telemetry = init("warn", true).unwrap();
        assert!(!tracing::enabled!(tracing::Level::DEBUG));
        telemetry.set_filter("pgmanifold=debug").unwrap();
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert!(matches!(telemetry.set_filter("a=b=c"), Err(TelemetryError::Filter(_))));
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert!(matches!(init("info", false), Err(TelemetryError::Taken(_))));
    }
}
