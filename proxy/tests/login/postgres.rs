//! Owns a real PostgreSQL with one role per authentication method, run as an ordinary user also
//! when the tests are root's.

use crate::certificates::{Certificates, Scratch};
use crate::settings::{config, host};
use pgmanifold::backend::connect::Connector;
use pgmanifold::config::model::{Address, ServerTlsMode};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Weak};
use tokio::sync::Mutex;

/// Password of all roles that have one.
pub(crate) const PASSWORD: &str = "p\u{e4}ss word";

const HBA: &str = "\
local all all trust
hostssl all tlsonly 127.0.0.1/32 scram-sha-256
host all trusty 127.0.0.1/32 trust
host all clear 127.0.0.1/32 password
host all hash 127.0.0.1/32 md5
host all scram,limited 127.0.0.1/32 scram-sha-256
";

/// `nobody` on every Linux.
const NOBODY: u32 = 65534;

/// A running server; stopped and removed when dropped.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    pub(crate) certificates: Certificates,
    server: Child,
    scratch: Scratch,
}

static SHARED: LazyLock<Mutex<Weak<Postgres>>> = LazyLock::new(Mutex::default);

impl Postgres {
    /// The server that tests running at the same time share.
    pub(crate) async fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&started);
        started
    }

    /// The Unix socket.
    pub(crate) fn socket(&self) -> Address {
        Address::Unix(self.scratch.0.join(format!(".s.PGSQL.{}", self.port)))
    }

    async fn start() -> Self {
        let scratch = Scratch::new();
        let certificates = Certificates::new(&scratch.0);
        let data = scratch.0.join("data");
        hand_over(&scratch.0);
        let initdb = unprivileged("initdb", &scratch.0)
            .args(["-N", "-U", "boss", "-A", "trust", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        std::fs::write(data.join("pg_hba.conf"), HBA).expect("write");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\n\
             fsync = off\nshared_buffers = 16MB\nmax_connections = 40\nssl = on\n\
             ssl_cert_file = '{}'\nssl_key_file = '{}'\n",
            scratch.0.display(),
            certificates.cert.display(),
            certificates.key.display()
        );
        std::fs::write(data.join("postgresql.auto.conf"), settings).expect("write");
        drop(listener);
        let log = std::fs::File::create(scratch.0.join("log")).expect("create");
        let server = unprivileged("postgres", &scratch.0)
            .arg("-D")
            .arg(&data)
            .stderr(log)
            .spawn()
            .expect("postgres runs");
        let started = Self { port, certificates, server, scratch };
        started.prepare().await;
        started
    }

    /// Waits for the server and makes the roles.
    async fn prepare(&self) {
        let host = host(self.socket(), ServerTlsMode::Disable, None);
        let connector = Connector::new(&config(vec![], vec![], vec![])).expect("nothing to read");
        for attempt in 0.. {
            match connector.connect(&host, "boss", None, "postgres", &[]).await {
                Ok(_) => break,
                Err(error) if attempt == 600 => panic!("no server: {error}"),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
        let Address::Unix(socket) = self.socket() else { unreachable!() };
        let mut boss = tokio_postgres::Config::new();
        boss.host_path(socket.parent().expect("directory")).port(self.port).user("boss");
        let boss = boss.dbname("postgres");
        let (client, connection) = boss.connect(tokio_postgres::NoTls).await.expect("login");
        tokio::spawn(connection);
        let sql = format!(
            "create role trusty login; create role clear login password '{PASSWORD}';
             create role scram login password '{PASSWORD}';
             create role tlsonly login password '{PASSWORD}';
             create role limited login connection limit 0 password '{PASSWORD}';
             create role elsewhere login password '{PASSWORD}';
             set password_encryption = 'md5'; create role hash login password '{PASSWORD}'"
        );
        client.batch_execute(&sql).await.expect("roles");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT to the postmaster takes its children along; a kill would leave them.
        let pid = self.server.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let _ = self.server.wait();
    }
}

/// A program of PostgreSQL's, to be run as somebody who is not root.
fn unprivileged(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(binaries().join(program));
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null());
    if is_root(directory) {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Gives `directory` and what is in it to the user that runs PostgreSQL.
fn hand_over(directory: &Path) {
    let nobody = is_root(directory).then_some(NOBODY);
    for entry in std::fs::read_dir(directory).expect("directory") {
        let path = entry.expect("entry").path();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("chmod");
        chown(&path, nobody, nobody).expect("chown");
    }
    // The directory stays ours, so that this function can still tell; its group is changed.
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o770)).expect("chmod");
    chown(directory, None, nobody).expect("chown");
}

fn is_root(ours: &Path) -> bool {
    ours.metadata().expect("metadata").uid() == 0
}

/// The newest version's programs.
fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.flatten().map(|entry| entry.path()).max_by_key(version);
    newest.expect("PostgreSQL is installed").join("bin")
}
