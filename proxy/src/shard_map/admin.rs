//! Owns what `pgmanifold map` does: connections to the catalog and to every shard's primary, and
//! what is looked at and changed there. It prints nothing.

pub mod change;
pub mod install;
pub mod moving;
pub mod sequences;
pub mod verify;

use super::link::Link;
use super::store::fit;
use super::{ShardedDatabase, rows};
use crate::backend::connect::Connector;
use crate::cluster::control::ControlError;
use crate::config::model::{Config, Database, DeclaredMap, MonitorLogin, Sharding};
use pgmanifold_router::shard_map::ShardMap;
use std::sync::Arc;
use tokio_postgres::{Client, SimpleQueryMessage};

/// How the connections call themselves in `pg_stat_activity`.
const APPLICATION_NAME: &str = "pgmanifold map";

/// Why a command could not be done, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AdminError(pub String);

impl AdminError {
    fn catalog(error: impl std::fmt::Display) -> Self {
        Self::at("the catalog", error)
    }

    /// An error at a place: a shard, the catalog.
    fn at(place: &str, error: impl std::fmt::Display) -> Self {
        Self(format!("{place}: {error}"))
    }
}

/// A sharded database of a configuration, to be worked on.
pub struct Admin {
    config: Arc<Config>,
    database: Arc<Database>,
    sharding: Arc<Sharding>,
    connector: Connector,
    login: Option<MonitorLogin>,
}

/// A shard's primary.
pub struct ShardServer {
    /// Name of the shard.
    pub name: String,
    /// A session in the database.
    pub client: Client,
}

/// Rows of a simple query, all columns as text.
pub(super) type TextRows = Vec<Vec<Option<String>>>;

impl Admin {
    /// Work on the database of this name, or on the only one that is sharded. On the shards it is
    /// done as `user`, one of the configuration, or else as the monitor.
    ///
    /// # Errors
    /// When there is no such database or user, or a TLS file cannot be used.
    pub fn new(
        config: Config,
        database: Option<&str>,
        user: Option<&str>,
    ) -> Result<Self, AdminError> {
        let mut sharded = config.databases.iter().filter(|one| one.sharding.is_some());
        let found = match database {
            Some(name) => sharded.find(|one| one.name == name),
            None => sharded.next().filter(|_| sharded.next().is_none()),
        };
        let Some((database, sharding)) = found.and_then(|one| Some((one, one.sharding.as_ref()?)))
        else {
            let names = config.databases.iter().filter(|one| one.sharding.is_some());
            let names: Vec<&str> = names.map(|one| one.name.as_str()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(AdminError(format!("name one database with `shards`; there are: {names}")));
        };
        let login = match user {
            None => None,
            Some(name) => {
                let user = config.users.iter().find(|user| user.name == name);
                let user = user.ok_or_else(|| AdminError(format!("there is no user {name:?}")))?;
                Some(MonitorLogin {
                    user: user.server_user.clone(),
                    password: user.server_password.clone(),
                    database: database.server_database.clone(),
                })
            }
        };
        let (database, sharding) = (Arc::clone(database), Arc::clone(sharding));
        let connector = Connector::new(&config).map_err(|error| AdminError(error.to_string()))?;
        Ok(Self { config: Arc::new(config), database, sharding, connector, login })
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// What the file says about it.
    ///
    /// # Errors
    /// Never for a database that was read from a configuration.
    pub fn declared(&self) -> Result<&DeclaredMap, AdminError> {
        let found = self.config.maps.iter().find(|one| one.database == self.database.name);
        found.ok_or_else(|| AdminError("the database has no map in the file".to_owned()))
    }

    /// The map that holds: the catalog's, or the file's when there is no catalog.
    ///
    /// # Errors
    /// When the catalog cannot be read, or has no map that fits the configuration.
    pub async fn map(&self) -> Result<ShardMap, AdminError> {
        if self.config.catalog.is_none() {
            return Ok(ShardMap::clone(&self.declared()?.map));
        }
        let client = self.catalog().await?;
        self.catalog_map(&client).await?.ok_or_else(|| self.no_map())
    }

    /// The catalog's map; `None` when it has none of this database.
    async fn catalog_map(&self, client: &Client) -> Result<Option<ShardMap>, AdminError> {
        let loaded = rows::load(client).await.map_err(AdminError::catalog)?;
        let found = loaded.maps.into_iter().find(|(name, _)| *name == self.database.name);
        let Some((_, parts)) = found else { return Ok(None) };
        // With the shards as the configuration numbers them.
        let map = ShardedDatabase::new(&self.database, None)
            .map(|database| fit(&parts, &database).map_err(AdminError::catalog));
        map.transpose()
    }

    fn no_map(&self) -> AdminError {
        let name = &self.database.name;
        AdminError(format!("the catalog has no map of {name:?}; `pgmanifold map apply` makes it"))
    }

    /// The catalog.
    ///
    /// # Errors
    /// When there is none, or it cannot be reached.
    pub async fn catalog(&self) -> Result<Client, AdminError> {
        let Some(catalog) = &self.config.catalog else {
            let help = "there is no [catalog] in the file: the map is what the file says";
            return Err(AdminError(help.to_owned()));
        };
        let link = Link::to_catalog(&self.connector, catalog, APPLICATION_NAME).await;
        link.map(|link| link.client).map_err(AdminError::catalog)
    }

    /// The primaries of all shards, in the order of the configuration.
    ///
    /// # Errors
    /// When one cannot be reached; all such are named.
    pub async fn shards(&self) -> Result<Vec<ShardServer>, AdminError> {
        let (mut servers, mut errors) = (Vec::new(), Vec::new());
        for shard in &self.sharding.shards {
            let login = self.login.as_ref().unwrap_or(&shard.monitor);
            let database = &self.database.server_database;
            let hosts = &shard.hosts;
            match Link::to_primary(&self.connector, hosts, login, database, APPLICATION_NAME).await
            {
                Ok(link) => {
                    servers.push(ShardServer { name: shard.name.clone(), client: link.client });
                }
                Err(error) => errors.push(format!("shard {}: {error}", shard.name)),
            }
        }
        if errors.is_empty() { Ok(servers) } else { Err(AdminError(errors.join("\n"))) }
    }
}

impl ShardServer {
    /// Runs statements whose rows are of no interest.
    async fn run(&self, sql: &str) -> Result<(), AdminError> {
        let done = self.client.batch_execute(sql).await;
        done.map_err(|error| AdminError::at(&self.place(), ControlError::from(error)))
    }

    /// The rows of a query, as text.
    async fn rows(&self, sql: &str) -> Result<TextRows, AdminError> {
        text_rows(&self.client, sql).await.map_err(|error| AdminError::at(&self.place(), error))
    }

    fn place(&self) -> String {
        format!("shard {}", self.name)
    }
}

/// The rows of a query, as text.
pub(super) async fn text_rows(client: &Client, sql: &str) -> Result<TextRows, ControlError> {
    let messages = client.simple_query(sql).await?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
        }
        _ => None,
    });
    Ok(rows.collect())
}
