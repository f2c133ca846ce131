//! Owns the text of the configuration files that tests give to the proxy.

use crate::cluster::{PASSWORD, USER};
use pgmanifold::config::model::Address;

/// A configuration file in the making: lines by section.
#[derive(Debug, Clone)]
pub struct ConfigText {
    general: Vec<String>,
    listener: Vec<String>,
    http: Option<String>,
    users: Vec<String>,
    /// What all shards have.
    shard: Vec<String>,
    /// Name and hosts of each shard.
    shards: Vec<(String, String)>,
    pool: Vec<String>,
    databases: Vec<String>,
}

/// Who may do all on the console of the tests' proxies; [`USER`] may read, and nobody else comes in.
pub const CONSOLE_ADMIN: &str = "postgres";

impl ConfigText {
    /// A proxy before `hosts` with one `database`, on a free TCP port, without passwords.
    pub fn new(hosts: &[Address], database: &str) -> Self {
        Self::sharded(&[("main".into(), hosts.into())], &format!("name = {database:?}\n"))
    }

    /// A proxy before several shards, by name and hosts, with one database that has these `keys`.
    pub fn sharded(shards: &[(String, Vec<Address>)], keys: &str) -> Self {
        let list = |hosts: &[Address]| -> String {
            let hosts = hosts.iter().map(|host| format!("{:?}", host.to_string()));
            hosts.collect::<Vec<_>>().join(", ")
        };
        let shards = shards.iter().map(|(name, hosts)| (name.clone(), list(hosts))).collect();
        let users = [USER, "postgres", "other"].map(|name| format!("[[user]]\nname = {name:?}\n"));
        Self {
            general: vec!["log_level = \"info\"".into()],
            listener: vec!["address = \"127.0.0.1:0\"".into(), "auth = \"trust\"".into()],
            http: None,
            users: users.into(),
            shard: vec![
                "monitor_user = \"monitor\"".into(),
                "recovery_user = \"postgres\"".into(),
                "tls_mode = \"disable\"".into(),
                "health_interval_ms = 200".into(),
                "health_ban_min_ms = 200".into(),
                "health_ban_max_ms = 1000".into(),
                "connect_timeout_ms = 3000".into(),
            ],
            shards,
            // Few plans and statements, so that their eviction is tested by everything.
            pool: vec!["prepared_statements = 10".into(), "checkout_timeout_ms = 20000".into()],
            databases: vec![format!("[[database]]\n{keys}")],
        }
    }

    /// Sets a key of `[general]`; a later value replaces an earlier one.
    #[must_use]
    pub fn general(mut self, line: &str) -> Self {
        set(&mut self.general, line);
        self
    }

    /// Sets a key of the first listener.
    #[must_use]
    pub fn listener(mut self, line: &str) -> Self {
        set(&mut self.listener, line);
        self
    }

    /// Leaves a key of the first listener out.
    #[must_use]
    pub fn listener_without(mut self, key: &str) -> Self {
        self.listener.retain(|line| line.split('=').next().map(str::trim) != Some(key));
        self
    }

    /// Sets a key of every shard.
    #[must_use]
    pub fn shard(mut self, line: &str) -> Self {
        set(&mut self.shard, line);
        self
    }

    /// Sets a key of `[pool]`.
    #[must_use]
    pub fn pool(mut self, line: &str) -> Self {
        set(&mut self.pool, line);
        self
    }

    /// Opens the HTTP port.
    #[must_use]
    pub fn http(mut self, address: &str) -> Self {
        self.http = Some(format!("[http]\naddress = {address:?}\n"));
        self
    }

    /// Adds a key to the section of the HTTP port.
    ///
    /// # Panics
    /// Before [`Self::http`].
    #[must_use]
    pub fn http_key(mut self, line: &str) -> Self {
        self.http.as_mut().expect("an HTTP port").extend([line, "\n"]);
        self
    }

    /// Replaces all users by the test's own `[[user]]` sections.
    #[must_use]
    pub fn users(mut self, sections: &str) -> Self {
        self.users = vec![sections.into()];
        self
    }

    /// Gives [`USER`] its password and asks for it.
    #[must_use]
    pub fn with_password(self, method: &str) -> Self {
        let user = format!("[[user]]\nname = {USER:?}\npassword = {PASSWORD:?}\n");
        self.users(&user).listener(&format!("auth = {method:?}"))
    }

    /// Adds another section, for example a second `[[database]]`.
    #[must_use]
    pub fn section(mut self, text: &str) -> Self {
        self.databases.push(text.into());
        self
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = format!("[general]\n{}\n\n", self.general.join("\n"));
        text += &format!("[[listener]]\n{}\n\n", self.listener.join("\n"));
        text += self.http.as_deref().unwrap_or_default();
        text += &self.users.join("\n");
        for (name, hosts) in &self.shards {
            text += &format!("\n[[shard]]\nname = {name:?}\nhosts = [{hosts}]\n");
            text += &(self.shard.join("\n") + "\n\n");
        }
        text += &format!("[pool]\n{}\n\n", self.pool.join("\n"));
        if !self.databases.iter().any(|section| section.contains("[console]")) {
            text += &format!("[console]\nadmin_users = [{CONSOLE_ADMIN:?}]\n");
            text += &format!("stats_users = [{USER:?}]\n\n");
        }
        text + &self.databases.join("\n")
    }
}

fn set(lines: &mut Vec<String>, line: &str) {
    let key = |line: &str| line.split('=').next().unwrap_or(line).trim().to_owned();
    lines.retain(|old| key(old) != key(line));
    lines.push(line.into());
}
