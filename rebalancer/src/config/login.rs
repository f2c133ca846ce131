//! Owns logins: from the text of a URL to what connects, and to libpq's form of the same. It must
//! not show a password.

use std::fmt::Write;
use std::time::Duration;
use tokio_postgres::config::{Host, SslMode};

/// Wait for a connection, unless the URL says `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that answers nothing for about this long is taken for dead.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVES: u32 = 3;
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Puts variables of the environment in place of `${NAME}`.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn expand(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut parts = text.split("${");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let Some((name, rest)) = part.split_once('}') else {
            return Err("`${` without `}`".to_owned());
        };
        let value =
            environment(name).ok_or_else(|| format!("the environment has no variable {name:?}"))?;
        out += &value;
        out += rest;
    }
    Ok(out)
}

/// Reads a URL. What is said of a wrong one shows nothing of it.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn read(url: &str, password: Option<&str>) -> Result<tokio_postgres::Config, String> {
    let mut login: tokio_postgres::Config = url.parse().map_err(|error| describe(&error))?;
    if login.get_hosts().is_empty() {
        return Err("it names no host".to_owned());
    }
    if login.get_user().is_none() {
        return Err("it names no user".to_owned());
    }
    if login.get_dbname().is_none() {
        return Err("it names no database".to_owned());
    }
    if login.get_ports().len() > 1 && login.get_ports().len() != login.get_hosts().len() {
        return Err("there are not as many ports as hosts".to_owned());
    }
    if let Some(password) = password {
        if login.get_password().is_some() {
            return Err("there is a password in the url and in password_file".to_owned());
        }
        login.password(password);
    }
    if login.get_connect_timeout().is_none() {
        login.connect_timeout(CONNECT_TIMEOUT);
    }
    login.keepalives(true).keepalives_idle(KEEPALIVES_IDLE);
    login.keepalives_interval(KEEPALIVES_INTERVAL).keepalives_retries(KEEPALIVES);
    login.tcp_user_timeout(TCP_USER_TIMEOUT);
    Ok(login)
}

fn describe(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("not a connection URL: {source}"),
        None => format!("not a connection URL: {error}"),
    }
}

/// The same login as libpq's connection string: whichever of the hosts is the primary.
pub(super) fn conninfo(login: &tokio_postgres::Config) -> String {
    let hosts: Vec<String> = login.get_hosts().iter().map(host_text).collect();
    let ports: Vec<String> = match login.get_ports() {
        [] => vec!["5432".to_owned()],
        ports => ports.iter().map(ToString::to_string).collect(),
    };
    let mut out = format!("host={} port={}", quote(&hosts.join(",")), quote(&ports.join(",")));
    let mut add = |key: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = write!(out, " {key}={}", quote(value));
    };
    add("user", login.get_user().unwrap_or_default());
    add("dbname", login.get_dbname().unwrap_or_default());
    if let Some(password) = login.get_password() {
        add("password", &String::from_utf8_lossy(password));
    }
    add(
        "sslmode",
        match login.get_ssl_mode() {
            SslMode::Disable => "disable",
            SslMode::Require => "require",
            _ => "prefer",
        },
    );
    add("target_session_attrs", "read-write");
    add("connect_timeout", "5");
    out
}

/// A host as libpq writes it.
pub(crate) fn host_text(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(path) => path.display().to_string(),
    }
}

fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_for_their_values() {
        let environment = |name: &str| (name == "P").then(|| "s3".to_owned());
        assert_eq!(expand("a:${P}@${P}", &environment), Ok("a:s3@s3".to_owned()));
        assert!(expand("${Q}", &environment).unwrap_err().contains("\"Q\""));
        assert!(expand("${P", &environment).is_err());
    }

    #[test]
    fn a_login_is_also_libpqs() {
        let login = read("postgresql://me@a:1,b:2/shop?sslmode=disable", Some("p'w\\")).unwrap();
        assert_eq!(
            conninfo(&login),
            "host='a,b' port='1,2' user='me' dbname='shop' password='p\\'w\\\\' \
             sslmode='disable' target_session_attrs='read-write' connect_timeout='5'"
        );
        assert!(read("postgresql://me:x@a/shop", Some("y")).is_err());
        let secret = read("postgresql://me:secret@a:port/shop", None).unwrap_err();
        assert!(!secret.contains("secret"), "{secret}");
    }
}
