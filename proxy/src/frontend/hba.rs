//! Owns the decision how a client must prove who it is: rules, the certificate's name, user maps.
//! Pure: it asks nobody and reads nothing.

use crate::config::model::{
    Access, AuthMethod, ClientCert, ConnectionKind, HbaRule, NameRule, SystemName, UserMap,
};
use crate::frontend::startup::Peer;
use crate::wire::error::SqlError;
use crate::wire::tls::common_name;

/// Who wants to come in, and how it comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) peer: Peer,
    pub(super) tls: bool,
    pub(super) user: &'a str,
    pub(super) database: &'a str,
}

/// What is asked of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Demand<'a> {
    pub(super) method: AuthMethod,
    client_cert: ClientCert,
    map: Option<&'a str>,
}

/// What is asked of a client: by the first rule that fits, or by its listener's method.
///
/// # Errors
/// When no rule lets it in.
pub(super) fn demand<'r>(
    access: &'r Access,
    auth: AuthMethod,
    attempt: &Attempt<'_>,
) -> Result<Demand<'r>, SqlError> {
    let Some(rules) = &access.rules else {
        return Ok(Demand { method: auth, client_cert: ClientCert::Any, map: None });
    };
    let found = rules.iter().find(|rule| fits(rule, attempt));
    match found {
        Some(rule) if rule.method != AuthMethod::Reject => {
            tracing::debug!(rule = rule.place, user = attempt.user, "rule found");
            let map = rule.map.as_deref();
            Ok(Demand { method: rule.method, client_cert: rule.client_cert, map })
        }
        found => Err(refusal(found, attempt)),
    }
}

fn refusal(found: Option<&HbaRule>, attempt: &Attempt<'_>) -> SqlError {
    let Attempt { peer, tls, user, database } = attempt;
    let host = match peer {
        Peer::Tcp(address) => address.ip().to_canonical().to_string(),
        Peer::Unix => "[local]".into(),
    };
    let encryption = if *tls { "SSL encryption" } else { "no encryption" };
    let what = match found {
        Some(_) => "pg_hba.conf rejects connection",
        None => "no pg_hba.conf entry",
    };
    let text = format!(
        "{what} for host \"{host}\", user \"{user}\", database \"{database}\", {encryption}"
    );
    SqlError::fatal("28000", text)
}

fn fits(rule: &HbaRule, attempt: &Attempt<'_>) -> bool {
    let connection = match (rule.connection, attempt.peer) {
        (ConnectionKind::Local, Peer::Unix) | (ConnectionKind::Host, Peer::Tcp(_)) => true,
        (ConnectionKind::HostSsl, Peer::Tcp(_)) => attempt.tls,
        (ConnectionKind::HostNoSsl, Peer::Tcp(_)) => !attempt.tls,
        (ConnectionKind::Local, Peer::Tcp(_)) => false,
        (
            ConnectionKind::Host | ConnectionKind::HostSsl | ConnectionKind::HostNoSsl,
            Peer::Unix,
        ) => false,
    };
    let address = match (&rule.addresses, attempt.peer) {
        (None, _) => true,
        (Some(networks), Peer::Tcp(peer)) => {
            let peer = peer.ip().to_canonical();
            networks.iter().any(|network| network.contains(&peer))
        }
        (Some(_), Peer::Unix) => false,
    };
    let named = |rules: &[NameRule], name: &str| {
        rules.iter().any(|rule| match rule {
            NameRule::All => true,
            NameRule::SameUser => name == attempt.user,
            NameRule::Exact(known) => known == name,
            NameRule::Pattern(pattern) => pattern.0.is_match(name),
        })
    };
    connection
        && address
        && named(&rule.databases, attempt.database)
        && named(&rule.users, attempt.user)
}

impl Demand<'_> {
    /// Checks what the demand says of certificates. `certificate` was verified by TLS.
    ///
    /// # Errors
    /// What the client is told, and what the log is told.
    pub(super) fn check_certificate(
        &self,
        maps: &[UserMap],
        certificate: Option<&[u8]>,
        user: &str,
    ) -> Result<(), Box<(SqlError, String)>> {
        let named = self.method == AuthMethod::Cert || self.client_cert == ClientCert::VerifyFull;
        if !named && self.client_cert == ClientCert::Any {
            return Ok(());
        }
        let Some(certificate) = certificate else {
            let error = SqlError::fatal("28000", "connection requires a valid client certificate");
            return Err(Box::new((error, "no client certificate".into())));
        };
        if !named {
            return Ok(());
        }
        let name = common_name(certificate);
        let may = |name: &str| match self.map {
            None => name == user,
            Some(map) => maps.iter().any(|line| line.map == map && allows(line, name, user)),
        };
        if name.as_deref().is_some_and(may) {
            return Ok(());
        }
        let text = format!("certificate authentication failed for user \"{user}\"");
        let reason = match name {
            Some(name) => format!("the certificate's name is {name:?}"),
            None => "the certificate has no usable name".into(),
        };
        Err(Box::new((SqlError::fatal("28000", text), reason)))
    }
}

/// Whether a line of a map lets who is called `name` log in as `user`.
fn allows(line: &UserMap, name: &str, user: &str) -> bool {
    match &line.system {
        SystemName::Exact(known) => known == name && line.user == user,
        SystemName::Pattern(pattern) => pattern.0.captures(name).is_some_and(|found| {
            // Put in at one place only, as PostgreSQL does.
            let Some((before, after)) = line.user.split_once("\\1") else {
                return line.user == user;
            };
            let rest = user.strip_prefix(before).and_then(|user| user.strip_suffix(after));
            rest.is_some() && rest == found.get(1).map(|group| group.as_str())
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const TOML: &str = r#"
        user = [{ name = "app", password = "x" }]
        shard = [{ name = "main", hosts = ["h:1"], monitor_user = "m" }]
        database = [{ name = "app" }]
        listener = [{ address = "127.0.0.1:1" }]
        user_map = [
            { map = "m", system = "Ann Smith", user = "ann" },
            { map = "m", system = "/^(.*)@example\\.com$", user = "u_\\1_x" },
            { map = "other", system = "/.*", user = "root" },
        ]
    "#;

    fn access(rules: &str) -> Access {
        let text = format!("{TOML}\nhba = [{rules}]");
        // Certificates need files, which have their own tests: the listener is not looked at.
        match parse(&text, "test.toml") {
            Ok(config) => config.access,
            Err(errors) => panic!("{errors}"),
        }
    }

    fn attempt<'a>(peer: &str, tls: bool, user: &'a str, database: &'a str) -> Attempt<'a> {
        let peer =
            peer.parse().map_or(Peer::Unix, |ip: std::net::IpAddr| Peer::Tcp((ip, 9).into()));
        Attempt { peer, tls, user, database }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let access = access(
            r#"{ type = "local", database = "all", user = "all", method = "trust" },
               { type = "host", database = "all", user = "bad", address = "all",
                 method = "reject" },
               { type = "hostssl", database = ["a", "b"], user = "all", address = "10.0.0.0/8",
                 method = "scram-sha-256" },
               { type = "hostnossl", database = "sameuser", user = "/^x",
                 address = ["::1", "10.1.2.3"], method = "md5" },
               { type = "host", database = "a", user = "u", address = "fd00::/8",
                 method = "trust" }"#,
        );
        let method = |peer, tls, user, database| {
            let found = demand(&access, AuthMethod::Trust, &attempt(peer, tls, user, database));
            found.map(|demand| demand.method).map_err(|error| error.message.into_owned())
        };
        assert_eq!(method("", false, "bad", "x"), Ok(AuthMethod::Trust));
        assert_eq!(method("10.9.9.9", true, "u", "b"), Ok(AuthMethod::ScramSha256));
        assert_eq!(method("::ffff:10.9.9.9", true, "u", "b"), Ok(AuthMethod::ScramSha256));
        assert_eq!(method("::1", false, "xy", "xy"), Ok(AuthMethod::Md5));
        assert_eq!(method("10.1.2.3", false, "xy", "xy"), Ok(AuthMethod::Md5));
        assert_eq!(method("fd12::1", false, "u", "a"), Ok(AuthMethod::Trust));
        let none = "no pg_hba.conf entry for host \"11.0.0.1\", user \"u\", database \"b\", \
                    SSL encryption";
        assert_eq!(method("11.0.0.1", true, "u", "b"), Err(none.into()));
        let rejects = "pg_hba.conf rejects connection for host \"10.0.0.1\", user \"bad\", \
                       database \"a\", no encryption";
        assert_eq!(method("10.0.0.1", false, "bad", "a"), Err(rejects.into()));
        for (peer, tls, user, database) in [
            ("10.9.9.9", false, "u", "b"),
            ("10.9.9.9", true, "u", "c"),
            ("::1", true, "xy", "xy"),
            ("::1", false, "xy", "x"),
            ("::2", false, "xy", "xy"),
            ("::1", false, "yx", "yx"),
            ("fe00::1", false, "u", "a"),
        ] {
            assert!(method(peer, tls, user, database).is_err(), "{peer} {tls} {user} {database}");
        }
    }

    #[test]
    fn without_rules_the_listener_decides() {
        let access = parse(TOML, "test.toml").expect("valid").access;
        let found = demand(&access, AuthMethod::Md5, &attempt("::1", false, "u", "d"));
        assert_eq!(found.map(|demand| demand.method).ok(), Some(AuthMethod::Md5));
    }

    fn certificate(name: Option<&str>) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "root");
        if let Some(name) = name {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
        }
        let key = rcgen::KeyPair::generate().expect("key");
        params.self_signed(&key).expect("certificate").der().to_vec()
    }

    #[test]
    fn certificates_are_for_their_names() {
        let maps = parse(TOML, "test.toml").expect("valid").access.maps;
        let cert = Demand { method: AuthMethod::Cert, client_cert: ClientCert::Any, map: None };
        let mapped = Demand { map: Some("m"), ..cert };
        let check = |demand: Demand<'_>, name: Option<&str>, user: &str| {
            let certificate = certificate(name);
            demand.check_certificate(&maps, Some(&certificate), user).is_ok()
        };
        assert!(check(cert, Some("ann"), "ann") && check(cert, Some("ännчя"), "ännчя"));
        for (name, user) in [
            (Some("Ann"), "ann"),
            (Some("ann "), "ann"),
            (Some(""), ""),
            (None, ""),
            (None, "root"),
        ] {
            assert!(!check(cert, name, user) || name == Some(user), "{name:?} {user}");
        }
        assert!(!check(cert, None, "") && !check(cert, None, "root"));
        assert!(check(mapped, Some("Ann Smith"), "ann"));
        assert!(check(mapped, Some("bob@example.com"), "u_bob_x"));
        for (name, user) in [
            ("Ann Smith", "Ann Smith"),
            ("ann", "ann"),
            ("bob@example.com", "bob"),
            ("bob@example.com", "u_bo_x"),
            ("bob@example.org", "u_bob_x"),
            ("x", "root"),
        ] {
            assert!(!check(mapped, Some(name), user), "{name} {user}");
        }
        let ca = Demand { method: AuthMethod::Md5, client_cert: ClientCert::VerifyCa, map: None };
        assert!(check(ca, Some("x"), "ann"));
        assert!(!check(Demand { client_cert: ClientCert::VerifyFull, ..ca }, Some("x"), "ann"));
        for demand in [cert, ca] {
            let refused = demand.check_certificate(&maps, None, "ann").expect_err("none");
            assert_eq!(refused.0.sqlstate, "28000");
        }
        let any = Demand { client_cert: ClientCert::Any, ..ca };
        assert!(any.check_certificate(&maps, None, "ann").is_ok());
    }
}
