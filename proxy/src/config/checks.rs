//! Owns the checks that look at several sections together.

use super::access;
use super::console;
use super::document::{Table, full_name};
use super::keys;
use super::model::{Address, AuthMethod, Config, Secret};
use super::resolve::{Context, Reader};
use std::collections::HashMap;
use std::net::SocketAddr;

/// Notes everything that is wrong between sections.
pub(crate) fn check(config: &Config, tables: &[Table], context: &Context<'_>) {
    present(tables, context);
    for (section, key) in
        [("user", "name"), ("shard", "name"), ("database", "name"), ("listener", "address")]
    {
        unique(section, key, tables, context);
    }
    http_address(config, tables, context);
    console::check_names(tables, context);
    access::check_query_database(&config.access, &config.databases, tables, context);
    access::check_listeners(&config.access, &config.listeners, tables, context);
    logins(config, tables, context);
    pool_sizes(config, tables, context);
}

/// Without these nobody can be served.
fn present(tables: &[Table], context: &Context<'_>) {
    for section in [&keys::LISTENER, &keys::USER, &keys::SHARD, &keys::DATABASE] {
        if !tables.iter().any(|table| table.section.name == section.name) {
            let message = format!("there is no {}", section.header());
            context.problems.error(&(0..0), section.name, message, "at least one is needed");
        }
    }
}

fn unique(section: &str, key: &str, tables: &[Table], context: &Context<'_>) {
    let mut seen: HashMap<String, ()> = HashMap::new();
    for table in tables.iter().filter(|table| table.section.name == section) {
        let reader = Reader::new(table, context);
        let Some(value) = reader.text(key) else { continue };
        // Port 0 asks for any free port: two such listeners are two ports.
        let free_port = section == "listener" && value.ends_with(":0");
        if !free_port && seen.insert(value.clone(), ()).is_some() {
            let message = format!("a second {} with {key} {value:?}", table.section.header());
            reader.error(key, message, "each may stand once");
        }
    }
}

fn http_address(config: &Config, tables: &[Table], context: &Context<'_>) {
    let Some(http) = config.http else { return };
    let same = |address: &Address| match address {
        Address::Tcp(host, port) => {
            http.port() != 0
                && format!("{host}:{port}").parse::<SocketAddr>().is_ok_and(|other| other == http)
        }
        Address::Unix(_) => false,
    };
    if config.listeners.iter().any(|listener| same(&listener.address))
        && let Some(table) = tables.iter().find(|table| table.section.name == "http")
    {
        let message = "the same address as a [[listener]]";
        Reader::new(table, context).error("address", message, "take another port");
    }
}

/// A user whose secret fits no listener can never log in.
fn logins(config: &Config, tables: &[Table], context: &Context<'_>) {
    let sections = tables.iter().filter(|table| table.section.name == "user");
    for (user, table) in config.users.iter().zip(sections) {
        let wanted = ["password", "password_env", "password_file", "secret", "secret_env"]
            .into_iter()
            .chain(["secret_file"])
            .find(|key| table.mention(key).is_some());
        let can = |auth: AuthMethod| match (&user.secret, auth) {
            (_, AuthMethod::Trust | AuthMethod::Cert) => true,
            (_, AuthMethod::Reject) => false,
            // A secret that could not be read was reported already; one that is not here may be
            // had from a server.
            (None, _) => wanted.is_some() || config.access.query.is_some(),
            (Some(Secret::Md5(_)), AuthMethod::ScramSha256) => false,
            (Some(_), AuthMethod::ScramSha256 | AuthMethod::Md5) => true,
        };
        let methods = access::methods_of(&config.access, &config.listeners, &user.name);
        let open = methods.iter().filter(|method| can(**method)).count();
        // A user that only others' pools or questions use need not come in.
        let useful = config.databases.iter().any(|db| db.forced_user.as_ref() == Some(user))
            || config.access.query.as_ref().is_some_and(|query| query.user == *user);
        if open == methods.len() && open > 0 || useful || config.access.rules.is_some() && open > 0
        {
            continue;
        }
        let name = full_name(table.section, wanted.unwrap_or("password"));
        let span = wanted.and_then(|key| table.mention(key)).unwrap_or(&table.span);
        let nobody = if config.access.rules.is_some() { "no rule" } else { "no listener" };
        let (what, help) = match wanted {
            None => ("has no password", "add `password…` or `secret…`"),
            Some(_) => (
                "has an md5 secret, which `auth = \"scram-sha-256\"` cannot use",
                "take a SCRAM-SHA-256 secret, or `auth = \"md5\"` on the listener",
            ),
        };
        if methods.is_empty() || methods.iter().all(|method| *method == AuthMethod::Reject) {
            let message = format!("user {:?} has no rule that lets it in", user.name);
            context.problems.warning(span, name, message, "add one, or leave the user out");
        } else if open == 0 {
            let message = format!("user {:?} {what}: {nobody} lets it in", user.name);
            context.problems.error(span, name, message, help);
        } else {
            let message = format!("user {:?} {what}: some listeners refuse it", user.name);
            context.problems.warning(span, name, message, help);
        }
    }
}

fn pool_sizes(config: &Config, tables: &[Table], context: &Context<'_>) {
    let most_idle = config.databases.iter().max_by_key(|database| database.min_idle);
    let Some(database) = most_idle else { return };
    let sections = tables.iter().filter(|table| table.section.name == "user");
    for (user, table) in config.users.iter().zip(sections) {
        if user.pool_size.is_some_and(|size| size < database.min_idle) {
            let message = format!(
                "smaller than min_idle ({}) of database {:?}",
                database.min_idle, database.name
            );
            let help = "pool_size counts idle connections too";
            Reader::new(table, context).error("pool_size", message, help);
        }
    }
}
