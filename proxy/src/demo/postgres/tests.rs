//! The launcher on real servers: everything it promises to tests is done once here.

use super::{PgCluster, PgClusterOptions, Stop};
use std::time::{Duration, Instant};

#[test]
fn a_cluster_streams_breaks_and_recovers() {
    let started = Instant::now();
    let cluster = PgCluster::start(PgClusterOptions::default()).expect("cluster");
    println!("primary and 2 replicas after {:?}", started.elapsed());
    let (primary, first, second) = (&cluster.primary, &cluster.replicas[0], &cluster.replicas[1]);

    primary.query("create table t (n int); insert into t values (1)").expect("write");
    cluster.wait_caught_up().expect("streaming");
    assert_eq!(second.value("select n from t").expect("replica answers"), "1");
    let name = "select current_setting('launcher.server')";
    let names = cluster.servers().map(|server| server.value(name).expect("its name"));
    assert_eq!(names.collect::<Vec<_>>(), ["primary", "replica1", "replica2"]);

    second.pause_replay().expect("pause");
    primary.query("insert into t values (2)").expect("write");
    first.wait_caught_up(primary).expect("the other replica streams on");
    assert_eq!(second.value("select count(*) from t").expect("stale read"), "1");
    second.resume_replay().expect("resume");
    cluster.wait_caught_up().expect("catches up");
    assert_eq!(second.value("select count(*) from t").expect("fresh read"), "2");

    let old_pid = primary.pid().expect("runs");
    primary.kill();
    assert!(!primary.is_running() && !std::path::Path::new(&format!("/proc/{old_pid}")).exists());
    assert!(primary.query("select 1").is_err());
    primary.start().expect("starts again after kill -9");
    assert_eq!(primary.value("select count(*) from t").expect("data is there"), "2");

    first.restart().expect("restart");
    first.wait_for("select count(*) from pg_stat_wal_receiver", "1").expect("streams again");
    first.promote().expect("promote");
    first.query("insert into t values (3)").expect("takes writes");
    primary.stop(Stop::Immediate).expect("stop");
    cluster.follow(second, first).expect("follows the new primary");
    second.wait_for("select count(*) from t", "3").expect("new timeline arrives");
}

#[test]
fn a_frozen_server_keeps_silent_and_goes_on() {
    let options = PgClusterOptions { replicas: 0, ..Default::default() };
    let cluster = PgCluster::start(options).expect("cluster");
    cluster.primary.freeze();
    let reader = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let started = Instant::now();
            cluster.primary.value("select 7").map(|value| (value, started.elapsed()))
        });
        std::thread::sleep(Duration::from_millis(300));
        cluster.primary.thaw();
        reader.join().expect("reader")
    });
    let (value, waited) = reader.expect("answers after the thaw");
    assert_eq!(value, "7");
    assert!(waited >= Duration::from_millis(290), "answered while frozen, after {waited:?}");
    cluster.primary.freeze();
    cluster.primary.stop(Stop::Fast).expect("a frozen server can be stopped");
}

#[test]
fn passwords_settings_and_errors() {
    let options = PgClusterOptions {
        replicas: 1,
        password: Some("it's \\ secret".into()),
        settings: vec![("work_mem".into(), "5MB".into())],
        synchronous: Some("replica1".into()),
        ..Default::default()
    };
    let cluster = PgCluster::start(options.clone()).expect("cluster");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let login = |dsn: String| {
        runtime
            .block_on(async { tokio_postgres::connect(&dsn, tokio_postgres::NoTls).await })
            .is_ok()
    };
    let primary = &cluster.primary;
    assert!(login(primary.dsn()));
    assert!(!login(primary.dsn_for("postgres", Some("wrong"), "postgres")));
    assert_eq!(cluster.replicas[0].value("show work_mem").unwrap(), "5MB");
    primary.query("create table t ()").expect("the synchronous replica confirms");
    assert_eq!(primary.value("select sync_state from pg_stat_replication").unwrap(), "sync");

    let error = primary.query("select 1/0").expect_err("division").to_string();
    assert!(error.contains("primary: select 1/0") && error.contains("division by zero"), "{error}");
    let directory = cluster.directory().to_owned();
    drop(cluster);
    assert!(!directory.exists());

    let wrong = vec![("work_mem".into(), "nonsense".into())];
    let options = PgClusterOptions { settings: wrong, ..options };
    let error = PgCluster::start(options).expect_err("bad setting").to_string();
    assert!(error.contains("primary ended while it started"), "{error}");
    assert!(error.contains("invalid value for parameter \"work_mem\""), "{error}");
}
