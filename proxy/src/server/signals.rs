//! Owns `pgmanifold run`: the process around a `Proxy`, its signals, the console's orders to it,
//! and its exit code.

use super::orders::{Order, Outcome};
use super::{Proxy, Shared, StopMode};
use crate::config::{self, Config};
use crate::telemetry::Telemetry;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Time the console has to send its answer before the process stops at once.
const ANSWER_TIME: Duration = Duration::from_millis(50);

/// What the process may be asked to do.
#[derive(Debug)]
enum Asked {
    /// By a signal.
    Stop(StopMode),
    /// By SIGHUP.
    Reload,
    /// By SIGUSR1 (true) and SIGUSR2.
    Pause(bool),
    /// By the console.
    Order(Order),
}

/// The signals that are listened to.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal, or order. Cancel safe.
    async fn next(&mut self, orders: &mut mpsc::Receiver<Order>) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop(StopMode::Drain),
            _ = self.interrupt.recv() => Asked::Stop(StopMode::AfterTransactions),
            _ = self.quit.recv() => Asked::Stop(StopMode::Now),
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.user_1.recv() => Asked::Pause(true),
            _ = self.user_2.recv() => Asked::Pause(false),
            Some(order) = orders.recv() => Asked::Order(order),
        }
    }
}

/// What the main loop works with.
struct Process {
    path: PathBuf,
    telemetry: Telemetry,
    shared: Arc<Shared>,
    signals: Signals,
    orders: mpsc::Receiver<Order>,
}

/// Serves until a signal or the console ends it. SIGHUP reads the file again; SIGTERM drains;
/// SIGINT stops after transactions; SIGQUIT, and a second SIGTERM or SIGINT, stop at once; SIGUSR1
/// pauses all databases, SIGUSR2 resumes them.
///
/// Exit code 0 after a stop that cut nobody off, or that was to be at once; 1 otherwise.
pub fn run(path: &Path, config: Config, telemetry: Telemetry) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    // From the first connection on, a signal must not end the process unheard.
    let signals = {
        let _entered = runtime.enter();
        Signals::new()
    };
    let signals = match signals {
        Ok(signals) => signals,
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
    let shared = Arc::clone(proxy.shared());
    let orders = shared.orders.obey();
    let mut process = Process { path: path.to_owned(), telemetry, shared, signals, orders };
    let clean = runtime.block_on(async {
        let mode = process.serve().await;
        tracing::info!(?mode, clients = process.shared.clients.count(), "stopping");
        process.stop(proxy, mode).await
    });
    tracing::info!(clean, "stopped");
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Process {
    /// Serves until something stops it.
    async fn serve(&mut self) -> StopMode {
        loop {
            match self.signals.next(&mut self.orders).await {
                Asked::Stop(mode) => return mode,
                Asked::Order(Order::Stop(mode)) => {
                    tokio::time::sleep(ANSWER_TIME).await;
                    return mode;
                }
                Asked::Reload => drop(self.reload()),
                Asked::Order(Order::Reload(answer)) => {
                    let _ = answer.send(self.reload());
                }
                Asked::Order(Order::LogLevel(level, answer)) => {
                    let _ = answer.send(self.set_log_level(&level));
                }
                Asked::Pause(pause) => self.pause(pause),
            }
        }
    }

    /// Stops the proxy on a thread of its own, so that what comes next is heard.
    async fn stop(&mut self, proxy: Proxy, mode: StopMode) -> bool {
        let mut stopping = tokio::task::spawn_blocking(move || proxy.stop(mode));
        loop {
            let asked = tokio::select! {
                clean = &mut stopping => return clean.unwrap_or(false),
                asked = self.signals.next(&mut self.orders) => asked,
            };
            match asked {
                Asked::Stop(mode) => {
                    tracing::warn!(?mode, "stopping at once");
                    self.shared.end_now();
                }
                Asked::Order(Order::Stop(mode @ StopMode::Now)) => {
                    tracing::warn!(?mode, "stopping at once");
                    tokio::time::sleep(ANSWER_TIME).await;
                    self.shared.end_now();
                }
                Asked::Order(Order::Stop(StopMode::AfterTransactions)) => {
                    tracing::info!("stopping after transactions");
                    self.shared.clients.end_when_idle();
                }
                Asked::Order(Order::Stop(StopMode::Drain)) | Asked::Reload => {}
                Asked::Order(Order::Reload(answer) | Order::LogLevel(_, answer)) => {
                    let _ = answer.send(Err("The process is stopping.".into()));
                }
                Asked::Pause(pause) => self.pause(pause),
            }
        }
    }

    fn pause(&self, pause: bool) {
        let state = self.shared.state();
        let (levers, signal) = (state.levers(), if pause { "SIGUSR1" } else { "SIGUSR2" });
        match (pause, if pause { levers.pause_all() } else { levers.resume_all() }) {
            (true, true) => tracing::info!(signal, "all databases paused"),
            (false, true) => tracing::info!(signal, "all databases resumed"),
            (true, false) => tracing::warn!(signal, "all databases were paused already"),
            (false, false) => tracing::warn!(signal, "not all databases were paused"),
        }
    }

    fn set_log_level(&self, level: &str) -> Outcome {
        self.telemetry.set_filter(level).map_err(|error| error.to_string())
    }

    fn reload(&self) -> Outcome {
        let outcome = self.read_again();
        self.shared.metrics.reloaded(outcome.is_ok());
        match &outcome {
            Ok(()) => tracing::info!(file = %self.path.display(), "configuration reloaded"),
            Err(errors) => tracing::error!(%errors, "configuration not reloaded"),
        }
        outcome
    }

    fn read_again(&self) -> Outcome {
        let config = config::load(&self.path).map_err(|errors| errors.to_string())?;
        let log_level = config.general.log_level.clone();
        self.shared.reload(config).map_err(|error| error.to_string())?;
        if let Err(error) = self.set_log_level(&log_level) {
            tracing::error!(%error, "log level not changed");
        }
        Ok(())
    }
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    tracing::error!(%error, "cannot start");
    ExitCode::FAILURE
}
