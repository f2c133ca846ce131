//! Owns the errors of connecting to a server: what they mean for the host's health and what the
//! client that waits for the connection is told.

use crate::config::model::Host;
use crate::shard_map::UNAVAILABLE;
use crate::wire::error::{OneLine, SqlError};
use crate::wire::protocol::take_cstr;
use std::io;
use std::time::Duration;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host cannot be reached, or the connection broke.
    #[error("{step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// `connect_timeout` was over before the login.
    #[error("no login within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// No TLS although asked for, or a certificate that is not trusted.
    #[error("TLS: {0}")]
    Tls(String),
    /// We cannot, or will not, prove who we are in the way the server asks.
    #[error("{0}")]
    Auth(String),
    /// The server refused.
    #[error("{0}")]
    Server(Box<ServerError>),
    /// A shard without the schema `pgm`, or with one of an older version.
    #[error("shard {shard:?}: the schema \"pgm\" is missing or too old: {said}")]
    NotInstalled {
        /// Name of the shard.
        shard: String,
        /// What the server says.
        said: String,
    },
    /// The server does not speak the protocol.
    #[error("protocol violation: {0}")]
    Protocol(String),
}

/// An ErrorResponse, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`.
    pub severity: String,
    /// Five characters.
    pub sqlstate: String,
    /// Primary message.
    pub message: String,
    /// Detail field.
    pub detail: Option<String>,
    /// Hint field.
    pub hint: Option<String>,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { severity, message, sqlstate, .. } = self;
        write!(f, "{}: {} (SQLSTATE {})", OneLine(severity), OneLine(message), OneLine(sqlstate))
    }
}

impl ServerError {
    /// Decodes the body of an ErrorResponse or NoticeResponse. Text that is not UTF-8 (a server
    /// does not yet know the client's encoding) is shown with replacement characters.
    #[must_use]
    pub fn decode(mut body: &[u8]) -> Self {
        let mut error = Self::default();
        while let Some((&code, rest)) = body.split_first() {
            body = rest;
            let Some(text) = take_cstr(&mut body) else { break };
            let text = String::from_utf8_lossy(text).into_owned();
            match code {
                b'S' if error.severity.is_empty() => error.severity = text,
                b'V' => error.severity = text,
                b'C' => error.sqlstate = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                _ => {}
            }
        }
        error
    }
}

impl ConnectError {
    /// Whether the host, rather than this one login, is at fault: counts towards a ban.
    #[must_use]
    pub fn is_host_down(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Timeout(_) | Self::Tls(_) | Self::Protocol(_) => true,
            Self::Auth(_) | Self::NotInstalled { .. } => false,
            // 57P0x: shutting down, crashed, starting up. 58: the server's own system fails.
            Self::Server(error) => {
                error.sqlstate.starts_with("57P0") || error.sqlstate.starts_with("58")
            }
        }
    }

    /// What a client that waits for this connection is told.
    #[must_use]
    pub fn to_sql_error(&self, host_display: &str) -> SqlError {
        let failed = |sqlstate| {
            let message = format!("could not connect to server \"{host_display}\": {self}");
            SqlError::error(sqlstate, message)
        };
        match self {
            Self::Io { .. } | Self::Timeout(_) | Self::Tls(_) => failed("08001"),
            Self::Protocol(_) => failed("08P01"),
            Self::NotInstalled { shard, said } => {
                let message = format!("shard \"{shard}\" is not prepared for its map");
                SqlError::error(UNAVAILABLE, message)
                    .detail(format!(
                        "The schema \"pgm\" is missing on server \"{host_display}\", or too old \
                         ({said})."
                    ))
                    .hint("Install it: pgmanifold map init.")
            }
            Self::Auth(_) => failed("28000")
                .hint("Check the user's server_user and server_password in the configuration."),
            Self::Server(server) => {
                let from = format!("Server \"{host_display}\" refused the connection.");
                let error = SqlError::from(ServerError::clone(server));
                let detail = match &error.detail {
                    Some(detail) => format!("{detail}\n{from}"),
                    None => from,
                };
                error.detail(detail)
            }
        }
    }
}

/// The server's error as an ERROR of ours.
impl From<ServerError> for SqlError {
    fn from(server: ServerError) -> Self {
        let error = SqlError::error(server.sqlstate, server.message);
        Self { detail: server.detail.map(Into::into), hint: server.hint.map(Into::into), ..error }
    }
}

/// What they are told who wait for a connection to a host that is down or given up.
pub fn turned_away(host: &Host) -> SqlError {
    let message = format!("server \"{}\" cannot be used", host.address);
    SqlError::error("08006", message)
        .detail("It does not answer a health check, or is not the primary any more.")
}

/// What they are told whom the breaker of a host does not let try.
pub fn not_tried(host: &Host, cause: Option<String>, pause: Duration) -> SqlError {
    let cause = cause.unwrap_or_else(|| "it could not be reached".into());
    SqlError::error("08001", format!("could not connect to server \"{}\": {cause}", host.address))
        .detail(format!("It failed a moment ago and is tried again in {} ms.", pause.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::Severity;

    fn server(sqlstate: &str) -> ConnectError {
        let message = "no".to_owned();
        let sqlstate = sqlstate.to_owned();
        ConnectError::Server(Box::new(ServerError { sqlstate, message, ..Default::default() }))
    }

    #[test]
    fn only_failures_of_the_host_count_as_down() {
        for (sqlstate, down) in [
            ("57P01", true),
            ("57P03", true),
            ("58030", true),
            ("28P01", false),
            ("3D000", false),
            ("53300", false),
            ("57014", false),
        ] {
            assert_eq!(server(sqlstate).is_host_down(), down, "{sqlstate}");
        }
        assert!(ConnectError::Timeout(Duration::from_millis(5)).is_host_down());
        assert!(!ConnectError::Auth("no password".into()).is_host_down());
    }

    #[test]
    fn clients_get_the_servers_own_code_and_text() {
        let body = b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients\0Hwait\0\0";
        let error = ConnectError::Server(Box::new(ServerError::decode(body)));
        let sql = error.to_sql_error("db:5432");
        assert_eq!((sql.severity, &*sql.sqlstate), (Severity::Error, "53300"));
        assert_eq!(sql.message, "sorry, too many clients");
        assert_eq!(sql.detail.as_deref(), Some("Server \"db:5432\" refused the connection."));
        assert_eq!(sql.hint.as_deref(), Some("wait"));
        assert_eq!(server("ZZZZZ").to_sql_error("db").sqlstate, "ZZZZZ");
    }

    #[test]
    fn damaged_error_responses_give_what_is_whole() {
        let error = ServerError::decode(b"SFATAL\0C28");
        assert_eq!((error.severity.as_str(), error.sqlstate.as_str()), ("FATAL", ""));
        assert_eq!(ServerError::decode(b""), ServerError::default());
    }
}
