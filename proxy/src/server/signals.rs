//! Owns `pgmanifold run`: the process around a `Proxy`, its signals and its exit code.

use super::{Proxy, StopMode};
use crate::config::{self, Config};
use crate::telemetry::Telemetry;
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that are listened to.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal that stops the process.
    async fn stop(&mut self) -> StopMode {
        tokio::select! {
            _ = self.terminate.recv() => StopMode::Drain,
            _ = self.interrupt.recv() => StopMode::AfterTransactions,
        }
    }
}

/// Serves until a signal ends it. SIGHUP reads the file again; SIGTERM drains; SIGINT stops after
/// transactions; a second SIGTERM or SIGINT stops at once.
///
/// Exit code 0 after a stop that cut nobody off, 1 otherwise.
pub fn run(path: &Path, config: Config, telemetry: Telemetry) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    super::files::raise_limit(&config);
    let proxy = match Proxy::start(config) {
        Ok(proxy) => proxy,
        Err(error) => return failed(&error),
    };
    for address in proxy.addresses() {
        tracing::info!(%address, "listening");
    }
    if let Some(address) = proxy.http_address() {
        tracing::info!(%address, "serving health and metrics");
    }
    let clean = runtime.block_on(async {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "signals cannot be listened to");
                return false;
            }
        };
        let mode = serve(path, &proxy, &telemetry, &mut signals).await;
        tracing::info!(?mode, clients = proxy.shared().clients.count(), "stopping");
        stop(proxy, mode, &mut signals).await
    });
    tracing::info!(clean, "stopped");
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn serve(
    path: &Path,
    proxy: &Proxy,
    telemetry: &Telemetry,
    signals: &mut Signals,
) -> StopMode {
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => {}
            _ = signals.terminate.recv() => return StopMode::Drain,
            _ = signals.interrupt.recv() => return StopMode::AfterTransactions,
        }
        let ok = reload(path, proxy, telemetry);
        proxy.shared().metrics.reloaded(ok);
    }
}

fn reload(path: &Path, proxy: &Proxy, telemetry: &Telemetry) -> bool {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            tracing::error!(%errors, "configuration not reloaded");
            return false;
        }
    };
    let log_level = config.general.log_level.clone();
    if let Err(error) = proxy.reload(config) {
        tracing::error!(%error, "configuration not reloaded");
        return false;
    }
    if let Err(error) = telemetry.set_filter(&log_level) {
        tracing::error!(%error, "log level not changed");
    }
    tracing::info!(file = %path.display(), "configuration reloaded");
    true
}

/// Stops the proxy on a thread of its own, so that a second signal is heard.
async fn stop(proxy: Proxy, mode: StopMode, signals: &mut Signals) -> bool {
    let shared = std::sync::Arc::clone(proxy.shared());
    let mut stopping = tokio::task::spawn_blocking(move || proxy.stop(mode));
    loop {
        tokio::select! {
            clean = &mut stopping => return clean.unwrap_or(false),
            mode = signals.stop() => {
                tracing::warn!(?mode, "stopping at once");
                shared.end_now();
            }
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    tracing::error!(%error, "cannot start");
    ExitCode::FAILURE
}
