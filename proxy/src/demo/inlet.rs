//! Owns what the demo's clients connect to: the roles and the database on the servers, and
//! pgmanifold in front of them.

use super::postgres::{LaunchError, PgCluster};
use crate::config::{self, model::Address};
use crate::server::Proxy;

/// Name of the demo's database.
pub(super) const DATABASE: &str = "shop";
/// The application's login.
pub(super) const USER: &str = "app";
/// The login of who looks at the console.
const DBA: &str = "dba";
/// The monitor's login.
const MONITOR: &str = "pgmanifold_monitor";

/// Logins of one run, made up anew each time.
pub(super) struct Logins {
    app: String,
    dba: String,
    monitor: String,
}

impl Logins {
    /// Makes up passwords.
    pub(super) fn new() -> Logins {
        let [app, dba, monitor] = std::array::from_fn(|_| random_password());
        Logins { app, dba, monitor }
    }

    /// Makes the roles and the empty database on the primary.
    pub(super) fn create(&self, cluster: &PgCluster) -> Result<(), LaunchError> {
        for sql in [
            format!("create role {USER} login password '{}'", self.app),
            format!("create role {MONITOR} login password '{}' in role pg_monitor", self.monitor),
            format!("create database {DATABASE} owner {USER}"),
        ] {
            cluster.primary.query(&sql)?;
        }
        cluster.wait_caught_up()
    }

    /// Connection string of the application for a server listening on 127.0.0.1:`port`.
    pub(super) fn dsn(&self, port: u16) -> String {
        self.dsn_of(port, DATABASE)
    }

    /// The same for another database.
    pub(super) fn dsn_of(&self, port: u16, database: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{port}/{database}", self.app)
    }

    /// The same of who looks at the console.
    pub(super) fn console_dsn(&self, port: u16) -> String {
        format!("postgres://{DBA}:{}@127.0.0.1:{port}/pgmanifold", self.dba)
    }

    /// The configuration: what a newcomer would write.
    fn configuration(&self, hosts: &[String]) -> String {
        let (listener, shard) = (self.listener(), self.shard("main", hosts));
        format!("{listener}{shard}\n[[database]]\nname = \"{DATABASE}\"\n")
    }

    /// Its listener, its users, console and status page.
    pub(super) fn listener(&self) -> String {
        format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n\n[http]\naddress = \"127.0.0.1:0\"\n\n\
             [[user]]\nname = \"{USER}\"\npassword = \"{}\"\n\n\
             [[user]]\nname = \"{DBA}\"\npassword = \"{}\"\n\n\
             [console]\nadmin_users = [\"{DBA}\"]\n",
            self.app, self.dba
        )
    }

    /// A primary and its replicas.
    pub(super) fn shard(&self, name: &str, hosts: &[String]) -> String {
        let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
        format!(
            "\n[[shard]]\nname = \"{name}\"\nhosts = [{}]\nmonitor_user = \"{MONITOR}\"\n\
             monitor_password = \"{}\"\n",
            hosts.join(", "),
            self.monitor
        )
    }
}

/// 24 letters and digits, which need no quoting in SQL, TOML or a URL.
pub(super) fn random_password() -> String {
    (0..3).map(|_| format!("{:08x}", rand::random::<u32>())).collect()
}

/// The running proxy.
pub(super) struct Inlet {
    /// Its port on 127.0.0.1.
    pub(super) port: u16,
    /// The proxy itself.
    pub(super) proxy: Proxy,
}

impl Inlet {
    /// Starts pgmanifold inside this process.
    pub(super) fn start(cluster: &PgCluster, logins: &Logins) -> Result<Inlet, String> {
        let hosts: Vec<String> =
            cluster.servers().map(|server| server.address().to_string()).collect();
        Inlet::with(&logins.configuration(&hosts))
    }

    /// Starts it with a configuration of its own.
    pub(super) fn with(text: &str) -> Result<Inlet, String> {
        let config = config::parse(text, "demo.toml").map_err(|error| error.to_string())?;
        let proxy = Proxy::start(config).map_err(|error| error.to_string())?;
        match proxy.addresses() {
            [Address::Tcp(_, port)] => Ok(Inlet { port: *port, proxy }),
            _ => Err("the proxy does not listen on TCP".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_valid() {
        let logins = Logins::new();
        let hosts = ["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
        let config = config::parse(&logins.configuration(&hosts), "demo.toml").expect("valid");
        assert_eq!(config.shards.first().map(|shard| shard.hosts.len()), Some(2));
    }

    #[test]
    fn passwords_need_no_quoting_and_differ() {
        let password = random_password();
        assert!(password.len() == 24 && password.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(password, random_password());
    }
}
