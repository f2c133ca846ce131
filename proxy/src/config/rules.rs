//! Owns the words of rules and user maps, wherever they stand: names, networks, patterns, and what
//! fits together in one rule. It reads no file.

use super::model::{
    AuthMethod, ClientCert, ConnectionKind, HbaRule, NameRule, Pattern, SystemName,
};
use ipnet::IpNet;
use regex::RegexBuilder;
use std::net::IpAddr;

/// Largest compiled regular expression, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Words of `method`.
pub(super) const METHODS: [(&str, AuthMethod); 5] = [
    ("scram-sha-256", AuthMethod::ScramSha256),
    ("md5", AuthMethod::Md5),
    ("trust", AuthMethod::Trust),
    ("cert", AuthMethod::Cert),
    ("reject", AuthMethod::Reject),
];

/// Words of `type`.
pub(super) const CONNECTIONS: [(&str, ConnectionKind); 4] = [
    ("local", ConnectionKind::Local),
    ("host", ConnectionKind::Host),
    ("hostssl", ConnectionKind::HostSsl),
    ("hostnossl", ConnectionKind::HostNoSsl),
];

/// The meaning of `word` in a table of words.
pub(super) fn meaning<T: Copy>(words: &[(&str, T)], word: &str) -> Option<T> {
    words.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning)
}

/// A database in a rule. Keywords in quotes are names.
pub(super) fn database(word: &str, quoted: bool) -> Result<NameRule, String> {
    match word {
        "sameuser" if !quoted => Ok(NameRule::SameUser),
        "samerole" | "samegroup" | "replication" if !quoted => {
            Err(format!("{word:?} is not supported"))
        }
        _ => user(word, quoted),
    }
}

/// A user in a rule. Keywords in quotes are names.
pub(super) fn user(word: &str, quoted: bool) -> Result<NameRule, String> {
    match word {
        "all" if !quoted => Ok(NameRule::All),
        _ if quoted => Ok(NameRule::Exact(word.to_owned())),
        _ if word.starts_with('+') => {
            Err(format!("{word:?}: membership of roles is not known here; name the users"))
        }
        _ if word.starts_with('@') => Err(format!("{word:?}: files of names are not supported")),
        _ => match word.strip_prefix('/') {
            Some(text) => pattern(text).map(NameRule::Pattern),
            None => Ok(NameRule::Exact(word.to_owned())),
        },
    }
}

/// A certificate's name in a user map.
pub(super) fn system_name(word: &str, quoted: bool) -> Result<SystemName, String> {
    match word.strip_prefix('/') {
        Some(text) if !quoted => pattern(text).map(SystemName::Pattern),
        _ => Ok(SystemName::Exact(word.to_owned())),
    }
}

/// Patterns run in time linear in the name, whatever they are.
fn pattern(text: &str) -> Result<Pattern, String> {
    let built = RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).build();
    built.map(Pattern).map_err(|error| {
        let said = error.to_string();
        let reason = said.lines().last().unwrap_or_default();
        format!("{text:?} is not a regular expression: {}", reason.trim_start_matches("error: "))
    })
}

/// An address or a network; an address alone is a network of one.
pub(super) fn network(word: &str) -> Result<IpNet, String> {
    let parsed = word.parse::<IpNet>().ok();
    let network = parsed.or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from));
    let network = network.ok_or_else(|| match word {
        "samehost" | "samenet" => format!("{word:?} is not supported"),
        _ => format!("{word:?} is not an IP address or network; host names are not supported"),
    })?;
    Ok(network.trunc())
}

/// What is wrong with the parts of a rule together: the key, and why.
pub(super) fn contradiction(rule: &HbaRule) -> Option<(&'static str, &'static str)> {
    let cert = rule.method == AuthMethod::Cert;
    let asks = cert || rule.client_cert != ClientCert::Any;
    if asks && rule.connection != ConnectionKind::HostSsl {
        let key = if cert { "method" } else { "clientcert" };
        return Some((key, "certificates are only had with type hostssl"));
    }
    if cert && rule.client_cert == ClientCert::VerifyCa {
        return Some(("clientcert", "method cert always checks the certificate's name"));
    }
    if rule.map.is_some() && !cert && rule.client_cert != ClientCert::VerifyFull {
        return Some(("map", "maps are for method cert and clientcert verify-full"));
    }
    None
}
