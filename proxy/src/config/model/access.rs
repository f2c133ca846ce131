//! Owns the part of the model that says who may come in and how: rules, user maps, the query for
//! secrets, and the limits on failed logins.

use super::{AuthMethod, User};
use ipnet::IpNet;
use regex::Regex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything about access that is not said of one listener or user.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// `[[hba]]`, first match wins, no match is a refusal. `None`: each listener's `auth` holds.
    pub rules: Option<Vec<HbaRule>>,
    /// `[[user_map]]`
    pub maps: Vec<UserMap>,
    /// Where secrets of users come from that the file does not hold.
    pub query: Option<AuthQuery>,
    /// How many wrong logins are borne.
    pub failures: FailureLimits,
}

/// One line of who may come in.
#[derive(Debug, Clone, PartialEq)]
pub struct HbaRule {
    /// Where it stands, for the log.
    pub place: String,
    /// Connections it is about.
    pub connection: ConnectionKind,
    /// Databases it is about, any of them.
    pub databases: Vec<NameRule>,
    /// Users it is about, any of them.
    pub users: Vec<NameRule>,
    /// Addresses it is about, any of them; `None` for all, and for `local`.
    pub addresses: Option<Vec<IpNet>>,
    /// How the client proves who it is.
    pub method: AuthMethod,
    /// The user map a certificate's name goes through.
    pub map: Option<String>,
    /// What is asked of a certificate beside the method.
    pub client_cert: ClientCert,
}

/// Kinds of connections a rule may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionKind {
    /// Unix sockets.
    Local,
    /// TCP, with TLS or without.
    Host,
    /// TCP with TLS.
    HostSsl,
    /// TCP without TLS.
    HostNoSsl,
}

/// One name in a rule.
#[derive(Debug, Clone, PartialEq)]
pub enum NameRule {
    /// Every name.
    All,
    /// The database named like the user.
    SameUser,
    /// This name.
    Exact(String),
    /// Every name the pattern finds itself in.
    Pattern(Pattern),
}

/// A regular expression, compared by its text.
#[derive(Debug, Clone)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// What is asked of a client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCert {
    /// Nothing.
    Any,
    /// There is one, from a trusted authority.
    VerifyCa,
    /// And its name is the user's, by the map if there is one.
    VerifyFull,
}

/// One line of a user map: who may log in as whom.
#[derive(Debug, Clone, PartialEq)]
pub struct UserMap {
    /// Name of the map.
    pub map: String,
    /// The certificate's name.
    pub system: SystemName,
    /// The user; `\\1` stands for the pattern's first group.
    pub user: String,
}

/// A certificate's name in a user map.
#[derive(Debug, Clone, PartialEq)]
pub enum SystemName {
    /// This name.
    Exact(String),
    /// Names that match.
    Pattern(Pattern),
}

/// How secrets are asked of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthQuery {
    /// Text with one parameter, the user's name; name and secret come back.
    pub sql: String,
    /// Who asks.
    pub user: Arc<User>,
    /// The `[[database]]` that is asked; `None` for the one the client wants.
    pub database: Option<String>,
    /// Longest time one question takes.
    pub timeout: Duration,
    /// How long an answer is believed.
    pub cache_time: Duration,
    /// Most answers kept.
    pub cache_size: usize,
}

/// How many wrong logins are borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureLimits {
    /// Failures of one address and user within `window`; 0 for no limit.
    pub limit: u32,
    /// Time after which failures are forgotten.
    pub window: Duration,
}

/// Which peers of a listener speak for others, by the PROXY protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Addresses that may; everybody else is refused. Not looked at on Unix sockets.
    pub from: Vec<IpNet>,
}

/// Certificates of clients, on a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthority {
    /// PEM file of the authorities that clients' certificates come from.
    pub ca_file: PathBuf,
    /// Refuse clients without a certificate.
    pub required: bool,
}
