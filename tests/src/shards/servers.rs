//! Owns the servers of sharded tests: three shards, shared by all tests or private, and a server
//! that has everything in one place.

use crate::cluster::{self, USER};
use pgmanifold::demo::postgres::{PgCluster, Postgres};
use std::sync::{Arc, OnceLock};

/// How many shards there are.
pub const SHARDS: usize = 3;
/// Transactions a shard can have prepared.
const PREPARED: &str = "64";

/// The servers of a sharded test.
#[derive(Debug, Clone)]
pub struct Servers {
    /// One cluster per shard.
    pub shards: Vec<Arc<PgCluster>>,
    /// One plain server with all data: what it answers is right.
    pub oracle: Arc<PgCluster>,
}

impl Servers {
    /// The servers that all sharded tests share, by replicas per shard; nobody may stop them.
    ///
    /// # Panics
    /// When they do not start.
    pub fn shared(replicas: usize) -> Servers {
        static SHARED: [OnceLock<Servers>; 2] = [OnceLock::new(), OnceLock::new()];
        let place = SHARED.get(replicas).expect("shared shards have one replica at most");
        place.get_or_init(|| Servers::private(replicas)).clone()
    }

    /// Shards of the test's own, which may be killed. The oracle is shared.
    ///
    /// # Panics
    /// When they do not start.
    pub fn private(replicas: usize) -> Servers {
        Servers { shards: (0..SHARDS).map(|_| shard(replicas)).collect(), oracle: oracle() }
    }
}

fn shard(replicas: usize) -> Arc<PgCluster> {
    cluster::private_with(replicas, &[("max_prepared_transactions", PREPARED)])
}

fn oracle() -> Arc<PgCluster> {
    static ORACLE: OnceLock<Arc<PgCluster>> = OnceLock::new();
    ORACLE.get_or_init(|| cluster::private(0)).clone()
}

/// Makes a database of this name, owned by [`USER`]. Text is ordered by ICU's rules for English
/// when `icu` is set, else byte by byte.
///
/// # Panics
/// When the server refuses.
pub fn create_database(server: &Postgres, name: &str, place: &str, icu: bool) {
    let locale = if icu { "locale_provider icu icu_locale 'en-US'" } else { "" };
    let create = format!("create database {name} owner {USER} template template0 {locale}");
    server.query(&create).expect("a database");
    let function = format!(
        "create function public.place() returns text stable language sql as \
         $$select '{place}/' || current_setting('cluster_name')$$"
    );
    server.query_in(name, &function).expect("a function");
}
