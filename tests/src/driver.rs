//! Owns the running of driver programs (tests/drivers): other languages' clients that go through
//! a checklist and print `ok NAME` or `FAIL NAME: why`.

use pgmanifold::config::model::Address;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Longest run of one program.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(120);

/// A driver program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// psql, with a script and its expected output.
    Psql,
    /// psycopg 3.
    Psycopg3,
    /// asyncpg.
    Asyncpg,
    /// node-postgres.
    Node,
    /// pgJDBC.
    Jdbc,
    /// Go's lib/pq.
    LibPq,
}

/// The workspace's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a program with several clients at once against `address`.
///
/// # Panics
/// When the program fails, takes too long, or is not installed (`make test` installs it).
pub async fn run(driver: Driver, address: &Address, user: &str, database: &str, clients: usize) {
    let Address::Tcp(host, port) = address else { panic!("driver programs use TCP") };
    let url = match driver {
        Driver::Jdbc => {
            format!("jdbc:postgresql://{host}:{port}/{database}?user={user}&sslmode=disable")
        }
        _ => format!("postgres://{user}@{host}:{port}/{database}?sslmode=disable"),
    };
    let mut command = command(driver);
    command.arg(url).arg(clients.to_string());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let began = Instant::now();
    let output = tokio::time::timeout(PROGRAM_TIMEOUT, command.output())
        .await
        .unwrap_or_else(|_| panic!("{driver:?} takes longer than {PROGRAM_TIMEOUT:?}"))
        .unwrap_or_else(|error| panic!("{driver:?} is not installed: {error}; make test does it"));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let passed = out.lines().filter(|line| line.starts_with("ok ")).count();
    println!("{driver:?}: {passed} checks ok, {clients} clients, {:.1?}", began.elapsed());
    assert!(output.status.success() && passed > 0, "{driver:?} failed:\n{out}\n{err}");
}

fn command(driver: Driver) -> Command {
    let (programs, target) = (root().join("tests/drivers"), root().join("target"));
    match driver {
        Driver::Psql => Command::new(programs.join("psql/run.sh")),
        Driver::Psycopg3 | Driver::Asyncpg => {
            let name = if driver == Driver::Psycopg3 { "psycopg3.py" } else { "asyncpg_t.py" };
            let mut command = Command::new(target.join("venv/bin/python"));
            command.arg(programs.join("python").join(name)).env("PYTHONDONTWRITEBYTECODE", "1");
            command
        }
        Driver::Node => {
            let mut command = Command::new("node");
            command.arg("--no-deprecation").arg(programs.join("node/pg.js"));
            command.env("NODE_PATH", target.join("node/node_modules"));
            command
        }
        Driver::Jdbc => {
            let mut command = Command::new("java");
            command.args(["-Xmx512m", "-XX:+UseSerialGC", "-cp"]);
            let classes = target.join("java");
            command.arg(format!("/usr/share/java/postgresql.jar:{}", classes.display()));
            command.arg("Jdbc");
            command
        }
        Driver::LibPq => Command::new(target.join("go/libpq")),
    }
}
