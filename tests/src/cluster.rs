//! Owns the clusters of the tests: one that all tests share, and private ones for tests that
//! break servers.

use pgmanifold::demo::postgres::{PgCluster, PgClusterOptions};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The ordinary user of every cluster; owns the databases of the tests.
pub const USER: &str = "app";
/// Its password, where one is asked for.
pub const PASSWORD: &str = "pässwörd 'x'";

/// Roles and their login methods; everybody else is trusted.
const HBA: &str = "host all by_scram 127.0.0.1/32 scram-sha-256\n\
     host all by_md5 127.0.0.1/32 md5\n\
     host all by_password 127.0.0.1/32 password\n\
     hostssl all by_tls 127.0.0.1/32 scram-sha-256\n\
     host all by_tls 127.0.0.1/32 reject\n\
     host all,replication all 127.0.0.1/32 trust\n\
     local all,replication all trust\n";

/// The cluster all tests share: a primary and two replicas that nobody may stop or promote.
///
/// # Panics
/// When it does not start.
pub fn shared() -> Arc<PgCluster> {
    static SHARED: OnceLock<Arc<PgCluster>> = OnceLock::new();
    SHARED.get_or_init(|| private(2)).clone()
}

/// A cluster of the test's own.
///
/// # Panics
/// When it does not start.
pub fn private(replicas: usize) -> Arc<PgCluster> {
    private_with(replicas, &[])
}

/// The same with settings of the test's own for every server.
///
/// # Panics
/// When it does not start.
pub fn private_with(replicas: usize, more: &[(&str, &str)]) -> Arc<PgCluster> {
    let settings = [
        ("max_connections", "400"),
        ("log_min_messages", "warning"),
        ("autovacuum", "off"),
        ("timezone", "UTC"),
        // Ages of replicas are asked for by tests of lag limits.
        ("track_commit_timestamp", "on"),
    ];
    let settings = settings.iter().chain(more);
    let settings = settings.map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let options =
        PgClusterOptions { replicas, settings, hba: Some(HBA.into()), ..Default::default() };
    // One after the other: starting many at once on few cores runs into the launcher's limits.
    static STARTING: Mutex<()> = Mutex::new(());
    let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = PgCluster::start(options).expect("a cluster starts");
    let password = PASSWORD.replace('\'', "''");
    let roles = format!(
        "set password_encryption = 'scram-sha-256';\
         create role {USER} login password '{password}';\
         create role other login password 'other';\
         create role monitor login in role pg_monitor;\
         create role by_scram login password '{password}';\
         create role by_tls login password '{password}';\
         create role by_password login password '{password}';\
         set password_encryption = 'md5';\
         create role by_md5 login password '{password}';"
    );
    cluster.primary.query(&roles).expect("roles");
    // Every database of a test is a copy of template1.
    let place = "create function public.place() returns text stable language sql as \
                 $$select current_setting('cluster_name')$$";
    cluster.primary.query_in("template1", place).expect("a function");
    Arc::new(cluster)
}

/// Makes a database of the test's own, owned by [`USER`], on all servers of the cluster.
///
/// # Panics
/// When the servers refuse.
pub fn create_database(cluster: &PgCluster, test: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("{test}_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    // Two sessions cannot copy the template at the same time.
    static COPYING: Mutex<()> = Mutex::new(());
    let _one = COPYING.lock().unwrap_or_else(PoisonError::into_inner);
    let create = format!("create database {name} owner {USER}");
    cluster.primary.query(&create).expect("database");
    cluster.wait_caught_up().expect("replicas follow");
    name
}
