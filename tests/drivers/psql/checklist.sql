-- The checklist for psql: run by run.sh, which compares the output with checklist.expected.
-- :table is a table name of this client's own; the output must not depend on it.
\set ON_ERROR_STOP off
\set VERBOSITY sqlstate
\pset pager off
\pset tuples_only on
\pset format unaligned
\echo = setup
DROP TABLE IF EXISTS :table;
CREATE TABLE :table (id int PRIMARY KEY, v text);
INSERT INTO :table VALUES (1, 'one'), (2, NULL);
\echo = simple
SELECT 1, 'a', NULL, 2.50;
SELECT v FROM :table ORDER BY id;
\echo = transactions
BEGIN; INSERT INTO :table VALUES (3, 'three'); COMMIT;
BEGIN; DELETE FROM :table; ROLLBACK;
SELECT count(*) FROM :table;
BEGIN;
SAVEPOINT s;
SELECT 1/0;
SELECT 1;
ROLLBACK TO s;
INSERT INTO :table VALUES (4, 'four');
COMMIT;
SELECT count(*) FROM :table;
BEGIN;
SELECT no_such_column;
COMMIT;
\echo = errors
SELEC 1;
INSERT INTO :table VALUES (1, 'again');
SELECT 1;
\echo = multi-statement
SELECT 1\; SELECT 2\; SELECT 3;
INSERT INTO :table VALUES (40, '')\; SELECT 1/0;
SELECT count(*) FROM :table WHERE id = 40;
BEGIN\; INSERT INTO :table VALUES (41, 'x')\; COMMIT\; SELECT v FROM :table WHERE id = 41;
\echo = notices
SET client_min_messages = notice;
\set VERBOSITY terse
DO $$ BEGIN RAISE NOTICE 'hello %', 7; END $$;
\set VERBOSITY sqlstate
\echo = copy
COPY :table FROM STDIN;
100	hundred
101	\N
\.
COPY (SELECT * FROM :table WHERE id >= 100 ORDER BY id) TO STDOUT;
COPY :table FROM STDIN (FORMAT csv, HEADER);
id,v
200,"a,""b"
\.
COPY (SELECT * FROM :table WHERE id >= 200) TO STDOUT (FORMAT csv, HEADER);
COPY :table FROM STDIN;
bad	bad
\.
SELECT count(*) FROM :table;
\echo = describe
SELECT id, v FROM :table \gdesc
SELECT 'SELECT 42' \gexec
\echo = cursor
\set FETCH_COUNT 7
SELECT count(*) FROM (SELECT 1) x;
SELECT i FROM generate_series(1, 20) i;
\set FETCH_COUNT 0
BEGIN;
DECLARE c CURSOR FOR SELECT i FROM generate_series(1, 9) i;
FETCH 2 FROM c;
MOVE 3 IN c;
FETCH 1 FROM c;
CLOSE c;
COMMIT;
\echo = settings
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'SQL, DMY';
SET search_path = pg_catalog, public;
SET application_name = 'checklist';
SET statement_timeout = '77s';
SELECT current_setting('timezone');
BEGIN; SHOW DateStyle; COMMIT;
SHOW search_path;
SHOW application_name;
SHOW statement_timeout;
SELECT '2024-07-01 00:00+00'::timestamptz;
BEGIN; SET LOCAL statement_timeout = '5s'; SHOW statement_timeout; COMMIT;
SHOW statement_timeout;
RESET ALL;
SHOW statement_timeout;
\echo = isolation
BEGIN READ ONLY; SELECT v FROM :table WHERE id = 1; DELETE FROM :table; ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE; SHOW transaction_isolation; COMMIT;
START TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SHOW transaction_isolation; END;
\echo = large
SELECT length(repeat('x', 10485760)), md5(repeat('x', 10485760));
SELECT md5(string_agg(i::text, ',')) FROM generate_series(1, 100000) i;
\echo = types
SELECT ARRAY[1, NULL, 3], '{"a": [1]}'::jsonb -> 'a', '\x00ff'::bytea, '{"a,b"}'::text[];
\echo = cleanup
DROP TABLE :table;
