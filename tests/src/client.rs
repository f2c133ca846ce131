//! Owns ordinary client connections through tokio-postgres, with bounded waits.

use pgmanifold::config::model::Address;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

/// Longest login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Settings to log in at `address`.
pub fn config(address: &Address, user: &str, database: &str) -> Config {
    let mut config = Config::new();
    match address {
        Address::Tcp(host, port) => config.host(host).port(*port),
        Address::Unix(path) => {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let port = name.rsplit('.').next().and_then(|port| port.parse().ok());
            config.host_path(path.parent().unwrap_or(path)).port(port.unwrap_or(5432))
        }
    };
    config.user(user).dbname(database).connect_timeout(CONNECT_TIMEOUT);
    config
}

/// Logs in; the connection's task ends with the client.
///
/// # Errors
/// When the login fails.
pub async fn try_connect(config: &Config) -> Result<Client, Error> {
    let (client, connection) = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(NoTls))
        .await
        .expect("a login is answered in time")?;
    tokio::spawn(async move {
        // How a connection ended is seen by the client's next call.
        let _ = connection.await;
    });
    Ok(client)
}

/// Logs in as `user` to `database`.
///
/// # Panics
/// When that fails.
pub async fn connect(address: &Address, user: &str, database: &str) -> Client {
    let login = try_connect(&config(address, user, database)).await;
    login.unwrap_or_else(|error| panic!("login at {address}: {}", text(&error)))
}

/// All values of all rows of a simple query, as text.
///
/// # Errors
/// The server's.
pub async fn rows(client: &Client, sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
    let messages = client.simple_query(sql).await?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
        }
        _ => None,
    });
    Ok(rows.collect())
}

/// The first value of the first row, as text; `NULL` for null.
///
/// # Panics
/// When the query fails or has no row.
pub async fn value(client: &Client, sql: &str) -> String {
    let rows = rows(client, sql).await;
    let rows = rows.unwrap_or_else(|error| panic!("{sql}: {}", text(&error)));
    let first = rows.into_iter().next().and_then(|row| row.into_iter().next());
    first.unwrap_or_else(|| panic!("{sql}: no row")).unwrap_or_else(|| "NULL".into())
}

/// Runs a query string whose rows are of no interest.
///
/// # Panics
/// When it fails.
pub async fn exec(client: &Client, sql: &str) {
    let done = client.batch_execute(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {}", text(&error)));
}

/// The SQLSTATE of an error; the error's text when it has none.
pub fn code(error: &Error) -> String {
    error.code().map(SqlState::code).map_or_else(|| text(error), str::to_owned)
}

/// The whole text of an error: tokio-postgres prints only `db error`.
pub fn text(error: &Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(db), _) => format!(
            "{} {}: {} (detail: {:?}, hint: {:?})",
            db.severity(),
            db.code().code(),
            db.message(),
            db.detail(),
            db.hint()
        ),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
