//! Owns connections: to the catalog, to the primary of a shard, and to its replicas. It must not
//! know what is asked over them.

use crate::error::Error;
use tokio_postgres::{Client, SimpleQueryMessage};

/// How all sessions call themselves in `pg_stat_activity`. Who holds the lease ends every other
/// session of this name on the shards before it begins.
pub const APPLICATION_NAME: &str = "pgmanifold-rebalancer";

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
