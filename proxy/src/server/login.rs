//! Owns the way from an accepted socket to a session: login, limits, and the greeting that a
//! client of PostgreSQL expects.

use super::clients::Registration;
use super::worker::{NewClient, StdSocket, Worker};
use super::{Place, Shared};
use crate::backend::exec;
use crate::config::model::{Config, Database, User};
use crate::frontend::startup::{self, Incoming, Login, StartupErrorKind};
use crate::metrics::{ClientGuard, LoginFailure};
use crate::pool::manager::{Greeting, ServerGreeting, UserPools};
use crate::session::knobs::Knobs;
use crate::session::settings::Settings;
use crate::session::{Beginning, Session};
use crate::timer::timeout;
use crate::wire::error::{Severity, SqlError};
use crate::wire::frame;
use crate::wire::protocol::CancelKey;
use crate::wire::stream::{Socket, Stream};
use bytes::BytesMut;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

/// Longest time a refused client is given to take its error message.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time a login waits for the first look at the servers after a start.
const FIRST_CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// What a session holds until it ends.
pub struct Guards {
    /// Who logged in. Its pools may be another's, see `forced_user`.
    pub user: Arc<User>,
    /// Its place in the list of clients.
    pub registration: Registration,
    /// Its place in the gauge of clients.
    pub gauge: ClientGuard,
    _places: [Place; 4],
}

/// Why a client is not let in, for the metrics and for the client.
type Refusal = (LoginFailure, SqlError);

/// Brings a connection to a session; `None` when it has ended.
pub(super) async fn log_in(
    client: NewClient,
    worker: Arc<Worker>,
    shared: Arc<Shared>,
) -> Option<Session> {
    let in_login = shared.metrics.login();
    let socket = match client.socket {
        StdSocket::Tcp(tcp) => TcpStream::from_std(tcp).map(Socket::Tcp),
        StdSocket::Unix(unix) => UnixStream::from_std(unix).map(Socket::Unix),
    };
    let (frontends, config) = {
        let state = shared.state();
        (state.frontends.clone(), Arc::clone(&state.config))
    };
    let peer = client.peer;
    let accepting = startup::accept(socket.ok()?, peer, client.listener, &frontends);
    let login = match timeout(config.general.login_timeout, accepting).await {
        Ok(Ok(Incoming::Login(login))) => login,
        Ok(Ok(Incoming::Cancel { key, stream })) => {
            pass_cancel(&shared, &key).await;
            drop(stream);
            return None;
        }
        Ok(Ok(Incoming::Closed)) => return None,
        Ok(Err(error)) => {
            shared.metrics.login_failed(failure_kind(error.kind));
            let peer = error.peer.unwrap_or(peer);
            tracing::info!(%peer, user = error.user, reason = %error, "login failed");
            return None;
        }
        Err(_) => {
            shared.metrics.login_failed(LoginFailure::Timeout);
            tracing::info!(%peer, "login timed out");
            return None;
        }
    };
    drop(in_login);
    let mut login = *login;
    let peer = login.peer;
    match welcome(&mut login, client.listener, &config, &worker, &shared).await {
        Ok(welcome) => {
            tracing::debug!(%peer, user = login.user.name, database = login.database, "login");
            Some(begin(login, welcome, worker, shared))
        }
        Err((failure, error)) => {
            shared.metrics.login_failed(failure);
            tracing::info!(%peer, user = login.user.name, database = login.database, %error,
                "login refused");
            refuse(&mut login.stream, error).await;
            None
        }
    }
}

fn failure_kind(kind: StartupErrorKind) -> LoginFailure {
    match kind {
        StartupErrorKind::Tls | StartupErrorKind::TlsRequired => LoginFailure::Tls,
        StartupErrorKind::Authentication => LoginFailure::Authentication,
        StartupErrorKind::Throttled => LoginFailure::Throttled,
        StartupErrorKind::Unavailable => LoginFailure::NoServer,
        StartupErrorKind::Io | StartupErrorKind::Protocol => LoginFailure::Protocol,
    }
}

/// What was found out for a client that is let in.
struct Welcome {
    pools: Arc<UserPools>,
    settings: Arc<Settings>,
    knobs: Box<Knobs>,
    greeting: Greeting,
    guards: Guards,
}

async fn welcome(
    login: &mut Login,
    listener: usize,
    config: &Config,
    worker: &Worker,
    shared: &Arc<Shared>,
) -> Result<Welcome, Refusal> {
    let pools = shared.user_pools(&login.database, &login.user).ok_or_else(|| {
        let message = format!("database \"{}\" does not exist", login.database);
        (LoginFailure::UnknownDatabase, SqlError::fatal("3D000", message))
    })?;
    let places = take_places((&pools.database, &login.user), listener, config, shared)
        .map_err(|error| (LoginFailure::TooManyClients, error))?;
    let (settings, knobs) = split_parameters(&pools, std::mem::take(&mut login.params), shared)
        .map_err(|error| (LoginFailure::Protocol, error))?;
    let greeting = learn_greeting(&pools, &settings, worker.index)
        .await
        .map_err(|error| (LoginFailure::NoServer, error))?;
    let guards = Guards {
        user: Arc::clone(&login.user),
        registration: Registration::new(shared, login.protocol),
        gauge: shared.metrics.worker(worker.index, &pools.database.name).client(),
        _places: places,
    };
    Ok(Welcome { pools, settings, knobs, greeting, guards })
}

fn take_places(
    (database, user): (&Database, &User),
    listener: usize,
    config: &Config,
    shared: &Shared,
) -> Result<[Place; 4], SqlError> {
    let listener_limit = config.listeners.get(listener).map_or(0, |known| known.max_clients);
    let take = |counter: String, limit: usize, what: String| {
        let counter: Arc<AtomicUsize> = shared.clients.counter(&counter);
        Place::take(&counter, limit).ok_or_else(|| {
            SqlError::fatal("53300", "sorry, too many clients already")
                .detail(format!("{what} allows {limit} client connections."))
                .hint("Raise max_clients there, or close connections that are not used.")
        })
    };
    Ok([
        take("process".into(), config.general.max_clients, "The configuration".into())?,
        take(format!("listener:{listener}"), listener_limit, format!("Listener {listener}"))?,
        take(
            format!("database:{}", database.name),
            database.max_clients,
            format!("Database \"{}\"", database.name),
        )?,
        take(format!("user:{}", user.name), user.max_clients, format!("User \"{}\"", user.name))?,
    ])
}

/// Parts start-up parameters into those of the servers and those of pgmanifold.
fn split_parameters(
    pools: &UserPools,
    params: Vec<(String, String)>,
    shared: &Shared,
) -> Result<(Arc<Settings>, Box<Knobs>), SqlError> {
    let mut knobs = Box::new(Knobs::new(pools.database.causality));
    let mut pairs: Vec<(Box<str>, Box<str>)> = Vec::new();
    for (name, value) in params {
        let lower = name.to_ascii_lowercase();
        match lower.strip_prefix("pgm.") {
            Some(knob) => knobs
                .set(knob, Some(&value), false, false)
                .map_err(|error| SqlError { severity: Severity::Fatal, ..error })?,
            None => pairs.push((lower.into(), value.into())),
        }
    }
    knobs.settle();
    Ok((shared.settings.intern(Settings::new(pairs)), knobs))
}

/// What a server reports with the client's parameters. Asked of a server once for each set of
/// parameters; an impossible value is refused by that server, as it would be without us.
async fn learn_greeting(
    pools: &Arc<UserPools>,
    settings: &Arc<Settings>,
    worker: usize,
) -> Result<Greeting, SqlError> {
    if let Some(known) = pools.greeting(settings) {
        return Ok(known);
    }
    let _ = timeout(FIRST_CHECK_TIMEOUT, pools.cluster.checked()).await;
    let fatal = |error: SqlError| SqlError { severity: Severity::Fatal, ..error };
    let host = match pools.cluster.primary() {
        Ok(host) => host,
        Err(error) => pools
            .cluster
            .pick_replica(&crate::cluster::Freshness::default(), rand::random())
            .map_err(|_| fatal(error))?,
    };
    let mut lease = pools.pools[host].get(worker).await.map_err(fatal)?;
    let sql = lease.settings.difference_sql(settings);
    if !sql.is_empty() {
        exec::run(&mut lease, &sql).await.map_err(fatal)?;
    }
    lease.settings = Arc::clone(settings);
    let sync = exec::run(&mut lease, "SHOW synchronous_commit").await.map_err(fatal)?;
    let async_commit = sync.as_deref() == Some("off");
    let greeting = Arc::new(ServerGreeting { reported: lease.reported.clone(), async_commit });
    lease.give_back(worker, std::time::Instant::now());
    pools.remember_greeting(settings, Arc::clone(&greeting));
    Ok(greeting)
}

fn begin(login: Login, welcome: Welcome, worker: Arc<Worker>, shared: Arc<Shared>) -> Session {
    let mut output = BytesMut::with_capacity(1024);
    frame::put(&mut output, b'R', &[&0u32.to_be_bytes()]);
    for (name, value) in &welcome.greeting.reported {
        let value = match name.as_str() {
            "application_name" => welcome.settings.get("application_name").unwrap_or_default(),
            // Said of the server that was asked; the session has the primary too.
            "in_hot_standby" | "default_transaction_read_only" => "off",
            _ => value,
        };
        frame::put_parameter_status(&mut output, name, value);
    }
    let key = welcome.guards.registration.handle().key();
    frame::put(&mut output, b'K', &[&key.process_id.to_be_bytes(), &key.secret]);
    frame::put_ready(&mut output, b'I');
    Session::new(Beginning {
        client: login.stream,
        output,
        greeting: welcome.greeting,
        pools: welcome.pools,
        startup: welcome.settings,
        knobs: welcome.knobs,
        guards: welcome.guards,
        shared,
        worker,
    })
}

/// Passes a cancel request on to the server that works for the client of the key.
async fn pass_cancel(shared: &Shared, key: &CancelKey) {
    let Some(handle) = shared.clients.find(key) else {
        tracing::debug!("cancel request with an unknown key");
        return;
    };
    let Some(server) = handle.cancel_target() else { return };
    let Some(server_key) = &server.cancel else { return };
    if let Err(error) = server.connector.send_cancel(&server.host, server_key).await {
        tracing::warn!(client = handle.id, host = %server.host.address, %error, "cancel failed");
    }
}

async fn refuse(stream: &mut Stream, error: SqlError) {
    let mut out = BytesMut::new();
    error.encode(&mut out);
    let sending: io::Result<()> = match timeout(REFUSAL_TIMEOUT, async {
        stream.write_all(&out).await?;
        stream.shutdown().await
    })
    .await
    {
        Ok(result) => result,
        Err(_) => return,
    };
    if let Err(error) = sending {
        tracing::debug!(%error, "refused client left first");
    }
}
