//! Every command and every table, as an administrator, as one who may read, and as anybody else.

use super::admin;
use pgmanifold_console::command::FORMS;
use pgmanifold_console::{Role, tables};
use pgmanifold_tests::client::{self, code};
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::run;
use tokio_postgres::Client;

/// The SQLSTATE of a command by the simple and by the extended protocol; `00000`: it was done.
async fn both_ways(client: &Client, sql: &str) -> [String; 2] {
    let simple = client.simple_query(sql).await.map(drop);
    let extended = client.query(sql, &[]).await.map(drop);
    [simple, extended].map(|done| done.map_or_else(|error| code(&error), |()| "00000".into()))
}

/// What may come of a command that was allowed: done, or refused for a reason of its own.
fn was_allowed(example: &str, state: &str) -> bool {
    match state {
        "00000" => true,
        // The examples name a database, a host and a client that are not here.
        "3D000" | "42704" | "55000" => true,
        // A proxy inside of a test has no process of its own.
        "0A000" => ["SUSPEND", "SHUTDOWN", "RELOAD"].contains(&example),
        _ => false,
    }
}

#[test]
fn every_command_by_every_role() {
    run(90, async {
        let fixture = Fixture::shared("console", |config| config).await;
        let admin = admin(&fixture).await;
        let stats = client::connect(&fixture.address, USER, "pgmanifold").await;
        let shows = tables::all().map(|table| (format!("SHOW {}", table.name), Role::Stats));
        let forms = FORMS.iter().map(|form| (form.example.to_owned(), form.needs));
        for (command, needs) in shows.chain(forms) {
            for state in both_ways(&admin, &command).await {
                assert!(was_allowed(&command, &state), "{command} by an admin: {state}");
            }
            let _ = admin.simple_query("RESUME").await;
            let _ = admin.simple_query("ROLLBACK").await;
            for state in both_ways(&stats, &command).await {
                match needs {
                    Role::Stats => assert!(was_allowed(&command, &state), "{command}: {state}"),
                    Role::Admin => assert_eq!(state, "42501", "{command} by a stats user"),
                }
            }
        }
        for database in ["pgmanifold", "pgbouncer"] {
            let config = client::config(&fixture.address, "other", database);
            let error = client::try_connect(&config).await.expect_err("no role, no login");
            assert_eq!(code(&error), "42501");
        }
    });
}
