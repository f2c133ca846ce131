//! Owns a primary with streaming replicas: making the data directories and their settings.

use super::LaunchError;
use super::account::Account;
use super::binaries::Binaries;
use super::directory::Directory;
use super::process::run;
use super::server::{Parts, Postgres, SUPERUSER, Stop};
use std::path::{Path, PathBuf};

/// A made-up setting that holds each server's name. `current_setting('launcher.server')` tells
/// where a statement ran and still counts as a read; `cluster_name` would not do, because asking
/// a server about itself goes to the primary by design.
const SERVER_NAME_SETTING: &str = "launcher.server";

/// What a cluster is like.
#[derive(Debug, Clone)]
pub struct PgClusterOptions {
    /// Streaming replicas.
    pub replicas: usize,
    /// Where the cluster's private directory is made; the temporary directory by default.
    pub base_dir: Option<PathBuf>,
    /// Settings for `postgresql.conf` of every server, after and above the launcher's own.
    pub settings: Vec<(String, String)>,
    /// Lines for `pg_hba.conf`. By default everybody may log in from 127.0.0.1 and the socket:
    /// with a password when there is one, else freely. The superuser always may, by the socket.
    pub hba: Option<String>,
    /// Password of the superuser `postgres`.
    pub password: Option<String>,
    /// `synchronous_standby_names`, for example `ANY 1 (replica1, replica2)`.
    pub synchronous: Option<String>,
}

impl Default for PgClusterOptions {
    fn default() -> Self {
        PgClusterOptions {
            replicas: 2,
            base_dir: None,
            settings: Vec::new(),
            hba: None,
            password: None,
            synchronous: None,
        }
    }
}

/// A primary and its streaming replicas; stopped and removed on Drop.
#[derive(Debug)]
pub struct PgCluster {
    /// The first server.
    pub primary: Postgres,
    /// `replica1`, `replica2`, ….
    pub replicas: Vec<Postgres>,
    binaries: Binaries,
    account: Account,
    options: PgClusterOptions,
    /// Dropped last, after the servers have ended.
    directory: Directory,
}

impl PgCluster {
    /// Makes and starts a cluster, and waits until every replica streams.
    ///
    /// # Errors
    /// When no binaries are there, or any step fails or takes too long; nothing is left behind.
    pub fn start(options: PgClusterOptions) -> Result<PgCluster, LaunchError> {
        let binaries = Binaries::find()?;
        let account = Account::choose()?;
        let directory = Directory::create(options.base_dir.as_deref(), account)?;
        let socket_dir = directory.subdirectory("s", account)?;
        let (programs, wishes) = (binaries.clone(), options.clone());
        let maker = Maker { binaries, account, directory: &directory, socket_dir, options };
        let primary = maker.primary()?;
        // Base backups mostly wait for each other's checkpoints and copies: all at once.
        let replicas = std::thread::scope(|scope| {
            let maker = &maker;
            let primary = &primary;
            let threads: Vec<_> = (1..=maker.options.replicas)
                .map(|number| scope.spawn(move || maker.replica(primary, number)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(panicked())))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let streaming = "select count(*) from pg_stat_replication where state = 'streaming'";
        primary.wait_for(streaming, &replicas.len().to_string())?;
        Ok(PgCluster { primary, replicas, binaries: programs, account, options: wishes, directory })
    }

    /// The primary first, then the replicas.
    pub fn servers(&self) -> impl Iterator<Item = &Postgres> {
        std::iter::once(&self.primary).chain(&self.replicas)
    }

    /// The cluster's private directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Makes `follower` stream from `leader`, for example after a promotion.
    ///
    /// # Errors
    /// When the server refuses, or does not stream within 30 s.
    pub fn follow(&self, follower: &Postgres, leader: &Postgres) -> Result<(), LaunchError> {
        follower.configure("primary_conninfo", &conninfo(leader, follower.name()))?;
        leader.wait_for(&streaming(follower.name()), "1")
    }

    /// Makes a stopped or running server a new copy of `leader` that streams from it: what it had
    /// is thrown away.
    ///
    /// # Errors
    /// When any step fails, or it does not stream within 30 s.
    pub fn clone_again(&self, server: &Postgres, leader: &Postgres) -> Result<(), LaunchError> {
        server.stop(Stop::Immediate)?;
        let data = server.data_dir();
        std::fs::remove_dir_all(data).map_err(LaunchError::file("remove", data))?;
        let maker = Maker {
            binaries: self.binaries.clone(),
            account: self.account,
            directory: &self.directory,
            socket_dir: server.socket_dir().to_owned(),
            options: self.options.clone(),
        };
        maker.copy(leader, server.name(), data, server.log_path())?;
        server.start()?;
        leader.wait_for(&streaming(server.name()), "1")
    }

    /// Waits until every running replica has replayed all the primary has flushed by now.
    ///
    /// # Errors
    /// When that takes longer than 30 s.
    pub fn wait_caught_up(&self) -> Result<(), LaunchError> {
        let running = self.replicas.iter().filter(|replica| replica.is_running());
        running.into_iter().try_for_each(|replica| replica.wait_caught_up(&self.primary))
    }
}

fn panicked() -> LaunchError {
    LaunchError::Server { what: "a replica's thread panicked".into(), log_tail: String::new() }
}

fn streaming(name: &str) -> String {
    format!(
        "select count(*) from pg_stat_replication \
         where state = 'streaming' and application_name = '{name}'"
    )
}

/// Replication goes through the private socket, so it needs no password.
fn conninfo(leader: &Postgres, application_name: &str) -> String {
    format!(
        "host={} port={} user={SUPERUSER} application_name={application_name}",
        leader.socket_dir().display(),
        leader.port()
    )
}

/// Makes the servers of one cluster.
struct Maker<'a> {
    binaries: Binaries,
    account: Account,
    directory: &'a Directory,
    socket_dir: PathBuf,
    options: PgClusterOptions,
}

impl Maker<'_> {
    fn primary(&self) -> Result<Postgres, LaunchError> {
        let parts = self.parts("primary")?;
        let mut command =
            self.account.command(&self.binaries.program("initdb"), self.directory.path());
        command.args(["--no-sync", "--no-instructions", "--auth=trust", "--encoding=UTF8"]);
        command.args(["--locale=C", "-U", SUPERUSER, "-D"]).arg(&parts.data_dir);
        if let Some(password) = &self.options.password {
            let file = self.directory.path().join("password");
            self.write(&file, password)?;
            command.arg("--pwfile").arg(&file);
        }
        run("initdb", command, &parts.log_path)?;
        self.write(&parts.data_dir.join("pg_hba.conf"), &self.hba())?;
        self.write(&parts.data_dir.join("postgresql.conf"), &self.settings("primary", None))?;
        Postgres::start_on_free_port(parts)
    }

    fn replica(&self, primary: &Postgres, number: usize) -> Result<Postgres, LaunchError> {
        let name = format!("replica{number}");
        let parts = self.parts(&name)?;
        self.copy(primary, &name, &parts.data_dir, &parts.log_path)?;
        Postgres::start_on_free_port(parts)
    }

    /// Fills `data` with a copy of `leader` that will stream from it.
    fn copy(
        &self,
        leader: &Postgres,
        name: &str,
        data: &Path,
        log: &Path,
    ) -> Result<(), LaunchError> {
        let program = self.binaries.program("pg_basebackup");
        let mut command = self.account.command(&program, self.directory.path());
        command.args(["--checkpoint=fast", "--no-sync", "--no-manifest", "--wal-method=stream"]);
        let conninfo = conninfo(leader, name);
        command.arg("-D").arg(data).arg("-d").arg(&conninfo);
        run("pg_basebackup", command, log)?;
        let settings = self.settings(name, Some(&conninfo));
        self.write(&data.join("postgresql.conf"), &settings)?;
        // What the leader was told by ALTER SYSTEM is not for its copy.
        self.write(&data.join("postgresql.auto.conf"), "")?;
        self.write(&data.join("standby.signal"), "")
    }

    fn parts(&self, name: &str) -> Result<Parts, LaunchError> {
        let home = self.directory.subdirectory(name, self.account)?;
        Ok(Parts {
            name: name.into(),
            binaries: self.binaries.clone(),
            account: self.account,
            data_dir: home.join("data"),
            socket_dir: self.socket_dir.clone(),
            log_path: home.join("log"),
            password: self.options.password.clone(),
        })
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), LaunchError> {
        std::fs::write(path, text).map_err(LaunchError::file("write", path))?;
        self.account.own(path)
    }

    fn hba(&self) -> String {
        let method = if self.options.password.is_some() { "scram-sha-256" } else { "trust" };
        let rest = self.options.hba.clone().unwrap_or_else(|| {
            format!(
                "local all all {method}\nhost all all 127.0.0.1/32 {method}\n\
                 host replication all 127.0.0.1/32 {method}\n"
            )
        });
        format!("local all,replication {SUPERUSER} trust\n{rest}\n")
    }

    /// Durability is off: these servers hold nothing worth keeping. Dynamic shared memory lies
    /// in the data directory, so that a killed server leaves none in `/dev/shm`.
    fn settings(&self, name: &str, conninfo: Option<&str>) -> String {
        let socket_dir = self.socket_dir.display().to_string();
        let own = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", &socket_dir),
            ("cluster_name", name),
            (SERVER_NAME_SETTING, name),
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("shared_buffers", "32MB"),
            ("dynamic_shared_memory_type", "mmap"),
            ("max_connections", "200"),
            ("max_prepared_transactions", "50"),
            ("max_wal_senders", "20"),
            ("max_replication_slots", "20"),
            ("wal_level", "logical"),
            ("wal_keep_size", "256MB"),
            ("wal_receiver_status_interval", "1s"),
            ("wal_retrieve_retry_interval", "100ms"),
            ("hot_standby", "on"),
            ("log_line_prefix", "%m [%p] %q%u@%d %a "),
            ("password_encryption", "scram-sha-256"),
        ];
        let mut lines: Vec<String> = own.map(|(key, value)| setting(key, value)).into();
        if let Some(names) = &self.options.synchronous {
            lines.push(setting("synchronous_standby_names", names));
        }
        if let Some(conninfo) = conninfo {
            lines.push(setting("primary_conninfo", conninfo));
            lines.push(setting("recovery_target_timeline", "latest"));
        }
        lines.extend(self.options.settings.iter().map(|(key, value)| setting(key, value)));
        lines.concat()
    }
}

fn setting(key: &str, value: &str) -> String {
    format!("{key} = '{}'\n", value.replace('\\', "\\\\").replace('\'', "''"))
}
