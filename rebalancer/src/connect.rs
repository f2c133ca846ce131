//! Owns connections: to the catalog, to the primary of a shard, and to its replicas. It must not
//! know what is asked over them.

mod tls;

use crate::config::Server;
use crate::error::Error;
use std::time::Duration;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, SimpleQueryMessage};

/// How the sessions of a mover call themselves in `pg_stat_activity`. Who holds the lease ends
/// every other session of this name on the shards before it begins.
pub const APPLICATION_NAME: &str = "pgmanifold-rebalancer";
/// How sessions call themselves that only look.
pub const LOOKING_NAME: &str = "pgmanifold-rebalancer looking";

/// Rows of a simple query, all columns as text.
pub type TextRows = Vec<Vec<Option<String>>>;

/// A session on a server. The connection ends when this is dropped.
#[derive(Debug)]
pub struct Session {
    /// Where, for errors: `catalog`, `shard north`.
    pub place: String,
    /// The connection.
    pub client: Client,
}

/// How every session is set, whatever the defaults of its server, database and role are: nothing
/// ends what takes long, texts of values are the same on all servers, rows are never left out by a
/// policy, and what is committed is on disk. A dead client is noticed within seconds. Settings that
/// a server does not know are left out.
const SETTINGS: &str = "\
select pg_catalog.set_config(s.name, v.value, false) \
from (values ('statement_timeout', '0'), ('lock_timeout', '0'), ('transaction_timeout', '0'), \
 ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), \
 ('client_connection_check_interval', '1000'), ('tcp_keepalives_idle', '10'), \
 ('tcp_keepalives_interval', '3'), ('tcp_keepalives_count', '3'), \
 ('search_path', ''), ('DateStyle', 'ISO, YMD'), ('IntervalStyle', 'postgres'), \
 ('TimeZone', 'UTC'), ('extra_float_digits', '3'), ('bytea_output', 'hex'), \
 ('lc_monetary', 'C'), ('xmlbinary', 'base64'), ('standard_conforming_strings', 'on'), \
 ('row_security', 'off'), ('default_transaction_read_only', 'off'), \
 ('default_transaction_isolation', 'read committed'), ('transform_null_equals', 'off'), \
 ('client_min_messages', 'warning'), ('jit', 'off'), ('synchronous_commit', 'on')) \
 v (name, value) \
join pg_catalog.pg_settings s on pg_catalog.lower(s.name) = pg_catalog.lower(v.name) \
where not (s.name = 'synchronous_commit' and s.setting <> 'off')";

/// A session on the primary among a server's hosts: the first one that is not in recovery.
///
/// # Errors
/// None of them is a primary that can be reached.
pub async fn primary(server: &Server, place: &str) -> Result<Session, Error> {
    let mut failed = Vec::new();
    for at in 0..server.login.get_hosts().len() {
        match host(server, at, place).await {
            Ok(Reached { session, is_replica: false }) => return Ok(session),
            Ok(Reached { session, .. }) => failed.push(format!("{} is a replica", session.place)),
            Err(error) => failed.push(error.to_string()),
        }
    }
    let message = format!("no primary is reached ({})", failed.join("; "));
    Err(Error::Server { place: place.to_owned(), message, sqlstate: None })
}

/// Sessions on all hosts of a server, in the order of the file.
pub async fn hosts(server: &Server, place: &str) -> Vec<Result<Reached, Error>> {
    let mut all = Vec::new();
    for at in 0..server.login.get_hosts().len() {
        all.push(host(server, at, place).await);
    }
    all
}

/// A host that answers.
#[derive(Debug)]
pub struct Reached {
    /// The session on it.
    pub session: Session,
    /// It is in recovery.
    pub is_replica: bool,
}

async fn host(server: &Server, at: usize, place: &str) -> Result<Reached, Error> {
    let login = one_host(&server.login, at);
    let name = login.get_hosts().first().map(crate::config::host_text).unwrap_or_default();
    let port = login.get_ports().first().copied().unwrap_or(5432);
    let place = format!("{place} ({name}:{port})");
    let failed = |error| Error::server(&place, &error);
    let (client, connection) = match &server.ca_file {
        Some(file) => tls::verifying(file),
        None => tls::trusting(),
    }
    .map_err(|message| Error::Server { place: place.clone(), message, sqlstate: None })
    .map(|tls| login.connect(tls))?
    .await
    .map_err(failed)?;
    // It ends when the client is dropped, or with the connection; the client's user is told why.
    tokio::spawn(connection);
    let session = Session { place, client };
    session.run(SETTINGS).await?;
    let is_replica = session.value("select pg_catalog.pg_is_in_recovery()").await?;
    Ok(Reached { session, is_replica: is_replica.as_deref() == Some("t") })
}

/// The login with one of its hosts only.
fn one_host(login: &tokio_postgres::Config, at: usize) -> tokio_postgres::Config {
    let mut one = tokio_postgres::Config::new();
    match login.get_hosts().get(at) {
        Some(Host::Tcp(name)) => one.host(name),
        #[cfg(unix)]
        Some(Host::Unix(path)) => one.host_path(path),
        None => &mut one,
    };
    if let Some(address) = login.get_hostaddrs().get(at) {
        one.hostaddr(*address);
    }
    if let Some(port) = login.get_ports().get(at).or_else(|| login.get_ports().first()) {
        one.port(*port);
    }
    one.user(login.get_user().unwrap_or_default());
    one.dbname(login.get_dbname().unwrap_or_default());
    if let Some(password) = login.get_password() {
        one.password(password);
    }
    if let Some(options) = login.get_options() {
        one.options(options);
    }
    if let Some(timeout) = login.get_connect_timeout() {
        one.connect_timeout(*timeout);
    }
    if let Some(timeout) = login.get_tcp_user_timeout() {
        one.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = login.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = login.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.keepalives(login.get_keepalives()).keepalives_idle(login.get_keepalives_idle());
    one.ssl_mode(login.get_ssl_mode()).ssl_negotiation(login.get_ssl_negotiation());
    one.channel_binding(login.get_channel_binding());
    one.application_name(login.get_application_name().unwrap_or(APPLICATION_NAME));
    one
}

/// How long ended sessions may take to be gone.
const ENDING_TIMEOUT: Duration = Duration::from_secs(10);
const ENDING_POLL: Duration = Duration::from_millis(5);

/// Ends every other session of the rebalancer's in this database, and waits until they are gone:
/// a mover that was cut off from its catalog may still have some.
///
/// # Errors
/// What the server says, or that they do not end.
pub async fn end_others(session: &Session) -> Result<(), Error> {
    let others = format!(
        "from pg_catalog.pg_stat_activity where application_name = '{APPLICATION_NAME}' \
         and datname = pg_catalog.current_database() and pid <> pg_catalog.pg_backend_pid()"
    );
    let begun = std::time::Instant::now();
    session.run(&format!("select pg_catalog.pg_terminate_backend(pid) {others}")).await?;
    while let Some(pid) = session.value(&format!("select pid {others} limit 1")).await? {
        if begun.elapsed() > ENDING_TIMEOUT {
            let message = format!(
                "the session of an earlier mover (process {pid}) does not end; end it by hand"
            );
            return Err(Error::Server { place: session.place.clone(), message, sqlstate: None });
        }
        tokio::time::sleep(ENDING_POLL).await;
    }
    Ok(())
}

impl Session {
    /// Runs statements whose rows are of no interest, as one simple query.
    ///
    /// # Errors
    /// What the server says.
    pub async fn run(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await.map_err(|error| self.error(&error))
    }

    /// The rows of a simple query, as text.
    ///
    /// # Errors
    /// What the server says.
    pub async fn rows(&self, sql: &str) -> Result<TextRows, Error> {
        let messages = self.client.simple_query(sql).await.map_err(|error| self.error(&error))?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// The first column of the first row, as text; `None` when there is no row, or it is NULL.
    ///
    /// # Errors
    /// What the server says.
    pub async fn value(&self, sql: &str) -> Result<Option<String>, Error> {
        let rows = self.rows(sql).await?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }

    /// An error of this session's.
    pub fn error(&self, error: &tokio_postgres::Error) -> Error {
        Error::server(&self.place, error)
    }
}
