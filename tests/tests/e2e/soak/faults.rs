//! What is broken during the soak, one thing after the other.

use pgmanifold::demo::postgres::PgCluster;
use pgmanifold_tests::process::Process;
use pgmanifold_tests::relay::{Fault, Relay};
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use std::sync::Arc;
use std::time::Duration;

/// What can be broken.
pub(super) struct Faults {
    pub(super) cluster: Arc<PgCluster>,
    /// Before the primary and the replicas, in this order.
    pub(super) relays: Vec<Relay>,
    /// Configurations that a reload changes between.
    pub(super) configs: [String; 2],
    pub(super) reloads: usize,
}

impl Faults {
    /// Breaks something, and mends it; says what it was.
    pub(super) async fn strike(&mut self, process: &Process, random: &mut StdRng) -> &'static str {
        let replica = random.random_range(0..self.cluster.replicas.len());
        match random.random_range(0..7) {
            0 => {
                let sql = "select pg_terminate_backend(pid) from pg_stat_activity \
                           where usename = 'app' order by state, random() limit 3";
                let primary = random.random_bool(0.5);
                self.blocking(move |cluster| {
                    let server =
                        if primary { &cluster.primary } else { &cluster.replicas[replica] };
                    let _ = server.query(sql);
                })
                .await;
                "kill"
            }
            1 => {
                self.blocking(move |cluster| {
                    cluster.replicas[replica].freeze();
                    std::thread::sleep(Duration::from_millis(1500));
                    cluster.replicas[replica].thaw();
                })
                .await;
                "freeze"
            }
            2 => {
                self.blocking(move |cluster| {
                    cluster.replicas[replica].kill();
                    std::thread::sleep(Duration::from_millis(300));
                    cluster.replicas[replica].start().expect("the replica starts");
                })
                .await;
                "kill -9"
            }
            3 => {
                self.blocking(move |cluster| {
                    cluster.replicas[replica].restart().expect("the replica starts");
                })
                .await;
                "restart"
            }
            4 => {
                self.relay(random.random_range(0..self.relays.len()), Fault::Cut, 300).await;
                "cut"
            }
            5 => {
                self.relay(1 + replica, Fault::Stall, 1200).await;
                "stall"
            }
            _ => {
                self.reloads += 1;
                process.rewrite_config(&self.configs[self.reloads % 2]);
                process.signal(Signal::HUP);
                "reload"
            }
        }
    }

    async fn relay(&self, index: usize, fault: Fault, time_ms: u64) {
        self.relays[index].set(fault);
        tokio::time::sleep(Duration::from_millis(time_ms)).await;
        self.relays[index].set(Fault::None);
    }

    async fn blocking(&self, work: impl FnOnce(&PgCluster) + Send + 'static) {
        let cluster = Arc::clone(&self.cluster);
        tokio::task::spawn_blocking(move || work(&cluster)).await.expect("the fault is made");
    }
}
