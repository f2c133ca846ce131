-- The schema that golden/effects.txt assumes. Loaded into a real server by golden/regenerate.sh
-- and by the end-to-end tests. Names say what they are: v volatile, s stable, i immutable.
CREATE SCHEMA app;
CREATE ROLE golden_reader;

CREATE TABLE t (id int PRIMARY KEY, a int, b text, note text DEFAULT '');
CREATE TABLE orders (id int PRIMARY KEY, t_id int REFERENCES t, amount numeric(10,2), tags text[],
                     data jsonb, created timestamptz DEFAULT now());
CREATE TABLE app.items (id bigserial PRIMARY KEY, name varchar(40), price numeric);
CREATE TABLE audit (at timestamptz, what text);
CREATE UNLOGGED TABLE scratch (id int, x text);
CREATE SEQUENCE counter;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (x int, y int);

-- Functions of each volatility.
CREATE FUNCTION f_i(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'select x + 1';
CREATE FUNCTION f_s(x int) RETURNS bigint LANGUAGE sql STABLE AS 'select count(*) from t where a < x';
CREATE FUNCTION f_v(x int) RETURNS int LANGUAGE plpgsql VOLATILE AS
    'begin insert into audit values (now(), ''f_v''); return x; end';
CREATE FUNCTION app.f_v2() RETURNS int LANGUAGE sql VOLATILE AS
    'insert into audit values (now(), ''f_v2'') returning 1';
CREATE FUNCTION app.f_s2() RETURNS int LANGUAGE sql STABLE AS 'select 2';
CREATE FUNCTION set_s(n int) RETURNS SETOF pair LANGUAGE sql STABLE AS
    'select g, g from generate_series(1, n) g';
CREATE FUNCTION "Mixed Case"(x int) RETURNS int LANGUAGE plpgsql VOLATILE AS
    'begin insert into audit values (now(), ''mixed''); return x; end';
CREATE FUNCTION "filter"(x int) RETURNS int LANGUAGE plpgsql VOLATILE AS
    'begin insert into audit values (now(), ''filter''); return x; end';
CREATE FUNCTION a_function_whose_name_is_exactly_as_long_as_a_name_may_be_okay_(x int)
    RETURNS int LANGUAGE plpgsql VOLATILE AS
    'begin insert into audit values (now(), ''long''); return x; end';

-- One name in two schemas, one of them volatile.
CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'select 2 * x';
CREATE FUNCTION app.twice(x int) RETURNS int LANGUAGE plpgsql VOLATILE AS
    'begin insert into audit values (now(), ''twice''); return 2 * x; end';

-- Overloads that differ in the number of arguments.
CREATE FUNCTION over_n(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'select x';
CREATE FUNCTION over_n(x int, y int) RETURNS int LANGUAGE plpgsql VOLATILE AS
    'begin insert into audit values (now(), ''over_n''); return x + y; end';
CREATE FUNCTION var_s(VARIADIC xs int[]) RETURNS int LANGUAGE sql STABLE AS 'select xs[1]';
CREATE FUNCTION var_v(VARIADIC xs int[]) RETURNS int LANGUAGE plpgsql VOLATILE AS
    'begin insert into audit values (now(), ''var_v''); return xs[1]; end';
-- Stable, but its default is not.
CREATE FUNCTION def_v(x int DEFAULT nextval('counter')) RETURNS int LANGUAGE sql STABLE AS
    'select x';
CREATE FUNCTION def_s(x int DEFAULT 3) RETURNS int LANGUAGE sql STABLE AS 'select x';

-- Attribute notation: t.row_v calls row_v(t).
CREATE FUNCTION row_v(r t) RETURNS int LANGUAGE plpgsql VOLATILE AS
    'begin insert into audit values (now(), ''row_v''); return r.id; end';
CREATE FUNCTION row_s(r t) RETURNS int LANGUAGE sql STABLE AS 'select r.id';

-- Aggregates count as immutable whatever their transition function does.
CREATE FUNCTION step_v(s int, x int) RETURNS int LANGUAGE plpgsql VOLATILE AS
    'begin insert into audit values (now(), ''step_v''); return coalesce(s, 0) + x; end';
CREATE AGGREGATE agg_v(int) (SFUNC = step_v, STYPE = int);
CREATE AGGREGATE agg_i(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');

-- Operators.
CREATE FUNCTION op_v(x int, y int) RETURNS int LANGUAGE plpgsql VOLATILE AS
    'begin insert into audit values (now(), ''op_v''); return x; end';
CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION = op_v);
CREATE OPERATOR app.<#> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);

-- Domains: a CHECK runs at every cast.
CREATE FUNCTION check_v(x int) RETURNS bool LANGUAGE plpgsql VOLATILE AS
    'begin insert into audit values (now(), ''check_v''); return true; end';
CREATE DOMAIN dom_v AS int CHECK (check_v(VALUE));
CREATE DOMAIN dom_i AS int CHECK (VALUE > 0);

-- Views at several levels.
CREATE VIEW plain_view AS SELECT id, a FROM t WHERE a > 0;
CREATE VIEW plain_view_2 AS SELECT * FROM plain_view JOIN orders USING (id);
CREATE VIEW stable_view AS SELECT f_s(a) AS n, f_i(id) AS m, cast(b AS varchar(3)) AS b3 FROM t;
CREATE VIEW volatile_view AS SELECT id, f_v(id) AS v FROM t;
CREATE VIEW volatile_view_2 AS SELECT v.id FROM (SELECT * FROM volatile_view) v;
CREATE VIEW volatile_view_3 AS WITH w(x) AS (SELECT id FROM volatile_view_2) SELECT x FROM w;
CREATE VIEW seq_view AS SELECT nextval('counter') AS n;
CREATE VIEW scratch_view AS SELECT id FROM scratch;
CREATE VIEW op_view AS SELECT a ### id AS x FROM t;
CREATE VIEW attribute_view AS SELECT r.row_v FROM t r;
CREATE VIEW activity_view AS SELECT pid FROM pg_stat_activity;
CREATE MATERIALIZED VIEW mat_view AS SELECT id, a FROM t;

-- Row security.
CREATE TABLE secured_v (id int, owner text);
ALTER TABLE secured_v ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON secured_v FOR SELECT USING (f_v(id) > 0);
CREATE TABLE secured_s (id int, owner text);
ALTER TABLE secured_s ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON secured_s USING (owner = current_setting('app.tenant', true));
GRANT SELECT ON secured_v, secured_s TO golden_reader;

-- A partitioned table with a partition that replicas do not have.
CREATE TABLE parts (k int, x text) PARTITION BY LIST (k);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE UNLOGGED TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);

CREATE PROCEDURE proc(x int) LANGUAGE plpgsql AS
    'begin insert into audit values (now(), ''proc''); end';

INSERT INTO t SELECT g, g % 10, 'b' || g FROM generate_series(1, 20) g;
INSERT INTO orders SELECT g, g, g * 1.5, ARRAY['x', 'y'], '{"k": 1}', now()
  FROM generate_series(1, 20) g;
INSERT INTO app.items (name, price) SELECT 'item ' || g, g FROM generate_series(1, 5) g;
INSERT INTO secured_v VALUES (1, 'a');
INSERT INTO secured_s VALUES (1, 'a');
INSERT INTO parts VALUES (1, 'one'), (2, 'two');
