//! A login storm: thousands of connections a second, most of them never meant to come to anything,
//! while established sessions work. Three seconds for each phase; `PGM_STORM_S` sets another length
//! and makes the test judge rates and latencies, which needs a release binary (`PGM_BINARY`) and a
//! quiet machine.
//!
//! The attacker runs on this machine too. So that its own CPU time is not taken for the proxy's
//! fault, its threads are nice, and the same storm is first aimed at a socket that merely accepts.

use pgmanifold::config::model::Address;
use pgmanifold_tests::client;
use pgmanifold_tests::cluster::{PASSWORD, USER};
use pgmanifold_tests::config::ConfigText;
use pgmanifold_tests::fixture::is_direct;
use pgmanifold_tests::process::Process;
use pgmanifold_tests::{cluster, eventually, raw, run};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const DEFAULT_SECONDS: u64 = 3;
const ATTACKERS: u8 = 2;
/// Of each attacker.
const ATTEMPTS_PER_SECOND: u64 = 3500;
const ATTACKER_NICENESS: i32 = 10;
/// Attempts of one attacker at a time; what they hold open is part of the attack.
const OPEN_MAX: usize = 4000;
const ESTABLISHED: usize = 10;
/// Pause of an established session between two queries.
const THINK_TIME: Duration = Duration::from_millis(3);
const GROWTH_MAX_KIB: u64 = 192 * 1024;
/// Judged only with `PGM_STORM_S`.
const RATE_MIN: f64 = 5000.0;
const P99_GROWTH_MAX: f64 = 2.0;

/// What the attackers count.
#[derive(Default)]
struct Counts {
    attempts: AtomicU64,
    connected: AtomicU64,
    logged_in: AtomicU64,
    refused: AtomicU64,
}

/// One attempt: a login, a wrong password, silence, half a packet, or nonsense.
async fn attempt(number: u64, target: SocketAddr, source: [u8; 4], database: &str, c: &Counts) {
    c.attempts.fetch_add(1, Ordering::Relaxed);
    let Ok(socket) = TcpSocket::new_v4() else { return };
    // Addresses of its own, and no TIME_WAIT: ports must not run out.
    let _ = socket.set_zero_linger();
    if socket.bind((source, 0).into()).is_err() {
        return;
    }
    let connecting = tokio::time::timeout(Duration::from_secs(3), socket.connect(target));
    let Ok(Ok(mut stream)) = connecting.await else { return };
    c.connected.fetch_add(1, Ordering::Relaxed);
    let user = if number.is_multiple_of(2) { USER } else { "nobody" };
    let startup = raw::startup(raw::V3_0, &[("user", user), ("database", database)]);
    let answering = async {
        match number % 10 {
            0..=5 => log_in(&mut stream, &startup, c).await,
            6 | 7 => tokio::time::sleep(Duration::from_millis(700)).await,
            8 => {
                let _ = stream.write_all(&startup[..9]).await;
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            _ => {
                let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
                let _ = stream.read(&mut [0; 256]).await;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(3), answering).await;
}

/// Logs in where nothing is asked; else it gives a wrong proof.
async fn log_in(stream: &mut TcpStream, startup: &[u8], counts: &Counts) {
    if stream.write_all(startup).await.is_err() {
        return;
    }
    let mut answer = [0; 1024];
    let first = raw::frame(b'p', b"SCRAM-SHA-256\0\0\0\0\x14n,,n=,r=0123456789ab");
    let last =
        raw::frame(b'p', b"c=biws,r=0123456789ab,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    for reply in [&first, &last] {
        let Ok(read @ 9..) = stream.read(&mut answer).await else { return };
        match answer[..read] {
            [b'R', 0, 0, 0, 8, 0, 0, 0, 0, ..] => {
                counts.logged_in.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(&raw::terminate()).await;
                return;
            }
            [b'R', ..] => {}
            _ => break,
        }
        if stream.write_all(reply).await.is_err() {
            return;
        }
    }
    if let Ok(1..) = stream.read(&mut answer).await {
        counts.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// Attackers, each a thread; they stop when the flag is set.
fn attack(
    targets: [SocketAddr; 2],
    database: &str,
) -> (Arc<Counts>, Arc<AtomicBool>, Vec<JoinHandle<()>>) {
    let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
    let threads = (0..ATTACKERS).map(|attacker| {
        let (counts, stop, database) = (counts.clone(), stop.clone(), Arc::<str>::from(database));
        std::thread::spawn(move || {
            // On Linux this concerns the thread alone.
            let _ = rustix::process::setpriority_process(None, ATTACKER_NICENESS);
            run(600, async move {
                let began = Instant::now();
                let mut number = 0;
                let open = Arc::new(tokio::sync::Semaphore::new(OPEN_MAX));
                while !stop.load(Ordering::Relaxed) {
                    let due = began.elapsed().as_millis() as u64 * ATTEMPTS_PER_SECOND / 1000;
                    while number < due {
                        number += 1;
                        let Ok(permit) = open.clone().try_acquire_owned() else { break };
                        let target = targets[usize::from(number.is_multiple_of(3))];
                        let source = [127, 0, 1 + attacker, (number % 16) as u8 + 1];
                        let (counts, database) = (counts.clone(), database.clone());
                        tokio::spawn(async move {
                            attempt(number / 3, target, source, &database, &counts).await;
                            drop(permit);
                        });
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        })
    });
    let threads = threads.collect();
    (counts, stop, threads)
}

/// Latencies of the established sessions for a while.
async fn work(clients: &[tokio_postgres::Client], seconds: u64) -> Vec<Duration> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let loops = clients.iter().map(|client| async move {
        let mut times = Vec::new();
        while Instant::now() < end {
            let began = Instant::now();
            client.simple_query("/* pgm: primary */ select 1").await.expect("a session works on");
            times.push(began.elapsed());
            tokio::time::sleep(THINK_TIME).await;
        }
        times
    });
    let mut times = futures_util::future::join_all(loops).await.concat();
    times.sort();
    times
}

fn quantile(times: &[Duration], quantile: f64) -> Duration {
    let index = (times.len() as f64 * quantile) as usize;
    times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Works while a storm blows at the targets.
async fn storm(
    clients: &[tokio_postgres::Client],
    targets: [SocketAddr; 2],
    database: &str,
    seconds: u64,
) -> (Vec<Duration>, f64) {
    let (counts, stop, threads) = attack(targets, database);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = counts.attempts.load(Ordering::Relaxed);
    let times = work(clients, seconds).await;
    let rate = (counts.attempts.load(Ordering::Relaxed) - before) as f64 / seconds as f64;
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        tokio::task::spawn_blocking(|| thread.join()).await.expect("joined").expect("no panic");
    }
    println!(
        "  {rate:.0} attempts a second; connected {}, logged in {}, told no {}",
        counts.connected.load(Ordering::Relaxed),
        counts.logged_in.load(Ordering::Relaxed),
        counts.refused.load(Ordering::Relaxed)
    );
    (times, rate)
}

fn report(phase: &str, times: &[Duration]) -> f64 {
    let p99 = quantile(times, 0.99);
    println!("{phase}: {} queries, p50 {:?}, p99 {p99:?}", times.len(), quantile(times, 0.5));
    p99.as_secs_f64()
}

/// Accepts, and no more.
async fn sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    address
}

fn socket_address(address: &Address) -> SocketAddr {
    address.to_string().parse().expect("an IP address")
}

#[test]
fn a_login_storm_leaves_sessions_alone() {
    if is_direct() {
        return;
    }
    let given: Option<u64> = std::env::var("PGM_STORM_S").ok().and_then(|text| text.parse().ok());
    let seconds = given.unwrap_or(DEFAULT_SECONDS);
    run(120 + 4 * seconds, async move {
        let cluster = cluster::shared();
        let database = cluster::create_database(&cluster, "storm");
        let hosts: Vec<_> = cluster.servers().map(|server| server.address()).collect();
        let trust = pgmanifold_tests::process::free_port();
        let trusting = format!("[[listener]]\naddress = \"127.0.0.1:{trust}\"\nauth = \"trust\"\n");
        let config = ConfigText::new(&hosts, &database)
            .with_password("scram-sha-256")
            .general("max_logins = 500")
            .general("log_level = \"error\"")
            .section(&trusting);
        let mut process = Process::start("storm", &config.text()).await;
        let mut login = client::config(&process.address(), USER, &database);
        login.password(PASSWORD);
        let mut clients = Vec::new();
        for _ in 0..ESTABLISHED {
            clients.push(client::try_connect(&login).await.expect("a login"));
        }
        work(&clients, 1).await;
        let quiet = report("quiet", &work(&clients, seconds).await);
        let (files, resident) = (process.open_files(), process.memory_kib("VmRSS"));
        let nowhere = sink().await;
        let (times, _) = storm(&clients, [nowhere, nowhere], &database, seconds).await;
        let elsewhere = report("storm elsewhere", &times);
        let targets = [socket_address(&process.address()), ([127, 0, 0, 1], trust).into()];
        let (times, rate) = storm(&clients, targets, &database, seconds).await;
        let stormy = report("storm", &times);
        assert!(process.is_running(), "the proxy lives");
        let peak = process.memory_kib("VmHWM");
        eventually("all is as before", Duration::from_secs(20), async || {
            process.open_files() <= files + 4
        })
        .await;
        let after = process.memory_kib("VmRSS");
        println!("RSS {resident} KiB before, {peak} at most, {after} after; {files} files");
        assert!(peak < resident + GROWTH_MAX_KIB, "memory is bounded");
        assert!(client::try_connect(&login).await.is_ok(), "the next login works");
        if given.is_some() {
            assert!(rate >= RATE_MIN, "the storm was too weak: {rate:.0} attempts a second");
            let allowed = P99_GROWTH_MAX * quiet.max(elsewhere);
            assert!(stormy <= allowed, "p99 {stormy} s, allowed {allowed} s");
        }
    });
}
