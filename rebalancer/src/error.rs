//! Owns what can go wrong with a command, and which exit status tells of it.

/// Why a command did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was asked for in a way that means nothing, or the configuration is wrong.
    #[error("{0}")]
    Usage(String),
    /// It is not possible as things are; nothing was touched. One reason per line.
    #[error("{0}")]
    Refused(String),
    /// It stopped where it was, and somebody must look: both sides differ, a limit is exceeded.
    #[error("{0}")]
    Stopped(String),
    /// A server, or the connection to it, failed. The command can be given again.
    #[error("{place}: {message}")]
    Server {
        /// Which: `catalog`, `shard north`.
        place: String,
        /// What it said, with its SQLSTATE.
        message: String,
        /// The SQLSTATE, when the server has said something.
        sqlstate: Option<String>,
    },
    /// Somebody else changed the map, or moves, at the same time. The command can be given again.
    #[error("{0}")]
    Conflict(String),
}

impl Error {
    /// The exit status of the process.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::Stopped(_) => 4,
            Self::Server { .. } => 5,
            Self::Conflict(_) => 6,
        }
    }

    /// What a server, or the connection to it, says.
    pub fn server(place: &str, error: &tokio_postgres::Error) -> Self {
        let (message, sqlstate) = match error.as_db_error() {
            Some(db) => {
                let code = db.code().code().to_owned();
                let detail = db.detail().map(|detail| format!(" {detail}")).unwrap_or_default();
                (format!("{} (SQLSTATE {code}){detail}", db.message()), Some(code))
            }
            None => match std::error::Error::source(error) {
                Some(source) => (format!("{error}: {source}"), None),
                None => (error.to_string(), None),
            },
        };
        Self::Server { place: place.to_owned(), message, sqlstate }
    }

    /// The SQLSTATE, when a server has said something.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server { sqlstate, .. } => sqlstate.as_deref(),
            _ => None,
        }
    }
}
