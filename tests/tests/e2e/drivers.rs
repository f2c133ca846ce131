//! Real drivers through the proxy: each goes through its checklist with four times as many
//! clients as there are servers, and once more in session pooling.

use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::driver::{self, Driver};
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::run;

/// Clients of the main pass, over two servers per host.
const CLIENTS: usize = 8;
/// Clients of the session pooling pass; each needs up to three servers.
const SESSION_CLIENTS: usize = 2;

fn transaction_pooling(driver: Driver) {
    run(150, async {
        let fixture = Fixture::shared("drivers", |config| config.pool("pool_size = 2")).await;
        driver::run(driver, &fixture.address, USER, &fixture.database, CLIENTS).await;
    });
}

fn session_pooling(driver: Driver) {
    run(150, async {
        let mode = "pool_mode = \"session\"";
        let fixture =
            Fixture::shared("drivers", |config| config.pool("pool_size = 8").pool(mode)).await;
        driver::run(driver, &fixture.address, USER, &fixture.database, SESSION_CLIENTS).await;
    });
}

macro_rules! drivers {
    ($($name:ident: $driver:ident),*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn transaction_pooling_with_four_clients_per_server() {
                transaction_pooling(Driver::$driver);
            }

            #[test]
            fn session_pooling_with_a_server_each() {
                session_pooling(Driver::$driver);
            }
        }
    )*};
}

drivers!(psql: Psql, psycopg3: Psycopg3, asyncpg: Asyncpg, node: Node, jdbc: Jdbc, lib_pq: LibPq);
