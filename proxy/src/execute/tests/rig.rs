//! Owns a throw-away server whose databases are shards, connections to them, and a client's end.

use crate::backend::connect::{Connector, ServerLogin};
use crate::backend::connection::Server;
use crate::config::model::{Config, Host};
use crate::config::parse;
use crate::demo::postgres::{PgCluster, PgClusterOptions};
use crate::execute::{Call, ClientSide, Done, Failure, Limits, Participant, run};
use crate::pool::Slot;
use crate::wire::frame;
use crate::wire::stream::{Socket, Stream};
use bytes::BytesMut;
use pgmanifold_router::shard_map::ShardId;
use pgmanifold_router::sharding::{Merge, Part, Spread};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub(super) const NAMES: [&str; 3] = ["s0", "s1", "s2"];

/// A server with one database per shard, and one named `whole`.
pub(super) struct Rig {
    cluster: PgCluster,
    config: Config,
}

fn configuration(host: &str) -> Config {
    let text = format!(
        r#"
        listener = [{{ address = "127.0.0.1:1" }}]
        user = [{{ name = "postgres", password = "x", server_user = "postgres" }}]
        shard = [{{ name = "main", hosts = ["{host}"], monitor_user = "postgres" }}]
        database = [{{ name = "postgres" }}]
        "#
    );
    parse(&text, "test.toml").unwrap_or_else(|errors| panic!("{}", errors.report(false)))
}

impl Rig {
    pub(super) fn start() -> Self {
        let options = PgClusterOptions { replicas: 0, ..PgClusterOptions::default() };
        let cluster = PgCluster::start(options).expect("cluster");
        for database in NAMES.iter().chain(&["whole"]) {
            let sql = format!("create database {database} template template0 lc_collate 'C'");
            cluster.primary.query(&sql).expect("database");
        }
        let config = configuration(&format!("127.0.0.1:{}", cluster.primary.port()));
        Self { cluster, config }
    }

    pub(super) async fn connect(&self, database: &str) -> Server {
        let connector = Arc::new(Connector::new(&self.config).expect("no roots"));
        let host = self.host();
        let params = [("client_encoding", "UTF8")];
        let login = connector.connect(&host, "postgres", None, database, &params).await;
        server(login.expect("login"), host, connector)
    }

    pub(super) async fn shards(&self) -> Vec<Server> {
        let mut servers = Vec::new();
        for name in NAMES {
            servers.push(self.connect(name).await);
        }
        servers
    }

    fn host(&self) -> Arc<Host> {
        Arc::clone(&self.config.shards[0].hosts[0])
    }

    pub(super) fn count(&self, sql: &str) -> String {
        self.cluster.primary.value(sql).expect("answer")
    }
}

fn server(login: ServerLogin, host: Arc<Host>, connector: Arc<Connector>) -> Server {
    Server::new(login, (host, 0), connector, (100, Duration::from_secs(60)), Slot::default())
}

/// A server that a test plays: its own end, and ours.
pub(super) fn played() -> (UnixStream, Server) {
    let (theirs, ours) = UnixStream::pair().unwrap();
    let config = configuration("127.0.0.1:1");
    let connector = Arc::new(Connector::new(&config).expect("no roots"));
    let host = Arc::clone(&config.shards[0].hosts[0]);
    let stream = Stream::Plain(Socket::Unix(ours));
    let params = ["client_encoding", "server_encoding"].map(|name| (name.into(), "UTF8".into()));
    let login = ServerLogin { stream, params: params.into(), cancel: None };
    (theirs, server(login, host, connector))
}

/// What a client has received.
#[derive(Debug, Default)]
pub(super) struct Received(pub(super) Vec<u8>);

impl Received {
    pub(super) fn messages(&self) -> Vec<(u8, &[u8])> {
        let (mut rest, mut all) = (&self.0[..], Vec::new());
        while let Some(header) = frame::peek(rest) {
            all.push((header.kind, &rest[5..header.total]));
            rest = &rest[header.total..];
        }
        assert!(rest.is_empty(), "half a message");
        all
    }

    pub(super) fn kinds(&self) -> String {
        self.messages().iter().map(|(kind, _)| char::from(*kind)).collect()
    }

    pub(super) fn rows(&self) -> Vec<Vec<Option<String>>> {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let row = |body| frame::data_row(body).expect("whole").into_iter();
        let rows = self.messages().into_iter().filter(|(kind, _)| *kind == b'D');
        rows.map(|(_, body)| row(body).map(|value| value.map(text)).collect()).collect()
    }

    /// The first column of all rows.
    pub(super) fn firsts(&self) -> Vec<String> {
        let first = |row: Vec<Option<String>>| row[0].clone().unwrap_or("NULL".into());
        self.rows().into_iter().map(first).collect()
    }
}

/// The same text for every shard.
pub(super) fn everywhere(sql: &str, merge: Merge) -> Spread {
    each(&[sql; 3], merge)
}

pub(super) fn each(texts: &[&str], merge: Merge) -> Spread {
    let part = |(number, sql): (usize, &&str)| Part {
        shard: ShardId(number as u16),
        sql: sql.as_bytes().to_vec(),
        parameters: None,
    };
    let original = texts.first().map_or(Vec::new(), |text| text.as_bytes().to_vec());
    let parts = texts.iter().enumerate().map(part).collect();
    Spread { parts, merge, writes: false, original }
}

pub(super) fn participants(servers: &mut [Server]) -> Vec<Participant<'_>> {
    let participant = |(number, server)| Participant {
        shard: ShardId(number as u16),
        name: NAMES[number],
        server,
        lost: false,
    };
    servers.iter_mut().enumerate().map(participant).collect()
}

/// Runs a statement for a client that reads everything at once.
pub(super) async fn ask(
    servers: &mut [Server],
    spread: &Spread,
    call: Call<'_>,
) -> (Result<Done, Failure>, Received) {
    let (theirs, ours) = UnixStream::pair().unwrap();
    let mut parts = participants(servers);
    let (result, received) = with_client(ours, theirs, async |client| {
        run(&mut parts, spread, &call, client, &Limits::default()).await
    })
    .await;
    for part in &mut parts {
        assert!(!part.lost || result.is_err());
        assert!(part.lost || part.server.expect.is_empty() && part.server.out.is_empty());
        assert!(part.lost || part.server.stream.is_quiet(), "something was not read");
    }
    (result, received)
}

/// Runs `work` for a client, and gives what the client received meanwhile.
pub(super) async fn with_client<T>(
    ours: UnixStream,
    mut theirs: UnixStream,
    work: impl AsyncFnOnce(&mut ClientSide<'_>) -> T,
) -> (T, Received) {
    let mut stream = Stream::Plain(Socket::Unix(ours));
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let working = async {
        let mut client = ClientSide { stream: &mut stream, input: &mut input, output: &mut output };
        let result = work(&mut client).await;
        let _ = stream.write_all(&output).await;
        drop(stream);
        result
    };
    let reading = async {
        let mut received = Vec::new();
        // A client that has more to send when we end is reset.
        let _ = theirs.read_to_end(&mut received).await;
        Received(received)
    };
    tokio::join!(working, reading)
}
