//! Owns the control connections: tokio-postgres sessions in a bb8 pool per host and database, for
//! monitoring and for reading catalogs. Client traffic never passes here: bb8 is not fair, which
//! does not matter for the two or three tasks that come.

use super::probe::{IDENTIFY, PROBE, Seen, ServerIdentity};
use crate::backend::connect::Connector;
use crate::backend::tls::channel_binding;
use crate::config::model::{Host, MonitorLogin};
use crate::wire::stream::Stream;
use bb8::{ManageConnection, PooledConnection, RunError};
use std::fmt;
use std::future::{Ready, ready};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Statement};

/// Most control connections per host and database: one for the monitor, one for everybody else.
const CONTROL_CONNECTIONS_MAX: u32 = 2;
/// How control connections call themselves in `pg_stat_activity`.
const APPLICATION_NAME: &str = "pgmanifold monitor";

/// Why a control connection could not be had or used, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ControlError(pub String);

impl From<tokio_postgres::Error> for ControlError {
    fn from(error: tokio_postgres::Error) -> Self {
        // The crate's own text says only "db error".
        Self(match error.as_db_error() {
            Some(db) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
            None => match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        })
    }
}

/// The control connections to one database of one host.
#[derive(Clone)]
pub struct ControlPool {
    pool: bb8::Pool<Manager>,
    failure: Arc<Failure>,
}

/// bb8 keeps the cause of a failed connect to itself and lets everybody wait for the time limit;
/// the manager leaves the cause here instead and wakes those who wait.
#[derive(Debug, Default)]
struct Failure {
    error: Mutex<Option<ControlError>>,
    happened: Notify,
}

/// What a control connection is for.
#[derive(Clone)]
pub struct ControlTarget {
    /// The server.
    pub host: Arc<Host>,
    /// Who logs in.
    pub login: MonitorLogin,
    /// Where; in most cases `login.database`.
    pub database: String,
    /// `statement_timeout`, and the limit on connecting.
    pub timeout: Duration,
}

impl ControlPool {
    /// A pool that connects when it is first used. `on_lost` is called each time one of its
    /// connections ends, for whatever reason.
    pub fn new(
        connector: Arc<Connector>,
        target: ControlTarget,
        on_lost: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let failure = Arc::new(Failure::default());
        // `ControlPool::get` waits no longer than the connect itself.
        let wait = target.timeout.saturating_add(Duration::from_secs(1));
        let manager = Manager {
            connector,
            target,
            failure: Arc::clone(&failure),
            on_lost: Arc::new(on_lost),
        };
        let pool = bb8::Pool::builder()
            .max_size(CONTROL_CONNECTIONS_MAX)
            .connection_timeout(wait)
            .retry_connection(false)
            .test_on_check_out(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .build_unchecked(manager);
        Self { pool, failure }
    }

    /// A connection that is not known to be broken. Cancel safe.
    ///
    /// # Errors
    /// As soon as connecting failed, with the cause.
    pub async fn get(&self) -> Result<Checkout<'_>, ControlError> {
        let failed = self.failure.happened.notified();
        tokio::pin!(failed);
        // From here on a failure is not missed.
        failed.as_mut().enable();
        loop {
            tokio::select! {
                biased;
                connection = self.pool.get() => match connection {
                    // It is dropped, and with it the next one is a new one.
                    Ok(connection) if connection.client.is_closed() => {}
                    Ok(connection) => return Ok(connection),
                    Err(RunError::User(error)) => return Err(error),
                    Err(RunError::TimedOut) => return Err(ControlError("timed out".into())),
                },
                () = &mut failed => return Err(self.failure.get()),
            }
        }
    }
}

impl Failure {
    fn set(&self, error: ControlError) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.happened.notify_waiters();
    }

    fn get(&self) -> ControlError {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        error.unwrap_or_else(|| ControlError("could not connect".into()))
    }
}

/// A control connection, given back when dropped.
pub type Checkout<'a> = PooledConnection<'a, Manager>;

/// A session for control work.
pub struct ControlConnection {
    /// The session.
    pub client: Client,
    probe: Statement,
    identity: ServerIdentity,
    /// A statement was given up on; what comes next on this connection is its answer.
    abandoned: bool,
}

impl ControlConnection {
    /// Says that the connection cannot be used again: a statement on it was not awaited.
    pub fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Asks the host for its role and position. Abandon the connection when this is cancelled.
    ///
    /// # Errors
    /// When the server fails to answer, or answers something else.
    pub(super) async fn probe(&self) -> Result<Seen, ControlError> {
        let row = self.client.query_one(&self.probe, &[]).await?;
        Seen::read(&row, &self.identity).map_err(ControlError)
    }
}

/// How bb8 makes and judges control connections.
pub struct Manager {
    connector: Arc<Connector>,
    target: ControlTarget,
    failure: Arc<Failure>,
    on_lost: Arc<dyn Fn() + Send + Sync>,
}

impl ManageConnection for Manager {
    type Connection = ControlConnection;
    type Error = ControlError;

    async fn connect(&self) -> Result<ControlConnection, ControlError> {
        let limit = self.target.timeout.min(self.target.host.connect_timeout);
        let result = match tokio::time::timeout(limit, self.log_in()).await {
            Ok(result) => result,
            Err(_) => Err(ControlError(format!("no login within {} ms", limit.as_millis()))),
        };
        result.inspect_err(|error| self.failure.set(error.clone()))
    }

    async fn is_valid(&self, connection: &mut ControlConnection) -> Result<(), ControlError> {
        connection.client.check_connection().await.map_err(ControlError::from)
    }

    fn has_broken(&self, connection: &mut ControlConnection) -> bool {
        connection.abandoned || connection.client.is_closed()
    }
}

/// A control connection that its owner drives.
pub(crate) type Driver = tokio_postgres::Connection<Stream, SettledStream>;

impl ControlTarget {
    /// Connects and logs in. Somebody has to run the second half.
    ///
    /// # Errors
    /// With the cause.
    pub(crate) async fn open(
        &self,
        connector: &Connector,
        application_name: &str,
    ) -> Result<(Client, Driver), ControlError> {
        let opened = connector.open(&self.host).await;
        let stream = opened.map_err(|error| ControlError(error.to_string()))?;
        let mut config = tokio_postgres::Config::new();
        // PostgreSQL overrates catalog queries by far, and would spend half a second on compiling
        // what then runs for 5 ms.
        // TLS is settled. `Require` and `Direct` make the crate ask our connector, and nobody
        // else, which hands the stream back with its channel binding.
        config
            .user(&self.login.user)
            .dbname(&self.database)
            .application_name(application_name)
            .options(format!(
                "-c statement_timeout={} -c search_path=pg_catalog -c jit=off",
                self.timeout.as_millis()
            ))
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct);
        if let Some(password) = &self.login.password {
            config.password(password.0.as_bytes());
        }
        Ok(config.connect_raw(stream, Settled).await?)
    }
}

impl Manager {
    async fn log_in(&self) -> Result<ControlConnection, ControlError> {
        let (client, connection) = self.target.open(&self.connector, APPLICATION_NAME).await?;
        let on_lost = Arc::clone(&self.on_lost);
        tokio::spawn(async move {
            let ended = connection.await;
            tracing::debug!(error = ended.err().map(|e| e.to_string()), "control connection ended");
            on_lost();
        });
        let identity = ServerIdentity::read(&client.query_one(IDENTIFY, &[]).await?)?;
        let probe = client.prepare(PROBE).await?;
        let connection = ControlConnection { client, probe, identity, abandoned: false };
        // The first run fills the server's caches and would be taken for a slow host.
        connection.probe().await?;
        Ok(connection)
    }
}

impl fmt::Debug for ControlPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPool").finish_non_exhaustive()
    }
}

/// A "connector" for a stream whose TLS is settled already.
struct Settled;

impl TlsConnect<Stream> for Settled {
    type Stream = SettledStream;
    type Error = io::Error;
    type Future = Ready<io::Result<SettledStream>>;

    fn connect(self, stream: Stream) -> Self::Future {
        ready(Ok(SettledStream(stream)))
    }
}

/// Our stream in tokio-postgres's terms.
pub(crate) struct SettledStream(Stream);

impl TlsStream for SettledStream {
    fn channel_binding(&self) -> ChannelBinding {
        channel_binding(&self.0)
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for SettledStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for SettledStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
