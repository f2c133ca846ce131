//! Owns the reading of rules and user maps in PostgreSQL's own forms, `pg_hba.conf` and
//! `pg_ident.conf`. What is not supported is an error with its line, never skipped: a rule that is
//! left out may be the one that refuses.

use super::model::{ClientCert, ConnectionKind, HbaRule, UserMap};
use super::rules;
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::Path;

/// Most lines of rules or maps.
const MAX_LINES: usize = 10_000;

/// A word, and whether it stood in quotes.
type Word = (String, bool);

/// The rules of a `pg_hba.conf`.
///
/// # Errors
/// Every line that cannot be used, as `file:line: why`.
pub(super) fn rules(text: &str, path: &Path) -> Result<Vec<HbaRule>, Vec<String>> {
    lines(text, path, rule)
}

/// The lines of a `pg_ident.conf`.
///
/// # Errors
/// Every line that cannot be used, as `file:line: why`.
pub(super) fn maps(text: &str, path: &Path) -> Result<Vec<UserMap>, Vec<String>> {
    lines(text, path, |fields, _| map(fields))
}

fn lines<T>(
    text: &str,
    path: &Path,
    read: impl Fn(&[Vec<Word>], &str) -> Result<T, String>,
) -> Result<Vec<T>, Vec<String>> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in joined(text) {
        let place = format!("{}:{number}", path.display());
        let read = match fields(&line) {
            Ok(fields) if fields.is_empty() => continue,
            Ok(fields) => read(&fields, &place),
            Err(message) => Err(message),
        };
        match read {
            Ok(value) => found.push(value),
            Err(message) => problems.push(format!("{place}: {message}")),
        }
    }
    if found.len() > MAX_LINES {
        problems.push(format!("{}: more than {MAX_LINES} lines", path.display()));
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// Lines with their numbers; a backslash at the end joins the next one.
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut whole: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (index, line) in text.lines().enumerate() {
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match whole.last_mut().filter(|_| goes_on) {
            Some((_, begun)) => begun.push_str(part),
            None => whole.push((index + 1, part.to_owned())),
        }
        goes_on = more;
    }
    whole
}

/// The fields of a line, each a list of words: white space parts fields, commas words.
fn fields(line: &str) -> Result<Vec<Vec<Word>>, String> {
    let mut fields: Vec<Vec<Word>> = Vec::new();
    let mut chars = line.chars().peekable();
    let mut joins = false;
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(&first) = chars.peek() else { return Ok(fields) };
        match first {
            '#' => return Ok(fields),
            ',' => {
                chars.next();
                joins = true;
                continue;
            }
            _ => {}
        }
        let word = word(&mut chars)?;
        match fields.last_mut().filter(|_| joins) {
            Some(list) => list.push(word),
            None => fields.push(vec![word]),
        }
        joins = false;
    }
}

fn word(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Word, String> {
    let (mut text, mut inside, mut quoted) = (String::new(), false, false);
    while let Some(&c) = chars.peek() {
        if !inside && (c.is_whitespace() || c == ',' || c == '#') {
            break;
        }
        chars.next();
        match c {
            // Two quotes inside quotes are one.
            '"' if inside && chars.next_if_eq(&'"').is_some() => text.push('"'),
            '"' => {
                inside = !inside;
                quoted |= text.is_empty();
            }
            c => text.push(c),
        }
    }
    if inside { Err("a quote is not closed".into()) } else { Ok((text, quoted)) }
}

/// The only word of a field.
fn single<'a>(
    fields: &mut impl Iterator<Item = &'a Vec<Word>>,
    what: &str,
) -> Result<&'a str, String> {
    match fields.next().map(Vec::as_slice) {
        Some([(word, _)]) => Ok(word),
        Some(_) => Err(format!("more than one {what}")),
        None => Err(format!("{what} is missing")),
    }
}

fn list<T>(
    field: Option<&Vec<Word>>,
    what: &str,
    read: fn(&str, bool) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let words = field.ok_or_else(|| format!("{what} is missing"))?;
    words.iter().map(|(word, quoted)| read(word, *quoted)).collect()
}

fn rule(fields: &[Vec<Word>], place: &str) -> Result<HbaRule, String> {
    let mut fields = fields.iter();
    let kind = single(&mut fields, "type")?;
    let connection = rules::meaning(&rules::CONNECTIONS, kind)
        .ok_or_else(|| format!("type {kind:?} is not supported"))?;
    let databases = list(fields.next(), "database", rules::database)?;
    let users = list(fields.next(), "user", rules::user)?;
    let addresses = match connection {
        ConnectionKind::Local => None,
        _ => addresses(&mut fields)?,
    };
    let word = single(&mut fields, "method")?;
    let method = rules::meaning(&rules::METHODS, word)
        .ok_or_else(|| format!("method {word:?} is not supported"))?;
    let (mut map, mut client_cert) = (None, ClientCert::Any);
    for option in fields {
        let option = option.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(",");
        match option.split_once('=') {
            Some(("map", name)) => map = Some(name.to_owned()),
            Some(("clientcert", "verify-ca")) => client_cert = ClientCert::VerifyCa,
            Some(("clientcert", "verify-full")) => client_cert = ClientCert::VerifyFull,
            _ => return Err(format!("option {option:?} is not supported")),
        }
    }
    let place = place.to_owned();
    let rule = HbaRule { place, connection, databases, users, addresses, method, map, client_cert };
    match rules::contradiction(&rule) {
        Some((key, message)) => Err(format!("{key}: {message}")),
        None => Ok(rule),
    }
}

/// A network, or an address and its mask in the next field.
fn addresses<'a>(
    fields: &mut (impl Iterator<Item = &'a Vec<Word>> + Clone),
) -> Result<Option<Vec<IpNet>>, String> {
    let word = single(fields, "address")?;
    if word == "all" {
        return Ok(None);
    }
    let Ok(address) = word.parse::<IpAddr>() else {
        return Ok(Some(vec![rules::network(word)?]));
    };
    let mask = single(fields, "mask of the address")?;
    let network = mask.parse().ok().and_then(|mask| IpNet::with_netmask(address, mask).ok());
    let network = network.ok_or_else(|| format!("{mask:?} is not a mask of {word}"))?;
    Ok(Some(vec![network.trunc()]))
}

fn map(fields: &[Vec<Word>]) -> Result<UserMap, String> {
    let mut fields = fields.iter();
    let map = single(&mut fields, "map")?.to_owned();
    let system = match fields.next().map(Vec::as_slice) {
        Some([(word, quoted)]) => rules::system_name(word, *quoted)?,
        _ => return Err("one system name is needed".into()),
    };
    let user = single(&mut fields, "user")?.to_owned();
    match fields.next() {
        Some(_) => Err("more than three fields".into()),
        None => Ok(UserMap { map, system, user }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{AuthMethod, NameRule, SystemName};

    fn read(text: &str) -> Result<Vec<HbaRule>, Vec<String>> {
        rules(text, Path::new("pg_hba.conf"))
    }

    #[test]
    fn lines_of_postgresql_are_read() {
        let text = "# comment\n\nlocal all all trust\n\
            host \"all\",b, c  all 10.0.0.0/8 md5 # end\n\
            hostssl sameuser /^a.*z$ ::1/128 scram-sha-256 clientcert=verify-ca\n\
            hostssl all \"x \"\"y\" all cert \\\n  map=m\n\
            hostnossl all all 192.168.1.0 255.255.255.0 reject\n";
        let rules = read(text).expect("valid");
        let places: Vec<_> = rules.iter().map(|rule| rule.place.as_str()).collect();
        let wanted = [3, 4, 5, 6, 8].map(|line| format!("pg_hba.conf:{line}"));
        assert_eq!(places, wanted);
        let exact = |name: &str| NameRule::Exact(name.into());
        assert_eq!(rules[1].databases, [exact("all"), exact("b"), exact("c")]);
        assert_eq!(rules[1].addresses, Some(vec!["10.0.0.0/8".parse().expect("net")]));
        assert_eq!(rules[2].databases, [NameRule::SameUser]);
        assert!(matches!(&rules[2].users[..], [NameRule::Pattern(p)] if p.0.is_match("abz")));
        assert_eq!(rules[2].client_cert, ClientCert::VerifyCa);
        assert_eq!(rules[3].users, [exact("x \"y")]);
        assert_eq!((rules[3].method, rules[3].map.as_deref()), (AuthMethod::Cert, Some("m")));
        assert_eq!(rules[4].addresses, Some(vec!["192.168.1.0/24".parse().expect("net")]));
    }

    #[test]
    fn what_is_not_supported_is_an_error_with_its_line() {
        for (line, wanted) in [
            ("include other.conf", "type \"include\" is not supported"),
            ("hostgssenc all all all trust", "type \"hostgssenc\" is not supported"),
            ("local all", "user is missing"),
            ("local all all", "method is missing"),
            ("local all all peer", "method \"peer\" is not supported"),
            ("local all +admins trust", "membership of roles"),
            ("local all @file trust", "files of names"),
            ("local replication all trust", "\"replication\" is not supported"),
            ("host all all db.example.com trust", "host names are not supported"),
            ("host all all samenet trust", "\"samenet\" is not supported"),
            ("host all all 10.0.0.0 255.0.255.0 trust", "is not a mask"),
            ("host all all 10.0.0.0/33 trust", "not an IP address"),
            ("host all all all cert", "method: certificates are only had with type hostssl"),
            ("host all all all md5 clientcert=verify-ca", "clientcert: certificates are only"),
            ("hostssl all all all md5 map=x", "map: maps are for"),
            ("hostssl all all all md5 ldapserver=x", "option \"ldapserver=x\""),
            ("local all \"x trust", "a quote is not closed"),
            ("local all /( trust", "not a regular expression"),
        ] {
            let problems = read(&format!("local all all reject\n{line}\n")).expect_err(line);
            assert!(problems.len() == 1, "{problems:?}");
            let start = "pg_hba.conf:2: ";
            assert!(problems[0].starts_with(start) && problems[0].contains(wanted), "{problems:?}");
        }
    }

    #[test]
    fn maps_have_three_fields() {
        let read = |text: &str| maps(text, Path::new("ident"));
        let found = read("m \"/x\" a\nm /^(.*)@x$ \\1\n").expect("valid");
        assert_eq!(found[0].system, SystemName::Exact("/x".into()));
        assert!(matches!(&found[1].system, SystemName::Pattern(_)));
        assert_eq!(found[1].user, "\\1");
        for bad in ["m", "m a", "m a b c", "m a,b c", "m /( c"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
