//! Owns the tables of the hand-written cases: how they are spread, what is in them, and how they
//! are made as they were.

use super::tables;
use crate::shards::layout::Layout;
use crate::shards::{Options, Shards};

/// The tables.
pub const SCHEMA: &str = include_str!("../../cases/shards/schema.sql");

/// Rows of the tables; a table that refers to another comes after it.
const ROWS: &[(&str, &str)] = &[
    (
        "customers",
        "select g::bigint as id, \
         (array['Zoë','adam','Adam','Ångström','berta','Çelik','éclair','Émile','Straße','zorro'])\
         [1 + g % 10] || case when g % 7 = 0 then '' else ' ' || g end as name, \
         case when g % 4 > 0 then 'c' || g || '@example.org' end, \
         (array['berlin','Paris','ålesund','paris',null])[1 + g % 5], \
         (array['happy','sad','ok',null])[1 + g % 4]::mood, \
         case when g % 6 > 0 then (g * 37 % 100)::numeric / 4 end, date '2024-01-01' + g % 9, \
         (array['north','south','east'])[1 + g % 3], \
         case when g % 3 = 0 then 1 + g % 5 end::bigint from generate_series(1, 30) g",
    ),
    (
        "orders",
        "select 1 + g % 20::bigint as customer_id, g::bigint, \
         timestamptz '2024-02-01 10:00+00' + g * interval '7 hours', \
         case when g % 11 > 0 then (g * 13 % 90)::numeric + 0.5 end, \
         (array['new','paid','sent'])[1 + g % 3], case when g % 5 = 0 then 'note ' || g end, \
         (array['de','fr','no','xx',null])[1 + g % 5] \
         from generate_series(1, 60) g",
    ),
    (
        "order_lines",
        "select 1 + g % 20::bigint as customer_id, g::bigint, l, 1 + (g * l) % 7, 1 + l % 3, \
         (g * l % 40)::numeric + 0.25 from generate_series(1, 60) g, generate_series(1, 2) l",
    ),
    (
        "events",
        "select md5(g::text)::uuid as id, (array['click','view','buy'])[1 + g % 3], \
         timestamptz '2024-03-01 00:00+00' + g * interval '1 minute', \
         jsonb_build_object('n', g % 4, 'g', g), g % 6 from generate_series(1, 24) g",
    ),
    (
        "notes",
        "select (array['ä','a','A','b','B','ß','ss','z','Z','é','e','1','10','2','-','_',\
         '日本','ñ','n','o''clock'])[g] as name, case when g % 3 > 0 then 'body ' || g % 4 end, \
         g % 5 from generate_series(1, 20) g",
    ),
    (
        "days",
        "select date '2024-01-20' + 5 * (g / 2) as day, g % 2, g * 3 % 10 \
         from generate_series(0, 23) g",
    ),
    (
        "scores",
        "select g * 25 as at, p, (g * p * 7) % 30 \
         from generate_series(0, 12) g, generate_series(1, 2) p",
    ),
    (
        "stores",
        "select (array['north','south','east'])[1 + g % 3] as region, g, 'store ' || g \
         from generate_series(1, 9) g",
    ),
    (
        "countries",
        "values ('de', 'Germany', 83000000::bigint), ('fr', 'France', 68000000), \
         ('no', 'Norway', 5400000), ('is', 'Iceland', null)",
    ),
    ("settings", "values ('color', 'blue', 1), ('size', 'big', 2), ('3', null, 3)"),
    ("audit", "values (1, 'began'), (2, 'went on')"),
    (
        "items",
        "select 1 + g % 6::bigint as owner, g, 'item ' || g, g % 4 from generate_series(1, 18) g",
    ),
    (
        "zoo",
        "select g as id, \
         (array['NaN','1.0','1.00','-2.5','1e20','0',null])[1 + g % 7]::numeric, \
         (array['-0','0','1.5','NaN','Infinity','-Infinity',null])[1 + g % 7]::float8, \
         (array['-0','0.1','2','NaN',null])[1 + g % 5]::real, \
         (array['infinity','-infinity','2024-01-01 00:00+00','1999-12-31 23:59:59.999999+00',\
         null])[1 + g % 5]::timestamptz, \
         (array['infinity','2024-05-05 05:05:05','-infinity',null])[1 + g % 4]::timestamp, \
         (array['infinity','-infinity','2024-02-29','4713-01-01 BC',null])[1 + g % 5]::date, \
         (array['a','B','ä','b','A','Z','z','_a','-a','aa',null])[1 + g % 11], \
         (array['a','B','ä','b','A','Z','z','_a','-a','aa',null])[1 + g % 11], \
         (array['happy','sad','ok',null])[1 + g % 4]::mood, \
         (array['{1,2}','{1}','{}','{2,1}','{NULL,1}',null])[1 + g % 6]::int[], \
         (array['{a,b}','{A}','{}','{ä}',null])[1 + g % 5]::text[], \
         (array['1','\"a\"','null','[1,2]','{\"a\": 1}','{\"b\": 0, \"a\": 2}',null])[1 + g % 7]\
         ::jsonb, \
         (array['10.0.0.1','10.0.0.0/8','::1','192.168.1.0/24',null])[1 + g % 5]::inet, \
         (array['1 month','30 days','720 hours','-1 day',null])[1 + g % 5]::interval, \
         (array['\\x00','\\x','\\xff00','\\x61',null])[1 + g % 5]::bytea, \
         (array[true,false,null])[1 + g % 3], md5((g % 5)::text)::uuid, \
         (array['a','a  ','b','',null])[1 + g % 5]::char(5), (g % 3 - 1)::smallint, \
         (array[9223372036854775807,-9223372036854775808,0,5])[1 + g % 4] \
         from generate_series(1, 33) g",
    ),
];

/// Columns of `items` that can be given.
const ITEM_COLUMNS: &str = "owner, id, label, size";
const ITEMS: &str = "items (owner, id, label, size)";

/// How the tables are spread.
pub fn layout() -> Layout {
    Layout::new()
        .hash("customer", &["bigint"])
        .table("customers", &["id"])
        .table("orders", &["customer_id"])
        .table("order_lines", &["customer_id"])
        .table("items", &["owner"])
        .hash("event", &["uuid"])
        .table("events", &["id"])
        .hash("note", &["text"])
        .table("notes", &["name"])
        .hash("animal", &["integer"])
        .table("zoo", &["id"])
        .range("day", "date", &["2024-02-01", "2024-03-01"])
        .table("days", &["day"])
        .range("score", "integer", &["100", "200"])
        .table("scores", &["at"])
        .list("region", "text", &[("north", 0), ("south", 1), ("east", 2)])
        .table("stores", &["region"])
        .reference("world")
        .table("countries", &[])
        .single("log", 2)
        .table("audit", &[])
}

/// What a test of the shop asks for.
pub fn options(test: &str, layout: Layout) -> Options {
    Options { icu: true, ..Options::new(test).tables(layout, SCHEMA) }
}

/// Names of the tables.
pub fn tables() -> Vec<String> {
    ROWS.iter().map(|(table, _)| (*table).to_owned()).collect()
}

/// Fills the tables, and keeps a copy of every server's rows.
///
/// # Panics
/// When a server refuses.
pub fn fill(shards: &Shards) {
    for (table, query) in ROWS {
        // A generated column is not given.
        let into = if *table == "items" { ITEMS } else { table };
        shards.fill_into(table, into, query);
    }
    let keep: String = ROWS
        .iter()
        .map(|(table, _)| format!("create table keep.k_{table} as table {table};"))
        .collect();
    shards.everywhere_as_superuser(&format!("create schema keep;{keep}"));
    tables::compare(shards, &tables()).expect("the tables are equal from the beginning");
}

/// Makes the tables' rows as they were.
///
/// # Panics
/// When a server refuses.
pub fn reset(shards: &Shards) {
    let names = tables().join(", ");
    let mut sql = format!("truncate {names};");
    for (table, _) in ROWS {
        sql += &match *table {
            "items" => format!("insert into {ITEMS} select {ITEM_COLUMNS} from keep.k_items;"),
            _ => format!("insert into {table} select * from keep.k_{table};"),
        };
    }
    shards.everywhere_as_superuser(&sql);
}
