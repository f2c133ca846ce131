//! Owns the way from an accepted socket to a session: login, limits, and the greeting that a
//! client of PostgreSQL expects.

use super::clients::{Registration, Sight};
use super::logins::LoginPlace;
use super::worker::{NewClient, StdSocket, Worker};
use super::{ClientHandle, Place, Shared, peers};
use crate::backend::exec;
use crate::cluster::Freshness;
use crate::config::model::{Config, Database, User};
use crate::console;
use crate::frontend::startup::{self, Incoming, Login, Peer, StartupErrorKind};
use crate::metrics::{ClientGuard, Limit, LoginFailure};
use crate::pool::manager::{Greeting, ServerGreeting, UserPools};
use crate::pool::{Claim, lever};
use crate::session::knobs::Knobs;
use crate::session::settings::Settings;
use crate::session::{Beginning, Session, paused_too_long};
use crate::timer::timeout;
use crate::wire::error::{Severity, SqlError};
use crate::wire::frame;
use crate::wire::link::Link;
use crate::wire::protocol::CancelKey;
use crate::wire::stream::{Socket, Stream};
use bytes::BytesMut;
use pgmanifold_router::shard_schema::TOO_OLD;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

/// Longest time a refused client is given to take its error message.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time a login waits for the first look at the servers after a start.
const FIRST_CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause before a shard is asked again that has refused a connection for its old map.
const TOO_OLD_PAUSE: Duration = Duration::from_millis(50);

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

/// A client that has proved who it is, on its way to a worker.
pub(super) struct Entered {
    login: Box<Login>,
    listener: usize,
    place: LoginPlace,
}

/// Lets a client prove who it is, and hands it to the worker with the fewest.
pub(super) async fn log_in(
    client: NewClient,
    mut place: LoginPlace,
    workers: Arc<[Arc<Worker>]>,
    shared: Arc<Shared>,
) {
    let (peer, listener) = (client.peer, client.listener);
    let login = tokio::select! {
        login = prove(client, &shared) => login,
        () = place.taken() => {
            tracing::debug!(%peer, "login given up for a newer one: max_logins is reached");
            None
        }
    };
    let Some(login) = login else { return };
    if console::session::is_console(&login.database) {
        if let Some(console) = shared.console_loop() {
            console.spawn(Box::pin(console::session::serve(*login, place, Arc::clone(&shared))));
        }
        return;
    }
    let least = workers.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed));
    if let Some(worker) = least {
        worker.give(Entered { login, listener, place }).await;
    }
}

/// `None` when there is nobody to serve.
async fn prove(client: NewClient, shared: &Arc<Shared>) -> Option<Box<Login>> {
    let _in_login = shared.metrics.login();
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
    match timeout(config.general.login_timeout, accepting).await {
        Ok(Ok(Incoming::Login(login))) => return Some(login),
        Ok(Ok(Incoming::Cancel { key, stream })) => {
            pass_cancel(shared, &key).await;
            drop(stream);
        }
        Ok(Ok(Incoming::Closed)) => {}
        Ok(Err(error)) => {
            shared.metrics.login_failed(failure_kind(error.kind));
            let peer = error.peer.unwrap_or(peer);
            tracing::info!(%peer, user = error.user, reason = %error, "login failed");
        }
        Err(_) => {
            shared.metrics.login_failed(LoginFailure::Timeout);
            tracing::info!(%peer, "login timed out");
        }
    }
    None
}

/// Brings a client to a session, on the worker that will run it; `None` when it is not let in.
pub(super) async fn admit(
    entered: Entered,
    worker: Arc<Worker>,
    shared: Arc<Shared>,
) -> Option<Session> {
    let Entered { login, listener, place } = entered;
    let mut login = *login;
    login.stream = login.stream.into_this_loop().ok()?;
    let (peer, config) = (login.peer, Arc::clone(&shared.state().config));
    let welcome = welcome(&mut login, listener, &config, &worker, &shared).await;
    // The client is counted as such now, or never will be.
    drop(place);
    match welcome {
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
    if pools.lever.is_disabled() {
        return Err((LoginFailure::Disabled, disabled(&login.database)));
    }
    if let Some(sharded) = &pools.sharded {
        sharded.tried().await;
    }
    let places = take_places((&pools.database, &login.user), listener, config, shared)
        .map_err(|error| (LoginFailure::TooManyClients, error))?;
    if pools.database.application_name_add_host {
        add_host(&mut login.params, login.peer);
    }
    let (settings, knobs) = split_parameters(&pools, std::mem::take(&mut login.params), shared)
        .map_err(|error| (LoginFailure::Protocol, error))?;
    let greeting = learn_greeting(&pools, &settings, worker.index)
        .await
        .map_err(|error| (LoginFailure::NoServer, error))?;
    let ends = Link::of(&login.stream).from(login.peer);
    let sight = Sight::new(&login.user, &pools.database.name, ends, &settings);
    let guards = Guards {
        user: Arc::clone(&login.user),
        registration: Registration::new(shared, login.protocol, sight),
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
    let take = |counter: String, limit: usize, what: String, kind: Limit| {
        let counter: Arc<AtomicUsize> = shared.clients.counter(&counter);
        Place::take(&counter, limit).ok_or_else(|| {
            shared.metrics.refused(kind);
            SqlError::fatal("53300", "sorry, too many clients already")
                .detail(format!("{what} allows {limit} client connections."))
                .hint("Raise max_clients there, or close connections that are not used.")
        })
    };
    Ok([
        take(
            "process".into(),
            config.general.max_clients,
            "The configuration".into(),
            Limit::Process,
        )?,
        take(
            format!("listener:{listener}"),
            listener_limit,
            format!("Listener {listener}"),
            Limit::Listener,
        )?,
        take(
            format!("database:{}", database.name),
            database.max_clients,
            format!("Database \"{}\"", database.name),
            Limit::Database,
        )?,
        take(
            format!("user:{}", user.name),
            user.max_clients,
            format!("User \"{}\"", user.name),
            Limit::User,
        )?,
    ])
}

/// Adds the client's address to its application name, in PgBouncer's format.
fn add_host(params: &mut Vec<(String, String)>, peer: Peer) {
    match params.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("application_name")) {
        Some((_, name)) => *name = format!("{name} - {peer}"),
        None => params.push(("application_name".into(), format!("app - {peer}"))),
    }
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

fn disabled(database: &str) -> SqlError {
    SqlError::fatal("57P03", format!("database \"{database}\" does not accept connections now"))
        .detail("An administrator has disabled it.")
        .hint("Try again later.")
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
    let limit = pools.database.checkout_timeout;
    // The primary; while it is lost, any server that answers.
    let (mut replica, began) = (false, std::time::Instant::now());
    loop {
        if timeout(limit, pools.lever.resumed()).await.is_err() {
            return Err(fatal(paused_too_long(&pools.database, limit)));
        }
        match ask_greeting(pools, settings, worker, replica).await {
            Err(error) if lever::is_held_back(&error) => {}
            // A newer shard map is on its way.
            Err(error) if error.sqlstate == TOO_OLD && began.elapsed() < limit => {
                let _ = timeout(TOO_OLD_PAUSE, std::future::pending::<()>()).await;
            }
            Err(error) if !replica && may_be_lost(&error) => replica = true,
            Err(error) => return Err(fatal(error)),
            Ok(greeting) => {
                pools.remember_greeting(settings, Arc::clone(&greeting));
                return Ok(greeting);
            }
        }
    }
}

fn may_be_lost(error: &SqlError) -> bool {
    error.sqlstate.starts_with("08")
        || error.sqlstate.starts_with("57P")
        || *error.sqlstate == *"55000"
}

async fn ask_greeting(
    pools: &Arc<UserPools>,
    settings: &Arc<Settings>,
    worker: usize,
    replica: bool,
) -> Result<Greeting, SqlError> {
    let cluster = &pools.cluster;
    let host = if replica {
        let any = cluster.pick_replica(&Freshness::default(), rand::random());
        any.map_err(|stale| match cluster.primary() {
            Err(error) => error,
            Ok(_) => SqlError::error("57P03", "no server can be reached")
                .detail(format!("Replicas: {stale}."))
                .hint("Try again."),
        })?
    } else {
        cluster.primary()?
    };
    let mut lease = pools.pools[host].get(worker, Claim::Resumed).await?;
    let sql = lease.settings.difference_sql(settings);
    let asking = async {
        if !sql.is_empty() {
            exec::run(&mut lease, &sql).await?;
        }
        exec::run(&mut lease, "SHOW synchronous_commit").await
    };
    let limit = cluster.shard().health.timeout;
    let sync = timeout(limit, asking).await.unwrap_or_else(|_| {
        Err(SqlError::error("08006", "the server did not answer")
            .detail(format!("Waited {} ms.", limit.as_millis())))
    });
    let sync = match sync {
        Ok(sync) => sync,
        Err(error) => {
            if may_be_lost(&error) {
                cluster.suspect(host);
            }
            return Err(error);
        }
    };
    lease.settings = Arc::clone(settings);
    let async_commit = sync.as_deref() == Some("off");
    let greeting = Arc::new(ServerGreeting { reported: lease.reported.clone(), async_commit });
    lease.give_back(worker, std::time::Instant::now());
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

/// Passes a cancel request on: to the server that works for the client of the key, or to the
/// process whose client that is.
async fn pass_cancel(shared: &Shared, key: &CancelKey) {
    if !cancel_here(shared, key).await && !peers::pass_on(key, shared.clients.tag()).await {
        tracing::debug!("cancel request with an unknown key");
    }
}

/// Cancels what a client of this process runs; false when the key is of none.
pub(super) async fn cancel_here(shared: &Shared, key: &CancelKey) -> bool {
    let Some(handle) = shared.clients.find(key) else { return shared.consoles.cancel(key) };
    cancel_client(&handle).await;
    true
}

/// Cancels what a client runs, on every server that works for it.
pub async fn cancel_client(handle: &ClientHandle) {
    for server in handle.cancel_targets() {
        if let Some(server_key) = &server.cancel
            && let Err(error) = server.connector.send_cancel(&server.host, server_key).await
        {
            tracing::warn!(client = handle.id, host = %server.host.address, %error,
                "cancel failed");
        }
    }
}

/// Tells a client why it is not let in, as far as it listens.
pub(crate) async fn refuse(stream: &mut Stream, error: SqlError) {
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
