//! End to end: DDL for which PostgreSQL wants nobody else in a database is not kept from running
//! by idle connections of pgmanifold's own.

use pgmanifold_tests::client::{self, exec, value};
use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::{Fixture, is_direct};
use pgmanifold_tests::{eventually, run};
use std::time::Duration;

#[test]
fn a_database_nobody_uses_can_be_dropped_copied_and_renamed() {
    run(60, async {
        let section = "[[database]]\nname = \"vacated\"\n";
        let fixture = Fixture::shared("vacate", |config: ConfigText| config.section(section)).await;
        if is_direct() {
            return;
        }
        let owner = client::connect(&fixture.address, "postgres", &fixture.database).await;
        exec(&owner, &format!("create database vacated owner {USER}")).await;
        let sessions = "select count(*) from pg_stat_activity \
                     where datname = 'vacated' and backend_type = 'client backend'";
        for (is_there, ddl) in [
            (true, "create database vacated_2 template vacated"),
            (false, "alter database vacated_2 rename to vacated_3"),
            (false, "drop database if exists vacated_3"),
            (true, "alter database vacated rename to vacated_4"),
            (false, "alter database vacated_4 rename to vacated"),
            (true, "drop database vacated"),
        ] {
            if is_there {
                let user = client::connect(&fixture.address, USER, "vacated").await;
                exec(&user, "create temp table t (n int)").await;
                exec(&user, "drop table t").await;
                exec(&user, "listen b").await;
                drop(user);
                eventually("some are idle", Duration::from_secs(20), async || {
                    value(&owner, sessions).await != "0"
                })
                .await;
            }
            exec(&owner, ddl).await;
        }
    });
}
