//! The router's golden statements on live servers: what it calls a read must run on a replica,
//! and what it calls anything else must never reach one.

use pgmanifold_router::golden::{self, Case, NEEDS_TRANSACTION};
use pgmanifold_tests::driver::root;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::raw::{self, Raw, field};
use pgmanifold_tests::run;
use std::time::Duration;
use tokio::process::Command;

/// Owner of the schema. Not `app`: a schema of that name comes first in its search path.
const USER: &str = "other";
/// Longest wait for one statement's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// What a hot standby answers to a write.
const READ_ONLY: &str = "25006";

async fn load_schema(fixture: &Fixture) {
    let database = &fixture.database;
    let grant = format!("alter role {USER} createrole; alter database {database} owner to {USER}");
    fixture.cluster.primary.query(&grant).expect("a role for the schema");
    let dsn = fixture.cluster.primary.dsn_for(USER, None, &fixture.database);
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]);
    command.arg(root().join("router/golden/schema.sql")).arg(dsn);
    let output = command.output().await.expect("psql is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fixture.cluster.wait_caught_up().expect("replicas follow");
}

async fn session(address: &pgmanifold::config::model::Address, database: &str) -> Raw {
    let parameters = [
        ("user", USER),
        ("database", database),
        ("options", "-c statement_timeout=3s -c lock_timeout=2s"),
    ];
    Raw::connect_with(address, raw::V3_0, &parameters).await
}

/// The SQLSTATEs a query string is answered with; `lost` when the connection ends.
async fn answer(raw: &mut Raw, sql: &str) -> Vec<String> {
    raw.send(&raw::query(sql)).await;
    let mut states = Vec::new();
    loop {
        match raw.next().await {
            None => return vec!["lost".into()],
            Some(message) => match message.tag {
                b'Z' => return states,
                b'G' => raw.send(&raw::copy_done()).await,
                b'E' => states.push(field(&message.body, b'C').unwrap_or_default()),
                _ => {}
            },
        }
    }
}

async fn outcome(
    address: &pgmanifold::config::model::Address,
    database: &str,
    case: &Case,
) -> Vec<String> {
    let mut raw = session(address, database).await;
    let play = async {
        if case.has(NEEDS_TRANSACTION) {
            answer(&mut raw, "begin").await;
        }
        answer(&mut raw, &case.sql).await
    };
    tokio::time::timeout(ANSWER_TIMEOUT, play).await.unwrap_or_else(|_| vec!["silence".into()])
}

/// Statements of pgmanifold's own mean nothing to a server.
fn is_for_servers(case: &Case) -> bool {
    !case
        .flags
        .iter()
        .any(|flag| ["local-", "misplaced", "bad-hint"].iter().any(|own| flag.starts_with(own)))
}

#[test]
fn reads_run_on_replicas_and_nothing_else_reaches_them() {
    run(280, async {
        if is_direct() {
            return;
        }
        let fixture = Fixture::shared("golden", |config| config.pool("pool_size = 4")).await;
        load_schema(&fixture).await;
        // The proxy must know the new functions and views before they are used.
        let settle =
            pgmanifold_tests::client::connect(&fixture.address, USER, &fixture.database).await;
        pgmanifold_tests::client::exec(&settle, "create table settled (n int)").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        fixture.wait_replicas().await;

        let mut cases = golden::cases(golden::EFFECTS);
        cases.retain(is_for_servers);
        // What changes the schema comes last, so that everything else finds it whole.
        cases.sort_by_key(|case| match case.effect.as_str() {
            "read" => 0,
            "ddl" => 2,
            _ => 1,
        });
        let (replica, mut wrong) = (fixture.cluster.replicas[0].address(), Vec::new());
        let (mut reads, mut refused) = (0, 0);
        for case in &cases {
            let is_read = case.effect == "read";
            let there = outcome(&replica, &fixture.database, case).await;
            if there.iter().any(|state| state == READ_ONLY) {
                refused += 1;
            }
            if is_read && there.iter().any(|state| state == READ_ONLY || state == "lost") {
                wrong.push(format!("line {}: called a read: {} -> {there:?}", case.line, case.sql));
            }
            let through = outcome(&fixture.address, &fixture.database, case).await;
            let lost = through.iter().any(|state| state == "lost" || state == "silence");
            let read_only = through.iter().any(|state| state == READ_ONLY);
            let expected = if is_read {
                let primary = fixture.cluster.primary.address();
                outcome(&primary, &fixture.database, case).await
            } else {
                through.clone()
            };
            if lost
                || through != expected
                || (read_only && !case.sql.to_lowercase().contains("read only"))
            {
                wrong.push(format!(
                    "line {}: through the proxy: {} -> {through:?}, not {expected:?}",
                    case.line, case.sql
                ));
            }
            reads += usize::from(is_read);
        }
        println!(
            "{} golden statements, {reads} of them reads; a replica refuses {refused} of all",
            cases.len()
        );
        assert!(cases.len() >= 250, "{} golden statements", cases.len());
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    });
}
