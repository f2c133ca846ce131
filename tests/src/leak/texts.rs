//! Owns the texts that random steps are made of. `$C` stands for the client's number.

/// Ordinary parameters and values; the last of some is refused by PostgreSQL.
pub const SETTINGS: &[(&str, &[&str])] = &[
    ("timezone", &["Asia/Tokyo", "Europe/Paris", "UTC", "No/Where"]),
    ("datestyle", &["SQL, DMY", "German, DMY", "ISO, YMD"]),
    ("intervalstyle", &["iso_8601", "sql_standard", "postgres"]),
    ("bytea_output", &["escape", "hex"]),
    ("extra_float_digits", &["0", "3", "-5", "99"]),
    ("application_name", &["one", "with 'quote", ""]),
    ("work_mem", &["1MB", "2MB", "3MB", "none"]),
    ("statement_timeout", &["77s", "1h", "0"]),
    ("lock_timeout", &["5s", "1min"]),
    ("client_min_messages", &["warning", "notice", "error"]),
    ("standard_conforming_strings", &["off", "on"]),
    ("escape_string_warning", &["off", "on"]),
    ("client_encoding", &["LATIN1", "UTF8"]),
    ("default_transaction_isolation", &["repeatable read", "read committed", "serializable"]),
    ("default_transaction_read_only", &["off", "off", "on"]),
    ("synchronous_commit", &["local", "on"]),
    ("row_security", &["off", "on"]),
    ("enable_seqscan", &["off", "on"]),
    ("plan_cache_mode", &["force_custom_plan", "force_generic_plan", "auto"]),
    ("session_replication_role", &["replica", "origin"]),
    ("my.one", &["x", "y", ""]),
    ("my.two", &["z", "ü"]),
    ("pgx.three", &["1", "2"]),
    ("no_such_setting", &["1"]),
];

/// Search paths.
pub const PATHS: &[&str] = &[
    "c$Ca",
    "c$Cb",
    "c$Cb, c$Ca",
    "no_such, c$Ca",
    "pg_catalog",
    "\"$user\"",
    "c$Ca, leak_shared",
];

/// Reads whose answers depend on the session.
pub const READS: &[&str] = &[
    "select * from t order by id",
    "select count(*), max(v) from t",
    "select v from c$Ca.t where id < 3 order by id",
    "select '2024-02-03 04:05:06.789+00'::timestamptz, '2024-02-03'::date::text",
    "select interval '1 year 2 days 03:04:05', '\\x01ff41'::bytea, 1::float8 / 3",
    "select current_user, session_user, current_setting('role')",
    "select current_setting('is_superuser'), current_schemas(false)",
    "select current_schema()",
    "select name, setting from pg_settings where name in ('TimeZone', 'work_mem', \
     'application_name', 'search_path', 'default_transaction_isolation') order by name",
    "select 'a\\b', E'a\\\\b'",
    "select 'é', 'ü'::bytea",
    "select f()",
    "select current_setting('my.one', true), current_setting('my.two', true)",
    "select current_setting('my.one')",
    "select current_setting('transaction_isolation'), current_setting('transaction_read_only')",
    "show transaction_isolation",
    "show transaction_read_only",
    "show search_path",
    "show session authorization",
    "show role",
    "select g from generate_series(1, 3) g",
    "",
    "select name, statement, parameter_types from pg_prepared_statements where from_sql \
     order by name",
    "select name, statement, is_holdable, is_scrollable from pg_cursors where name like 'cur%' \
     order by name",
];

/// Writes to tables of the client's own.
pub const WRITES: &[&str] = &[
    "insert into t (v) values ('new')",
    "insert into t (v) values ('more') returning v",
    "insert into c$Ca.t (v) values ('a') returning id",
    "update t set v = v || 'x' where id = 1 returning v",
    "delete from t where id > 6",
    "with i as (insert into t (v) values ('cte') returning v) select * from i",
    "insert into t (id, v) values (1, 'again')",
];

/// What fails.
pub const ERRORS: &[&str] = &[
    "select 1/0",
    "selec 1",
    "select * from nowhere",
    "insert into t (id) values (null)",
    "set work_mem to 'much'",
    "select 1; select 1/0; select 2",
    "insert into t (v) values ('gone'); select 1/0",
    "set my.one to 'gone'; select 1/0",
    "create table half (n int); select 1/0",
];

/// Blocks that may do anything to their session.
pub const BLOCKS: &[&str] = &[
    "do $$ begin perform 1; raise notice 'did %', 1; end $$",
    "do $$ begin raise exception 'no %', 1 using errcode = 'P0099'; end $$",
    "do $$ begin set my.one to 'by a block'; end $$",
    "do $$ begin perform set_config('my.two', 'by a block', false); end $$",
];

/// DDL on the client's own tables.
pub const DDL: &[&str] = &[
    "alter table t add column if not exists x1 int default 5",
    "alter table t add column if not exists x2 text",
    "alter table t drop column if exists x1",
    "alter table t drop column if exists x2",
    "create table if not exists made (n int)",
    "drop table if exists made",
    "create or replace function f() returns int language sql as 'select 1'",
    "create or replace function f() returns int stable language sql as 'select 2'",
    "alter table t alter column v type varchar(80)",
    "alter table t alter column v type text",
    "comment on table t is 'one'",
];

/// Names of prepared statements.
pub const NAMES: &[&str] = &["q1", "q2", "q3"];

/// Statements to prepare: text, and the values of its parameters.
pub const PREPARED: &[(&str, &[&str])] = &[
    ("select * from t order by id", &[]),
    ("select v, $1::int + 1 from t where id = $1::int", &["1"]),
    ("insert into t (v) values ($1) returning v", &["bound"]),
    ("select $1::timestamptz, current_setting('timezone')", &["2024-01-02 03:04:05+00"]),
    ("select f(), $1::int8", &["7"]),
    ("select count(*) from c$Ca.t where id > $1", &["0"]),
    ("select current_setting($1)", &["work_mem"]),
    ("select nextval('s'), $1::int / $2::int", &["4", "0"]),
    ("show timezone", &[]),
    ("set intervalstyle to iso_8601", &[]),
    ("select $1::int", &["not a number"]),
    ("select 1 from nowhere", &[]),
    ("update t set v = $1 where id = 2", &["two"]),
];

/// Transaction control inside a transaction.
pub const INSIDE: &[&str] = &[
    "savepoint a",
    "savepoint b",
    "rollback to a",
    "rollback to savepoint b",
    "release a",
    "release savepoint b",
    "set transaction read only",
    "set transaction isolation level repeatable read",
    "begin",
    "commit and chain",
    "rollback and chain",
];

/// Ends of transactions.
pub const ENDS: &[&str] = &["commit", "rollback", "end", "abort", "commit", "commit work"];

/// Beginnings of transactions.
pub const BEGINS: &[&str] = &[
    "begin",
    "begin",
    "begin work",
    "start transaction",
    "begin read only",
    "begin isolation level repeatable read",
    "begin isolation level serializable",
    "start transaction isolation level repeatable read read only",
];

/// Roles; the last does not exist.
pub const ROLES: &[&str] = &["leak_a", "leak_b", "none", "app", "leak_nobody"];

/// What to do with temporary objects.
pub const TEMPORARY: &[&str] = &[
    "create temp table tt1 (n int)",
    "create temp table tt1 as select 1 as n",
    "create temp table if not exists tt2 (n int, v text default 'x')",
    "insert into tt1 values (7), (8)",
    "insert into tt2 (n) values (3)",
    "select * from tt1",
    "select n, v from tt2",
    "drop table tt1",
    "drop table if exists tt2",
    "create temp table t as select 0 as id, 'shadow' as v",
    "drop table pg_temp.t",
    "select 5 as n into temp tt1",
    "alter table tt1 add column m int default 2",
    "create temp view tv as select 1 as one",
    "select * from tv",
    "drop view if exists tv",
    "create temp sequence ts",
    "select nextval('ts')",
    "drop sequence if exists ts",
];

/// Temporary tables that end or are emptied with their transaction; only inside of one.
pub const TEMPORARY_INSIDE: &[&str] = &[
    "create temp table td (n int) on commit drop",
    "create temp table tr (n int) on commit delete rows",
    "insert into td values (1)",
    "insert into tr values (1)",
    "select * from td",
    "select * from tr",
];

/// Cursors inside a transaction.
pub const CURSORS: &[&str] = &[
    "declare cur1 cursor for select g from generate_series(1, 9) g",
    "declare cur2 scroll cursor for select * from t order by id",
    "fetch 2 from cur1",
    "fetch backward 1 from cur2",
    "fetch all in cur2",
    "move 1 in cur1",
    "close cur1",
    "close all",
];

/// Cursors that outlive their transaction.
pub const HOLD: &[&str] = &[
    "declare curh cursor with hold for select g from generate_series(1, 9) g",
    "declare curt cursor with hold for select v from t order by id",
    "fetch 2 from curh",
    "fetch 1 from curt",
    "close curh",
    "close all",
];

/// SQL-level prepared statements.
pub const SQL_PREPARE: &[&str] = &[
    "prepare p1 as select * from t order by id",
    "prepare p2(int) as select $1 + 1, current_setting('timezone')",
    "prepare p3 as insert into t (v) values ('prepared') returning v",
    "execute p1",
    "execute p2(4)",
    "execute p3",
    "deallocate p1",
    "deallocate prepare p2",
    "deallocate all",
    "explain (costs off) execute p2(4)",
];

/// Advisory locks; `$K` is a key.
pub const LOCKS: &[&str] = &[
    "select pg_try_advisory_lock($K)",
    "select pg_try_advisory_lock_shared($K)",
    "select pg_advisory_unlock($K)",
    "select pg_advisory_unlock_shared($K)",
    "select pg_advisory_unlock_all()",
    "select pg_advisory_lock(10$C)",
    "select pg_advisory_unlock(10$C)",
    "select pg_advisory_lock(1, $C)",
    "select pg_advisory_unlock(1, $C)",
];

/// Advisory locks of transactions.
pub const LOCKS_INSIDE: &[&str] = &[
    "select pg_try_advisory_xact_lock($K)",
    "select pg_try_advisory_xact_lock_shared($K)",
    "select pg_advisory_xact_lock(10$C)",
];

/// LISTEN; `$N` is a channel.
pub const LISTENS: &[&str] = &[
    "listen $N",
    "listen $N",
    "unlisten $N",
    "unlisten *",
    "select pg_listening_channels()",
    "select * from pg_listening_channels()",
    "select c from pg_listening_channels() c order by 1",
];

/// NOTIFY.
pub const NOTIFIES: &[&str] = &[
    "notify $N",
    "notify $N, 'from $C'",
    "select pg_notify('$N', 'called by $C')",
    "notify $N, 'one'; notify $N, 'two'; notify $N, 'one'",
];

/// Sequences.
pub const SEQUENCES: &[&str] = &[
    "select nextval('s')",
    "select nextval('c$Ca.s')",
    "select setval('s', 50)",
    "select setval('s', 70, false)",
];

/// What asks for a session's last values.
pub const LAST_VALUES: &[&str] =
    &["select currval('s')", "select lastval()", "select nextval('s'), currval('s')"];

/// DISCARD and the like.
pub const DISCARDS: &[&str] =
    &["discard plans", "discard temp", "discard sequences", "discard all", "deallocate all"];

/// What ends whatever may tie a session to its server.
pub const CLEANUPS: &[&[&str]] = &[
    &["discard all"],
    &[
        "drop table if exists pg_temp.tt1, pg_temp.tt2, pg_temp.t, pg_temp.tr, pg_temp.td cascade",
        "drop view if exists pg_temp.tv",
        "drop sequence if exists pg_temp.ts",
        "close all",
        "deallocate all",
        "unlisten *",
        "select pg_advisory_unlock_all()",
    ],
    &[
        "discard temp",
        "close all",
        "deallocate all",
        "unlisten *",
        "select pg_advisory_unlock_all()",
    ],
];
