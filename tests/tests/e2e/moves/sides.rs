//! Two databases that play the shards `north` and `south`, as the rebalancer sees them.

use pgmanifold::demo::postgres::{PgCluster, Postgres};
use pgmanifold_rebalancer::config::{Config, Limits, Server, ShardConfig};
use pgmanifold_rebalancer::connect::{self, Session};
use pgmanifold_router::{catalog, shard_schema};
use pgmanifold_tests::cluster;
use std::sync::Arc;

/// Who the rebalancer is on every server.
pub(super) const SUPERUSER: &str = "postgres";

/// One cluster with the databases of two shards and of the catalog.
pub(super) struct Sides {
    pub(super) cluster: Arc<PgCluster>,
    /// Databases: north, south.
    pub(super) databases: [String; 2],
    pub(super) config: Config,
}

impl Sides {
    /// A cluster of the test's own; every server of it is a host of both shards.
    pub(super) fn new(test: &str, replicas: usize) -> Sides {
        let cluster = cluster::private(replicas);
        let databases = ["north", "south"].map(|name| format!("{test}_{name}"));
        for (number, name) in databases.iter().enumerate() {
            cluster.primary.query(&format!("create database {name}")).expect("a database");
            let install = shard_schema::install(number as u16, &[]);
            cluster.primary.query_in(name, &install).expect("the schema pgm");
        }
        let catalog_name = format!("{test}_catalog");
        cluster.primary.query(&format!("create database {catalog_name}")).expect("a database");
        cluster.primary.query_in(&catalog_name, catalog::INSTALL_SQL).expect("the catalog");
        cluster.wait_caught_up().expect("replicas follow");
        let hosts: Vec<&Postgres> = cluster.servers().collect();
        let shard = |name: &str, database: &str| ShardConfig {
            name: name.into(),
            server: server(&hosts, database),
            subscription: cluster.primary.dsn_for(SUPERUSER, None, database),
        };
        let config = Config {
            database: "app".into(),
            catalog: server(&[&cluster.primary], &catalog_name),
            shards: vec![shard("north", &databases[0]), shard("south", &databases[1])],
            limits: Limits::default(),
        };
        Sides { cluster, databases, config }
    }

    /// A session of the rebalancer's on the primary of a shard.
    pub(super) async fn session(&self, number: usize) -> Session {
        let shard = &self.config.shards[number];
        let session = connect::primary(&shard.server, &shard.name).await;
        session.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs statements on a shard as the superuser.
    pub(super) fn run(&self, number: usize, sql: &str) {
        let done = self.cluster.primary.query_in(&self.databases[number], sql);
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The first value of a query on a shard.
    pub(super) fn value(&self, number: usize, sql: &str) -> String {
        let rows = self.cluster.primary.query_in(&self.databases[number], sql);
        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.into_iter().flatten().flatten().next().unwrap_or_default()
    }
}

fn server(hosts: &[&Postgres], database: &str) -> Server {
    let mut login = tokio_postgres::Config::new();
    login.user(SUPERUSER).dbname(database);
    for host in hosts {
        login.host("127.0.0.1").port(host.port());
    }
    Server { login, ca_file: None }
}
