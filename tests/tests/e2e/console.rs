//! The console, asked by real clients.

mod advice;
mod endings;
mod exporter;
mod logins;
mod own;
mod protocol;
mod roles;
mod tools;

use pgmanifold_tests::client;
use pgmanifold_tests::config::CONSOLE_ADMIN;
use pgmanifold_tests::fixture::Fixture;
use tokio_postgres::Client;

/// Longest wait for what follows at once.
const SOON: std::time::Duration = std::time::Duration::from_secs(10);

/// Logs in to the console of the fixture's proxy as someone who may do all.
async fn admin(fixture: &Fixture) -> Client {
    client::connect(&fixture.address, CONSOLE_ADMIN, "pgmanifold").await
}
