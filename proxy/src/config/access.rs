//! Owns the reading of `[auth]`, `[[hba]]`, `[[user_map]]` and of a listener's keys about clients.

use super::document::{Table, Value};
use super::hba_file;
use super::keys;
use super::model::{
    Access, Address, AuthMethod, AuthQuery, ClientAuthority, ClientCert, Database, FailureLimits,
    HbaRule, Listener, NameRule, ProxyProtocol, User, UserMap,
};
use super::pem;
use super::resolve::{Context, Reader};
use super::rules;
use ipnet::IpNet;
use std::path::Path;
use std::sync::Arc;

/// Reads a whole file of rules or maps: its text and its path, the lines or what is wrong.
type ReadFile<T> = fn(&str, &Path) -> Result<Vec<T>, Vec<String>>;

/// Largest file of rules or maps, in bytes.
const MAX_RULES_BYTES: u64 = 1024 * 1024;

/// `[auth]`, `[[hba]]` and `[[user_map]]`.
pub(super) fn access(tables: &[Table], users: &[Arc<User>], context: &Context<'_>) -> Access {
    let absent = Table::absent(&keys::AUTH);
    let auth = tables.iter().find(|table| table.section.name == "auth").unwrap_or(&absent);
    let auth = Reader::new(auth, context);
    let maps = one_place(tables, &auth, "user_map", "ident_file", hba_file::maps, user_map);
    let access = Access {
        rules: one_place(tables, &auth, "hba", "hba_file", hba_file::rules, hba),
        maps: maps.unwrap_or_default(),
        query: query(&auth, users),
        failures: FailureLimits {
            limit: auth.integer("failure_limit").and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
            window: auth.duration_ms("failure_window_ms"),
        },
    };
    let known = |name: &String| access.maps.iter().any(|line| line.map == *name);
    for (number, rule) in access.rules.iter().flatten().enumerate() {
        if let Some(map) = rule.map.as_ref().filter(|map| !known(map)) {
            let message = format!("there is no user map {map:?}");
            let help = "add a `[[user_map]]` with it";
            complain(tables, context, (number, rule), "map", &message, help);
        }
    }
    access
}

/// Notes an error about a rule: at its own table, or at the file that it is from.
fn complain(
    tables: &[Table],
    context: &Context<'_>,
    (number, rule): (usize, &HbaRule),
    key: &str,
    message: &str,
    help: &str,
) {
    if let Some(table) = tables.iter().filter(|table| table.section.name == "hba").nth(number) {
        Reader::new(table, context).error(key, message, help);
    } else if let Some(auth) = tables.iter().find(|table| table.section.name == "auth") {
        let message = format!("{}: {key}: {message}", rule.place);
        Reader::new(auth, context).error("hba_file", message, help);
    }
}

/// The lines of the tables called `section`, or those of the file under `file_key`.
fn one_place<T>(
    tables: &[Table],
    auth: &Reader<'_>,
    section: &'static str,
    file_key: &'static str,
    read_file: ReadFile<T>,
    read_table: fn(&Reader<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let here: Vec<&Table> = tables.iter().filter(|table| table.section.name == section).collect();
    let Some(path) = auth.file(file_key) else {
        let read = |table: &&Table| read_table(&Reader::new(table, auth.context));
        return (!here.is_empty()).then(|| here.iter().filter_map(read).collect());
    };
    if !here.is_empty() {
        let message = format!("`{file_key}` and [[{section}]] are both given");
        auth.error(file_key, message, "give exactly one of them");
    }
    let text = match std::fs::metadata(&path) {
        Ok(meta) if meta.len() > MAX_RULES_BYTES => {
            Err(format!("larger than {MAX_RULES_BYTES} bytes"))
        }
        _ => std::fs::read_to_string(&path).map_err(|error| error.to_string()),
    };
    let lines = text.map_err(|error| vec![format!("{}: {error}", path.display())]);
    match lines.and_then(|text| read_file(&text, &path)) {
        Ok(lines) => Some(lines),
        Err(problems) => {
            for problem in problems {
                auth.error(file_key, problem, "");
            }
            // Never "no rules": that would let the listener's own method hold.
            Some(Vec::new())
        }
    }
}

/// The texts of a key of kind `Names`.
pub(super) fn names(reader: &Reader<'_>, key: &str) -> Vec<String> {
    match reader.given(key) {
        Some(Value::List(list)) => list.iter().map(|(text, _)| text.clone()).collect(),
        _ => Vec::new(),
    }
}

/// Reads every text of a list; what is wrong is noted.
fn each<T>(
    reader: &Reader<'_>,
    key: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let list = names(reader, key);
    if list.is_empty() {
        if reader.table.mention(key).is_some() && reader.given(key).is_some() {
            reader.error(key, "the list is empty", "name at least one");
        }
        return None;
    }
    let read = list.iter().map(|text| read(text));
    read.collect::<Result<_, _>>().map_err(|message| reader.error(key, message, "")).ok()
}

fn hba(reader: &Reader<'_>) -> Option<HbaRule> {
    let connection = rules::meaning(&rules::CONNECTIONS, &reader.text("type")?)?;
    let method = rules::meaning(&rules::METHODS, &reader.text("method")?)?;
    let all = names(reader, "address") == ["all"];
    let addresses = if all { None } else { each(reader, "address", rules::network) };
    let line = reader.context.problems.line(&reader.table.span);
    let rule = HbaRule {
        place: format!("[[hba]] in line {line}"),
        connection,
        databases: each(reader, "database", |word| rules::database(word, false))?,
        users: each(reader, "user", |word| rules::user(word, false))?,
        addresses,
        method,
        map: reader.text("map"),
        client_cert: match reader.text("clientcert").as_deref() {
            Some("verify-ca") => ClientCert::VerifyCa,
            Some("verify-full") => ClientCert::VerifyFull,
            _ => ClientCert::Any,
        },
    };
    let local = connection == super::model::ConnectionKind::Local;
    if local && reader.table.mention("address").is_some() {
        reader.error("address", "Unix sockets have no addresses", "");
    }
    if !local && reader.table.mention("address").is_none() {
        reader.error("address", "`address` is missing in [[hba]]", "add `address = \"all\"`");
    }
    if let Some((key, message)) = rules::contradiction(&rule) {
        reader.error(key, message, "");
    }
    Some(rule)
}

fn user_map(reader: &Reader<'_>) -> Option<UserMap> {
    let system = rules::system_name(&reader.text("system")?, false);
    let system = system.map_err(|message| reader.error("system", message, "")).ok()?;
    Some(UserMap { map: reader.text("map")?, system, user: reader.text("user")? })
}

fn query(auth: &Reader<'_>, users: &[Arc<User>]) -> Option<AuthQuery> {
    let Some(name) = auth.text("query_user") else {
        for key in ["query", "query_database"] {
            if auth.table.mention(key).is_some() {
                auth.error(key, format!("`{key}` without `query_user`"), "say who asks");
            }
        }
        return None;
    };
    let Some(user) = users.iter().find(|user| user.name == name) else {
        let message = format!("there is no [[user]] {name:?}");
        auth.error("query_user", message, "its server login asks the question");
        return None;
    };
    Some(AuthQuery {
        sql: auth.text("query").unwrap_or_default(),
        user: Arc::clone(user),
        database: auth.text("query_database"),
        timeout: auth.duration_ms("query_timeout_ms"),
        cache_time: auth.duration_ms("query_cache_ms"),
        cache_size: auth.count("query_cache_size"),
    })
}

/// The `query_database` must be one.
pub(super) fn check_query_database(
    access: &Access,
    databases: &[Arc<Database>],
    tables: &[Table],
    context: &Context<'_>,
) {
    let wanted = access.query.as_ref().and_then(|query| query.database.as_ref());
    let Some(wanted) = wanted else { return };
    let auth = tables.iter().find(|table| table.section.name == "auth");
    if let Some(auth) = auth
        && databases.iter().all(|database| database.name != *wanted)
    {
        let message = format!("there is no [[database]] {wanted:?}");
        Reader::new(auth, context).error("query_database", message, "name one of this file");
    }
}

/// Rules and listeners together.
pub(super) fn check_listeners(
    access: &Access,
    listeners: &[Listener],
    tables: &[Table],
    context: &Context<'_>,
) {
    let has_authority = |listener: &Listener| {
        listener.tls.as_ref().is_some_and(|tls| tls.client_authority.is_some())
    };
    let sections = tables.iter().filter(|table| table.section.name == "listener");
    for (listener, table) in listeners.iter().zip(sections) {
        let reader = Reader::new(table, context);
        if access.rules.is_some() && table.mention("auth").is_some() {
            // One of the two would not hold; somebody would believe it does.
            let help = "leave `auth` out: the rules decide on every listener";
            reader.error("auth", "`auth` beside [[hba]] rules", help);
        }
        if listener.auth == AuthMethod::Cert && !has_authority(listener) {
            let help = "add `tls_client_ca_file`";
            reader.error("auth", "clients are not asked for certificates", help);
        }
    }
    let asks =
        |rule: &HbaRule| rule.method == AuthMethod::Cert || rule.client_cert != ClientCert::Any;
    let mut rules = access.rules.iter().flatten().enumerate();
    if let Some((number, rule)) = rules.find(|(_, rule)| asks(rule))
        && !listeners.iter().any(has_authority)
    {
        let key = if rule.method == AuthMethod::Cert { "method" } else { "clientcert" };
        let help = "add `tls_client_ca_file` to a listener";
        let message = "no listener asks for certificates";
        complain(tables, context, (number, rule), key, message, help);
    }
}

/// The methods somebody may be asked for, on any listener.
pub(super) fn methods(access: &Access, listeners: &[Listener]) -> Vec<AuthMethod> {
    match &access.rules {
        Some(rules) => rules.iter().map(|rule| rule.method).collect(),
        None => listeners.iter().map(|listener| listener.auth).collect(),
    }
}

/// The methods that rules give `user`; those of all listeners when there are no rules.
pub(super) fn methods_of(access: &Access, listeners: &[Listener], user: &str) -> Vec<AuthMethod> {
    let names = |rule: &&HbaRule| {
        rule.users.iter().any(|known| match known {
            NameRule::All | NameRule::SameUser => true,
            NameRule::Exact(name) => name == user,
            NameRule::Pattern(pattern) => pattern.0.is_match(user),
        })
    };
    match &access.rules {
        Some(rules) => rules.iter().filter(names).map(|rule| rule.method).collect(),
        None => methods(access, listeners),
    }
}

/// `proxy_protocol…` of a listener.
pub(super) fn proxy_protocol(reader: &Reader<'_>, address: &Address) -> Option<ProxyProtocol> {
    let from: Vec<IpNet> = each(reader, "proxy_protocol_from", rules::network).unwrap_or_default();
    if !reader.boolean("proxy_protocol") {
        if reader.table.mention("proxy_protocol_from").is_some() {
            let help = "add `proxy_protocol = true`";
            reader.error("proxy_protocol_from", "no PROXY protocol is spoken here", help);
        }
        return None;
    }
    if from.is_empty() && matches!(address, Address::Tcp(..)) {
        // Whoever may send a header says which address it comes from.
        let help = "add `proxy_protocol_from` with the addresses of the load balancers";
        reader.error("proxy_protocol", "anybody could claim any address", help);
    }
    Some(ProxyProtocol { from })
}

/// `tls_client_…` of a listener.
pub(super) fn client_authority(reader: &Reader<'_>) -> Option<ClientAuthority> {
    let required = reader.boolean("tls_client_cert_required");
    let Some(ca_file) = reader.file("tls_client_ca_file") else {
        if required {
            let help = "add `tls_client_ca_file`";
            reader.error("tls_client_cert_required", "no authority to check them by", help);
        }
        return None;
    };
    pem::check_authorities(reader, "tls_client_ca_file", &ca_file);
    Some(ClientAuthority { ca_file, required })
}
