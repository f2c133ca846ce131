//! Owns the comparison of tables with PgBouncer's: names, types and order of columns as a running
//! PgBouncer 1.25 sent them in RowDescription.

use super::{all, find};
use crate::schema::Origin;

/// A table in each line: its name, then columns in order, each with its type.
const COLUMNS: &str = "\
databases name:text host:text port:int4 database:text force_user:text pool_size:int4 \
 min_pool_size:int4 reserve_pool_size:int4 server_lifetime:int4 pool_mode:text \
 load_balance_hosts:text max_connections:int4 current_connections:int4 \
 max_client_connections:int4 current_client_connections:int4 paused:int4 disabled:int4
pools database:text user:text cl_active:int4 cl_waiting:int4 cl_active_cancel_req:int4 \
 cl_waiting_cancel_req:int4 sv_active:int4 sv_active_cancel:int4 sv_being_canceled:int4 \
 sv_idle:int4 sv_used:int4 sv_tested:int4 sv_login:int4 maxwait:int4 maxwait_us:int4 \
 pool_mode:text load_balance_hosts:text
clients type:text user:text database:text replication:text state:text addr:text port:int4 \
 local_addr:text local_port:int4 connect_time:text request_time:text wait:int4 wait_us:int4 \
 close_needed:int4 ptr:text link:text remote_pid:int4 tls:text application_name:text \
 prepared_statements:int4 id:int4
servers type:text user:text database:text replication:text state:text addr:text port:int4 \
 local_addr:text local_port:int4 connect_time:text request_time:text wait:int4 wait_us:int4 \
 close_needed:int4 ptr:text link:text remote_pid:int4 tls:text application_name:text \
 prepared_statements:int4 id:int4
sockets type:text user:text database:text replication:text state:text addr:text port:int4 \
 local_addr:text local_port:int4 connect_time:text request_time:text wait:int4 wait_us:int4 \
 close_needed:int4 ptr:text link:text remote_pid:int4 tls:text application_name:text \
 prepared_statements:int4 id:int4 recv_pos:int4 pkt_pos:int4 pkt_remain:int4 send_pos:int4 \
 send_remain:int4 pkt_avail:int4 send_avail:int4
active_sockets type:text user:text database:text replication:text state:text addr:text port:int4 \
 local_addr:text local_port:int4 connect_time:text request_time:text wait:int4 wait_us:int4 \
 close_needed:int4 ptr:text link:text remote_pid:int4 tls:text application_name:text \
 prepared_statements:int4 id:int4 recv_pos:int4 pkt_pos:int4 pkt_remain:int4 send_pos:int4 \
 send_remain:int4 pkt_avail:int4 send_avail:int4
stats database:text total_server_assignment_count:numeric total_xact_count:numeric \
 total_query_count:numeric total_received:numeric total_sent:numeric total_xact_time:numeric \
 total_query_time:numeric total_wait_time:numeric total_client_parse_count:numeric \
 total_server_parse_count:numeric total_bind_count:numeric total_client_login_count:numeric \
 avg_server_assignment_count:numeric avg_xact_count:numeric avg_query_count:numeric \
 avg_recv:numeric avg_sent:numeric avg_xact_time:numeric avg_query_time:numeric \
 avg_wait_time:numeric avg_client_parse_count:numeric avg_server_parse_count:numeric \
 avg_bind_count:numeric avg_client_login_count:numeric
stats_totals database:text server_assignment_count:numeric xact_count:numeric \
 query_count:numeric bytes_received:numeric bytes_sent:numeric xact_time:numeric \
 query_time:numeric wait_time:numeric client_parse_count:numeric server_parse_count:numeric \
 bind_count:numeric client_login_count:numeric
stats_averages database:text server_assignment_count:numeric xact_count:numeric \
 query_count:numeric bytes_received:numeric bytes_sent:numeric xact_time:numeric \
 query_time:numeric wait_time:numeric avg_client_parse_count:numeric \
 avg_server_parse_count:numeric avg_bind_count:numeric avg_client_login_count:numeric
totals name:text value:numeric
users name:text pool_size:text reserve_pool_size:text pool_mode:text max_user_connections:int4 \
 current_connections:int4 max_user_client_connections:int4 current_client_connections:int4
lists list:text items:int4
config key:text value:text default:text changeable:text
mem name:text size:int4 used:int4 free:int4 memtotal:int4
state key:text value:text
peers peer_id:int4 host:text port:int4 pool_size:int4
peer_pools peer_id:int4 cl_active_cancel_req:int4 cl_waiting_cancel_req:int4 \
 sv_active_cancel:int4 sv_login:int4
dns_hosts hostname:text ttl:int8 addrs:text
dns_zones zonename:text serial:int8 count:int4
version version:text";

/// Name and columns of each.
fn wanted() -> impl Iterator<Item = (&'static str, Vec<(&'static str, &'static str)>)> {
    COLUMNS.lines().map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name");
        (name, words.map(|word| word.split_once(':').expect("name:type")).collect())
    })
}

#[test]
fn tables_of_pgbouncer_have_its_columns() {
    for (name, wanted) in wanted() {
        let Some(table) = find(name) else { panic!("no table {name}") };
        assert_eq!(table.name, name);
        assert_eq!(table.origin, Origin::PgBouncer, "{name}");
        let columns: Vec<(&str, &str)> =
            table.columns.iter().map(|column| (column.name, column.kind.name())).collect();
        assert_eq!(columns, wanted, "{name}");
    }
}

#[test]
fn what_is_called_pgbouncers_is() {
    for table in all().filter(|table| table.origin == Origin::PgBouncer) {
        assert!(wanted().any(|(name, _)| name == table.name), "{}", table.name);
    }
}

#[test]
fn names_and_columns_are_as_they_are_documented() {
    let lower = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let mut names: Vec<&str> = Vec::new();
    for table in all() {
        names.extend([table.name].iter().chain(table.aliases));
        assert!(table.help.ends_with('.') && !table.columns.is_empty(), "{}", table.name);
        let mut columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        columns.sort_unstable();
        columns.dedup();
        assert_eq!(columns.len(), table.columns.len(), "{}: a column twice", table.name);
        for column in table.columns {
            let name = format!("{}.{}", table.name, column.name);
            assert!(lower(column.name) && column.help.ends_with('.'), "{name}");
            assert!(!column.help.contains('\n') && !column.help.contains('|'), "{name}");
        }
    }
    assert!(names.iter().all(|name| lower(name)));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name twice");
}

/// A measure tells its unit by the end of its name.
#[test]
fn columns_of_our_own_end_in_their_unit() {
    use crate::schema::Unit;
    for table in all().filter(|table| table.origin == Origin::Own) {
        for column in table.columns {
            let ending = match column.unit {
                Unit::Bytes => "bytes",
                Unit::Microseconds => "_us",
                Unit::Milliseconds => "_ms",
                Unit::Seconds => "_s",
                Unit::Percent => "_percent",
                Unit::PerSecond => "_per_s",
                Unit::None | Unit::Count | Unit::Time => continue,
            };
            assert!(column.name.ends_with(ending), "{}.{}", table.name, column.name);
        }
    }
}
