//! The checklist for tokio-postgres, the driver of these tests: what it can and other tests do
//! not ask of it already.

use futures_util::{SinkExt, StreamExt};
use pgmanifold_tests::client::{code, exec, value};
use pgmanifold_tests::fixture::Fixture;
use pgmanifold_tests::run;
use std::time::Duration;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, IsolationLevel, NoTls};

/// Clients at once, over two servers per host.
const CLIENTS: usize = 8;

async fn transactions(client: &mut Client, table: &str) {
    let insert = format!("insert into {table} values ($1, $2)");
    let statement = client.prepare(&insert).await.expect("prepare");
    let transaction = client.transaction().await.expect("begin");
    transaction.execute(&statement, &[&1_i32, &"one"]).await.expect("insert");
    transaction.commit().await.expect("commit");
    let mut transaction = client.transaction().await.expect("begin");
    transaction.execute(&statement, &[&2_i32, &"two"]).await.expect("insert");
    let savepoint = transaction.savepoint("s").await.expect("savepoint");
    let error = savepoint.execute(&statement, &[&1_i32, &"again"]).await.expect_err("duplicate");
    assert_eq!(code(&error), "23505");
    savepoint.rollback().await.expect("rollback to");
    transaction.commit().await.expect("commit");
    // Dropped without a word: rolled back.
    let transaction = client.transaction().await.expect("begin");
    transaction.execute(&statement, &[&3_i32, &"three"]).await.expect("insert");
    drop(transaction);
    assert_eq!(value(client, &format!("select count(*) from {table}")).await, "2");

    let read_only =
        client.build_transaction().read_only(true).isolation_level(IsolationLevel::RepeatableRead);
    let transaction = read_only.start().await.expect("begin");
    let error = transaction.execute(&statement, &[&4_i32, &"four"]).await.expect_err("read only");
    assert_eq!(code(&error), "25006");
    drop(transaction);
}

async fn statements(client: &Client) {
    let mut kept = Vec::new();
    for number in 0..40 {
        let sql =
            format!("select $1::int4 + {number}, $2::text, $3::float8, $4::int8[], $5::bytea");
        kept.push(client.prepare(&sql).await.expect("prepare"));
    }
    for _ in 0..3 {
        for (number, statement) in (0..).zip(&kept) {
            let list = vec![Some(1_i64), None];
            let bytes = vec![0_u8, 255];
            let values: [&(dyn ToSql + Sync); 5] = [&1_i32, &"é", &0.5_f64, &list, &bytes];
            let row = client.query_one(statement, &values).await.expect("a row");
            assert_eq!(row.get::<_, i32>(0), 1 + number);
            assert_eq!(row.get::<_, &str>(1), "é");
            assert_eq!(row.get::<_, f64>(2).to_bits(), 0.5_f64.to_bits());
            assert_eq!(row.get::<_, Vec<Option<i64>>>(3), list);
            assert_eq!(row.get::<_, &[u8]>(4), [0, 255]);
        }
    }
    let null: Option<&str> = None;
    let row = client.query_one("select $1::text", &[&null]).await.expect("a row");
    assert_eq!(row.get::<_, Option<&str>>(0), None);
}

/// tokio-postgres pipelines what is awaited together.
async fn pipelining(client: &Client) {
    let statement = client.prepare("select $1::int4 / $2::int4").await.expect("prepare");
    let numbers: Vec<i32> = (0..100).collect();
    let asked = numbers.iter().map(|number| {
        let divisor = if number % 10 == 3 { &0_i32 } else { &1_i32 };
        let statement = &statement;
        async move { client.query_one(statement, &[number, divisor]).await }
    });
    let answers = futures_util::future::join_all(asked).await;
    for (number, answer) in numbers.iter().zip(answers) {
        match answer {
            Ok(row) => assert_eq!(row.get::<_, i32>(0), *number),
            Err(error) => assert_eq!((number % 10, code(&error).as_str()), (3, "22012")),
        }
    }
}

async fn copies(client: &Client, table: &str) {
    let sink = client.copy_in(&format!("copy {table} from stdin binary")).await.expect("copy");
    let writer = BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT]);
    let mut writer = Box::pin(writer);
    for number in 100..1100_i32 {
        let row: [&(dyn ToSql + Sync); 2] = [&number, &"copied"];
        writer.as_mut().write(&row).await.expect("a row");
    }
    assert_eq!(writer.as_mut().finish().await.expect("the end"), 1000);
    let out = client.copy_out(&format!("copy {table} (id) to stdout binary")).await.expect("copy");
    let rows = BinaryCopyOutStream::new(out, &[Type::INT4]);
    assert_eq!(Box::pin(rows).collect::<Vec<_>>().await.len(), 1002);
    // A sink that is dropped fails the copy.
    let sink = client.copy_in(&format!("copy {table} from stdin")).await.expect("copy");
    let mut sink: std::pin::Pin<Box<tokio_postgres::CopyInSink<bytes::Bytes>>> = Box::pin(sink);
    sink.send(bytes::Bytes::from_static(b"5000\tx\n")).await.expect("data");
    drop(sink);
    assert_eq!(value(client, &format!("select count(*) from {table}")).await, "1002");
}

async fn portals(client: &mut Client) {
    let transaction = client.transaction().await.expect("begin");
    let sql = "select i from generate_series(1, $1::int4) i";
    let portal = transaction.bind(sql, &[&10_i32]).await.expect("bind");
    let mut total = 0;
    for _ in 0..4 {
        total += transaction.query_portal(&portal, 3).await.expect("rows").len();
    }
    assert_eq!(total, 10);
    transaction.commit().await.expect("commit");
}

async fn cancellation(client: &Client) {
    let token = client.cancel_token();
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        token.cancel_query(NoTls).await.expect("cancel");
    };
    let sleep = client.batch_execute("select pg_sleep(30)");
    let (slept, ()) = futures_util::future::join(sleep, cancel).await;
    assert_eq!(code(&slept.expect_err("cancelled")), "57014");
    assert_eq!(value(client, "select 1").await, "1");
}

#[test]
fn tokio_postgres_goes_through_the_checklist() {
    run(120, async {
        let fixture = Fixture::shared("tokio", |config| config.pool("pool_size = 2")).await;
        let clients = (0..CLIENTS).map(|number| {
            let fixture = &fixture;
            async move {
                let mut client = fixture.client().await;
                let table = format!("tokio_{number}");
                exec(&client, &format!("create table {table} (id int primary key, v text)")).await;
                transactions(&mut client, &table).await;
                statements(&client).await;
                pipelining(&client).await;
                copies(&client, &table).await;
                portals(&mut client).await;
                cancellation(&client).await;
            }
        });
        futures_util::future::join_all(clients).await;
    });
}
