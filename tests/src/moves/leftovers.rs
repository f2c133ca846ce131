//! Owns the search for what a move may leave behind on the shards and in the catalog: slots,
//! publications, subscriptions, triggers, rows of its tables.

use super::Moves;

/// Things that exist only during a move, and where to look: a query that gives their names.
const SHARD_THINGS: [(&str, &str); 8] = [
    ("slot", "select slot_name from pg_replication_slots where slot_name like 'pgm\\_%'"),
    ("publication", "select pubname from pg_publication where pubname like 'pgm\\_%'"),
    (
        "subscription",
        "select subname from pg_subscription where subname like 'pgm\\_%' \
         and subdbid = (select oid from pg_database where datname = current_database())",
    ),
    (
        "trigger",
        "select tgname || ' on ' || tgrelid::regclass from pg_trigger where tgname like 'pgm\\_%'",
    ),
    ("event trigger", "select evtname from pg_event_trigger where evtname like 'pgm\\_%'"),
    ("moving table", "select move || ' ' || relation::regclass from pgm.moving_table"),
    ("marker", "select move || ' ' || number from pgm.marker"),
    ("origin", "select roname from pg_replication_origin where roname like 'pg\\_%'"),
];

/// Everything that is left of moves; empty when all of them have come to their ends.
///
/// # Panics
/// When a server does not answer.
pub fn find(moves: &Moves) -> Vec<String> {
    let mut found = Vec::new();
    for number in 0..moves.shards.len() {
        for (what, sql) in SHARD_THINGS {
            for row in moves.on_shard(number, sql) {
                found.push(format!("s{number}: {what} {}", row[0].as_deref().unwrap_or("NULL")));
            }
        }
        let prepared = "select gid from pg_prepared_xacts where prepared < now() - interval '10 s'";
        for row in moves.on_shard(number, prepared) {
            found.push(format!("s{number}: prepared {}", row[0].as_deref().unwrap_or("NULL")));
        }
    }
    let moving = "select move || ' to ' || target from pgm.moving";
    for row in moves.in_catalog(moving) {
        found.push(format!("catalog: the map tells of move {}", row[0].as_deref().unwrap_or("?")));
    }
    let open = "select id || ' is ' || state || coalesce(': ' || last_error, '') from pgm.move \
                where state not in ('done', 'aborted', 'rolled_back')";
    for row in moves.in_catalog(open) {
        found.push(format!("catalog: move {}", row[0].as_deref().unwrap_or("?")));
    }
    found
}
