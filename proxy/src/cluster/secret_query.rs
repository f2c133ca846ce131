//! Owns the question a server is asked for the secret of a user that the configuration does not
//! know, and the memory of its answers. It must not judge any proof, and the user's name is only
//! ever a parameter of the question.

use super::Cluster;
use super::control::{ControlError, ControlPool, ControlTarget};
use crate::backend::connect::Connector;
use crate::config::model::{AuthQuery, Database, MonitorLogin, Password, Secret};
use crate::wire::scram::StoredSecret;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio_postgres::Row;
use zeroize::Zeroizing;

/// NAMEDATALEN - 1: no role has a longer name.
const MAX_NAME_BYTES: usize = 63;
/// Longest secret that is taken from a server.
const MAX_SECRET_BYTES: usize = 4096;
/// An answer this old is asked for again when a client's proof does not fit it: the password may
/// have been changed.
const DOUBTED_AFTER: Duration = Duration::from_secs(1);

/// A user a server knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// Its secret; `None` when it has none, or none that is valid now.
    pub secret: Option<Secret>,
}

/// Asks servers for secrets.
pub struct SecretQuery {
    query: AuthQuery,
    control: Handle,
    connector: Arc<Connector>,
    databases: HashMap<String, (Arc<Database>, Arc<Cluster>)>,
    /// By database and host.
    pools: Mutex<HashMap<(String, usize), ControlPool>>,
    /// By database and user.
    answers: Mutex<HashMap<(String, String), Arc<Answer>>>,
}

/// One answer, or the place where it will be: who comes second waits for the first.
#[derive(Debug, Default)]
struct Answer {
    cell: OnceCell<(Instant, Option<Fetched>)>,
}

impl Answer {
    fn is_older_than(&self, age: Duration) -> bool {
        self.cell.get().is_some_and(|(asked, _)| asked.elapsed() >= age)
    }
}

impl SecretQuery {
    /// Asks nobody yet. Questions are asked on the event loop `control`.
    pub fn new(
        query: AuthQuery,
        control: Handle,
        connector: Arc<Connector>,
        databases: impl Iterator<Item = (Arc<Database>, Arc<Cluster>)>,
    ) -> Arc<Self> {
        let databases = databases.map(|entry| (entry.0.name.clone(), entry)).collect();
        let (pools, answers) = (Mutex::default(), Mutex::default());
        Arc::new(Self { query, control, connector, databases, pools, answers })
    }

    /// What a server knows of `user`; `None` when there is no such user. Cancel safe.
    ///
    /// # Errors
    /// When no server answers; nothing is remembered then.
    pub async fn secret(
        self: &Arc<Self>,
        database: &str,
        user: &str,
    ) -> Result<Option<Fetched>, ControlError> {
        let database = self.query.database.as_deref().unwrap_or(database);
        if user.len() > MAX_NAME_BYTES || !self.databases.contains_key(database) {
            return Ok(None);
        }
        let key = (database.to_owned(), user.to_owned());
        let answer = self.place(&key);
        let asked = answer.cell.get_or_try_init(|| async {
            let (this, (database, user)) = (Arc::clone(self), key);
            let task = self.control.spawn(async move { this.ask(&database, &user).await });
            let now = Instant::now();
            match task.await {
                Ok(result) => result.map(|fetched| (now, fetched)),
                Err(_) => Err(ControlError("the proxy is stopping".into())),
            }
        });
        asked.await.map(|(_, fetched)| fetched.clone())
    }

    /// Forgets an answer that did not fit a client's proof, unless it is fresh.
    pub fn doubt(&self, database: &str, user: &str) {
        let database = self.query.database.as_deref().unwrap_or(database);
        let key = (database.to_owned(), user.to_owned());
        let mut answers = lock(&self.answers);
        if answers.get(&key).is_some_and(|answer| answer.is_older_than(DOUBTED_AFTER)) {
            answers.remove(&key);
        }
    }

    /// The answer that still holds, or a new place for one.
    fn place(&self, key: &(String, String)) -> Arc<Answer> {
        let mut answers = lock(&self.answers);
        if let Some(known) = answers.get(key)
            && !known.is_older_than(self.query.cache_time)
        {
            return Arc::clone(known);
        }
        if answers.len() >= self.query.cache_size {
            answers.retain(|_, answer| !answer.is_older_than(self.query.cache_time));
        }
        if answers.len() >= self.query.cache_size {
            // Names that nobody has would otherwise push out those that somebody has.
            answers.retain(|_, answer| matches!(answer.cell.get(), Some((_, Some(_)))));
        }
        if answers.len() >= self.query.cache_size {
            answers.clear();
        }
        let place = Arc::<Answer>::default();
        answers.insert(key.clone(), Arc::clone(&place));
        place
    }

    /// Asks the primary, or whoever else answers.
    async fn ask(&self, database: &str, user: &str) -> Result<Option<Fetched>, ControlError> {
        let Some((database, cluster)) = self.databases.get(database) else { return Ok(None) };
        let asking = async {
            cluster.checked().await;
            let mut last = ControlError("no server is known to be up".into());
            for host in order(cluster) {
                match self.ask_host(database, cluster, host, user).await {
                    Ok(fetched) => return Ok(fetched),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        let limit = self.query.timeout;
        let asked = tokio::time::timeout(limit, asking).await;
        let late = |_| ControlError(format!("no answer within {} ms", limit.as_millis()));
        asked.map_err(late).flatten()
    }

    async fn ask_host(
        &self,
        database: &Arc<Database>,
        cluster: &Arc<Cluster>,
        host: usize,
        user: &str,
    ) -> Result<Option<Fetched>, ControlError> {
        let pool = self.pool(database, cluster, host);
        let connection = pool.get().await?;
        let rows = connection.client.query(&self.query.sql, &[&user]).await?;
        match &rows[..] {
            [] => Ok(None),
            [row] => read(row, user),
            _ => Err(ControlError("the query for secrets found several users".into())),
        }
    }

    fn pool(&self, database: &Arc<Database>, cluster: &Arc<Cluster>, host: usize) -> ControlPool {
        let new = || {
            let asks = &self.query.user;
            let login = MonitorLogin {
                user: asks.server_user.clone(),
                password: asks.server_password.clone(),
                database: database.server_database.clone(),
            };
            let target = ControlTarget {
                host: Arc::clone(&cluster.hosts()[host].host),
                database: login.database.clone(),
                login,
                timeout: self.query.timeout,
            };
            ControlPool::new(Arc::clone(&self.connector), target, || {})
        };
        let key = (database.name.clone(), host);
        lock(&self.pools).entry(key).or_insert_with(new).clone()
    }
}

/// The primary first, then the others that are up.
fn order(cluster: &Cluster) -> Vec<usize> {
    let primary = cluster.primary().ok();
    let others = (0..cluster.hosts().len())
        .filter(|host| Some(*host) != primary && cluster.hosts()[*host].is_up());
    primary.into_iter().chain(others).collect()
}

/// Name and secret; a row of nulls is what a function without an answer returns. No error may
/// contain the secret.
fn read(row: &Row, user: &str) -> Result<Option<Fetched>, ControlError> {
    let text = |column: usize| -> Result<Option<&str>, ControlError> {
        let wrong = |_| ControlError(format!("column {} of the secret is no text", column + 1));
        row.try_get(column).map_err(wrong)
    };
    match text(0)? {
        None => return Ok(None),
        Some(name) if name == user => {}
        Some(_) => return Err(ControlError("the query for secrets found another user".into())),
    }
    let secret = text(1)?.map(|secret| {
        let kept = || Password(Zeroizing::new(secret.to_owned()));
        let hex = |byte: u8| byte.is_ascii_hexdigit();
        if secret.len() <= MAX_SECRET_BYTES && StoredSecret::parse(secret).is_some() {
            return Ok(Secret::Scram(kept()));
        }
        match secret.strip_prefix("md5") {
            Some(digits) if digits.len() == 32 && digits.bytes().all(hex) => {
                Ok(Secret::Md5(kept()))
            }
            _ => Err(ControlError("the server's secret is neither a SCRAM nor an md5 one".into())),
        }
    });
    Ok(Some(Fetched { secret: secret.transpose()? }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for SecretQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretQuery").finish_non_exhaustive()
    }
}
