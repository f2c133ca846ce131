//! Owns the spelling of addresses: `host:port`, `[ipv6]:port`, or the path of a Unix socket file.

use super::model::Address;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

/// Longest path of a Unix socket, in bytes (`sockaddr_un` less its final NUL).
const MAX_UNIX_PATH_BYTES: usize = 107;

/// What is wrong and what would be right.
pub(crate) type Wrong = (String, String);

impl Address {
    /// What stands for an address that could not be read; never used, the configuration is refused.
    pub(crate) fn nowhere() -> Self {
        Address::Unix(PathBuf::new())
    }
}

/// An address to connect to.
pub(crate) fn connect(text: &str) -> Result<Address, Wrong> {
    match parse(text)? {
        Address::Tcp(_, 0) => {
            Err((format!("{text:?} has port 0"), "give the port the server listens on".into()))
        }
        Address::Tcp(host, _) if host == "*" => {
            Err((format!("{text:?} names no host"), "give the server's name or IP address".into()))
        }
        address => Ok(address),
    }
}

/// An address to listen on; port 0 takes a free one.
pub(crate) fn listen(text: &str) -> Result<Address, Wrong> {
    match parse(text)? {
        Address::Tcp(host, port) if host.parse::<IpAddr>().is_err() => {
            let message = format!("{text:?} is not an address to listen on");
            let any = if host == "*" { "0.0.0.0" } else { "127.0.0.1" };
            Err((message, format!("IP and port, such as \"{any}:{port}\"")))
        }
        address => Ok(address),
    }
}

fn parse(text: &str) -> Result<Address, Wrong> {
    if text.starts_with('/') {
        return unix(text);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        let help = format!("write \"{text}:5432\", or the absolute path of a Unix socket file");
        return Err((format!("{text:?} has no port"), help));
    };
    let Ok(port) = port.parse::<u16>() else {
        let message = format!("{port:?} is not a port");
        return Err((message, "a number from 1 to 65535 after the last colon".into()));
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ipv6) => ipv6,
        None if host.parse::<Ipv6Addr>().is_ok() => {
            let help = format!("write \"[{host}]:{port}\"");
            return Err((format!("{text:?} is ambiguous"), help));
        }
        None => host,
    };
    let is_name = host.chars().all(|c| c.is_alphanumeric() || "-._".contains(c)) || host == "*";
    if host.is_empty() || !(is_name || host.parse::<Ipv6Addr>().is_ok()) {
        let help = "a host name or IP address and a port, such as \"127.0.0.1:5432\"";
        return Err((format!("{text:?} is not an address"), help.into()));
    }
    Ok(Address::Tcp(host.to_owned(), port))
}

fn unix(text: &str) -> Result<Address, Wrong> {
    if text.len() > MAX_UNIX_PATH_BYTES {
        let message = format!("the socket's path is longer than {MAX_UNIX_PATH_BYTES} bytes");
        return Err((message, "the operating system allows no more".into()));
    }
    if text.ends_with('/') {
        let message = format!("{text:?} is a folder");
        return Err((message, format!("name the socket file: \"{text}.s.PGSQL.5432\"")));
    }
    Ok(Address::Unix(PathBuf::from(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_same_spelling() {
        for text in ["db.example:5432", "127.0.0.1:1", "[::1]:5432", "/run/pg/.s.PGSQL.5432"] {
            assert_eq!(connect(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_with_advice() {
        for (text, advice) in [
            ("127.0.0.1", "127.0.0.1:5432"),
            ("::1:5432", "[::1]:5432"),
            ("host:99999", "65535"),
            ("host:0", "listens on"),
            ("/run/postgresql/", ".s.PGSQL.5432"),
            ("postgres://h:1", "127.0.0.1:5432"),
            (":5432", "127.0.0.1:5432"),
        ] {
            let (message, help) = connect(text).unwrap_err();
            assert!(help.contains(advice), "{text}: {message} ({help})");
        }
    }

    #[test]
    fn listens_on_addresses_only() {
        assert!(listen("127.0.0.1:0").is_ok());
        assert!(listen("localhost:5432").unwrap_err().1.contains("127.0.0.1:5432"));
        assert!(listen("*:5432").unwrap_err().1.contains("0.0.0.0:5432"));
        assert!(listen(&format!("/{}", "x".repeat(107))).is_err());
    }
}
