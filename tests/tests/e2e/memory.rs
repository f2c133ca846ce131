//! Memory under many clients: all idle, and all with a query at once over twenty servers. 2,000
//! clients; `PGM_MEMORY_CLIENTS` sets another number (10,000 take as many open files here and in the proxy).

use pgmanifold_tests::cluster::USER;
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::is_direct;
use pgmanifold_tests::process::Process;
use pgmanifold_tests::raw::{self, Raw};
use pgmanifold_tests::{cluster, run};
use std::time::{Duration, Instant};

const DEFAULT_CLIENTS: usize = 2000;
/// Logins at a time.
const LOGINS: usize = 100;
/// What a client may cost; unoptimized binaries have larger tasks.
const IDLE_BYTES_MAX: u64 = 24 * 1024;
const ACTIVE_BYTES_MAX: u64 = 48 * 1024;

fn per_client(before_kib: u64, now_kib: u64, clients: usize) -> u64 {
    now_kib.saturating_sub(before_kib) * 1024 / clients as u64
}

#[test]
fn many_clients_take_little_memory() {
    if is_direct() {
        return;
    }
    let given = std::env::var("PGM_MEMORY_CLIENTS").ok().and_then(|text| text.parse().ok());
    let count: usize = given.unwrap_or(DEFAULT_CLIENTS);
    run(240, async move {
        let cluster = cluster::shared();
        let database = cluster::create_database(&cluster, "memory");
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let config = ConfigText::new(&hosts, &database)
            .general(&format!("max_clients = {}", count + 100))
            .general("log_level = \"warn\"")
            .pool("pool_size = 20");
        let process = Process::start("memory", &config.text()).await;
        let address = process.address();
        drop(Raw::connect(&address, USER, &database).await);
        let start = process.memory_kib("VmRSS");
        let (began, mut clients) = (Instant::now(), Vec::with_capacity(count));
        while clients.len() < count {
            let some = (0..LOGINS.min(count - clients.len()))
                .map(|_| Raw::connect(&address, USER, &database));
            clients.extend(futures_util::future::join_all(some).await);
        }
        let logged_in = began.elapsed();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let idle = process.memory_kib("VmRSS");
        let began = Instant::now();
        let query = raw::query("/* pgm: primary */ select pg_sleep(0.001)");
        for client in &mut clients {
            client.send(&query).await;
        }
        for client in &mut clients {
            let answer = raw::transcript(&client.until_ready().await);
            assert!(answer.contains("C SELECT 1"), "{answer}");
        }
        let (answered, peak) = (began.elapsed(), process.memory_kib("VmHWM"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = process.memory_kib("VmRSS");
        let (idle_bytes, active_bytes) =
            (per_client(start, idle, count), per_client(start, peak, count));
        println!(
            "{count} clients: RSS {start} KiB at the start, {idle} idle ({idle_bytes} bytes each), \
             {peak} at most with a query each ({active_bytes} bytes each), {after} after; logins \
             took {logged_in:?}, the queries {answered:?}"
        );
        assert!(idle_bytes <= IDLE_BYTES_MAX, "{idle_bytes} bytes for an idle client");
        assert!(active_bytes <= ACTIVE_BYTES_MAX, "{active_bytes} bytes for an active client");
    });
}
