//! `COPY … TO STDOUT` of all shards.

use super::rig::{Received, ask, each, everywhere};
use crate::backend::connection::Server;
use crate::execute::Call;
use pgmanifold_router::sharding::{Merge, Spread};

fn data(received: &Received) -> Vec<u8> {
    let messages = received.messages();
    messages.iter().filter(|(kind, _)| *kind == b'd').flat_map(|(_, body)| body.to_vec()).collect()
}

async fn copy(servers: &mut [Server], spread: &Spread) -> (String, Received) {
    let call = Call::Portal { bind: b"\0\0\0\0\0\0", types: &[] };
    let (by_portal, again) = ask(servers, spread, call).await;
    let (done, received) = ask(servers, spread, Call::Simple).await;
    let tag = done.map_err(|failure| failure.error).expect("copied").tag;
    assert_eq!(by_portal.map_err(|failure| failure.error).expect("copied").tag, tag);
    let sorted = |received: &Received| {
        let mut data = data(received);
        data.sort_unstable();
        data
    };
    assert_eq!(sorted(&received), sorted(&again));
    let kinds = received.kinds();
    assert_eq!((kinds.matches('H').count(), kinds.matches('c').count()), (1, 1));
    assert!(kinds.starts_with('H') && kinds.ends_with('c'));
    (tag, received)
}

pub(super) async fn data_is_one_stream(servers: &mut [Server]) {
    let copy_out = |header, binary| Merge::CopyOut { header, binary };
    let text = everywhere("copy (select id from t) to stdout", copy_out(false, false));
    let (tag, received) = copy(servers, &text).await;
    let lines = String::from_utf8(data(&received)).unwrap();
    let mut ids: Vec<u32> = lines.lines().map(|line| line.parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!((tag.as_str(), ids), ("COPY 30", (0..30).collect()));

    let csv = "copy (select id, v from t where id < 6) to stdout (format csv, header)";
    let (tag, received) = copy(servers, &everywhere(csv, copy_out(true, false))).await;
    let lines = String::from_utf8(data(&received)).unwrap();
    assert_eq!((tag.as_str(), lines.lines().count()), ("COPY 6", 7));
    assert_eq!(lines.lines().position(|line| line == "id,v"), Some(0));

    for (condition, rows) in [("true", 30), ("id % 3 = 1", 10), ("false", 0)] {
        let sql = format!("copy (select id from t where {condition}) to stdout (format binary)");
        let (tag, received) = copy(servers, &everywhere(&sql, copy_out(false, true))).await;
        assert_eq!(tag, format!("COPY {rows}"));
        let data = data(&received);
        assert!(
            data.starts_with(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0") && data.ends_with(b"\xff\xff")
        );
        assert_eq!(data.len(), 19 + rows * (2 + 4 + 4) + 2);
    }
    let odd = ["copy t to stdout", "copy t to stdout", "copy (select 1) to stdout"];
    let (result, _) = ask(servers, &each(&odd, copy_out(false, false)), Call::Simple).await;
    assert_eq!(result.expect_err("columns differ").error.sqlstate, "PGM03");
    let none = ["copy t to stdout", "select 1", "copy t to stdout"];
    let (result, _) = ask(servers, &each(&none, copy_out(false, false)), Call::Simple).await;
    assert_eq!(result.expect_err("no COPY").error.sqlstate, "PGM03");
    let failing = "copy (select 1 / (id - 25) from t order by id) to stdout";
    let (result, _) =
        ask(servers, &everywhere(failing, copy_out(false, false)), Call::Simple).await;
    assert_eq!(result.expect_err("a row fails").error.sqlstate, "22012");
}
