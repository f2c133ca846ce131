//! Tools and drivers that DBAs come with, as they are installed, asking the console.

use pgmanifold::config::model::Address;
use pgmanifold_tests::config::CONSOLE_ADMIN;
use pgmanifold_tests::driver::root;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::run;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Longest run of one program.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(90);

/// Runs a program to its end and returns what it said on both its outputs.
async fn output(mut command: Command) -> (bool, String, String) {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PROGRAM_TIMEOUT, command.output())
        .await
        .unwrap_or_else(|_| panic!("{command:?} takes longer than {PROGRAM_TIMEOUT:?}"))
        .unwrap_or_else(|error| panic!("{command:?} is not installed: {error}; make test does it"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Runs a driver's program, which says what went well and fails otherwise.
fn driver(checks: usize, command: impl FnOnce(&str, u16) -> Command) {
    run(120, async {
        let fixture = Fixture::shared("console_tools", |config| config).await;
        let Address::Tcp(host, port) = &fixture.address else { panic!("drivers use TCP") };
        let (success, out, err) = output(command(host, *port)).await;
        let passed = out.lines().filter(|line| line.starts_with("ok ")).count();
        assert!(success && passed == checks, "{passed} of {checks}\n{out}\n{err}");
    });
}

fn url(host: &str, port: u16) -> String {
    format!("postgres://{CONSOLE_ADMIN}@{host}:{port}/pgmanifold?sslmode=disable")
}

fn python(program: &str) -> Command {
    let mut command = Command::new(root().join("target/venv/bin/python"));
    command.arg(root().join("tests/drivers/console").join(program));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[test]
fn psycopg3() {
    driver(7, |host, port| {
        let mut command = python("psycopg3.py");
        command.arg(url(host, port));
        command
    });
}

#[test]
fn asyncpg() {
    driver(5, |host, port| {
        let mut command = python("asyncpg_t.py");
        command.arg(url(host, port));
        command
    });
}

#[test]
fn node_postgres() {
    driver(3, |host, port| {
        let mut command = Command::new("node");
        command.arg("--no-deprecation").arg(root().join("tests/drivers/console/pg.js"));
        command.arg(url(host, port));
        command.env("NODE_PATH", root().join("target/node/node_modules"));
        command
    });
}

#[test]
fn jdbc_in_all_its_modes() {
    driver(12, |host, port| {
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-cp"]);
        let classes = root().join("target/java");
        command.arg(format!("/usr/share/java/postgresql.jar:{}", classes.display()));
        command.arg("Console");
        let place = format!("jdbc:postgresql://{host}:{port}/pgmanifold");
        command.arg(format!("{place}?user={CONSOLE_ADMIN}&sslmode=disable"));
        command
    });
}
